//! What a cloud allows a machine of its size.

use super::{LIMITED_CONNECTIONS, LIMITED_IN, LIMITED_LOCAL, LIMITED_OUT, LIMITED_PACKETS};
use crate::model::{Counter, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::ring::HW_RATELIMITS;

pub static EXCEEDED: Rule = Rule {
    id: "cloud-allowance-exceeded",
    title: "The machine exceeds what its cloud allows one of its size",
    explain: "A cloud limits each machine by its size: bandwidth in and out, packets a second, connections that its firewall \
              tracks, packets to its own services (DNS, metadata, time). What exceeds a limit is queued and then dropped \
              outside of this host, so nothing here sees it, but for the counters of the driver (ena, Amazon; other drivers, \
              gve of Google among them, tell nothing, so silence proves nothing). Limits act within milliseconds: a burst \
              exceeds them while the average of a minute looks low.",
    triggers: &[&LIMITED_IN, &LIMITED_OUT, &LIMITED_PACKETS, &LIMITED_CONNECTIONS, &LIMITED_LOCAL],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "critical_per_second",
        default: 1.0,
        help: "packets/s of one kind; below, a warning; own",
    }],
    fires: exceeded,
    examples: &[
        Example {
            what: "the cloud's firewall tracks no more connections",
            severity: Some(Severity::Critical),
            observed: || limited(&LIMITED_CONNECTIONS, 70),
        },
        Example {
            what: "a burst above the bandwidth, little on average",
            severity: Some(Severity::Critical),
            observed: || limited(&LIMITED_OUT, 300).with_at(&LIMITED_PACKETS, Instance::device("eth0"), 5),
        },
        Example {
            what: "one packet in ten seconds",
            severity: Some(Severity::Warning),
            observed: || {
                let mut seen = limited(&LIMITED_LOCAL, 1);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "a limit that the device was given here",
            severity: None,
            observed: || Observed::quiet().with_at(&HW_RATELIMITS, Instance::device("eth0"), 100),
        },
    ],
};

fn limited(counter: &'static Counter, packets: u64) -> Observed {
    Observed::quiet().with_at(counter, Instance::device("eth0"), packets)
}

/// A limit: what is counted, in words, and what helps.
static LIMITS: [(&Counter, &str, &str); 5] = [
    (
        &LIMITED_CONNECTIONS,
        "more connections than the cloud's firewall tracks for it",
        "keep connections and use them again, or let security groups pass such traffic untracked (all addresses and ports, both \
         ways)",
    ),
    (&LIMITED_OUT, "more sent than its bandwidth", "send less or evenly (fq, a pacing rate), or a larger machine"),
    (&LIMITED_IN, "more received than its bandwidth", "let peers send less or evenly, or a larger machine"),
    (
        &LIMITED_PACKETS,
        "more packets a second than it may have",
        "larger packets (jumbo frames within the cloud, GSO), or a larger machine",
    ),
    (
        &LIMITED_LOCAL,
        "more packets to the cloud's own services than it may send",
        "cache DNS answers and metadata on this host",
    ),
];

fn exceeded(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let mut devices: Vec<&Instance> =
        LIMITS.iter().flat_map(|(counter, ..)| seen.grown(counter)).map(|(at, _)| at).collect();
    devices.sort();
    devices.dedup();
    devices.into_iter().filter_map(|device| of(seen, rule, device)).collect()
}

fn of(seen: &Observed, rule: &Rule, device: &Instance) -> Option<Finding> {
    let mut over: Vec<_> = LIMITS
        .iter()
        .map(|(counter, what, help)| (seen.changes.delta_at(counter, device), *counter, *what, *help))
        .filter(|(packets, ..)| *packets > 0)
        .collect();
    over.sort_by_key(|(packets, ..)| std::cmp::Reverse(*packets));
    let (most, .., help) = *over.first()?;
    let limit = seen.threshold(rule, "critical_per_second");
    let rare = seen.rate(most).is_some_and(|rate| rate < limit);
    let severity = if rare { Severity::Warning } else { Severity::Critical };
    let parts: Vec<String> = over.iter().map(|(packets, _, what, _)| format!("{what} ({packets} packets)")).collect();
    // Whether it was queued or dropped, only the last two kinds tell.
    let dropped = [&LIMITED_CONNECTIONS, &LIMITED_LOCAL].map(|counter| seen.changes.delta_at(counter, device));
    let why = format!("the machine behind {device} had {}", parts.join(", "));
    let mut finding = Finding::new(rule, severity, Scope::Device, dropped.iter().sum(), why);
    finding.instance = device.clone();
    finding.evidence = over.iter().map(|(_, counter, ..)| seen.evidence_at(counter, device, Some(limit))).collect();
    finding.no_setting_helps = Some(format!("no setting of this host lifts the limit: {help}"));
    finding.refuse("ring.rx", "the packets do not get as far as the ring");
    finding.refuse("net.netfilter.nf_conntrack_max", "it is this host's own table; the cloud's firewall has another");
    Some(finding)
}
