//! The device finds no buffer for what it received.

use super::knobs::{CHANNELS_COMBINED, RING_RX};
use super::{GUESSED, HW_OVERRUNS, RING_DROPPED, RING_EMPTY, RING_FULL, RX_MISSED_ERRORS};
use crate::model::{Counter, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold, power_of_two};
use crate::stage::backlog::RX_DROPPED;
use crate::stage::driver_rx::XDP_DROPS;
use crate::stage::link::{RX_PACKETS, devices};
use crate::stage::softirq;

pub static OVERFLOW: Rule = Rule {
    id: "nic-ring-overflow",
    title: "A network device loses frames: its receive ring is full",
    explain: "The device has a ring of buffers for each of its queues. A frame that finds none empty is lost in the \
              device: no software sees it, and tracing drops in the kernel (kfree_skb) shows nothing. If the CPUs have \
              time left on average, the bursts are longer than the ring: a longer one helps. If a CPU spends all its time \
              in softirqs, the ring only delays the loss: let more CPUs take part (more queues, interrupts on several \
              CPUs). Drivers count this under many names; those of one that is not known are only guessed at. Some put it \
              into rx_dropped, with frames that nobody wanted. /proc/net/dev shows rx_missed_errors as part of 'drop'. \
              net.core.netdev_max_backlog has nothing to do with it.",
    triggers: &[&RX_MISSED_ERRORS, &RING_FULL, &RING_DROPPED, &RING_EMPTY, &HW_OVERRUNS, &GUESSED],
    seen: &[],
    knobs: &[&RING_RX, &CHANNELS_COMBINED],
    thresholds: &[
        Threshold {
            key: "warning_percent",
            default: 0.01,
            help: "share of the device's frames that is lost, in %; own",
        },
        Threshold { key: "critical_percent", default: 1.0, help: "the same; netdata warns at 2 %" },
        Threshold {
            key: "busy_percent",
            default: 70.0,
            help: "softirq time of a CPU, in %, from which on a longer ring only delays the loss; own",
        },
    ],
    fires: overflow,
    examples: &[
        Example { what: "3 of 1,000,000 frames", severity: Some(Severity::Info), observed: || missed(3, 1_000_000) },
        Example { what: "50 of 100,000 frames", severity: Some(Severity::Warning), observed: || missed(50, 100_000) },
        Example {
            what: "5,000 of 100,000 frames",
            severity: Some(Severity::Critical),
            observed: || missed(5_000, 95_000),
        },
        Example {
            what: "the driver counts the same frames under its own name: they are not added",
            severity: Some(Severity::Info),
            observed: || missed(8, 100_000).with_at(&RING_FULL, eth0(), 8).with_at(&HW_OVERRUNS, eth0(), 8),
        },
        Example {
            what: "the driver puts them into rx_dropped",
            severity: Some(Severity::Critical),
            observed: || missed(0, 95_000).with_at(&RING_DROPPED, eth0(), 5_000).with_at(&RX_DROPPED, eth0(), 5_000),
        },
        Example {
            what: "a CPU has no time left: more queues",
            severity: Some(Severity::Critical),
            observed: || missed(5_000, 95_000).with_at(&softirq::SOFTIRQ, Instance::Cpu { cpu: 3 }, 95),
        },
        Example {
            what: "the ring was empty, and rx_dropped grew",
            severity: Some(Severity::Warning),
            observed: || missed(0, 100_000).with_at(&RING_EMPTY, eth0(), 2).with_at(&RX_DROPPED, eth0(), 60),
        },
        Example {
            what: "a driver that is not known counts something that sounds like drops",
            severity: Some(Severity::Info),
            observed: || missed(0, 100_000).with_at(&GUESSED, eth0(), 900),
        },
        Example {
            what: "frames that nobody wanted are in rx_dropped, too",
            severity: None,
            observed: || missed(0, 100_000).with_at(&RX_DROPPED, eth0(), 5_000),
        },
    ],
};

fn eth0() -> Instance {
    Instance::device("eth0")
}

fn missed(lost: u64, received: u64) -> Observed {
    Observed::quiet()
        .with_at(&RX_MISSED_ERRORS, eth0(), lost)
        .with_at(&RX_PACKETS, eth0(), received)
        .with_setting("ethtool/eth0/rings/rx", "256")
        .with_setting("ethtool/eth0/rings/rx/max", "4096")
        .with_setting("ethtool/eth0/channels/combined", "2")
        .with_setting("ethtool/eth0/channels/combined/max", "8")
}

/// What one device lost at its ring, by the counter that knows most of it: they count the same frames.
pub fn lost_at(seen: &Observed, device: &Instance) -> u64 {
    let at = |counter: &'static Counter| seen.changes.delta_at(counter, device);
    let by_driver = at(&RING_FULL).saturating_add(at(&RING_DROPPED));
    let counted = at(&RX_MISSED_ERRORS).max(by_driver).max(at(&HW_OVERRUNS));
    // Drivers that only say how often the ring was empty put what was lost into rx_dropped.
    if counted == 0 && at(&RING_EMPTY) > 0 { at(&RX_DROPPED).saturating_sub(at(&XDP_DROPS)) } else { counted }
}

fn overflow(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    devices(seen, rule).into_iter().filter_map(|device| of(seen, rule, device)).collect()
}

fn of(seen: &Observed, rule: &Rule, device: &Instance) -> Option<Finding> {
    let lost = lost_at(seen, device);
    let show = |finding: &mut Finding, limit| {
        let moved = rule.triggers.iter().filter(|counter| seen.changes.delta_at(counter, device) > 0);
        finding.evidence.extend(moved.map(|counter| seen.evidence_at(counter, device, limit)));
    };
    if lost == 0 {
        return guessed(seen, rule, device, show);
    }
    let (warning, critical) = (seen.threshold(rule, "warning_percent"), seen.threshold(rule, "critical_percent"));
    let arrived = seen.changes.delta_at(&RX_PACKETS, device).saturating_add(lost);
    let share = lost as f64 * 100.0 / arrived as f64;
    let severity = match share {
        share if share >= critical => Severity::Critical,
        share if share >= warning => Severity::Warning,
        _ => Severity::Info,
    };
    let why = format!("{device} received frames when no buffer of its ring was empty: {share:.2} % of what arrived");
    let mut finding = Finding::new(rule, severity, Scope::Device, lost, why);
    finding.instance = device.clone();
    show(&mut finding, None);
    let received = seen.evidence_at(&RX_PACKETS, device, None);
    finding.evidence.push(received);
    finding.refuse("net.core.netdev_max_backlog", "it limits a queue behind the ring; these frames never got there");
    relieve(seen, rule, device, &mut finding);
    Some(finding)
}

fn guessed(
    seen: &Observed,
    rule: &Rule,
    device: &Instance,
    show: impl Fn(&mut Finding, Option<f64>),
) -> Option<Finding> {
    (seen.changes.delta_at(&GUESSED, device) > 0).then(|| {
        let why = format!(
            "the driver of {device} is not known here, but its counters that sound like drops have grown: 'ethtool -S \
             {device}' shows which, and its documentation what they mean"
        );
        let mut finding = Finding::new(rule, Severity::Info, Scope::Device, 0, why);
        finding.instance = device.clone();
        show(&mut finding, None);
        finding.no_setting_helps = Some("whether anything was lost is not known".into());
        finding
    })
}

/// Memory of one buffer: an MTU of 1500 with what belongs to it takes half a page.
const BUFFER: u64 = 2048;

/// More CPUs where one has no time left, else a longer ring.
pub fn relieve(seen: &Observed, rule: &Rule, device: &Instance, finding: &mut Finding) {
    let busy = seen.threshold(rule, "busy_percent");
    let shares = seen.changes.grown(&softirq::SOFTIRQ).filter_map(|(cpu, ticks)| {
        // 100 ticks a second: so many of them are so many % of a second. Since boot they tell nothing.
        let seconds = seen.changes.seconds.filter(|_| !seen.changes.since_boot)?;
        Some((cpu, (ticks as f64 / seconds).min(100.0)))
    });
    let busiest = shares.filter(|(_, share)| *share >= busy).max_by(|(_, a), (_, b)| a.total_cmp(b));
    let cpus = seen.changes.each(&softirq::SOFTIRQ).count() as u64;
    if let Some((cpu, share)) = busiest {
        finding.why += &format!("; {cpu} spends {share:.0} % of its time in softirqs");
        let more = seen.raise_at(
            &CHANNELS_COMBINED,
            device,
            |from| from.saturating_mul(2).min(cpus.max(from)),
            "a CPU has no time left for its queue: more queues let others take part",
            |more| more.saturating_mul(BUFFER * 256),
        );
        if more.is_ok() {
            finding.refuse("ring.rx", "a ring that is never emptied in time loses the same, only later");
            finding.suggest(more);
            return;
        }
    }
    let queues = seen.settings.number(&CHANNELS_COMBINED.path_of(device)).unwrap_or(1).max(1);
    finding.suggest(seen.raise_at(
        &RING_RX,
        device,
        |from| power_of_two(from.saturating_mul(2)),
        "twice the present length: the bursts of this window did not fit",
        |more| more.saturating_mul(BUFFER).saturating_mul(queues),
    ));
}
