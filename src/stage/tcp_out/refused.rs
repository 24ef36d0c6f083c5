//! Retransmissions that this host itself holds up.

use super::{RETRANS_FAIL, RETRANS_SEGS, SPURIOUS_RTX_HOST_QUEUES};
use crate::model::{Counter, Example, Finding, Observed, Rule, Scope, Severity, Threshold};

pub static FAILS: Rule = Rule {
    id: "tcp-retransmit-fails",
    title: "This host refuses to send TCP segments again",
    explain: "A segment was to be sent again, and IP did not take it: a rule of this host's own firewall (OUTPUT, POSTROUTING) \
              or a BPF program of the cgroup drops it, a queue below is full, or memory was short. The connection waits for the \
              next timeout, twice as long as the last. A route that is gone does not count here.",
    triggers: &[&RETRANS_FAIL],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "warning_per_second", default: 1.0, help: "times/s; own: below, a remark" },
        Threshold { key: "warning_least", default: 3.0, help: "times in the window below which it is chance; own" },
    ],
    fires: fails,
    examples: &[
        Example {
            what: "20 times in a second",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&RETRANS_FAIL, 20),
        },
        Example {
            what: "once in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = Observed::quiet().with(&RETRANS_FAIL, 1);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "segments were sent again, and lost again on the way",
            severity: None,
            observed: || Observed::quiet().with(&RETRANS_SEGS, 20),
        },
    ],
};

pub static STILL_QUEUED: Rule = Rule {
    id: "tcp-retransmit-before-send",
    title: "TCP wants to send again what has not left this host yet",
    explain: "The time for an acknowledgement ran out while the segment still waited in a queue of this host: a qdisc that \
              shapes, a device that is slower than what is sent, or a driver that tells late of what it has sent. The kernel \
              notices and does not send twice, but the connection is slowed down as if something had been lost.",
    triggers: &[&SPURIOUS_RTX_HOST_QUEUES],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "warning_per_second", default: 1.0, help: "times/s; own: below, a remark" },
        Threshold { key: "warning_least", default: 3.0, help: "times in the window below which it is chance; own" },
    ],
    fires: still_queued,
    examples: &[
        Example {
            what: "20 times in a second",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&SPURIOUS_RTX_HOST_QUEUES, 20),
        },
        Example {
            what: "once in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = Observed::quiet().with(&SPURIOUS_RTX_HOST_QUEUES, 1);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "once in a window of half a second",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = Observed::quiet().with(&SPURIOUS_RTX_HOST_QUEUES, 1);
                seen.changes.seconds = Some(0.5);
                seen
            },
        },
        Example {
            what: "segments were sent again after they had left",
            severity: None,
            observed: || Observed::quiet().with(&RETRANS_SEGS, 20),
        },
    ],
};

fn found(seen: &Observed, rule: &Rule, counter: &'static Counter, why: &str) -> Option<Finding> {
    let times = seen.delta(counter);
    let limit = seen.threshold(rule, "warning_per_second");
    let least = seen.threshold(rule, "warning_least");
    let many = times as f64 >= least && seen.rate(times).is_some_and(|rate| rate >= limit);
    let severity = if many { Severity::Warning } else { Severity::Info };
    let mut finding = Finding::new(rule, severity, Scope::Netns, 0, format!("{times} times {why}"));
    finding.evidence.push(seen.evidence(counter, Some(limit)));
    (times > 0).then_some(finding)
}

fn fails(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let finding = found(seen, rule, &RETRANS_FAIL, "IP did not take a segment that was to be sent again");
    let explained = finding.map(|mut finding| {
        finding.no_setting_helps = Some(
            "something of this host refuses its own segments: 'nft list ruleset' (OUTPUT and POSTROUTING), 'tc -s qdisc', \
             'netstat-deep drops' name it"
                .into(),
        );
        finding.refuse("net.ipv4.tcp_retries2", "it decides when the connection is given up, not whether it may send");
        finding
    });
    explained.into_iter().collect()
}

fn still_queued(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let why = "the time for an acknowledgement ran out before the segment had left";
    let explained = found(seen, rule, &SPURIOUS_RTX_HOST_QUEUES, why).map(|mut finding| {
        finding.no_setting_helps = Some(
            "the queue below is too long for what the device sends: 'tc -s qdisc' shows its backlog. Shape to a higher \
             rate, or use a qdisc that keeps flows apart (fq, fq_codel)"
                .into(),
        );
        finding.refuse("txqueuelen", "a longer queue makes it worse");
        finding
    });
    explained.into_iter().collect()
}
