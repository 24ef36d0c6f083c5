//! Datagrams are refused before they leave: by a queue below, or by their own socket's send buffer.

use super::{LITE_SNDBUF_ERRORS, LITE6_SNDBUF_ERRORS, OUT_DATAGRAMS, OUT6_DATAGRAMS, SNDBUF_ERRORS, SNDBUF6_ERRORS};
use crate::model::{Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::ip_out::{OUT_DISCARDS, OUT6_DISCARDS};
use crate::stage::{egress, qdisc};

pub static SEND_FAILS: Rule = Rule {
    id: "udp-send-fails",
    title: "Datagrams are refused on their way out",
    explain: "Either a queue below refused the datagram: then Ip.OutDiscards and the drops of a qdisc hold it as well, it is \
              lost, and sendto() said that all went well unless the application asked for errors (IP_RECVERR, then \
              ENOBUFS). Or the socket's send buffer was full: the application was told (EAGAIN), or waited, and nothing is \
              lost. The send buffer is full when what was sent before still waits in a queue of this host: a larger one \
              (SO_SNDBUF, net.core.wmem_default) only lets more wait there.",
    triggers: &[&SNDBUF_ERRORS, &SNDBUF6_ERRORS, &LITE_SNDBUF_ERRORS, &LITE6_SNDBUF_ERRORS],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "warning_per_second",
        default: 1.0,
        help: "datagrams/s that a queue refused; own: below, and where only the application was told, a remark",
    }],
    fires: send_fails,
    examples: &[
        Example {
            what: "a full queue refused 97 of 100, and nobody was told",
            severity: Some(Severity::Warning),
            observed: || {
                let at = Instance::qdisc("eth0", "tbf 1:");
                refused(97).with(&OUT_DISCARDS, 97).with_at(&qdisc::DROPS, at, 97)
            },
        },
        Example {
            what: "a filter on the way out refused them",
            severity: Some(Severity::Warning),
            observed: || refused(97).with(&OUT_DISCARDS, 97).with_at(&egress::TC_DROPS, Instance::device("eth0"), 97),
        },
        Example {
            what: "the send buffer was full: the application was told",
            severity: Some(Severity::Info),
            observed: || refused(97),
        },
        Example {
            what: "a firewall refused them, which is no full buffer",
            severity: None,
            observed: || Observed::quiet().with(&OUT_DISCARDS, 97),
        },
    ],
};

fn refused(datagrams: u64) -> Observed {
    Observed::quiet().with(&SNDBUF_ERRORS, datagrams).with(&OUT_DATAGRAMS, 3)
}

fn send_fails(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let counters = [&SNDBUF_ERRORS, &SNDBUF6_ERRORS, &LITE_SNDBUF_ERRORS, &LITE6_SNDBUF_ERRORS];
    let refused = seen.delta_of(&counters);
    if refused == 0 {
        return Vec::new();
    }
    // IP counts what something below refused, whichever protocol it is of.
    let below = refused.min(seen.delta_of(&[&OUT_DISCARDS, &OUT6_DISCARDS]));
    let limit = seen.threshold(rule, "warning_per_second");
    let many = seen.rate(below).is_some_and(|rate| rate > limit);
    let severity = if many { Severity::Warning } else { Severity::Info };
    let queues = seen.grown(&qdisc::DROPS);
    let filters = seen.grown(&egress::TC_DROPS);
    let mut causes = Vec::new();
    let mut fixes = Vec::new();
    if below > 0 {
        let place = match (queues.first(), filters.first()) {
            (Some((at, _)), _) => format!("the queue {at}"),
            (None, Some((at, _))) => format!("a filter at {at}"),
            (None, None) => "something below IP (a BPF program at a tc hook, or want of memory)".into(),
        };
        causes.push(format!("{below} were lost in {place}, and only senders with IP_RECVERR were told"));
        fixes.push(match queues.is_empty() {
            false => "see qdisc-drops for the queue; the application should pace what it sends",
            true => "whoever made the filter can change it",
        });
    }
    if refused > below {
        let more = refused - below;
        causes.push(format!(
            "{more} did not fit in their socket's send buffer, and the application was told: none is lost"
        ));
        fixes.push(
            "the application should wait until its socket can be written to; a larger buffer only lets more wait",
        );
    }
    let mut finding = Finding::new(rule, severity, Scope::Netns, below, causes.join("; "));
    let moved = counters.into_iter().chain([&OUT_DISCARDS, &OUT6_DISCARDS, &OUT_DATAGRAMS, &OUT6_DATAGRAMS]);
    let moved = moved.filter(|counter| seen.delta(counter) > 0);
    finding.evidence =
        moved.map(|counter| seen.evidence(counter, counters.contains(&counter).then_some(limit))).collect();
    finding.evidence.extend(queues.iter().map(|(at, _)| seen.evidence_at(&qdisc::DROPS, at, None)));
    finding.no_setting_helps = Some(fixes.join("; "));
    if below > 0 {
        finding.refuse("net.core.wmem_default", "the send buffer was not what refused these");
    }
    vec![finding]
}
