//! One transmit queue has most of the packets.

use std::collections::BTreeMap;

use super::{MQ_SENT, XPS_CPUS};
use crate::model::{
    Counter, CpuPlace, DevicePlace, Example, Finding, Instance, Layout, Observed, QueuePlace, Rule, Scope, Severity,
    Suggestion, Threshold,
};
use crate::stage::backlog::with_cpus;
use crate::stage::driver_tx::{QUEUE_PUT, QUEUE_SENT};
use crate::stage::ring::{Heap, counter};
use crate::stage::tcp_in::CURR_ESTAB;

/// What counts the packets of a transmit queue.
pub static COUNTED: &[&Counter] = &[&QUEUE_SENT, &QUEUE_PUT, &MQ_SENT];

/// Uneven transmit queues.
pub static UNEVEN: Rule = Rule {
    id: "tx-queues-uneven",
    title: "Most packets leave through few of the device's transmit queues",
    explain: "Each transmit queue has a lock and a ring of its own, so that CPUs can send side by side. XPS says which CPU \
              uses which queue; without it the flow's hash decides. If the map sends many CPUs to one queue they wait for \
              its lock, and its ring fills while the others are empty. A single sender, or a few flows, use few queues and \
              nothing is wrong.",
    triggers: &[&QUEUE_SENT, &QUEUE_PUT, &MQ_SENT],
    seen: &[],
    knobs: &[&XPS_CPUS],
    thresholds: &[
        Threshold { key: "max_to_mean", default: 3.0, help: "packets of the busiest queue to the mean of all" },
        Threshold {
            key: "flows",
            default: 100.0,
            help: "established connections; with fewer, and no XPS, queues are idle by chance",
        },
        Threshold { key: "packets_per_second", default: 1000.0, help: "own: of the device; below, nothing is judged" },
    ],
    fires: uneven,
    examples: &[
        Example {
            what: "XPS sends all CPUs to the first of four queues",
            severity: Some(Severity::Info),
            observed: || sent(&[90_000, 0, 0, 0], ["f", "0", "0", "0"], 3),
        },
        Example {
            what: "without XPS one queue of eight has nearly all, of 500 connections",
            severity: Some(Severity::Info),
            observed: || sent(&[90_000, 10, 20, 10], ["0"; 4], 500),
        },
        Example {
            what: "the same of three connections",
            severity: None,
            observed: || sent(&[90_000, 10, 20, 10], ["0"; 4], 3),
        },
        Example {
            what: "a queue for each CPU, and the sender runs on one",
            severity: None,
            observed: || sent(&[90_000, 0, 0, 0], ["1", "2", "4", "8"], 500),
        },
        Example {
            what: "queues alike",
            severity: None,
            observed: || sent(&[21_000, 22_000, 24_000, 20_000], ["f"; 4], 500),
        },
        Example {
            what: "next to nothing is sent",
            severity: None,
            observed: || sent(&[90, 0, 0, 0], ["f", "0", "0", "0"], 500),
        },
    ],
};

/// Four CPUs; the queues of a device sent so many packets in a second, and have these XPS masks.
fn sent(packets: &[u32], masks: [&str; 4], connections: u64) -> Observed {
    let queue = |((n, packets), mask): ((usize, &u32), &str)| QueuePlace {
        queue: format!("tx-{n}"),
        packets_per_second: Some((*packets).into()),
        mask: crate::model::layout::cpu_mask(mask).unwrap_or_default(),
        printed: Some(mask.into()),
        ..QueuePlace::default()
    };
    let queues = packets.iter().enumerate().zip(masks).map(queue).collect();
    let device = DevicePlace { device: "eth0".into(), queues, ..DevicePlace::default() };
    let cpus = (0..4).map(|cpu| CpuPlace { cpu, ..CpuPlace::default() }).collect();
    let layout = Layout { cpus, devices: vec![device], irqbalance: None };
    let add = |seen: Observed, (n, packets): (usize, &u32)| {
        seen.with_at(&QUEUE_SENT, Instance::queue("eth0", format!("tx-{n}")), (*packets).into())
    };
    let seen = Observed::quiet().with_layout(layout).with(&CURR_ESTAB, connections);
    packets.iter().enumerate().fold(seen, add)
}

fn uneven(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let Some(layout) = seen.layout.as_ref().filter(|_| !seen.changes.since_boot) else { return Vec::new() };
    layout.devices.iter().filter_map(|device| of_device(seen, rule, layout, device)).collect()
}

fn of_device(seen: &Observed, rule: &Rule, layout: &Layout, device: &DevicePlace) -> Option<Finding> {
    let limit = |key| seen.threshold(rule, key);
    let heap = Heap::of(device.transmit())?;
    if heap.sum < limit("packets_per_second") || heap.times_the_mean() <= limit("max_to_mean") {
        return None;
    }
    let name = &device.device;
    let here: Vec<u32> = heap.busiest.mask.clone();
    let flows = seen.changes.gauge(&CURR_ESTAB).map_or(0, |(most, _)| most);
    let mapped = device.transmit().any(|queue| !queue.mask.is_empty());
    let because = match (mapped, here.len()) {
        // The map is fair: who sends from one CPU uses one queue.
        (true, 0 | 1) => return None,
        (true, cpus) => format!("XPS sends {cpus} CPUs to it"),
        (false, _) if flows as f64 <= limit("flows") => return None,
        (false, _) => format!("no XPS map tells CPUs apart, and {flows} connections are open"),
    };
    let why = format!(
        "{} of {name} sends {:.0} of the {:.0} packets a second of {} queues, {:.1} times the mean: {because}",
        heap.busiest.queue,
        heap.most,
        heap.sum,
        heap.queues,
        heap.times_the_mean()
    );
    let mut finding = Finding::new(rule, Severity::Info, Scope::Device, 0, why);
    finding.instance = Instance::device(name.clone());
    let at = Instance::queue(name.clone(), heap.busiest.queue.clone());
    finding.evidence.extend(counter(seen, COUNTED, &at).map(|counter| seen.evidence_at(counter, &at, None)));
    finding.suggestions = maps(seen, layout, device);
    if finding.suggestions.is_empty() {
        finding.no_setting_helps =
            Some("the CPUs are on the queues as well as can be: fewer of them send, or fewer flows".into());
    }
    Some(finding)
}

/// XPS maps that give each CPU its queue: that whose interrupt it takes, else the one with the fewest CPUs so far.
fn maps(seen: &Observed, layout: &Layout, device: &DevicePlace) -> Vec<Suggestion> {
    let queues: Vec<&QueuePlace> = device.transmit().collect();
    let mut map: BTreeMap<usize, Vec<u32>> = (0..queues.len()).map(|queue| (queue, Vec::new())).collect();
    let mut rest = Vec::new();
    for CpuPlace { cpu, .. } in &layout.cpus {
        let takes = |queue: &&QueuePlace| {
            device.vectors.iter().any(|vector| Some(vector.irq) == queue.irq && vector.effective == [*cpu])
        };
        match queues.iter().position(takes) {
            Some(own) => map.entry(own).or_default().push(*cpu),
            None => rest.push(*cpu),
        }
    }
    for cpu in rest {
        if let Some((_, cpus)) = map.iter_mut().min_by_key(|(queue, cpus)| (cpus.len(), **queue)) {
            cpus.push(cpu);
        }
    }
    let suggest = |(queue, cpus): (&QueuePlace, &Vec<u32>)| {
        let from = queue.printed.clone()?;
        let to = with_cpus(&with_cpus(&from, &queue.mask, false)?, cpus, true)?;
        let at = Instance::queue(device.device.clone(), queue.queue.clone());
        let why = match cpus.as_slice() {
            [] => "no CPU is left for it".to_owned(),
            cpus => format!("CPU {} sends through it alone", crate::model::layout::written(cpus)),
        };
        (to != from).then(|| seen.suggest(&XPS_CPUS, at, from, to, &why))
    };
    queues.iter().copied().zip(map.values()).filter_map(suggest).collect()
}
