//! One receive queue has most of the packets.

use super::QUEUE_PACKETS;
use crate::model::{Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::tcp_in::CURR_ESTAB;

/// Uneven receive queues.
pub static UNEVEN: Rule = Rule {
    id: "rx-queues-uneven",
    title: "The device gives most packets to few of its receive queues",
    explain: "A device with several receive queues hashes each packet's addresses and looks up in a table (RSS) which \
              queue takes that flow. With many flows the queues then get about the same. If one gets far more, the table \
              is uneven, the hash leaves the ports out (UDP often: then all traffic of two hosts is one flow), or a few \
              flows are far heavier than the rest. With few flows some queues are idle, and nothing is wrong; queues with \
              filters of their own (RSS contexts) are uneven on purpose.",
    triggers: &[&QUEUE_PACKETS],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "max_to_mean", default: 2.0, help: "packets of the busiest queue to the mean of all" },
        Threshold {
            key: "flows",
            default: 100.0,
            help: "established connections; with fewer, queues are idle by chance",
        },
        Threshold { key: "packets_per_second", default: 1000.0, help: "own: of the device; below, nothing is judged" },
    ],
    fires: uneven,
    examples: &[
        Example {
            what: "four queues, one has nearly all, of 500 connections",
            severity: Some(Severity::Warning),
            observed: || spread(&[90_000, 1_000, 1_000, 1_000]).with(&CURR_ESTAB, 500),
        },
        Example {
            what: "the same of three connections",
            severity: None,
            observed: || spread(&[90_000, 1_000, 1_000, 1_000]).with(&CURR_ESTAB, 3),
        },
        Example {
            what: "two queues: neither can have more than twice the mean",
            severity: None,
            observed: || spread(&[90_000, 0]).with(&CURR_ESTAB, 500),
        },
        Example {
            what: "four queues alike",
            severity: None,
            observed: || spread(&[21_000, 22_000, 24_000, 20_000]).with(&CURR_ESTAB, 500),
        },
    ],
};

fn spread(packets: &[u64]) -> Observed {
    let add = |seen: Observed, (n, packets): (usize, &u64)| {
        seen.with_at(&QUEUE_PACKETS, Instance::queue("eth0", format!("rx-{n}")), *packets)
    };
    packets.iter().enumerate().fold(Observed::quiet(), add)
}

fn uneven(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let limit = |key| seen.threshold(rule, key);
    let flows = seen.changes.gauge(&CURR_ESTAB).map_or(0, |(most, _)| most);
    // Sums since boot tell of times with other settings.
    if flows as f64 <= limit("flows") || seen.changes.since_boot {
        return Vec::new();
    }
    let busiest = seen.grown(&QUEUE_PACKETS);
    let mut findings: Vec<Finding> = Vec::new();
    for (instance, most) in busiest {
        let Instance::Queue { device, queue } = instance else { continue };
        if findings.iter().any(|finding| finding.instance == Instance::device(device.clone())) {
            continue;
        }
        let all = seen
            .changes
            .each(&QUEUE_PACKETS)
            .filter(|(at, _)| matches!(at, Instance::Queue { device: other, .. } if other == device));
        let queues = all.count();
        let sum: u64 = seen
            .grown(&QUEUE_PACKETS)
            .iter()
            .filter(|(at, _)| matches!(at, Instance::Queue { device: other, .. } if other == device))
            .map(|(_, packets)| *packets)
            .fold(0, u64::saturating_add);
        let enough = seen.rate(sum).is_some_and(|rate| rate >= limit("packets_per_second"));
        let mean = sum as f64 / queues.max(1) as f64;
        if !enough || most as f64 <= limit("max_to_mean") * mean {
            continue;
        }
        let why = format!(
            "{queue} of {device} took {most} of the {sum} packets that its {queues} queues took, {:.1} times the mean, with \
             {flows} connections open",
            most as f64 / mean
        );
        let mut finding = Finding::new(rule, Severity::Warning, Scope::Device, 0, why);
        finding.instance = Instance::device(device.clone());
        finding.evidence.push(seen.evidence_at(&QUEUE_PACKETS, instance, None));
        finding.no_setting_helps = Some(format!(
            "the device's own table and hash decide: 'ethtool -x {device}' shows them, 'ethtool -X {device} equal {queues}' \
             makes the table even, 'ethtool -N {device} rx-flow-hash udp4 sdfn' adds UDP's ports to the hash"
        ));
        findings.push(finding);
    }
    findings
}
