//! The screen of `sockets`: the first of them, then what all add up to.

mod metrics;
mod tables;
mod words;

use std::io::{self, Write};

use anstyle::Style;

use super::json;
use super::path::{BAD, BOLD, DIM, GOOD, ODD};
use super::words::{grouped, time, wrap};
use crate::cli::Format;
use crate::model::{State, Transport};
use crate::report::sockets::{SocketReport, SocketRow};
use crate::sockets::By;
use crate::sockets::trouble::Trouble;
use words::{details, ends, flow, headword, owner};

const WIDTH: usize = 80;
const INDENT: usize = 4;

/// How sockets are to be shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Which format.
    pub format: Format,
    /// How much more to show.
    pub verbose: u8,
}

/// Writes a report on sockets.
pub fn write(report: &SocketReport, view: View, out: &mut dyn Write) -> io::Result<()> {
    match view.format {
        Format::Json => json::document(report, out)?,
        Format::Jsonl => json::line(report, out)?,
        Format::Openmetrics => metrics::write(report, out)?,
        Format::Table => screen(report, view.verbose, out)?,
    }
    out.flush()
}

fn screen(report: &SocketReport, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    headline(report, out)?;
    counts(report, out)?;
    for socket in &report.sockets {
        writeln!(out)?;
        show(socket, report, out)?;
    }
    let more = report.ranked.saturating_sub(report.sockets.len() as u64);
    if more > 0 {
        writeln!(out, "\n{DIM} and {} more: --top shows them{DIM:#}", grouped(more))?;
    }
    tables::listeners(report, verbose, out)?;
    tables::groups("congestion control", &report.congestion, usize::MAX, out)?;
    let networks = if verbose > 0 { usize::MAX } else { 5 };
    tables::groups("remote network", &report.networks, networks, out)?;
    tables::destinations(report, verbose, out)?;
    notes(report, verbose, out)
}

fn headline(report: &SocketReport, out: &mut dyn Write) -> io::Result<()> {
    let mut parts: Vec<String> = vec!["sockets".into()];
    parts.extend(report.host.clone());
    parts.extend(report.netns.as_ref().and_then(|netns| netns.name.as_ref()).map(|name| format!("netns {name}")));
    parts.extend(report.kernel.as_ref().map(|kernel| format!("Linux {kernel}")));
    parts.push(report.window_seconds.map_or("their whole lives".into(), time));
    let (style, right) = match report.ranked_by {
        By::Trouble if report.ranked == 0 => (GOOD, "none in trouble".into()),
        By::Trouble => {
            let worst = report.sockets.first().and_then(|socket| socket.troubles.first()).copied();
            (worst.map_or(ODD, style_of), format!("{} in trouble", grouped(report.ranked)))
        }
        by => (Style::new(), format!("by {}", words::by(by))),
    };
    let left = parts.join("  ");
    let free = WIDTH.saturating_sub(left.chars().count() + right.chars().count());
    if free >= 2 {
        writeln!(out, "{BOLD}{left}{BOLD:#}{}{style}{right}{style:#}", " ".repeat(free))
    } else {
        writeln!(out, "{BOLD}{}{BOLD:#}\n{style}{right:>WIDTH$}{style:#}", words::cut(&left, WIDTH))
    }
}

/// How many there are: a line for each transport.
fn counts(report: &SocketReport, out: &mut dyn Write) -> io::Result<()> {
    for transport in Transport::ALL {
        let of = report.states.iter().filter(|state| state.transport == transport);
        let mut states: Vec<(u64, &str)> = of
            .map(|state| {
                let name = match (transport, state.state) {
                    (Transport::Tcp, state) => state.name(),
                    (_, State::Established) => "connected",
                    _ => "not connected",
                };
                (state.count, name)
            })
            .collect();
        if states.is_empty() {
            continue;
        }
        states.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let all: u64 = states.iter().map(|(count, _)| count).sum();
        let words: Vec<String> = states.iter().map(|(count, name)| format!("{name} {}", grouped(*count))).collect();
        let name = format!(" {} {}", transport.name(), grouped(all));
        for (at, line) in flow(&words, "  ", WIDTH - 20).iter().enumerate() {
            let name = if at == 0 { name.as_str() } else { "" };
            writeln!(out, "{name:<17}  {line}")?;
        }
    }
    Ok(())
}

/// A socket: what is wrong and whose it is, its ends, and its numbers.
fn show(socket: &SocketRow, report: &SocketReport, out: &mut dyn Write) -> io::Result<()> {
    let style = match report.ranked_by {
        By::Trouble => socket.troubles.first().map_or(Style::new(), |trouble| style_of(*trouble)),
        _ => BOLD,
    };
    let word = headword(socket, report);
    let owner = words::cut(&owner(socket), WIDTH.saturating_sub(word.chars().count() + 3).max(12));
    let free = WIDTH.saturating_sub(1 + word.chars().count() + owner.chars().count());
    if free >= 2 {
        writeln!(out, " {style}{word}{style:#}{}{owner}", " ".repeat(free))?;
    } else {
        writeln!(out, " {style}{word}{style:#}\n{owner:>WIDTH$}")?;
    }
    for line in wrap(&ends(socket), WIDTH - INDENT) {
        writeln!(out, "{:INDENT$}{line}", "")?;
    }
    for line in flow(&details(socket, report), "; ", WIDTH - INDENT) {
        writeln!(out, "{:INDENT$}{DIM}{line}{DIM:#}", "")?;
    }
    Ok(())
}

fn style_of(trouble: Trouble) -> Style {
    match trouble {
        Trouble::Drops | Trouble::AcceptQueueFull | Trouble::SegmentsRefused => BAD,
        _ => ODD.bold(),
    }
}

fn notes(report: &SocketReport, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    let mut notes: Vec<String> = Vec::new();
    if !report.consistent {
        notes.push("the sockets changed while they were read: some may be missing, or counted twice".into());
    }
    if report.untracked > 0 && report.window_seconds.is_some() {
        let many = grouped(report.untracked);
        notes.push(format!(
            "{many} sockets had no room in the table of the window's begin: ≤ is what they changed at most"
        ));
    }
    if report.gone > 0 {
        let (sockets, they) = if report.gone == 1 { ("socket was", "it") } else { ("sockets were", "they") };
        notes.push(format!("{} {sockets} closed meanwhile: what {they} lost is not in here", grouped(report.gone)));
    }
    if report.drops_at_most > 0 {
        notes.push(format!("up to {} more packets were lost", grouped(report.drops_at_most)));
    }
    if report.sockets.is_empty() && !report.recorded && report.ranked_by == By::Trouble {
        notes.push("--by drops, queue, retrans, rtt ... ranks them all the same; -i 10s watches for longer".into());
    }
    let failed = report.sources.iter().filter_map(|source| Some((source, source.reason.as_ref()?)));
    notes.extend(failed.map(|(source, reason)| format!("{}: {reason}", source.name)));
    if verbose > 1 {
        let took = |source: &crate::model::SourceStatus| format!("{}: {} µs", source.name, source.microseconds);
        notes.extend(report.sources.iter().filter(|source| source.reason.is_none()).map(took));
    }
    if !notes.is_empty() {
        writeln!(out)?;
    }
    for line in notes.iter().flat_map(|note| wrap(note, WIDTH - 1)) {
        writeln!(out, "{DIM} {line}{DIM:#}")?;
    }
    Ok(())
}
