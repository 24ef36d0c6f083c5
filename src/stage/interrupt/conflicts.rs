//! Settings of queues and CPUs that work against each other.

use super::VECTOR;
use super::knobs::AFFINITY;
use crate::model::layout::written;
use crate::model::{
    CpuPlace, DevicePlace, Example, Finding, Instance, Layout, Observed, QueuePlace, Rule, Scope, Severity, VectorPlace,
};
use crate::stage::backlog::{RPS_CPUS, with_cpus};

/// Settings against each other.
pub static CONFLICTS: Rule = Rule {
    id: "conflicting-settings",
    title: "Settings of this device's queues and CPUs work against each other",
    explain: "Each packet is first touched by the CPU that takes its queue's interrupt. It costs more than it must if that \
              CPU is on another NUMA node than the device, if it was set apart for other work (isolcpus=), if RPS spreads \
              once more what the device has spread already, or if irqbalance moves interrupts under masks that somebody \
              chose by hand. A card in a slot with fewer PCIe lanes than it has is slower than its label; that no setting \
              mends. Nothing is lost by any of this alone: it is what makes a busy host lose packets earlier.",
    triggers: &[&VECTOR],
    seen: &[],
    knobs: &[&AFFINITY, &RPS_CPUS],
    thresholds: &[],
    fires: conflicts,
    examples: &[
        Example {
            what: "the interrupts of a device on node 0 go to node 1",
            severity: Some(Severity::Info),
            observed: || on_nodes(Some(0), vec![2], vec![]),
        },
        Example {
            what: "an isolated CPU takes interrupts",
            severity: Some(Severity::Info),
            observed: || on_nodes(Some(0), vec![1], vec![]),
        },
        Example {
            what: "RPS on a device that has a queue for each CPU",
            severity: Some(Severity::Info),
            observed: || on_nodes(Some(0), vec![0], vec![0, 1, 2, 3]),
        },
        Example {
            what: "irqbalance moves interrupts under a mask set by hand",
            severity: Some(Severity::Info),
            observed: || {
                let mut layout = machine(Some(0), vec![0], vec![0]);
                layout.devices[0].queues.truncate(1);
                layout.irqbalance = Some(700);
                fired(layout)
            },
        },
        Example {
            what: "a card with sixteen lanes in a slot with eight",
            severity: Some(Severity::Info),
            observed: || {
                let mut layout = machine(Some(0), vec![0], vec![]);
                layout.devices[0].pcie_lanes = Some([8, 16]);
                fired(layout)
            },
        },
        Example {
            what: "everything on the device's own node",
            severity: None,
            observed: || on_nodes(Some(0), vec![0], vec![]),
        },
        Example {
            what: "a device that hangs on no node",
            severity: None,
            observed: || on_nodes(None, vec![2], vec![]),
        },
    ],
};

/// Two nodes with two CPUs each, of which CPU 1 is isolated; a device with a queue for each CPU.
fn machine(node: Option<u32>, effective: Vec<u32>, mask: Vec<u32>) -> Layout {
    let cpu = |cpu: u32| CpuPlace { cpu, node: Some(cpu / 2), isolated: cpu == 1, ..CpuPlace::default() };
    let printed = Some(if mask.is_empty() { "0".into() } else { "f".to_owned() });
    let queue = |n: u32| QueuePlace {
        queue: format!("rx-{n}"),
        mask: mask.clone(),
        printed: printed.clone(),
        ..QueuePlace::default()
    };
    let vector = VectorPlace {
        vector: "TxRx-0".into(),
        irq: 40,
        printed: Some(written(&effective)),
        allowed: effective.clone(),
        effective,
        per_second: Some(100.0),
    };
    let device = DevicePlace {
        device: "eth0".into(),
        node,
        queues: (0..4).map(queue).collect(),
        vectors: vec![vector],
        ..DevicePlace::default()
    };
    Layout { cpus: (0..4).map(cpu).collect(), devices: vec![device], irqbalance: None }
}

fn fired(layout: Layout) -> Observed {
    Observed::quiet().with_at(&VECTOR, Instance::queue("eth0", "TxRx-0"), 100).with_layout(layout)
}

fn on_nodes(node: Option<u32>, effective: Vec<u32>, mask: Vec<u32>) -> Observed {
    fired(machine(node, effective, mask))
}

fn conflicts(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let Some(layout) = &seen.layout else { return Vec::new() };
    layout.devices.iter().flat_map(|device| of_device(seen, rule, layout, device)).collect()
}

fn of_device(seen: &Observed, rule: &Rule, layout: &Layout, device: &DevicePlace) -> Vec<Finding> {
    let name = &device.device;
    let found = |why: String| {
        let mut finding = Finding::new(rule, Severity::Info, Scope::Device, 0, why);
        finding.instance = Instance::device(name.clone());
        let at = |vector: &VectorPlace| Instance::queue(name.clone(), vector.vector.clone());
        let busiest = device.vectors.iter().map(at).max_by_key(|at| seen.changes.delta_at(&VECTOR, at));
        finding.evidence.extend(busiest.map(|at| seen.evidence_at(&VECTOR, &at, None)));
        finding
    };
    let mut findings = Vec::new();
    let fit = layout.fit_for(device.node);
    let odd = |vector: &&VectorPlace| {
        let works = seen.changes.delta_at(&VECTOR, &Instance::queue(name.clone(), vector.vector.clone())) > 0;
        works && !vector.effective.is_empty() && !vector.effective.iter().any(|cpu| fit.contains(cpu))
    };
    let odd: Vec<&VectorPlace> = device.vectors.iter().filter(odd).collect();
    if let Some(first) = odd.first() {
        let cpus = written(&first.effective);
        let why = if first.effective.iter().all(|cpu| layout.isolated(*cpu)) {
            format!("{} interrupts of {name} go to CPUs that were set apart for other work: {cpus}", odd.len())
        } else {
            let node = device.node.map_or_else(|| "none".into(), |node| node.to_string());
            format!("{} interrupts of {name}, which hangs on node {node}, go to other nodes' CPUs: {cpus}", odd.len())
        };
        let mut finding = found(why);
        for (vector, cpu) in odd.iter().zip(fit.iter().cycle()) {
            let Some(from) = vector.printed.clone() else { continue };
            let at = Instance::queue(name.clone(), vector.irq.to_string());
            let why = "a CPU of the device's own node that is not set apart";
            finding.suggestions.push(seen.suggest(&AFFINITY, at, from, cpu.to_string(), why));
        }
        if finding.suggestions.is_empty() {
            finding.no_setting_helps =
                Some("no CPU of the device's node is free for it: move the card, or set other CPUs apart".into());
        }
        if layout.irqbalance.is_some() {
            finding.refuse(
                AFFINITY.id,
                "alone, while irqbalance runs: it sets the masks again (--banirq tells it not to)",
            );
        }
        findings.push(finding);
    }
    let masked: Vec<&QueuePlace> = device.receive().filter(|queue| !queue.mask.is_empty()).collect();
    let (queues, cpus) = (device.receive().count(), layout.cpus.iter().filter(|cpu| !cpu.isolated).count());
    if !masked.is_empty() && queues > 1 && queues >= cpus {
        let why = format!(
            "RPS masks are set on {} queues of {name}, which has {queues} receive queues for {cpus} CPUs: the device \
             spreads flows by itself, and RPS interrupts a second CPU for each packet",
            masked.len()
        );
        let mut finding = found(why);
        finding.suggestions = masks(seen, name, &masked, |queue| queue.mask.clone(), "the device spreads by itself");
        findings.push(finding);
    } else if masked.iter().any(|queue| queue.mask.iter().any(|cpu| layout.isolated(*cpu))) {
        let why = format!("RPS gives packets of {name} to CPUs that were set apart for other work");
        let mut finding = found(why);
        let away = |queue: &QueuePlace| queue.mask.iter().copied().filter(|cpu| layout.isolated(*cpu)).collect();
        finding.suggestions = masks(seen, name, &masked, away, "leaves the CPUs alone that were set apart");
        findings.push(finding);
    }
    if let Some(pid) = layout.irqbalance.filter(|_| !masked.is_empty() && !device.vectors.is_empty()) {
        let mut finding = found(format!(
            "irqbalance[{pid}] moves the interrupts of {name} as it sees fit, while RPS masks on {} of its queues were \
             chosen by hand for where they were",
            masked.len()
        ));
        finding.no_setting_helps = Some(
            "decide for one of them: stop irqbalance or let it leave these interrupts alone (--banirq), or clear the masks"
                .into(),
        );
        findings.push(finding);
    }
    if let Some([now, most]) = device.pcie_lanes.filter(|[now, most]| now < most) {
        let mut finding = found(format!("{name} uses {now} PCIe lanes of the {most} that it has"));
        finding.no_setting_helps = Some(
            "put the card into a slot with as many lanes, or reseat it: lanes are lost by a bad contact too".into(),
        );
        findings.push(finding);
    }
    findings
}

/// The masks of these queues without some CPUs.
fn masks(
    seen: &Observed,
    device: &str,
    queues: &[&QueuePlace],
    without: impl Fn(&QueuePlace) -> Vec<u32>,
    why: &str,
) -> Vec<crate::model::Suggestion> {
    let mask = |queue: &&QueuePlace| {
        let from = queue.printed.clone()?;
        let to = with_cpus(&from, &without(queue), false)?;
        let at = Instance::queue(device, queue.queue.clone());
        (to != from).then(|| seen.suggest(&RPS_CPUS, at, from, to, why))
    };
    queues.iter().filter_map(mask).collect()
}
