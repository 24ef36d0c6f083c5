//! One CPU does the work of all.

use super::{NET_RX, SOFTIRQ};
use crate::model::layout::written;
use crate::model::{
    Change, CpuPlace, DevicePlace, Example, Finding, Instance, Layout, Observed, QueuePlace, Rule, Scope, Severity,
    Threshold, VectorPlace,
};
use crate::stage::backlog::{DROPPED, RPS_CPUS, with_cpus};
use crate::stage::interrupt::AFFINITY;
use crate::stage::ring::RX_MISSED_ERRORS;

/// One busy CPU among idle ones.
pub static ONE_CPU: Rule = Rule {
    id: "softirq-on-one-cpu",
    title: "One CPU does nearly all of the packets' work, others are idle",
    explain: "The receive softirq runs on the CPU that took the queue's interrupt. A device with one queue, interrupts that \
              all go to the same CPU, or one heavy flow keep one CPU busy while its neighbours wait; when it has no time \
              left its rings overflow. More queues or interrupts on other CPUs spread flows; RPS does the same in software \
              and costs an interrupt between CPUs. Nothing but the sender can spread a single flow.",
    triggers: &[&NET_RX],
    seen: &[],
    knobs: &[&AFFINITY, &RPS_CPUS],
    thresholds: &[
        Threshold { key: "busy_percent", default: 80.0, help: "share of the CPU's time in softirqs; own" },
        Threshold {
            key: "mean_percent",
            default: 40.0,
            help: "mean of the CPUs of its node, below which others are idle; own",
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
        Example { what: "all CPUs work alike", severity: None, observed: || working(&[85, 82, 90, 88], 1) },
        Example { what: "the only CPU there is", severity: None, observed: || working(&[95], 1) },
    ],
};

fn working(percent: &[u64], queues: u32) -> Observed {
    let cpus = 0..percent.len() as u32;
    let queue = |n: u32| QueuePlace { queue: format!("rx-{n}"), printed: Some("0".into()), ..QueuePlace::default() };
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

/// The share of its time that each CPU spent in softirqs, in percent. Since boot unknown.
pub fn shares(seen: &Observed) -> Vec<(u32, f64)> {
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
    seen.changes.each(&SOFTIRQ).filter_map(share).collect()
}

fn one_cpu(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let Some(layout) = &seen.layout else { return Vec::new() };
    let shares = shares(seen);
    let Some((busy, share)) = shares.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)) else { return Vec::new() };
    let node = layout.node_of(busy);
    let near: Vec<f64> =
        shares.iter().filter(|(cpu, _)| layout.node_of(*cpu) == node).map(|(_, share)| *share).collect();
    let mean = near.iter().sum::<f64>() / near.len().max(1) as f64;
    if share < seen.threshold(rule, "busy_percent") || mean >= seen.threshold(rule, "mean_percent") || near.len() < 2 {
        return Vec::new();
    }
    let loses = seen.delta_of(&[&DROPPED, &RX_MISSED_ERRORS]) > 0;
    let severity = if loses { Severity::Critical } else { Severity::Warning };
    let why = format!(
        "CPU {busy} spends {share:.0} % of its time in softirqs, the mean of the {} CPUs of its node is {mean:.0} %",
        near.len()
    );
    let mut finding = Finding::new(rule, severity, Scope::Cpu, 0, why);
    finding.instance = Instance::Cpu { cpu: busy };
    finding.evidence.push(seen.evidence_at(&NET_RX, &Instance::Cpu { cpu: busy }, None));
    for device in &layout.devices {
        relieve(seen, layout, device, busy, &mut finding);
    }
    if finding.suggestions.is_empty() {
        finding.no_setting_helps = Some(
            "no device's interrupts or masks that can be turned lead to that CPU alone: a single flow can't be spread, nor \
             what a local sender makes"
                .into(),
        );
    }
    vec![finding]
}

/// Moves interrupts of the busy CPU to others, or spreads the only queue by software.
fn relieve(seen: &Observed, layout: &Layout, device: &DevicePlace, busy: u32, finding: &mut Finding) {
    let name = device.device.as_str();
    let others: Vec<u32> = layout.fit_for(device.node).into_iter().filter(|cpu| *cpu != busy).collect();
    // What serves no queue is not worth moving.
    let here = |vector: &&VectorPlace| {
        let serves = || device.receive().any(|queue| queue.irq == Some(vector.irq));
        vector.effective == [busy] && (serves() || vector.per_second.is_some_and(|rate| rate >= 1.0))
    };
    let here: Vec<&VectorPlace> = device.vectors.iter().filter(here).collect();
    if here.len() > 1 {
        for (vector, cpu) in here.iter().skip(1).zip(others.iter().cycle()) {
            let Some(from) = vector.printed.clone() else { continue };
            let at = Instance::queue(name, vector.irq.to_string());
            let why = "an idle CPU near the device";
            finding.suggestions.push(seen.suggest(&AFFINITY, at, from, cpu.to_string(), why));
        }
    } else if let ([queue], [_]) = (device.receive().collect::<Vec<_>>().as_slice(), here.as_slice())
        && let Some(from) = &queue.printed
        && let Some(to) = with_cpus(from, &others, true).filter(|to| to != from)
    {
        let why = format!("one queue: RPS lets CPUs {} take its flows", written(&others));
        finding.suggestions.push(seen.suggest(
            &RPS_CPUS,
            Instance::queue(name, queue.queue.clone()),
            from.clone(),
            to,
            &why,
        ));
    }
}
