//! A device does not send what it is given.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    HW_DROP_ERRORS, HW_DROPS, HW_RATE_LIMITED, NO_CARRIER, TX_ABORTED, TX_CARRIER, TX_DROPPED, TX_ERRORS, TX_FIFO,
    TX_PACKETS, TX_WINDOW,
};
use crate::model::{
    Change, Counter, Direction, Drop, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold, Victim,
    power_of_two,
};
use crate::stage::backlog;
use crate::stage::qdisc::TXQUEUELEN;
use crate::stage::virtual_devices::{OTHERS_REFUSED, PAIR_REFUSED, TUN_REFUSED};

pub static REFUSED: Rule = Rule {
    id: "device-send-drops",
    title: "A network device throws away what it is given to send",
    explain: "The packet has passed the queueing discipline, and the device or its driver did not send it (tx_dropped, \
              tx_errors). The sender is not told. Without a carrier everything is thrown away: a cable is out, or the other \
              end of a veth is down. A veth drops what its other end has no room for, a tun device what its program does \
              not fetch in time: there the receiver is too slow. A network card's driver refuses what it can't map, cut or \
              send: its fault, or the device's. What a queueing discipline drops is not in tx_dropped. VLANs, macvlans and \
              tunnels count again what the device below them did not take: that is told of that device alone.",
    triggers: &[&TX_DROPPED, &TX_ERRORS, &TX_ABORTED, &TX_CARRIER, &TX_FIFO, &TX_WINDOW, &HW_DROPS],
    seen: &[],
    knobs: &[&TXQUEUELEN],
    thresholds: &[
        Threshold {
            key: "info_below_per_minute",
            default: 1.0,
            help: "packets a minute below which it is noise, of a device with hardware behind it; own",
        },
        Threshold {
            key: "software_info_below_per_second",
            default: 1.0,
            help: "packets a second below which it is noise, of a device that is software alone or has no carrier: \
                   multicast that nobody waits for; own",
        },
        Threshold {
            key: "critical_percent",
            default: 1.0,
            help: "share of the packets that a device with a carrier did not send, in %; own",
        },
    ],
    fires: refused,
    examples: &[
        Example { what: "one packet in ten minutes", severity: Some(Severity::Info), observed: || long(card(1, 0)) },
        Example { what: "5 of 100,000 packets", severity: Some(Severity::Warning), observed: || card(5, 99_995) },
        Example { what: "2 % of all packets", severity: Some(Severity::Critical), observed: || card(2_000, 98_000) },
        Example {
            what: "packets that collide: half duplex",
            severity: Some(Severity::Warning),
            observed: || card(0, 100_000).with_at(&TX_ERRORS, at("eth0"), 9).with_at(&TX_ABORTED, at("eth0"), 9),
        },
        Example {
            what: "the device says that packets are malformed, of which the driver knows nothing",
            severity: Some(Severity::Warning),
            observed: || card(0, 100_000).with_at(&HW_DROPS, at("eth0"), 9).with_at(&HW_DROP_ERRORS, at("eth0"), 9),
        },
        Example {
            what: "a veth whose other end is down",
            severity: Some(Severity::Warning),
            observed: || pair(60).with_at(&NO_CARRIER, at("va"), 1),
        },
        Example {
            what: "a veth whose other end is down, and a multicast of the kernel now and then",
            severity: Some(Severity::Info),
            observed: || long(pair(3).with_at(&NO_CARRIER, at("va"), 1)),
        },
        Example {
            what: "a veth whose other end is too slow",
            severity: Some(Severity::Critical),
            observed: || pair(500).with_at(&NO_CARRIER, at("va"), 0),
        },
        Example {
            what: "a veth whose packets did not fit into a CPU's backlog",
            severity: Some(Severity::Critical),
            observed: || pair(500).with_at(&backlog::DROPPED, Instance::Cpu { cpu: 1 }, 500),
        },
        Example {
            what: "a tun device whose program does not read in time",
            severity: Some(Severity::Critical),
            observed: || tun(90).with_setting("class/net/tun0/tx_queue_len", "500"),
        },
        Example {
            what: "a tunnel that has nowhere to send to",
            severity: Some(Severity::Critical),
            observed: || Observed::quiet().with_at(&TX_DROPPED, at("vx"), 40).with_at(&OTHERS_REFUSED, at("vx"), 40),
        },
        Example {
            what: "a VLAN counts what the card below it refused, too: one finding",
            severity: Some(Severity::Warning),
            observed: || {
                let both = card(5, 99_995).with_at(&TX_DROPPED, at("eth0.7"), 5);
                both.with_at(&OTHERS_REFUSED, at("eth0.7"), 5)
            },
        },
        Example {
            what: "the cloud keeps a rate: another rule tells of that",
            severity: None,
            observed: || card(0, 100_000).with_at(&HW_DROPS, at("eth0"), 90).with_at(&HW_RATE_LIMITED, at("eth0"), 90),
        },
        Example {
            what: "no carrier, and nothing is sent",
            severity: None,
            observed: || Observed::quiet().with_at(&NO_CARRIER, at("eth0"), 1),
        },
    ],
};

fn at(device: &str) -> Instance {
    Instance::device(device)
}

fn long(seen: Observed) -> Observed {
    Observed { changes: crate::model::Changes { seconds: Some(600.0), ..seen.changes }, ..seen }
}

fn card(dropped: u64, sent: u64) -> Observed {
    Observed::quiet().with_at(&TX_DROPPED, at("eth0"), dropped).with_at(&TX_PACKETS, at("eth0"), sent)
}

fn pair(dropped: u64) -> Observed {
    Observed::quiet().with_at(&TX_DROPPED, at("va"), dropped).with_at(&PAIR_REFUSED, at("va"), dropped)
}

fn tun(dropped: u64) -> Observed {
    Observed::quiet().with_at(&TX_DROPPED, at("tun0"), dropped).with_at(&TUN_REFUSED, at("tun0"), dropped)
}

/// What kind of device it is, as far as that decides what its counters mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Hardware,
    Pair,
    Tun,
    Stacked,
}

fn sort(seen: &Observed, device: &Instance) -> Sort {
    let is = |counter: &'static Counter| seen.changes.each(counter).any(|(other, _)| other == device);
    match () {
        () if is(&PAIR_REFUSED) => Sort::Pair,
        () if is(&TUN_REFUSED) => Sort::Tun,
        () if is(&OTHERS_REFUSED) => Sort::Stacked,
        () => Sort::Hardware,
    }
}

/// What one device did not send.
fn lost(seen: &Observed, device: &Instance) -> u64 {
    let at = |counter: &'static Counter| seen.changes.delta_at(counter, device);
    // Drivers that keep the special ones need not add them up.
    let special = [&TX_ABORTED, &TX_CARRIER, &TX_FIFO, &TX_WINDOW].map(at).into_iter().fold(0, u64::saturating_add);
    let by_driver = at(&TX_DROPPED).saturating_add(at(&TX_ERRORS).max(special));
    by_driver.max(at(&HW_DROPS).saturating_sub(at(&HW_RATE_LIMITED)))
}

fn refused(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let moved = rule.triggers.iter().flat_map(|counter| seen.changes.grown(counter));
    let devices: BTreeSet<&Instance> = moved.map(|(device, _)| device).collect();
    let losses: BTreeMap<&Instance, (Sort, u64)> =
        devices.into_iter().map(|device| (device, (sort(seen, device), lost(seen, device)))).collect();
    let below: u64 = losses.values().filter(|(sort, _)| *sort != Sort::Stacked).map(|(_, lost)| *lost).sum();
    let own = |(sort, lost): (Sort, u64)| if sort == Sort::Stacked { lost.saturating_sub(below) } else { lost };
    let told = losses.into_iter().map(|(device, loss)| (device, loss.0, own(loss))).filter(|(_, _, lost)| *lost > 0);
    told.map(|(device, sort, lost)| of(seen, rule, device, sort, lost)).collect()
}

fn of(seen: &Observed, rule: &Rule, device: &Instance, sort: Sort, lost: u64) -> Finding {
    let carrier = seen.changes.each(&NO_CARRIER).find(|(other, _)| *other == device);
    let cut_off = matches!(carrier, Some((_, Change::Gauge { value: 1, .. })));
    let noise = match sort {
        Sort::Hardware if !cut_off => seen.threshold(rule, "info_below_per_minute") / 60.0,
        _ => seen.threshold(rule, "software_info_below_per_second"),
    };
    let given = seen.changes.delta_at(&TX_PACKETS, device).saturating_add(lost);
    let share = lost as f64 * 100.0 / given as f64;
    let severity = match seen.rate(lost) {
        Some(rate) if rate < noise => Severity::Info,
        _ if !cut_off && share >= seen.threshold(rule, "critical_percent") => Severity::Critical,
        _ => Severity::Warning,
    };
    let mut finding = Finding::new(rule, severity, Scope::Device, lost, String::new());
    finding.instance = device.clone();
    let moved = rule.triggers.iter().filter(|counter| seen.changes.delta_at(counter, device) > 0);
    finding.evidence.extend(moved.map(|counter| seen.evidence_at(counter, device, Some(noise))));
    finding.evidence.push(seen.evidence_at(&TX_PACKETS, device, None));
    finding.why = format!("{share:.2} % of what {device} was given to send");
    match sort {
        _ if cut_off => no_carrier(sort, device, &mut finding),
        Sort::Pair => slow_peer(seen, device, lost, &mut finding),
        Sort::Tun => slow_program(seen, device, &mut finding),
        Sort::Stacked => {
            finding.why += ": no device below it is known to have lost them";
            finding.no_setting_helps = Some(format!(
                "a tunnel has no remote end or no route to it, a bridge or macvlan no member that is up: 'ip -d link show \
                 dev {device}' shows what it needs"
            ));
        }
        Sort::Hardware => card_refuses(seen, device, &mut finding),
    }
    probes(seen, device, cut_off, &mut finding);
    finding
}

fn no_carrier(sort: Sort, device: &Instance, finding: &mut Finding) {
    finding.why += ": it has no carrier, so all of it is thrown away, and senders are not told";
    finding.no_setting_helps = Some(match sort {
        Sort::Pair => format!(
            "the other end of {device} is down, here or in another namespace: set it up there ('ip link set dev NAME up'), or \
             take away the routes that lead here"
        ),
        Sort::Tun => format!("no program has {device} open: start it, or take away the routes that lead here"),
        Sort::Stacked => format!("the device below {device} has none: see there"),
        Sort::Hardware => format!(
            "the cable of {device} is out, or its switch port is off; until it is back, \
             net.ipv4.conf.all.ignore_routes_with_linkdown=1 lets other routes be taken"
        ),
    });
}

fn slow_peer(seen: &Observed, device: &Instance, lost: u64, finding: &mut Finding) {
    finding.refuse("txqueuelen", "a veth has no queue of its own, unless it is given a queueing discipline");
    if seen.delta(&backlog::DROPPED) >= lost {
        finding.why += ": the CPU that was to receive them had no room in its backlog";
        finding.no_setting_helps = Some(
            "it is the receiving side that binds: 'netstat-deep rx' tells of it as backlog-overflow, with the setting"
                .into(),
        );
        return;
    }
    finding.why += ": its other end had no room in its ring, or threw them away";
    finding
        .refuse("net.core.netdev_max_backlog", "no CPU's backlog was full: where the other end polls, there is none");
    finding.no_setting_helps = Some(format!(
        "the ring of a veth always has 256 places (drivers/net/veth.c VETH_RING_SIZE), and who empties it is too slow: let \
         several CPUs receive there (RPS, more queues); since 6.16 a queueing discipline on {device} makes packets wait \
         instead"
    ));
}

/// Memory of a packet of 1500 bytes.
const PACKET: u64 = 2304;
/// A ring that is longer is a wait, and no cure.
const LONGEST: u64 = 16_384;

fn slow_program(seen: &Observed, device: &Instance, finding: &mut Finding) {
    finding.why += ": its program did not fetch them in time, and txqueuelen of them wait at most";
    let longer = seen.raise_at(
        &TXQUEUELEN,
        device,
        |from| power_of_two(from.saturating_mul(2).max(256)).min(LONGEST),
        "the ring of a tun device is as long as txqueuelen: the bursts of this window did not fit. A program that is too slow \
         on average loses them all the same",
        |more| more.saturating_mul(PACKET),
    );
    finding.suggest(longer);
}

fn card_refuses(seen: &Observed, device: &Instance, finding: &mut Finding) {
    let at = |counter: &'static Counter| seen.changes.delta_at(counter, device);
    let (line, bus) = (at(&TX_ABORTED) + at(&TX_CARRIER) + at(&TX_WINDOW), at(&TX_FIFO));
    let (why, cure) = if line > 0 {
        (
            "packets collided or the carrier went away meanwhile",
            "a duplex that differs from the switch port's, or a cable: 'ethtool DEV' shows what both ends agreed on",
        )
    } else if bus > 0 {
        (
            "the device did not get its packets from memory in time",
            "the bus is too slow for the device: a PCIe slot with fewer lanes than it needs, or its power saving",
        )
    } else if at(&HW_DROPS) > 0 {
        ("the device itself dropped them", "its firmware, or a policy set in it: 'ethtool -S DEV' says more")
    } else {
        (
            "the driver did not take them",
            "which packets, and where, 'netstat-deep drops --dev DEV' shows; if large ones, 'ethtool -K DEV tso off' tells \
             whether the driver cuts them wrongly: then only another driver or firmware mends it",
        )
    };
    finding.why = format!("{}: {why}", finding.why);
    finding.no_setting_helps = Some(cure.replace("DEV", &device.to_string()));
    finding.refuse("txqueuelen", "it limits a queue before the device; these packets had left that");
}

/// Whose they were and which function dropped them, where the probes were on.
fn probes(seen: &Observed, device: &Instance, cut_off: bool, finding: &mut Finding) {
    let name = device.to_string();
    // Without a carrier a queueing discipline that holds nothing stands in the device's place.
    let stages: &[&str] =
        if cut_off { &["driver_tx", "validate", "qdisc"] } else { &["driver_tx", "validate", "virtual_devices"] };
    let ours = |drop: &&Drop| {
        drop.device.as_ref() == Some(&name)
            && drop.direction != Some(Direction::In)
            && stages.contains(&drop.stage.as_str())
    };
    let mut victims: Vec<Victim> = Vec::new();
    for drop in seen.probed.iter().flat_map(|probed| &probed.drops).filter(ours) {
        finding.evidence.push(seen.probe_evidence(&drop.reason, drop.count, None));
        victims.extend(drop.victims.iter().cloned());
    }
    victims.sort_by_key(|victim| std::cmp::Reverse(victim.lost));
    finding.victims = victims;
}
