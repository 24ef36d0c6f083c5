//! One receive queue has most of the packets.

use super::hash::{UDP4, UDP6};
use super::{QUEUE_PACKETS, QUEUE_TOOK};
use crate::model::{
    Counter, DevicePlace, Example, Finding, Instance, Layout, Observed, QueuePlace, Rule, Scope, Severity, Threshold,
};
use crate::stage::tcp_in::CURR_ESTAB;
use crate::stage::udp_in::IN_DATAGRAMS;

/// Uneven receive queues.
pub static UNEVEN: Rule = Rule {
    id: "rx-queues-uneven",
    title: "The device gives most packets to few of its receive queues",
    explain: "A device with several receive queues hashes each packet's addresses and looks up in a table (RSS) which \
              queue takes that flow. With many flows the queues then get about the same. If one gets far more, the table \
              is uneven, the hash leaves the ports out (UDP often: then all traffic of two hosts is one flow), or a few \
              flows are far heavier than the rest. With few flows some queues are idle, and nothing is wrong; queues that \
              the table does not name get what filters give them, and are uneven on purpose (RSS contexts).",
    triggers: &[&QUEUE_PACKETS, &QUEUE_TOOK],
    seen: &[],
    knobs: &[&UDP4, &UDP6],
    thresholds: &[
        Threshold { key: "max_to_mean", default: 2.0, help: "packets of the busiest queue to the mean of all" },
        Threshold {
            key: "flows",
            default: 100.0,
            help: "established connections; with fewer, queues are idle by chance",
        },
        Threshold { key: "packets_per_second", default: 1000.0, help: "own: of the device; below, nothing is judged" },
    ],
    fires: uneven,
    examples: &[
        Example {
            what: "four queues, one has nearly all, of 500 connections",
            severity: Some(Severity::Warning),
            observed: || of_connections(500, spread(&[90_000, 1_000, 1_000, 1_000], &[])),
        },
        Example {
            what: "datagrams between few hosts, and a hash without ports",
            severity: Some(Severity::Warning),
            observed: || {
                of_connections(500, spread(&[90_000, 1_000, 1_000, 1_000], &[32, 32, 32, 32]))
                    .with(&IN_DATAGRAMS, 90_000)
                    .with_setting("ethtool/eth0/rss-hash/udp4", "sd")
            },
        },
        Example {
            what: "the same of three connections",
            severity: None,
            observed: || of_connections(3, spread(&[90_000, 1_000, 1_000, 1_000], &[])),
        },
        Example {
            what: "two queues: neither can have more than twice the mean",
            severity: None,
            observed: || of_connections(500, spread(&[90_000, 0], &[])),
        },
        Example {
            what: "four queues alike",
            severity: None,
            observed: || of_connections(500, spread(&[21_000, 22_000, 24_000, 20_000], &[])),
        },
        Example {
            what: "a queue that the table does not name has what a filter gives it (RSS context)",
            severity: None,
            observed: || of_connections(500, spread(&[1_000, 1_100, 900, 90_000], &[43, 43, 42, 0])),
        },
        Example {
            what: "queues that the table does not name are idle on purpose",
            severity: None,
            observed: || of_connections(500, spread(&[40_000, 42_000, 0, 0, 0, 0], &[64, 64, 0, 0, 0, 0])),
        },
    ],
};

/// A device whose queues took so many packets in a second, and have so many entries of its table.
fn spread(packets: &[u32], entries: &[u64]) -> Observed {
    let queue = |(n, packets): (usize, &u32)| QueuePlace {
        queue: format!("rx-{n}"),
        packets_per_second: Some((*packets).into()),
        rss_entries: entries.get(n).copied(),
        ..QueuePlace::default()
    };
    let queues = packets.iter().enumerate().map(queue).collect();
    let device = DevicePlace { device: "eth0".into(), queues, ..DevicePlace::default() };
    let add = |seen: Observed, (n, packets): (usize, &u32)| {
        seen.with_at(&QUEUE_PACKETS, Instance::queue("eth0", format!("rx-{n}")), (*packets).into())
    };
    let layout = Layout { devices: vec![device], ..Layout::default() };
    packets.iter().enumerate().fold(Observed::quiet().with_layout(layout), add)
}

fn of_connections(count: u64, seen: Observed) -> Observed {
    seen.with(&CURR_ESTAB, count)
}

fn uneven(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let flows = seen.changes.gauge(&CURR_ESTAB).map_or(0, |(most, _)| most);
    // Sums since boot tell of times with other settings.
    if flows as f64 <= seen.threshold(rule, "flows") || seen.changes.since_boot {
        return Vec::new();
    }
    seen.layout
        .iter()
        .flat_map(|layout| &layout.devices)
        .filter_map(|device| of_device(seen, rule, device, flows))
        .collect()
}

fn of_device(seen: &Observed, rule: &Rule, device: &DevicePlace, flows: u64) -> Option<Finding> {
    let limit = seen.threshold(rule, "max_to_mean");
    let has_table = device.receive().any(|queue| queue.rss_entries.is_some_and(|entries| entries > 0));
    let spread = device.receive().filter(|queue| !has_table || queue.rss_entries.is_some_and(|entries| entries > 0));
    let heap = Heap::of(spread)?;
    if heap.sum < seen.threshold(rule, "packets_per_second") || heap.times_the_mean() <= limit {
        return None;
    }
    let (name, queue) = (&device.device, heap.busiest);
    let why = format!(
        "{} of {name} takes {:.0} of the {:.0} packets a second that its {} queues take, {:.1} times the mean, with {flows} \
         connections open",
        queue.queue,
        heap.most,
        heap.sum,
        heap.queues,
        heap.times_the_mean()
    );
    let mut finding = Finding::new(rule, Severity::Warning, Scope::Device, 0, why);
    finding.instance = Instance::device(name.clone());
    let at = Instance::queue(name.clone(), queue.queue.clone());
    let counted = counter(seen, &[&QUEUE_PACKETS, &QUEUE_TOOK], &at);
    finding.evidence.extend(counted.map(|counter| seen.evidence_at(counter, &at, None)));
    mend(seen, device, &heap, &mut finding);
    Some(finding)
}

/// Of these counters the first that is known here.
pub fn counter(seen: &Observed, counters: &[&'static Counter], at: &Instance) -> Option<&'static Counter> {
    counters.iter().copied().find(|counter| seen.changes.each(counter).any(|(instance, _)| instance == at))
}

/// What makes it uneven: the table, the hash, or the flows.
fn mend(seen: &Observed, device: &DevicePlace, heap: &Heap, finding: &mut Finding) {
    let name = &device.device;
    let entries = |queue: &QueuePlace| queue.rss_entries.unwrap_or(0) as f64;
    let all: f64 = device.receive().map(entries).sum();
    if entries(heap.busiest) * heap.queues as f64 > all * 1.5 {
        finding.no_setting_helps = Some(format!(
            "no sysctl: {:.0} of the {all:.0} entries of the device's own table lead to this queue; 'ethtool -X {name} \
             default' makes it even again",
            entries(heap.busiest)
        ));
        return;
    }
    // Datagrams are counted by the namespace, after their pieces were put together: a rough measure.
    if seen.rate(seen.delta(&IN_DATAGRAMS)).is_some_and(|datagrams| datagrams * 2.0 >= heap.sum) {
        let here = Instance::device(name.clone());
        for knob in [&UDP4, &UDP6] {
            if let Some(from) = seen.settings.get(&knob.path_of(&here)).filter(|fields| !fields.contains('f')) {
                let why = "most packets are UDP's, and the hash leaves their ports out";
                finding.suggestions.push(seen.suggest(knob, here.clone(), from.into(), "sdfn".into(), why));
            }
        }
    }
    if finding.suggestions.is_empty() {
        finding.no_setting_helps = Some(format!(
            "a few flows are far heavier than the rest, and a flow stays on its queue: their senders could open more \
             connections; 'ethtool -N {name}' can give one a queue of its own"
        ));
    }
}

/// How packets lie on queues.
pub struct Heap<'l> {
    /// The queue with most of them,
    pub busiest: &'l QueuePlace,
    /// and how many that are a second.
    pub most: f64,
    /// Those of all queues.
    pub sum: f64,
    /// How many queues there are.
    pub queues: usize,
}

impl<'l> Heap<'l> {
    /// Of these queues, if they are several and count.
    pub fn of(queues: impl Iterator<Item = &'l QueuePlace>) -> Option<Self> {
        let rates: Vec<(&QueuePlace, f64)> =
            queues.filter_map(|queue| Some((queue, queue.packets_per_second?))).collect();
        let (busiest, most) = rates.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|_| rates.len() > 1)?;
        Some(Heap { busiest, most, sum: rates.iter().map(|(_, rate)| rate).sum(), queues: rates.len() })
    }

    /// The busiest queue's packets to the mean.
    pub fn times_the_mean(&self) -> f64 {
        self.most * self.queues as f64 / self.sum.max(f64::MIN_POSITIVE)
    }
}
