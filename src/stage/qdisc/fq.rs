//! What only fair queueing drops: one flow's surplus, packets of a far future, and what exceeds its memory.

use super::{DROPS, FQ_CODEL_OVERMEMORY, FQ_FLOW_LIMIT, FQ_HORIZON_CAPS, FQ_HORIZON_DROPS, knobs};
use crate::model::{Counter, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};

pub static FLOW_LIMIT: Rule = Rule {
    id: "fq-flow-limit",
    title: "One flow fills its share of the queue, and fq drops the rest of it",
    explain: "fq lets each flow hold flow_limit packets (100 unless said otherwise), so that one does not push out the \
              others. TCP never gets there: it keeps about a millisecond's worth in the queue. It is a UDP or QUIC sender \
              that hands over a whole burst at once. The others are not hurt. The sender should pace itself \
              (SO_MAX_PACING_RATE, SO_TXTIME); where it can't, a larger flow_limit holds the burst.",
    triggers: &[&FQ_FLOW_LIMIT],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "warning_per_second",
        default: 1.0,
        help: "packets/s dropped; own: below, a remark",
    }],
    fires: flow_limit,
    examples: &[
        Example {
            what: "900 of a burst of 1,000",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with_at(&FQ_FLOW_LIMIT, fq(), 900).with_at(&DROPS, fq(), 900),
        },
        Example {
            what: "one packet a second",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with_at(&FQ_FLOW_LIMIT, fq(), 1),
        },
        Example {
            what: "the whole queue was full, no single flow",
            severity: None,
            observed: || Observed::quiet().with_at(&DROPS, fq(), 900),
        },
    ],
};

pub static HORIZON_OR_MEMORY: Rule = Rule {
    id: "qdisc-horizon-or-memory",
    title: "A qdisc drops packets for their time or for want of memory",
    explain: "fq drops a packet whose time to be sent lies more than its horizon (10 s) ahead, or sends it earlier \
              (horizon_caps): an application or a BPF program sets SO_TXTIME or the packet's time by the wrong clock, or \
              paces far too slowly. fq_codel drops when what it holds takes more than memory_limit (32 MB), which at 25 \
              Gbit/s and more comes before its limit in packets: then a larger memory_limit helps.",
    triggers: &[&FQ_HORIZON_DROPS, &FQ_HORIZON_CAPS, &FQ_CODEL_OVERMEMORY],
    seen: &[],
    knobs: &[&knobs::HORIZON, &knobs::MEMORY_LIMIT],
    thresholds: &[],
    fires: horizon_or_memory,
    examples: &[
        Example {
            what: "packets for next week",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with_at(&FQ_HORIZON_DROPS, fq(), 10),
        },
        Example {
            what: "packets brought forward to the horizon",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with_at(&FQ_HORIZON_CAPS, fq(), 10),
        },
        Example {
            what: "fq_codel is out of memory",
            severity: Some(Severity::Warning),
            observed: || {
                let at = Instance::qdisc("eth0", "fq_codel 0: parent :1");
                Observed::quiet().with_at(&FQ_CODEL_OVERMEMORY, at, 10)
            },
        },
        Example {
            what: "fq_codel manages its queue",
            severity: None,
            observed: || Observed::quiet().with_at(&DROPS, Instance::qdisc("eth0", "fq_codel 0:"), 10),
        },
    ],
};

fn fq() -> Instance {
    Instance::qdisc("eth0", "fq 8001:")
}

fn found(seen: &Observed, rule: &Rule, counter: &'static Counter, at: &Instance, severity: Severity) -> Finding {
    let mut finding = Finding::new(rule, severity, Scope::Device, 0, "");
    finding.instance = at.clone();
    finding.evidence = vec![seen.evidence_at(counter, at, None)];
    finding
}

fn flow_limit(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let limit = seen.threshold(rule, "warning_per_second");
    let of = |(at, lost): (&Instance, u64)| {
        let many = seen.rate(lost).is_some_and(|rate| rate > limit);
        let severity = if many { Severity::Warning } else { Severity::Info };
        let mut finding = found(seen, rule, &FQ_FLOW_LIMIT, at, severity);
        finding.lost = lost;
        finding.why =
            format!("single flows held all that {at} grants to one, and {lost} packets of theirs were dropped");
        finding.no_setting_helps = Some(
            "let the sender pace itself (SO_MAX_PACING_RATE, SO_TXTIME); where it can't, 'tc qdisc change' with a larger \
             flow_limit, or 'tc qdisc replace' for an fq that the kernel made"
                .into(),
        );
        finding.refuse("txqueuelen", "fq does not look at it");
        finding
    };
    seen.grown(&FQ_FLOW_LIMIT).into_iter().map(of).collect()
}

fn horizon_or_memory(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let far = "an application, or a BPF program, sets the time of its packets by another clock than CLOCK_MONOTONIC, or far \
               too late: its owner must mend that; a longer horizon only holds them longer";
    let memory = "give it a larger memory_limit where it is made ('tc qdisc replace ... fq_codel memory_limit 64Mb'), or a \
                  faster device";
    let causes: [(&'static Counter, bool, &str, &str); 3] = [
        (&FQ_HORIZON_DROPS, true, "packets were to be sent later than its horizon, and were dropped", far),
        (&FQ_HORIZON_CAPS, false, "packets were to be sent later than its horizon, and were sent earlier", far),
        (&FQ_CODEL_OVERMEMORY, true, "packets were dropped because it had used up its memory", memory),
    ];
    let mut findings = Vec::new();
    for (counter, is_loss, what, fix) in causes {
        for (at, count) in seen.grown(counter) {
            let mut finding = found(seen, rule, counter, at, Severity::Warning);
            finding.lost = if is_loss { count } else { 0 };
            finding.why = format!("{count} {what} ({at})");
            finding.no_setting_helps = Some(fix.into());
            findings.push(finding);
        }
    }
    findings
}
