//! The layout as a screen: each device with its queues from left to right as a packet meets them, then each CPU with what it
//! works for.

mod cpus;
mod metrics;
mod queues;

use std::io::{self, Write};

use super::path::{BOLD, DIM, GOOD};
use super::table::{self, show_finding, style_of};
use super::words::{time, wrap};
use super::{Look, json};
use crate::cli::Format;
use crate::model::DevicePlace;
use crate::report::summary;
use crate::report::topology::Topology;

const WIDTH: usize = 80;

/// Writes the layout in the wanted format.
pub fn write(found: &Topology, look: Look, out: &mut dyn Write) -> io::Result<()> {
    match look.format {
        Format::Json => json::document(found, out)?,
        Format::Jsonl => json::line(found, out)?,
        Format::Openmetrics => metrics::write(found, out)?,
        Format::Table => screen(found, look.verbose, out)?,
    }
    out.flush()
}

fn screen(found: &Topology, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    headline(found, out)?;
    let all = verbose > 0 || found.layout.devices.len() == 1;
    let (plain, shown): (Vec<&DevicePlace>, Vec<_>) =
        found.layout.devices.iter().partition(|device| !all && queues::is_plain(device));
    for device in shown {
        queues::show(device, &found.layout, verbose, out)?;
    }
    if let Some(first) = plain.first() {
        let names = if plain.len() == 1 { first.device.clone() } else { format!("{} devices", plain.len()) };
        let text = format!(
            "{names}: software with no interrupt of its own; the CPU that sends to it, or that received the packet, does its \
             work (-v shows the queues)"
        );
        writeln!(out)?;
        wrap(&text, WIDTH - 1).iter().try_for_each(|line| writeln!(out, "{DIM} {line}{DIM:#}"))?;
    }
    cpus::show(&found.layout, verbose, out)?;
    let when = found.window_seconds.map_or_else(String::new, |seconds| format!(" in {}", time(seconds)));
    for finding in &found.findings {
        writeln!(out)?;
        show_finding(finding, None, &when, out)?;
    }
    if found.window_seconds.is_none() {
        writeln!(out, "\n{DIM} one sample has no rates, and shows no load: -i 1s looks at a window{DIM:#}")?;
    }
    table::sources(&found.sources, verbose > 1, out)
}

fn headline(found: &Topology, out: &mut dyn Write) -> io::Result<()> {
    let mut parts: Vec<String> = vec!["topology".into()];
    parts.extend(found.host.clone());
    parts.extend(found.netns.as_ref().and_then(|netns| netns.name.as_ref()).map(|name| format!("netns {name}")));
    parts.extend(found.kernel.as_ref().map(|kernel| format!("Linux {kernel}")));
    parts.push(found.window_seconds.map_or("no window".into(), time));
    let (left, right) = (parts.join("  "), summary(found.findings.iter()));
    let style = found.findings.first().map_or(GOOD, |finding| style_of(finding.severity));
    let free = WIDTH.saturating_sub(left.chars().count() + right.chars().count());
    if free >= 2 {
        writeln!(out, "{BOLD}{left}{BOLD:#}{}{style}{right}{style:#}", " ".repeat(free))
    } else {
        writeln!(out, "{BOLD}{left}{BOLD:#}\n{style}{right:>WIDTH$}{style:#}")
    }
}
