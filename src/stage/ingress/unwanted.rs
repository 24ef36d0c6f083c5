//! Frames that nobody here asked for. None of them is a loss, but they explain a counter that looks like one.

use std::collections::BTreeMap;

use super::{RX_NOHANDLER, RX_OTHERHOST_DROPPED};
use crate::model::{Counter, Drop, Evidence, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::backlog::{DROPPED, RX_DROPPED};
use crate::stage::link::RX_PACKETS;
use crate::stage::ring::RX_MISSED_ERRORS;

pub static UNKNOWN_PROTOCOL: Rule = Rule {
    id: "unknown-protocol-frames",
    title: "Frames of a protocol that nobody here speaks are discarded",
    explain: "A device's rx_dropped grows although no queue was full: the kernel found no protocol for these frames. Switches \
              send some all the time (LLDP 0x88cc, spanning tree, vendors' loop detection 0x8899), others are IPv6 where it \
              is switched off, or a network that this host has no software for. It is no loss. While somebody captures \
              (tcpdump takes frames of any protocol) the counter stands still, which proves that it is this. \
              'tcpdump -e -i DEVICE not ip and not ip6 and not arp' shows what they are. A driver may count losses of its \
              own in rx_dropped as well; with the drop probe on, only what the kernel discarded for this reason counts.",
    triggers: &[&RX_DROPPED],
    seen: &[UNHANDLED],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_above_per_second",
        default: 0.0,
        help: "frames/s; own: any is worth a remark",
    }],
    fires: unknown_protocol,
    examples: &[
        Example {
            what: "40 frames on eth0, no queue overflowed",
            severity: Some(Severity::Info),
            observed: || frames(&RX_DROPPED, 40),
        },
        Example {
            what: "the probe saw the reason",
            severity: Some(Severity::Info),
            observed: || frames(&RX_DROPPED, 40).with_drops(unhandled(40)),
        },
        Example {
            what: "a CPU's backlog lost packets: some of these are the same",
            severity: None,
            observed: || frames(&RX_DROPPED, 40).with_at(&DROPPED, Instance::Cpu { cpu: 0 }, 40),
        },
        Example {
            what: "the ring was full: some drivers count that here, too",
            severity: None,
            observed: || frames(&RX_DROPPED, 40).with_at(&RX_MISSED_ERRORS, Instance::device("eth0"), 40),
        },
        Example {
            what: "the probe saw other reasons only",
            severity: None,
            observed: || frames(&RX_DROPPED, 40).with_drops(Drop::example("OTHERHOST", 40)),
        },
    ],
};

const UNHANDLED: &str = "UNHANDLED_PROTO";

fn unhandled(count: u64) -> Drop {
    Drop { device: Some("eth0".into()), ..Drop::example(UNHANDLED, count) }
}

fn frames(counter: &'static Counter, count: u64) -> Observed {
    let eth0 = || Instance::device("eth0");
    Observed::quiet().with_at(counter, eth0(), count).with_at(&RX_PACKETS, eth0(), 1_000)
}

fn unknown_protocol(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let dropped = seen.grown(&RX_DROPPED);
    let known = seen.probed.as_ref().map(|_| seen.dropped(UNHANDLED));
    // Without the probe it is what is left when nothing else can have been.
    let count = match known {
        Some(known) => known,
        None if seen.delta(&DROPPED) > 0 || seen.delta(&RX_MISSED_ERRORS) > 0 => 0,
        None => dropped.iter().map(|(_, count)| *count).fold(0, u64::saturating_add),
    };
    if count == 0 || seen.rate(count).is_some_and(|rate| rate <= seen.threshold(rule, "info_above_per_second")) {
        return Vec::new();
    }
    let sure = if known.is_some() { "the kernel found" } else { "no queue was full, so the kernel most likely found" };
    let mut why = format!("{sure} no protocol for {count} frames");
    let devices: Vec<String> = dropped.iter().take(8).map(|(device, _)| device.to_string()).collect();
    if !devices.is_empty() {
        why += &format!(" of {}", devices.join(", "));
    }
    let mut finding = Finding::new(rule, Severity::Info, Scope::Device, 0, why);
    finding.evidence = per_device(seen, &RX_DROPPED, &dropped);
    if known.is_some() {
        finding.evidence.push(seen.probe_evidence(UNHANDLED, count, None));
    }
    one_device(&mut finding, &dropped);
    finding.no_setting_helps = Some(
        "no setting is needed: nobody here asked for them. 'tcpdump -e not ip and not ip6 and not arp' shows what they are"
            .into(),
    );
    vec![finding]
}

pub static STANDBY: Rule = Rule {
    id: "bond-standby-frames",
    title: "Frames reach a device that only stands by",
    explain: "A bond or team in active-backup mode takes packets from one of its members. What arrives at the others, mostly \
              broadcasts and multicasts that the switch sends to every port, is thrown away and counted in their \
              rx_nohandler. The active member received the same frames: it is no loss. If the active member counts them, \
              too, the bond's idea of who is active differs from the switch's.",
    triggers: &[&RX_NOHANDLER],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_above_per_second",
        default: 0.0,
        help: "frames/s; own: any is worth a remark",
    }],
    fires: standby,
    examples: &[
        Example {
            what: "30 broadcasts at the standby member",
            severity: Some(Severity::Info),
            observed: || frames(&RX_NOHANDLER, 30),
        },
        Example { what: "frames of an unknown protocol", severity: None, observed: || frames(&RX_DROPPED, 30) },
    ],
};

fn standby(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let members = seen.grown(&RX_NOHANDLER);
    let count = members.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
    if count == 0 || seen.rate(count).is_some_and(|rate| rate <= seen.threshold(rule, "info_above_per_second")) {
        return Vec::new();
    }
    let names: Vec<String> = members.iter().take(8).map(|(device, _)| device.to_string()).collect();
    let why = format!("{count} frames came in by {}, which stands by in its bond or team", names.join(", "));
    let mut finding = Finding::new(rule, Severity::Info, Scope::Device, 0, why);
    finding.evidence = per_device(seen, &RX_NOHANDLER, &members);
    one_device(&mut finding, &members);
    finding.no_setting_helps =
        Some("no setting is needed: the switch sends these to every port, and the active member has them".into());
    vec![finding]
}

pub static OTHER_HOSTS: Rule = Rule {
    id: "frames-for-other-hosts",
    title: "Many frames that come in are for other hosts",
    explain: "A device hands the kernel only frames to its own address, unless it is promiscuous: somebody captures \
              (tcpdump), or it is the port of a bridge or a virtual switch. IP then discards what is for others, counts it \
              in the device's rx_otherhost_dropped, and the CPU has had its work with it. Without a promiscuous device it \
              means that two hosts have one MAC address, or that the switch floods because it has forgotten where that \
              address is (its ageing time is shorter than ARP's). Counted since 5.19 and shown by netlink alone.",
    triggers: &[&RX_OTHERHOST_DROPPED],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold { key: "info_percent", default: 1.0, help: "share of the device's frames, in %; own" }],
    fires: other_hosts,
    examples: &[
        Example {
            what: "400 of 1,000 frames are for others",
            severity: Some(Severity::Info),
            observed: || frames(&RX_OTHERHOST_DROPPED, 400),
        },
        Example { what: "5 of 1,000", severity: None, observed: || frames(&RX_OTHERHOST_DROPPED, 5) },
    ],
};

fn other_hosts(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let received: BTreeMap<_, _> = seen.grown(&RX_PACKETS).into_iter().collect();
    let of = |device: &Instance| received.get(device).copied().unwrap_or(0);
    let percent = seen.threshold(rule, "info_percent");
    let mut devices = seen.grown(&RX_OTHERHOST_DROPPED);
    devices.retain(|(device, count)| *count as f64 * 100.0 > percent * of(device) as f64);
    let finding = |(device, count): (&Instance, u64)| {
        let share = count as f64 * 100.0 / of(device).max(count) as f64;
        let why = format!("{share:.0} % of the frames that {device} takes in bear another host's address");
        let mut finding = Finding::new(rule, Severity::Info, Scope::Device, 0, why);
        finding.instance = device.clone();
        finding.evidence = per_device(seen, &RX_OTHERHOST_DROPPED, &[(device, count)]);
        finding.no_setting_helps = Some(
            "see who made the device promiscuous ('ip -d link' counts them), whether another host has the same MAC \
             address, and whether the switch floods"
                .into(),
        );
        finding
    };
    devices.into_iter().map(finding).collect()
}

fn per_device(seen: &Observed, counter: &'static Counter, rows: &[(&Instance, u64)]) -> Vec<Evidence> {
    rows.iter().take(8).map(|(device, _)| seen.evidence_at(counter, device, None)).collect()
}

/// The device stands by the finding if there is only one.
fn one_device(finding: &mut Finding, rows: &[(&Instance, u64)]) {
    if let [(device, _)] = rows {
        finding.instance = (*device).clone();
    }
}
