//! RPS wakes another CPU for nearly every packet.

use super::{RECEIVED_RPS, RPS_CPUS, with_cpus};
use crate::model::layout::written;
use crate::model::{
    CpuPlace, DevicePlace, Example, Finding, Instance, Layout, Observed, QueuePlace, Rule, Scope, Severity, Threshold,
};
use crate::stage::softirq::NET_RX;

/// What one interrupt between CPUs takes, in microseconds, of the one that raises and the one that takes it together. Own:
/// 1 to 3 on hardware, more in guests.
const COST: f64 = 2.0;

/// Interrupts between CPUs for RPS.
pub static COSTLY: Rule = Rule {
    id: "rps-interrupts-costly",
    title: "RPS interrupts a CPU for nearly every packet that it passes on",
    explain: "RPS hands packets to other CPUs. At the end of each poll the polling CPU interrupts those that it gave \
              something and that were not at work already. With bursts that is one interrupt for many packets; with single \
              packets, and with many CPUs in the mask, it is one for each, and that may cost more than what the other CPU \
              does for it. Fewer CPUs in the mask, RFS or more hardware queues make fewer of them; a polling CPU that has \
              time left needs no RPS.",
    triggers: &[&RECEIVED_RPS],
    seen: &[],
    knobs: &[&RPS_CPUS],
    thresholds: &[
        Threshold {
            key: "share_percent",
            default: 50.0,
            help: "interrupts for RPS to all runs of the receive softirq on the CPU that takes them; own",
        },
        Threshold {
            key: "cpu_percent",
            default: 5.0,
            help: "time of one CPU that they cost, if each costs 2 µs: 25,000 a second; own",
        },
    ],
    fires: costly,
    examples: &[
        Example {
            what: "each run of the softirq on three CPUs was asked for by a fourth",
            severity: Some(Severity::Info),
            observed: || passed_on(&[0, 20_000, 20_000, 20_000], 21_000),
        },
        Example {
            what: "interrupts that bring many packets each",
            severity: None,
            observed: || passed_on(&[0, 300, 300, 300], 21_000),
        },
        Example {
            what: "few, because little comes",
            severity: None,
            observed: || passed_on(&[0, 900, 900, 900], 1_000),
        },
    ],
};

/// A device with one queue and a mask of four CPUs, polled by the first; each was so often interrupted, and ran so often.
fn passed_on(interrupts: &[u64], runs: u64) -> Observed {
    let cpus = 0..interrupts.len() as u32;
    let queue = QueuePlace {
        queue: "rx-0".into(),
        mask: cpus.clone().collect(),
        printed: Some("f".into()),
        ..QueuePlace::default()
    };
    let device = DevicePlace { device: "eth0".into(), queues: vec![queue], ..DevicePlace::default() };
    let layout = Layout {
        cpus: cpus.clone().map(|cpu| CpuPlace { cpu, ..CpuPlace::default() }).collect(),
        devices: vec![device],
        irqbalance: None,
    };
    cpus.zip(interrupts).fold(Observed::quiet().with_layout(layout), |seen, (cpu, count)| {
        let here = Instance::Cpu { cpu };
        seen.with_at(&RECEIVED_RPS, here.clone(), *count).with_at(&NET_RX, here, runs)
    })
}

fn costly(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let Some(layout) = seen.layout.as_ref().filter(|_| !seen.changes.since_boot) else { return Vec::new() };
    let limit = |key| seen.threshold(rule, key);
    let woken = |(at, count): &(&Instance, u64)| {
        *count as f64 * 100.0 > seen.changes.delta_at(&NET_RX, at) as f64 * limit("share_percent")
    };
    let woken: Vec<(&Instance, u64)> = seen.grown(&RECEIVED_RPS).into_iter().filter(woken).collect();
    let count = woken.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
    let Some(rate) = seen.rate(count) else { return Vec::new() };
    let percent = rate * COST / 10_000.0;
    let Some((worst, _)) = woken.first().filter(|_| percent >= limit("cpu_percent")) else { return Vec::new() };
    let why = format!(
        "RPS interrupted {} CPUs {rate:.0} times a second, each time for a packet or two: about {percent:.0} % of one CPU's \
         time, if each costs {COST:.0} µs",
        woken.len()
    );
    let mut finding = Finding::new(rule, Severity::Info, Scope::Machine, 0, why);
    finding.evidence.push(seen.evidence(&RECEIVED_RPS, None));
    finding.evidence.push(seen.evidence_at(&RECEIVED_RPS, worst, None));
    for device in &layout.devices {
        finding.suggestions.extend(device.receive().filter_map(|queue| fewer(seen, layout, device, queue)));
    }
    if finding.suggestions.is_empty() {
        finding.no_setting_helps = Some(
            "no RPS mask of a device that is seen here makes them: look in the other network namespaces (--netns)"
                .into(),
        );
    }
    vec![finding]
}

/// A mask with half of its CPUs, those near the device first; of one CPU alone, none: then the polling CPU takes them itself.
fn fewer(
    seen: &Observed,
    layout: &Layout,
    device: &DevicePlace,
    queue: &QueuePlace,
) -> Option<crate::model::Suggestion> {
    let from = queue.printed.clone().filter(|_| !queue.mask.is_empty())?;
    let mut cpus = queue.mask.clone();
    cpus.sort_by_key(|cpu| device.node.is_some_and(|node| layout.node_of(*cpu) != Some(node)));
    let (keep, away) = cpus.split_at(cpus.len() / 2);
    let to = with_cpus(&from, away, false)?;
    let why = match keep {
        [] => "the polling CPU takes them itself".to_owned(),
        keep => format!("with CPU {} alone in the mask, half as many", written(keep)),
    };
    Some(seen.suggest(&RPS_CPUS, Instance::queue(&*device.device, queue.queue.clone()), from, to, &why))
}
