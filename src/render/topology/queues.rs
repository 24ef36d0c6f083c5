//! The queues of a device.

use std::io::{self, Write};

use super::super::path::{BOLD, DIM, ODD};
use super::super::words::{short, wrap};
use super::WIDTH;
use crate::model::layout::written;
use crate::model::{DevicePlace, Layout, QueuePlace, VectorPlace};

/// Queues of each kind that are shown although they do nothing.
const IDLE_SHOWN: usize = 4;
/// The columns before the last one.
const BEFORE: usize = 56;

/// True for a device of software that nobody set anything of, and that counts nothing by queue.
pub fn is_plain(device: &DevicePlace) -> bool {
    let set = |queue: &QueuePlace| !queue.mask.is_empty() || queue.packets_per_second.is_some() || queue.napi.is_some();
    device.driver.is_none() && device.vectors.is_empty() && !device.queues.iter().any(set)
}

/// A device with its queues.
pub fn show(device: &DevicePlace, layout: &Layout, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n {BOLD}{}{BOLD:#}  {DIM}{}{DIM:#}", device.device, facts(device).join("  "))?;
    writeln!(out, "{DIM}  queue  packets/s    RSS   NAPI    IRQ   IRQ/s  CPU           steered by{DIM:#}")?;
    let mut hidden = 0;
    for kind in [device.receive().collect::<Vec<_>>(), device.transmit().collect()] {
        for (at, queue) in kind.into_iter().enumerate() {
            let idle = queue.packets_per_second.is_none_or(|rate| rate <= 0.0) && queue.mask.is_empty();
            if verbose == 0 && at >= IDLE_SHOWN && idle {
                hidden += 1;
            } else {
                row(queue, device, layout, out)?;
            }
        }
    }
    if hidden > 0 {
        writeln!(out, "{DIM}  and {hidden} queues that did nothing: -v shows them{DIM:#}")?;
    }
    if verbose > 0 {
        others(device, out)?;
    }
    Ok(())
}

fn facts(device: &DevicePlace) -> Vec<String> {
    let mut facts: Vec<String> = device.driver.iter().chain(&device.bus).cloned().collect();
    facts.extend(device.node.map(|node| format!("node {node}")));
    facts.extend(device.port_mbit_per_second.map(|mbit| format!("{}bit/s", short(mbit as f64 * 1e6))));
    facts.extend(device.pcie.map(|link| {
        let most = if link.lanes < link.most_lanes { format!(" of {}", link.most_lanes) } else { String::new() };
        format!("PCIe x{}{most} {} GT/s", link.lanes, link.gigatransfers)
    }));
    if device.vectors.is_empty() {
        facts.push("no interrupt of its own".into());
    }
    facts
}

fn row(queue: &QueuePlace, device: &DevicePlace, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
    let number = |number: Option<u32>| number.map_or("-".into(), |number| number.to_string());
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| short(rate.round()));
    let vector = device.vectors.iter().find(|vector| Some(vector.irq) == queue.irq);
    let all: u64 = device.receive().filter_map(|queue| queue.rss_entries).sum();
    let rss = queue.rss_entries.map_or("-".into(), |own| format!("{:.0} %", own as f64 * 100.0 / all.max(1) as f64));
    let (cpu, crooked) = vector.map_or(("-".into(), false), |vector| place(vector, device, layout));
    let style = if crooked { ODD } else { anstyle::Style::new() };
    let steered = Some(steered(queue)).filter(|words| !words.is_empty()).unwrap_or_else(|| "-".into());
    write!(
        out,
        "  {:<6}{:>10} {:>6} {:>6} {:>6} {:>7}  {style}{cpu:<14}{style:#}",
        queue.queue,
        rate(queue.packets_per_second),
        rss,
        number(queue.napi),
        number(queue.irq),
        rate(vector.and_then(|vector| vector.per_second)),
    )?;
    for (at, line) in wrap(&steered, WIDTH - BEFORE).iter().enumerate() {
        let margin = if at == 0 { 0 } else { BEFORE };
        writeln!(out, "{:margin$}{line}", "")?;
    }
    Ok(())
}

/// The CPU that takes an interrupt, and whether that is the wrong one.
fn place(vector: &VectorPlace, device: &DevicePlace, layout: &Layout) -> (String, bool) {
    let cpus = written(&vector.effective);
    let Some(first) = vector.effective.first() else { return ("-".into(), false) };
    let node = layout.node_of(*first);
    let far = device.node.is_some() && node.is_some() && node != device.node;
    let isolated = layout.isolated(*first);
    let more = match (node.filter(|_| layout.has_nodes()), isolated) {
        (_, true) => " isolated".to_owned(),
        (Some(node), _) => format!(" (node {node})"),
        _ => String::new(),
    };
    (cpus + &more, far || isolated)
}

/// What else decides where its work is done.
fn steered(queue: &QueuePlace) -> String {
    let mut parts = Vec::new();
    if !queue.mask.is_empty() {
        let name = if queue.receives() { "RPS" } else { "XPS" };
        parts.push(format!("{name} CPU {}", written(&queue.mask)));
    }
    parts.extend(queue.rfs_flows.filter(|flows| *flows > 0).map(|flows| format!("RFS {flows} flows")));
    parts.join(", ")
}

/// Interrupts that serve no queue: of the link, of the device's management.
fn others(device: &DevicePlace, out: &mut dyn Write) -> io::Result<()> {
    let serves = |vector: &&VectorPlace| !device.queues.iter().any(|queue| queue.irq == Some(vector.irq));
    for vector in device.vectors.iter().filter(serves) {
        let rate = vector.per_second.map_or("-".into(), |rate| short(rate.round()));
        let cpus = written(&vector.effective);
        writeln!(out, "  {:<30} {:>6} {rate:>7}  {cpus}", vector.vector, vector.irq)?;
    }
    Ok(())
}
