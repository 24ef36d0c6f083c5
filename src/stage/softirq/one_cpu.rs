//! One CPU does the work of all.

use std::collections::BTreeSet;

use super::{NET_RX, SOFTIRQ, STEAL};
use crate::model::layout::written;
use crate::model::{
    Change, Counter, CpuPlace, DevicePlace, Example, Finding, Instance, Layout, Observed, QueuePlace, Rule, Scope,
    Severity, Threshold, VectorPlace,
};
use crate::stage::backlog::{DROPPED, RPS_CPUS, with_cpus};
use crate::stage::interrupt::AFFINITY;
use crate::stage::ring::{Heap, RX_MISSED_ERRORS};

/// One busy CPU among idle ones.
pub static ONE_CPU: Rule = Rule {
    id: "softirq-on-one-cpu",
    title: "One CPU does nearly all of the packets' work, others are idle",
    explain: "The receive softirq runs on the CPU that took the queue's interrupt. A device with one queue, interrupts that \
              all go to the same CPU, or one heavy flow keep one CPU busy while its neighbours wait; when it has no time \
              left its rings overflow. More queues or interrupts on other CPUs spread flows; RPS does the same in software \
              and costs an interrupt between CPUs. Nothing but the sender can spread a single flow: that is told only once \
              packets are lost. In a guest, time that the hypervisor gives to others passes for softirq time.",
    triggers: &[&NET_RX],
    seen: &[],
    knobs: &[&AFFINITY, &RPS_CPUS],
    thresholds: &[
        Threshold { key: "busy_percent", default: 80.0, help: "share of the CPU's time in softirqs; own" },
        Threshold {
            key: "mean_percent",
            default: 40.0,
            help: "mean of the other CPUs of its node, below which they count as idle; own",
        },
        Threshold {
            key: "steal_percent",
            default: 10.0,
            help: "share of the CPU's time that the hypervisor gave to others, from which nothing is judged; own",
        },
        Threshold {
            key: "elephant_percent",
            default: 90.0,
            help: "share of the device's packets on one of its queues, from which it is a single flow that keeps the CPU busy; own",
        },
    ],
    fires: one_cpu,
    examples: &[
        Example {
            what: "one CPU of four works, a single queue",
            severity: Some(Severity::Warning),
            observed: || working(&[95, 3, 2, 0], 1),
        },
        Example {
            what: "two queues, both interrupts on the busy CPU",
            severity: Some(Severity::Warning),
            observed: || working(&[95, 3, 2, 0], 2),
        },
        Example {
            what: "the same, and its backlog overflows",
            severity: Some(Severity::Critical),
            observed: || working(&[95, 3, 2, 0], 1).with_at(&DROPPED, Instance::Cpu { cpu: 0 }, 400),
        },
        Example {
            what: "an RPS mask names one CPU only",
            severity: Some(Severity::Warning),
            observed: || {
                let mut seen = working(&[95, 3, 2, 0], 1);
                let device = seen.layout.iter_mut().flat_map(|layout| &mut layout.devices).next();
                if let Some(device) = device {
                    device.vectors.clear();
                    device.queues[0].mask = vec![0];
                    device.queues[0].printed = Some("1".into());
                }
                seen
            },
        },
        Example {
            what: "one flow that RSS can't spread, though its queues have a CPU each, and packets are lost",
            severity: Some(Severity::Critical),
            observed: || elephant().with_at(&RX_MISSED_ERRORS, Instance::device("eth0"), 400),
        },
        Example { what: "the same, and nothing is lost", severity: None, observed: elephant },
        Example {
            what: "a virtual CPU whose time the hypervisor gives to others",
            severity: None,
            observed: || working(&[95, 3, 2, 0], 1).with_at(&STEAL, Instance::Cpu { cpu: 0 }, 30),
        },
        Example { what: "all CPUs work alike", severity: None, observed: || working(&[85, 82, 90, 88], 1) },
        Example { what: "the only CPU there is", severity: None, observed: || working(&[95], 1) },
    ],
};

/// Four queues with a CPU each, one of which gets nearly all.
fn elephant() -> Observed {
    let mut seen = working(&[95, 3, 2, 0], 4);
    for device in seen.layout.iter_mut().flat_map(|layout| &mut layout.devices) {
        for (queue, cpu) in device.queues.iter_mut().zip(0..) {
            queue.packets_per_second = Some(if cpu == 0 { 90_000.0 } else { 100.0 });
        }
        for (vector, cpu) in device.vectors.iter_mut().zip(0..) {
            vector.effective = vec![cpu];
        }
    }
    seen
}

fn working(percent: &[u64], queues: u32) -> Observed {
    let cpus = 0..percent.len() as u32;
    let queue = |n: u32| QueuePlace {
        queue: format!("rx-{n}"),
        irq: Some(40 + n),
        printed: Some("0".into()),
        ..QueuePlace::default()
    };
    let vector = |n: u32| VectorPlace {
        vector: format!("TxRx-{n}"),
        irq: 40 + n,
        allowed: vec![0],
        effective: vec![0],
        printed: Some("0".into()),
        per_second: Some(100.0),
    };
    let device = DevicePlace {
        device: "eth0".into(),
        queues: (0..queues).map(queue).collect(),
        vectors: (0..queues).map(vector).collect(),
        ..DevicePlace::default()
    };
    let layout = Layout {
        cpus: cpus.clone().map(|cpu| CpuPlace { cpu, ..CpuPlace::default() }).collect(),
        devices: vec![device],
        irqbalance: None,
    };
    let seen = Observed::quiet().with_at(&NET_RX, Instance::Cpu { cpu: 0 }, 9_000).with_layout(layout);
    cpus.zip(percent).fold(seen, |seen, (cpu, percent)| seen.with_at(&SOFTIRQ, Instance::Cpu { cpu }, *percent))
}

/// The share of its time that each CPU spent in what `counter` counts in ticks, in percent. Since boot unknown.
pub fn shares(seen: &Observed, counter: &'static Counter) -> Vec<(u32, f64)> {
    let Some(seconds) = seen.changes.seconds.filter(|seconds| *seconds > 0.0 && !seen.changes.since_boot) else {
        return Vec::new();
    };
    let share = |(at, change): (&Instance, Change)| match (at, change) {
        // 100 ticks a second: so many of them are so many % of a second.
        (Instance::Cpu { cpu }, Change::Total { delta: Some(ticks), .. }) => {
            Some((*cpu, (ticks as f64 / seconds).min(100.0)))
        }
        _ => None,
    };
    seen.changes.each(counter).filter_map(share).collect()
}

fn one_cpu(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    one(seen, rule).into_iter().collect()
}

fn one(seen: &Observed, rule: &Rule) -> Option<Finding> {
    let layout = seen.layout.as_ref()?;
    let softirqs = shares(seen, &SOFTIRQ);
    let (busy, share) = softirqs.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let node = layout.node_of(busy);
    let others = softirqs.iter().filter(|(cpu, _)| *cpu != busy && layout.node_of(*cpu) == node);
    let others: Vec<f64> = others.map(|(_, share)| *share).collect();
    let mean = others.iter().sum::<f64>() / others.len().max(1) as f64;
    let limit = |key| seen.threshold(rule, key);
    if others.is_empty() || share < limit("busy_percent") || mean >= limit("mean_percent") {
        return None;
    }
    let stolen = shares(seen, &STEAL).iter().any(|(cpu, share)| *cpu == busy && *share >= limit("steal_percent"));
    let lost = seen.delta_of(&[&DROPPED, &RX_MISSED_ERRORS]) > 0;
    let elephant = layout.devices.iter().find_map(|device| carries(device, busy, limit("elephant_percent")));
    if stolen || (elephant.is_some() && !lost) {
        return None;
    }
    let why = format!(
        "CPU {busy} spends {share:.0} % of its time in softirqs, the {} others{} {mean:.0} % on average",
        others.len(),
        node.map_or_else(String::new, |node| format!(" of node {node}"))
    );
    let severity = if lost { Severity::Critical } else { Severity::Warning };
    let mut finding = Finding::new(rule, severity, Scope::Cpu, 0, why);
    finding.instance = Instance::Cpu { cpu: busy };
    finding.evidence.push(seen.evidence_at(&NET_RX, &Instance::Cpu { cpu: busy }, None));
    if let Some(queue) = elephant {
        finding.no_setting_helps = Some(format!(
            "nearly all packets are those of one queue ({queue}), and the others' interrupts go elsewhere already: that is a \
             flow or a few, and a flow stays on its CPU; their senders could open more connections"
        ));
        return Some(finding);
    }
    layout.devices.iter().for_each(|device| relieve(seen, layout, device, busy, &mut finding));
    if finding.suggestions.is_empty() {
        finding.no_setting_helps = Some(
            "no device's interrupts or masks that can be turned lead to that CPU alone: a single flow can't be spread, nor \
             what a local sender makes"
                .into(),
        );
    }
    Some(finding)
}

/// The queue of a device that keeps the CPU busy although the device spreads over several.
fn carries(device: &DevicePlace, busy: u32, percent: f64) -> Option<String> {
    let heap = Heap::of(device.receive()).filter(|heap| heap.most * 100.0 >= heap.sum * percent && heap.sum > 0.0)?;
    let served = |queue: &QueuePlace| device.vectors.iter().find(|vector| Some(vector.irq) == queue.irq);
    let cpus: BTreeSet<&[u32]> = device.receive().filter_map(served).map(|vector| &vector.effective[..]).collect();
    let here = served(heap.busiest).is_some_and(|vector| vector.effective == [busy]);
    (here && cpus.len() > 1).then(|| format!("{} of {}", heap.busiest.queue, device.device))
}

/// Lets other CPUs take part: those that the RPS masks name alone, those that interrupts could go to, or by RPS for a device
/// with one queue.
fn relieve(seen: &Observed, layout: &Layout, device: &DevicePlace, busy: u32, finding: &mut Finding) {
    let name = device.device.as_str();
    let others: Vec<u32> = layout.fit_for(device.node).into_iter().filter(|cpu| *cpu != busy).collect();
    let named = || {
        let mut cpus = others.clone();
        cpus.sort_unstable();
        written(&cpus)
    };
    let mut spread = |queue: &QueuePlace, why: &str| {
        let Some(from) = &queue.printed else { return };
        let Some(to) = with_cpus(from, &others, true).filter(|to| to != from) else { return };
        let at = Instance::queue(name, queue.queue.clone());
        finding.suggestions.push(seen.suggest(&RPS_CPUS, at, from.clone(), to, why));
    };
    let masked: Vec<&QueuePlace> = device.receive().filter(|queue| queue.mask == [busy]).collect();
    if !masked.is_empty() {
        let why = format!("its RPS mask names CPU {busy} alone: CPU {} could take flows too", named());
        masked.iter().for_each(|queue| spread(queue, &why));
        return;
    }
    // What serves no queue is not worth moving.
    let here = |vector: &&VectorPlace| {
        let serves = || device.receive().any(|queue| queue.irq == Some(vector.irq));
        vector.effective == [busy] && (serves() || vector.per_second.is_some_and(|rate| rate >= 1.0))
    };
    let here: Vec<&VectorPlace> = device.vectors.iter().filter(here).collect();
    let receiving: Vec<&QueuePlace> = device.receive().collect();
    if let ([queue], [_, ..]) = (&receiving[..], &here[..]) {
        spread(queue, &format!("one queue: RPS lets CPU {} take its flows", named()));
        return;
    }
    for (vector, cpu) in here.iter().skip(1).zip(others.iter().cycle()) {
        let Some(from) = vector.printed.clone() else { continue };
        let at = Instance::queue(name, vector.irq.to_string());
        finding.suggestions.push(seen.suggest(&AFFINITY, at, from, cpu.to_string(), "an idle CPU near the device"));
    }
}
