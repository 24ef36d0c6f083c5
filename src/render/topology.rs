//! The layout as a screen: each device with its queues, then the CPUs, then what is crooked.

use std::io::{self, Write};

use super::path::{BOLD, DIM, GOOD, ODD};
use super::table::show_finding;
use super::words::{short, time};
use crate::model::layout::written;
use crate::model::{CpuPlace, DevicePlace, QueuePlace};
use crate::report::topology::Topology;

const WIDTH: usize = 80;
/// Queues and CPUs shown, at most, of those that do nothing.
const IDLE_SHOWN: usize = 8;

/// The document as a screen of text.
pub fn write(found: &Topology, out: &mut dyn Write) -> io::Result<()> {
    let mut parts = vec!["topology".to_owned()];
    parts.extend(found.host.clone());
    parts.extend(found.netns.as_ref().and_then(|netns| netns.name.as_ref()).map(|name| format!("netns {name}")));
    parts.extend(found.kernel.as_ref().map(|kernel| format!("Linux {kernel}")));
    parts.push(found.window_seconds.map_or_else(|| "no window: no rates".into(), time));
    let left = parts.join("  ");
    let (right, style) = match found.findings.len() {
        0 => ("nothing crooked".to_owned(), GOOD),
        1 => ("1 finding".to_owned(), ODD),
        n => (format!("{n} findings"), ODD),
    };
    let free = WIDTH.saturating_sub(left.chars().count() + right.len()).max(2);
    writeln!(out, "{BOLD}{left}{BOLD:#}{}{style}{right}{style:#}", " ".repeat(free))?;
    for device in &found.layout.devices {
        show_device(device, found, out)?;
    }
    cpus(&found.layout.cpus, out)?;
    if let Some(pid) = found.layout.irqbalance {
        writeln!(out, " irqbalance[{pid}] runs: it moves interrupts between CPUs")?;
    }
    let when = found.window_seconds.map_or_else(String::new, |seconds| format!(" in {}", time(seconds)));
    for finding in &found.findings {
        writeln!(out)?;
        show_finding(finding, &when, out)?;
    }
    out.flush()
}

fn show_device(device: &DevicePlace, found: &Topology, out: &mut dyn Write) -> io::Result<()> {
    let mut facts: Vec<String> = device.driver.iter().chain(&device.bus).cloned().collect();
    facts.extend(device.node.map(|node| format!("node {node}")));
    facts.extend(device.pcie_lanes.map(|[now, most]| format!("PCIe x{now} of x{most}")));
    if facts.is_empty() {
        facts.push("software: no interrupt of its own".into());
    }
    writeln!(out, "\n {BOLD}{}{BOLD:#}  {DIM}{}{DIM:#}", device.device, facts.join("  "))?;
    writeln!(out, "{DIM}  queue      packets/s   NAPI    IRQ     IRQ/s  on CPU     RPS or XPS mask{DIM:#}")?;
    let mut hidden = 0;
    for (at, queue) in device.queues.iter().enumerate() {
        if at >= IDLE_SHOWN && queue.packets_per_second.is_none_or(|rate| rate <= 0.0) && queue.mask.is_empty() {
            hidden += 1;
            continue;
        }
        writeln!(out, "{}", row(queue, device, found).trim_end())?;
    }
    if hidden > 0 {
        writeln!(out, "{DIM}  and {hidden} queues that did nothing{DIM:#}")?;
    }
    Ok(())
}

fn row(queue: &QueuePlace, device: &DevicePlace, found: &Topology) -> String {
    let number = |number: Option<u32>| number.map_or("-".into(), |number| number.to_string());
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| short(rate.round()));
    let vector = device.vectors.iter().find(|vector| Some(vector.irq) == queue.irq);
    let cpu = vector.map_or("-".into(), |vector| written(&vector.effective));
    let nodes = vector.and_then(|vector| found.layout.node_of(*vector.effective.first()?));
    let cpu = nodes
        .filter(|node| device.node.is_some_and(|own| own != *node))
        .map_or(cpu.clone(), |node| format!("{cpu} (node {node})"));
    let mut mask = if queue.mask.is_empty() { "-".into() } else { written(&queue.mask) };
    if let Some(flows) = queue.rfs_flows.filter(|flows| *flows > 0) {
        mask += &format!("  RFS {flows} flows");
    }
    format!(
        "  {:<9} {:>10} {:>6} {:>6} {:>9}  {:<10} {mask}",
        queue.queue,
        rate(queue.packets_per_second),
        number(queue.napi),
        number(queue.irq),
        rate(vector.and_then(|vector| vector.per_second)),
        cpu
    )
}

fn cpus(cpus: &[CpuPlace], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{DIM}  CPU   node   softirq   net_rx/s{DIM:#}")?;
    let idle = |cpu: &CpuPlace| cpu.softirq_percent.is_none_or(|share| share < 1.0);
    let shown = cpus.iter().enumerate().filter(|(at, cpu)| *at < IDLE_SHOWN || !idle(cpu));
    let mut count = 0;
    for (_, cpu) in shown {
        count += 1;
        let node = cpu.node.map_or("-".into(), |node| node.to_string());
        let share = cpu.softirq_percent.map_or("-".into(), |share| format!("{share:.0} %"));
        let runs = cpu.net_rx_per_second.map_or("-".into(), |rate| short(rate.round()));
        let isolated = if cpu.isolated { "  isolated" } else { "" };
        writeln!(out, "  {:<5} {node:>4} {share:>9} {runs:>10}{isolated}", cpu.cpu)?;
    }
    if count < cpus.len() {
        writeln!(out, "{DIM}  and {} CPUs without softirqs{DIM:#}", cpus.len() - count)?;
    }
    Ok(())
}
