//! Next hops that do not answer, and what waits for them.

use super::knobs::{V4_WAITING, V6_WAITING};
use super::{ARP_DISCARDS, ARP_FAILED, NDISC_DISCARDS, NDISC_FAILED};
use crate::model::{
    Direction, Evidence, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold, Unresolved,
};

const QUEUE_FULL: &str = "NEIGH_QUEUEFULL";
const FAILED: &str = "NEIGH_FAILED";

pub static DROPS: Rule = Rule {
    id: "neighbour-unresolved-drops",
    title: "Packets are lost because their next hop's link address is not known",
    explain: "While ARP or neighbour discovery asks for the link address of a next hop, packets to it wait, up to \
              unres_qlen_bytes; beyond, the oldest is lost. If nobody answers for three seconds, all that waits is lost too, \
              and that is counted nowhere: 'tx' works it out as what left IP and reached no device. No counter of IP or UDP \
              moves, and senders are told late or not at all. If the next hop answers in the end, a longer queue holds the \
              burst; one that is dead it does not wake.",
    triggers: &[&ARP_DISCARDS, &NDISC_DISCARDS, &ARP_FAILED, &NDISC_FAILED],
    seen: &[QUEUE_FULL, FAILED, "missing at neighbour"],
    knobs: &[&V4_WAITING, &V6_WAITING],
    thresholds: &[],
    fires: drops,
    examples: &[
        Example {
            what: "308 of 400 datagrams to a dead host",
            severity: Some(Severity::Warning),
            observed: || dead(true).with(&ARP_DISCARDS, 308).with(&ARP_FAILED, 1),
        },
        Example {
            what: "a burst to a next hop that answered in the end",
            severity: Some(Severity::Warning),
            observed: || {
                let seen = dead(false).with(&ARP_DISCARDS, 30);
                seen.with_setting("net/ipv4/neigh/eth0/unres_qlen_bytes", "212992")
            },
        },
        Example {
            what: "in a container: nobody counts, but what IP sent reached no device",
            severity: Some(Severity::Warning),
            observed: || dead(true).with(&ARP_FAILED, 1).with_unexplained("neighbour", 97),
        },
        Example {
            what: "a scan: next hops that do not answer, and nothing is missing",
            severity: None,
            observed: || Observed::quiet().with(&ARP_FAILED, 3),
        },
    ],
};

pub static FAILS: Rule = Rule {
    id: "neighbour-resolution-fails",
    title: "Next hops do not answer",
    explain: "ARP or neighbour discovery got no answer: the host is down, was moved, or the address is none of this link \
              (a wrong netmask, a scan). It counts next hops, not packets. Now and then one is normal.",
    triggers: &[&ARP_FAILED, &NDISC_FAILED],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_per_second",
        default: 1.0,
        help: "next hops/s that do not answer; below, silent",
    }],
    fires: fails,
    examples: &[
        Example { what: "5 in a second", severity: Some(Severity::Info), observed: || dead(true).with(&ARP_FAILED, 5) },
        Example { what: "one in a second", severity: None, observed: || dead(true).with(&ARP_FAILED, 1) },
    ],
};

fn dead(failed: bool) -> Observed {
    let next_hop = Unresolved { address: [10, 0, 0, 9].into(), device: "eth0".into(), failed };
    Observed { next_hops: vec![next_hop], ..Observed::quiet() }
}

fn drops(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let discards = seen.delta_of(&[&ARP_DISCARDS, &NDISC_DISCARDS]);
    let missing = seen.unexplained.get("neighbour").copied().unwrap_or(0);
    let [full, failed] = [QUEUE_FULL, FAILED].map(|reason| probed(seen, reason));
    // The counter and the probe of the queue know the same packets; what the ledger misses is beyond the counter.
    let lost = discards.saturating_add(missing).max(discards.max(full).saturating_add(failed));
    if lost == 0 {
        return Vec::new();
    }
    let mut why = named(seen);
    if missing > 0 {
        why += &format!("; {missing} packets left IP, reached no device, and are counted nowhere");
    }
    let mut finding = Finding::new(rule, Severity::Warning, Scope::Netns, lost, why);
    let counters = [&ARP_DISCARDS, &NDISC_DISCARDS, &ARP_FAILED, &NDISC_FAILED];
    finding.evidence =
        counters.into_iter().filter(|counter| seen.delta(counter) > 0).map(|one| seen.evidence(one, None)).collect();
    if missing > 0 {
        let (counter, per_second) = ("neighbour.unexplained".into(), seen.rate(missing));
        finding.evidence.push(Evidence {
            counter,
            instance: Instance::Only,
            delta: missing,
            per_second,
            threshold: None,
        });
    }
    finding.evidence.extend(
        [(QUEUE_FULL, full), (FAILED, failed)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| seen.probe_evidence(reason, count, None)),
    );
    // The counter is the machine's; these are the namespace's own.
    let died = seen.next_hops.iter().any(|hop| hop.failed);
    match seen.next_hops.first().filter(|_| !died) {
        Some(hop) => {
            let (knob, device) = (if hop.address.is_ipv6() { &V6_WAITING } else { &V4_WAITING }, &hop.device);
            let why = "four times as much: the next hop is asked again after a second, and answered in the end";
            let at = Instance::device(device.clone());
            finding.suggest(seen.raise_at(knob, &at, |from| from.saturating_mul(4), why, |more| more));
        }
        None => {
            finding.no_setting_helps = Some(
                "the next hop is down, or the address is none of this link: set it up, or take away the route or neighbour \
                 that leads there"
                    .into(),
            );
            finding.refuse(V4_WAITING.id, "more would wait for somebody who does not answer, and be lost later");
        }
    }
    vec![finding]
}

/// What the probes saw of it on its way out.
fn probed(seen: &Observed, reason: &str) -> u64 {
    let drops = seen.probed.iter().flat_map(|probed| &probed.drops);
    let mine = drops.filter(|drop| drop.is_for(reason) && drop.direction == Some(Direction::Out));
    mine.map(|drop| drop.count).fold(0, u64::saturating_add)
}

/// The next hops that are not known, as far as they are few.
fn named(seen: &Observed) -> String {
    const FEW: usize = 4;
    let name = |hop: &Unresolved| {
        format!("{} on {}{}", hop.address, hop.device, if hop.failed { "" } else { " (still being asked)" })
    };
    let names: Vec<String> = seen.next_hops.iter().take(FEW).map(name).collect();
    match (names.is_empty(), seen.next_hops.len().saturating_sub(FEW)) {
        (true, _) => "which next hop it was is no longer known".into(),
        (false, 0) => format!("no answer from {}", names.join(", ")),
        (false, more) => format!("no answer from {} and {more} more", names.join(", ")),
    }
}

fn fails(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let failed = seen.delta_of(&[&ARP_FAILED, &NDISC_FAILED]);
    let limit = seen.threshold(rule, "info_per_second");
    if seen.rate(failed).is_none_or(|rate| rate <= limit) {
        return Vec::new();
    }
    let mut finding = Finding::new(rule, Severity::Info, Scope::Machine, 0, named(seen));
    let counters = [&ARP_FAILED, &NDISC_FAILED].into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = counters.map(|counter| seen.evidence(counter, Some(limit))).collect();
    finding.no_setting_helps = Some(
        "set the hosts up, or find who asks for addresses that nobody has: 'ip neigh' and 'netstat-deep drops'".into(),
    );
    vec![finding]
}
