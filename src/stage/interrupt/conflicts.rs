//! Settings of queues and CPUs that work against each other.

mod bus;
mod interrupts;
mod masks;

use super::VECTOR;
use super::knobs::AFFINITY;
use crate::model::layout::written;
use crate::model::{
    CpuPlace, DevicePlace, Example, Finding, Instance, Layout, Observed, PcieLink, QueuePlace, Rule, Scope, Severity,
    Threshold, VectorPlace,
};
use crate::stage::backlog::{PROCESSED, RPS_CPUS};

/// Settings against each other.
pub static CONFLICTS: Rule = Rule {
    id: "conflicting-settings",
    title: "Settings of this device's queues and CPUs work against each other",
    explain: "Each packet is first touched by the CPU that takes its queue's interrupt. It costs more than it must if that \
              CPU is on another NUMA node than the device, if it was set apart for other work (isolcpus=), if RPS spreads \
              once more what the device has spread already, or if irqbalance moves interrupts under masks that somebody \
              chose by hand. A card in a slot with fewer or slower PCIe lanes than it has may not carry what its port does; \
              that no setting mends. Nothing is lost by any of this alone: it is what makes a busy host lose packets earlier.",
    triggers: &[&VECTOR, &PROCESSED],
    seen: &[],
    knobs: &[&AFFINITY, &RPS_CPUS],
    thresholds: &[Threshold {
        key: "pcie_to_port",
        default: 1.25,
        help: "Gbit/s of the PCIe link to those of the port, below which a narrow link is told: its packets have headers too; \
               own",
    }],
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
                layout.devices[0].pcie = narrow(8.0);
                layout.devices[0].port_mbit_per_second = Some(100_000);
                fired(layout)
            },
        },
        Example {
            what: "RPS gives packets to an isolated CPU",
            severity: Some(Severity::Info),
            observed: || {
                let mut layout = machine(Some(0), vec![0], vec![0, 1]);
                layout.devices[0].queues.truncate(1);
                fired(layout)
            },
        },
        Example {
            what: "eight lanes of sixteen, of a port that needs no more",
            severity: None,
            observed: || {
                let mut layout = machine(Some(0), vec![0], vec![]);
                layout.devices[0].pcie = narrow(8.0);
                layout.devices[0].port_mbit_per_second = Some(25_000);
                fired(layout)
            },
        },
        Example {
            what: "irqbalance, and no mask that somebody chose",
            severity: None,
            observed: || {
                let mut layout = machine(Some(0), vec![0], vec![]);
                layout.irqbalance = Some(700);
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

/// Eight lanes of sixteen, at this speed.
fn narrow(gigatransfers: f64) -> Option<PcieLink> {
    Some(PcieLink { lanes: 8, most_lanes: 16, gigatransfers, most_gigatransfers: gigatransfers })
}

fn fired(layout: Layout) -> Observed {
    Observed::quiet().with_at(&VECTOR, Instance::queue("eth0", "TxRx-0"), 100).with_layout(layout)
}

fn on_nodes(node: Option<u32>, effective: Vec<u32>, mask: Vec<u32>) -> Observed {
    fired(machine(node, effective, mask))
}

fn conflicts(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let Some(layout) = &seen.layout else { return Vec::new() };
    let each = |device| {
        let look = Look { seen, rule, layout, device };
        [look.remote(), look.isolated(), look.both_spread(), look.away_from_isolated(), look.balanced(), look.narrow()]
    };
    layout.devices.iter().flat_map(each).flatten().collect()
}

/// One device on its machine.
#[derive(Clone, Copy)]
struct Look<'s> {
    seen: &'s Observed,
    rule: &'s Rule,
    layout: &'s Layout,
    device: &'s DevicePlace,
}

impl Look<'_> {
    fn name(&self) -> &str {
        &self.device.device
    }

    fn fired(&self, vector: &VectorPlace) -> u64 {
        self.seen.changes.delta_at(&VECTOR, &Instance::queue(self.name(), vector.vector.clone()))
    }

    /// A finding about this device; the interrupt that fired most stands for what it costs.
    fn found(&self, why: String) -> Finding {
        let mut finding = Finding::new(self.rule, Severity::Info, Scope::Device, 0, why);
        finding.instance = Instance::device(self.name());
        let busiest = self.device.vectors.iter().max_by_key(|vector| self.fired(vector));
        let at = busiest.map(|vector| Instance::queue(self.name(), vector.vector.clone()));
        finding.evidence.extend(at.map(|at| self.seen.evidence_at(&VECTOR, &at, None)));
        finding
    }
}
