//! The CPUs, and what each works for.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::super::path::{BAD, DIM, ODD};
use super::super::words::{short, wrap};
use super::WIDTH;
use crate::model::{CpuPlace, Layout};

/// CPUs that are shown although they do nothing.
const IDLE_SHOWN: usize = 8;
/// The columns before the last one.
const BEFORE: usize = 33;
/// Shares of softirq time, in percent, at which a CPU is busy, and at which it has no time left.
const BUSY: f64 = 50.0;
const FULL: f64 = 80.0;

/// All that have something to do.
pub fn show(layout: &Layout, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{DIM}  CPU   node  softirq  net_rx/s  works for{DIM:#}")?;
    let mut hidden = 0;
    for (at, cpu) in layout.cpus.iter().enumerate() {
        let works = works_for(cpu.cpu, layout);
        let idle = cpu.softirq_percent.is_none_or(|share| share < 1.0) && works.is_empty();
        if verbose == 0 && at >= IDLE_SHOWN && idle {
            hidden += 1;
        } else {
            row(cpu, &works, out)?;
        }
    }
    if hidden > 0 {
        writeln!(out, "{DIM}  and {hidden} CPUs without packets: -v shows them{DIM:#}")?;
    }
    if let Some(pid) = layout.irqbalance {
        writeln!(out, "{DIM}  irqbalance[{pid}] runs: it moves interrupts from CPU to CPU{DIM:#}")?;
    }
    Ok(())
}

fn row(cpu: &CpuPlace, works: &str, out: &mut dyn Write) -> io::Result<()> {
    let node = cpu.node.map_or("-".into(), |node| node.to_string());
    let share = cpu.softirq_percent.map_or("-".into(), |share| format!("{share:.0} %"));
    let style = match cpu.softirq_percent.unwrap_or(0.0) {
        share if share >= FULL => BAD,
        share if share >= BUSY => ODD,
        _ => anstyle::Style::new(),
    };
    let runs = cpu.net_rx_per_second.map_or("-".into(), |rate| short(rate.round()));
    write!(out, "  {:<5} {node:>4} {style}{share:>8}{style:#} {runs:>9}  ", cpu.cpu)?;
    let apart = if cpu.isolated { "set apart (isolcpus=); " } else { "" };
    let lines = wrap(&format!("{apart}{}", if works.is_empty() { "-" } else { works }), WIDTH - BEFORE);
    for (at, line) in lines.iter().enumerate() {
        let margin = if at == 0 { 0 } else { BEFORE - 2 };
        writeln!(out, "{:margin$}{line}", "")?;
    }
    Ok(())
}

/// `eth0 rx-0 tx-0, RPS eth0 rx-1`.
fn works_for(cpu: u32, layout: &Layout) -> String {
    let mut parts: BTreeMap<(u8, &str), Vec<&str>> = BTreeMap::new();
    for device in &layout.devices {
        for queue in &device.queues {
            let takes =
                device.vectors.iter().any(|vector| Some(vector.irq) == queue.irq && vector.effective.contains(&cpu));
            let masked = queue.mask.contains(&cpu);
            for (kind, is) in [(0, takes), (1, masked && queue.receives()), (2, masked && !queue.receives())] {
                if is {
                    parts.entry((kind, &device.device)).or_default().push(&queue.queue);
                }
            }
        }
    }
    let words = ["", "RPS ", "XPS "];
    let part = |((kind, device), queues): ((u8, &str), Vec<&str>)| {
        let shown = queues.iter().take(4).copied().collect::<Vec<_>>().join(" ");
        let more = if queues.len() > 4 { format!(" and {} more", queues.len() - 4) } else { String::new() };
        format!("{}{device} {shown}{more}", words[usize::from(kind)])
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(", ")
}
