//! One end asks the other to wait.

use super::errors::devices;
use super::knobs::SPEED;
use super::{NIC_RX_PAUSE, NIC_TX_PAUSE, RX_PAUSE, TX_BYTES, TX_PAUSE};
use crate::model::{Counter, Example, Finding, Instance, Lasting, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::ring::{CHANNELS_COMBINED, RING_RX, relieve};
use crate::stage::softirq;

pub static HOST_SENDS: Rule = Rule {
    id: "host-sends-pause",
    title: "A network device asks the switch to wait, so frames are lost there",
    explain: "With flow control on, a device whose memory fills up sends pause frames instead of dropping: the switch then \
              holds back everything for this port, and drops what it has no room for, where this host can't see it. It is \
              the same trouble as nic-ring-overflow, and the same helps: a longer ring for bursts, more CPUs if one has \
              no time left. Turning flow control off (ethtool -A DEV tx off) only moves the loss back to this host; that \
              is right where one slow receiver must not hold up the others behind the switch. Priority flow control \
              counts by priority and does not show here.",
    triggers: &[&TX_PAUSE, &NIC_TX_PAUSE],
    seen: &[],
    knobs: &[&RING_RX, &CHANNELS_COMBINED],
    thresholds: &[
        Threshold { key: "info_below_per_second", default: 1.0, help: "pause frames/s below which it is noise; own" },
        Threshold {
            key: "lasting_seconds",
            default: 3.0,
            help: "how long it must go on for a warning: window after window, or one that is longer",
        },
        Threshold {
            key: "busy_percent",
            default: 70.0,
            help: "softirq time of a CPU, in %, from which on a longer ring only delays the loss; own",
        },
    ],
    fires: host_sends,
    examples: &[
        Example {
            what: "40 pause frames in a second, after three windows with such",
            severity: Some(Severity::Warning),
            observed: || Observed { lasting: Lasting::of("host-sends-pause", &eth0(), 3.0), ..sent(40) },
        },
        Example {
            what: "400 pause frames in ten seconds",
            severity: Some(Severity::Warning),
            observed: || {
                let mut seen = sent(400);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "40 pause frames in one second: a burst, or the beginning of more",
            severity: Some(Severity::Info),
            observed: || sent(40),
        },
        Example {
            what: "one pause frame in a minute",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = sent(1);
                seen.changes.seconds = Some(60.0);
                seen
            },
        },
        Example {
            what: "the driver counts the same frames under its own name",
            severity: Some(Severity::Warning),
            observed: || {
                let lasting = Lasting::of("host-sends-pause", &eth0(), 5.0);
                Observed { lasting, ..sent(1).with_at(&NIC_TX_PAUSE, eth0(), 1) }
            },
        },
        Example {
            what: "the switch sends them, not this host",
            severity: None,
            observed: || Observed::quiet().with_at(&RX_PAUSE, eth0(), 500),
        },
    ],
};

fn eth0() -> Instance {
    Instance::device("eth0")
}

fn sent(frames: u64) -> Observed {
    Observed::quiet()
        .with_at(&TX_PAUSE, eth0(), frames)
        .with_setting("ethtool/eth0/rings/rx", "512")
        .with_setting("ethtool/eth0/rings/rx/max", "4096")
        .with_at(&softirq::SOFTIRQ, Instance::Cpu { cpu: 0 }, 20)
}

fn host_sends(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let noise = seen.threshold(rule, "info_below_per_second");
    let finding = |device: &Instance| {
        let frames = most(seen, [&TX_PAUSE, &NIC_TX_PAUSE], device);
        let rare = seen.rate(frames).is_some_and(|rate| rate < noise);
        let lasted = seen.lasting.seconds(rule.id, device) + seen.changes.seconds.unwrap_or(0.0);
        let brief = lasted <= seen.threshold(rule, "lasting_seconds");
        let severity = if rare || brief { Severity::Info } else { Severity::Warning };
        let mut why = format!(
            "{device} had no room and sent {frames} pause frames; what the switch dropped meanwhile is not known"
        );
        if brief && !rare && !seen.changes.since_boot {
            why += "; whether it goes on, a longer window or several tell: --count 5";
        }
        let mut finding = Finding::new(rule, severity, Scope::Device, 0, why);
        show(seen, rule, device, noise, &mut finding);
        relieve(seen, rule, device, &mut finding);
        finding
    };
    devices(seen, rule).into_iter().map(finding).collect()
}

pub static SWITCH_SENDS: Rule = Rule {
    id: "switch-sends-pause",
    title: "The switch asks a network device to wait",
    explain: "The port at the other end is congested, or a pause storm runs through the network: what this host wants to \
              send waits, although the link is not full. Nothing is lost here by it, but queues grow and packets may be \
              dropped there (qdisc). Pause frames on a link that is full are how it should be.",
    triggers: &[&RX_PAUSE, &NIC_RX_PAUSE],
    seen: &[],
    knobs: &[&SPEED],
    thresholds: &[
        Threshold { key: "per_second", default: 100.0, help: "pause frames/s above which they matter; own" },
        Threshold {
            key: "full_percent",
            default: 90.0,
            help: "use of the link, in %, that is as much as it gives; own",
        },
    ],
    fires: switch_sends,
    examples: &[
        Example {
            what: "500 pause frames in a second, on a link that is half empty",
            severity: Some(Severity::Info),
            observed: || held_back(500, 500_000_000),
        },
        Example { what: "a link that is full", severity: None, observed: || held_back(500, 1_220_000_000) },
        Example { what: "few pause frames", severity: None, observed: || held_back(5, 1_000) },
    ],
};

/// A link of 10 Gbit/s.
fn held_back(frames: u64, bytes: u64) -> Observed {
    Observed::quiet()
        .with_at(&RX_PAUSE, eth0(), frames)
        .with_at(&TX_BYTES, eth0(), bytes)
        .with_setting("ethtool/eth0/linkmodes/speed", "10000")
}

fn switch_sends(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (many, full) = (seen.threshold(rule, "per_second"), seen.threshold(rule, "full_percent"));
    let finding = |device: &Instance| {
        let frames = most(seen, [&RX_PAUSE, &NIC_RX_PAUSE], device);
        let often = seen.rate(frames).is_none_or(|rate| rate > many);
        let sent = seen.rate(seen.changes.delta_at(&TX_BYTES, device)).unwrap_or(0.0);
        let megabits = seen.settings.number(&SPEED.path_of(device));
        let used = megabits.filter(|speed| *speed > 0).map(|speed| sent * 8.0 / (speed as f64 * 1e6) * 100.0);
        if !often || used.is_some_and(|used| used >= full) {
            return None;
        }
        let used = used.map_or("of a speed that is not known".into(), |used| format!("used to {used:.0} %"));
        let why = format!("the other end of {device} sent {frames} pause frames, on a link {used}");
        let mut finding = Finding::new(rule, Severity::Info, Scope::Device, 0, why);
        show(seen, rule, device, many, &mut finding);
        finding.no_setting_helps = Some(
            "the switch, or who receives behind it, is too slow: look at its port counters and at what else pauses there"
                .into(),
        );
        Some(finding)
    };
    devices(seen, rule).into_iter().filter_map(finding).collect()
}

/// What the counter says that knows most: they count the same.
fn most(seen: &Observed, counters: [&'static Counter; 2], device: &Instance) -> u64 {
    counters.map(|counter| seen.changes.delta_at(counter, device)).into_iter().max().unwrap_or(0)
}

fn show(seen: &Observed, rule: &Rule, device: &Instance, limit: f64, finding: &mut Finding) {
    finding.instance = device.clone();
    let moved = rule.triggers.iter().filter(|counter| seen.changes.delta_at(counter, device) > 0);
    finding.evidence.extend(moved.map(|counter| seen.evidence_at(counter, device, Some(limit))));
}
