//! Which CPU does whose work: the rules about that, and how busy each part of the machine's layout was.

use super::{Rules, backlog, egress, interrupt, ring, softirq};
use crate::model::{Changes, Counter, Instance, Layout, Observed, QueuePlace};

/// Rules about which CPU does whose work, with their stages. They need to know how the machine is laid out, which costs more
/// than a glance at the path may: who wants it asks.
pub static RULES: &[Rules] = &[
    (&ring::STAGE, &[&ring::UNEVEN]),
    (&interrupt::STAGE, &[&interrupt::CONFLICTS]),
    (&softirq::STAGE, &[&softirq::ONE_CPU]),
    (&backlog::STAGE, &[&backlog::COSTLY]),
    (&egress::STAGE, &[&egress::UNEVEN]),
];

/// What counts the packets of a receive queue: the standard statistics, else the driver's own.
static TAKEN: &[&Counter] = &[&ring::QUEUE_PACKETS, &ring::QUEUE_TOOK];

/// Puts the layout into what was observed, with how busy each part of it was in the window. Since boot that is not known.
pub fn put(mut layout: Layout, seen: &mut Observed) {
    measure(&mut layout, &seen.changes);
    let shares = softirq::shares(seen, &softirq::SOFTIRQ);
    for cpu in &mut layout.cpus {
        cpu.softirq_percent = shares.iter().find(|(of, _)| *of == cpu.cpu).map(|(_, share)| *share);
    }
    seen.layout = Some(layout);
}

fn measure(layout: &mut Layout, changes: &Changes) {
    let Some(seconds) = changes.seconds.filter(|seconds| *seconds > 0.0 && !changes.since_boot) else { return };
    let rate = |counters: &[&'static Counter], at: Instance| {
        let known = |counter: &&&'static Counter| changes.each(counter).any(|(instance, _)| *instance == at);
        counters.iter().find(known).map(|counter| changes.delta_at(counter, &at) as f64 / seconds)
    };
    for cpu in &mut layout.cpus {
        cpu.net_rx_per_second = rate(&[&softirq::NET_RX], Instance::Cpu { cpu: cpu.cpu });
    }
    for device in &mut layout.devices {
        for queue in &mut device.queues {
            let at = Instance::queue(device.device.clone(), queue.queue.clone());
            queue.packets_per_second = rate(counters(queue), at);
        }
        for vector in &mut device.vectors {
            vector.per_second =
                rate(&[&interrupt::VECTOR], Instance::queue(device.device.clone(), vector.vector.clone()));
        }
    }
}

fn counters(queue: &QueuePlace) -> &'static [&'static Counter] {
    if queue.receives() { TAKEN } else { egress::COUNTED }
}
