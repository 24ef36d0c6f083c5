//! The screen of `drops`: what the kernel drops, the most harmful first.

mod incidents;
mod table;

use std::io::{self, Write};

use anstyle::Style;

use super::json;
use super::path::{BAD, DIM, GOOD, ODD};
use super::words::{grouped, short, time, wrap};
use crate::cli::{By, Format};
use crate::model::{Drop, DropTotals, Harm, Incident, Victim};
use crate::report::Report;
use incidents::beside;
use table::{groups, table};

const WIDTH: usize = 80;
const INDENT: usize = 28;
const BOLD: Style = Style::new().bold();

/// How drops are to be shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Which format.
    pub format: Format,
    /// What a line stands for.
    pub by: By,
    /// Also those that nobody needs to care for.
    pub harmless: bool,
    /// How much more to show.
    pub verbose: u8,
}

/// Writes a report on drops.
pub fn write(report: &Report, view: View, out: &mut dyn Write) -> io::Result<()> {
    match view.format {
        Format::Json => json::document(report, out)?,
        Format::Jsonl => json::line(report, out)?,
        Format::Table | Format::Openmetrics => screen(report, view, out)?,
    }
    out.flush()
}

fn screen(report: &Report, view: View, out: &mut dyn Write) -> io::Result<()> {
    let (drops, totals) = (report.drops.as_deref().unwrap_or_default(), report.drop_totals.unwrap_or_default());
    headline(report, &totals, out)?;
    balance(report, &totals, out)?;
    let shown: Vec<&Drop> = drops.iter().filter(|drop| view.harmless || drop.harm > Harm::Harmless).collect();
    if !shown.is_empty() {
        let groups = groups(&shown, view.by);
        table(&groups, view, &totals, out)?;
    }
    let incidents = report.incidents.as_deref().unwrap_or_default();
    // Where the drops themselves tell whose they were, this says the same once more.
    let told = drops.iter().any(|drop| drop.stage == "udp_in" && !drop.victims.is_empty());
    let again = |incident: &Incident| told && view.verbose == 0 && incident.hook == "udp_fail_queue_rcv_skb";
    let incidents: Vec<&Incident> = incidents.iter().filter(|incident| !again(incident)).collect();
    beside(&incidents, view, out)?;
    if totals.harmless > 0 && !view.harmless {
        writeln!(
            out,
            "\n{DIM} {} harmless ones are folded away: --harmless shows them{DIM:#}",
            grouped(totals.harmless)
        )?;
    }
    notes(report, &totals, view, out)
}

fn headline(report: &Report, totals: &DropTotals, out: &mut dyn Write) -> io::Result<()> {
    let mut parts: Vec<String> = vec!["drops".into()];
    parts.extend(report.host.clone());
    parts.extend(report.netns.as_ref().and_then(|netns| netns.name.as_ref()).map(|name| format!("netns {name}")));
    parts.extend(report.kernel.as_ref().map(|kernel| format!("Linux {kernel}")));
    parts.extend(report.window_seconds.map(time));
    let (style, right) = match totals {
        DropTotals { packets: 0, .. } => (GOOD, "nothing dropped".to_owned()),
        DropTotals { harmful: 0, watch: 0, .. } => (GOOD, "nothing harmful".to_owned()),
        DropTotals { harmful: 0, .. } => (ODD, "nothing harmful, some to watch".to_owned()),
        _ => (BAD, "packets are lost".to_owned()),
    };
    let left = parts.join("  ");
    let free = WIDTH.saturating_sub(left.chars().count() + right.chars().count());
    if free >= 2 {
        writeln!(out, "{BOLD}{left}{BOLD:#}{}{style}{right}{style:#}", " ".repeat(free))
    } else {
        writeln!(out, "{BOLD}{}{BOLD:#}\n{style}{right:>WIDTH$}{style:#}", cut(&left, WIDTH))
    }
}

fn balance(report: &Report, totals: &DropTotals, out: &mut dyn Write) -> io::Result<()> {
    let rate = report.window_seconds.filter(|seconds| *seconds > 0.0).map(|seconds| totals.packets as f64 / seconds);
    write!(out, " dropped {}", grouped(totals.packets))?;
    if let Some(rate) = rate.filter(|rate| *rate > 0.0) {
        write!(out, " ({}/s)", short(rate.round()))?;
    }
    let mut part = |word: &str, count: u64, style: Style| {
        let style = if count > 0 { style } else { Style::new() };
        write!(out, "  {style}{word} {}{style:#}", grouped(count))
    };
    part("harmful", totals.harmful, BAD)?;
    part("watch", totals.watch, ODD)?;
    part("harmless", totals.harmless, Style::new())?;
    if totals.unseen > 0 {
        part("unseen", totals.unseen, ODD)?;
    }
    writeln!(out)
}

pub(super) fn process(victim: &Victim) -> String {
    match (&victim.comm, victim.pid) {
        (Some(comm), Some(pid)) => format!("{comm}[{pid}]"),
        (None, Some(pid)) => format!("process {pid}"),
        _ => victim.uid.map_or("process gone or unknown".into(), |uid| format!("process gone or unknown, uid {uid}")),
    }
}

fn mark(harm: Harm) -> (&'static str, Style) {
    match harm {
        Harm::Harmful => ("✗", BAD),
        Harm::Watch => ("!", ODD),
        Harm::Harmless => ("·", DIM),
    }
}

/// A word in the margin, then text that is broken at the right edge.
fn line(word: &str, text: &str, style: Style, out: &mut dyn Write) -> io::Result<()> {
    for (i, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
        let word = if i == 0 { word } else { "" };
        // A word that can't be broken loses its end here; JSON has it whole.
        writeln!(out, "{word:>w$}  {style}{}{style:#}", cut(line, WIDTH - INDENT), w = INDENT - 2)?;
    }
    Ok(())
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn notes(report: &Report, totals: &DropTotals, view: View, out: &mut dyn Write) -> io::Result<()> {
    let mut notes: Vec<String> = Vec::new();
    if totals.detail_not_kept > 0 {
        let count = grouped(totals.detail_not_kept);
        notes.push(format!("the table was full: of {count} packets only the reason was kept"));
    }
    if totals.victims_not_kept > 0 {
        notes.push(format!("the sockets of {} packets were not kept: too many", grouped(totals.victims_not_kept)));
    }
    if totals.unseen > 0 {
        notes.push(format!("{} more packets were dropped: only their number is known", grouped(totals.unseen)));
    }
    if let Some(left_out) = report.own.events_lost.filter(|left_out| *left_out > 0) {
        notes.push(format!("{} single drops were left out of the stream, but counted (--rate)", grouped(left_out)));
    }
    // One that gave rows may have left something out.
    notes.extend(
        report.sources.iter().filter_map(|source| Some(format!("{}: {}", source.name, source.reason.as_ref()?))),
    );
    if view.verbose > 0 {
        for probe in &report.own.probes {
            match (probe.hits, probe.nanoseconds_per_hit) {
                (Some(hits), Some(each)) => {
                    notes.push(format!("{}: {} hits, {each:.0} ns each", probe.name, grouped(hits)));
                }
                _ if !probe.attached => notes.push(format!("{}: not attached", probe.name)),
                _ => {}
            }
            // What holds for all of them is said once.
            notes.extend(probe.reason.clone().filter(|reason| !notes.contains(reason)));
        }
    }
    if !notes.is_empty() {
        writeln!(out)?;
    }
    for note in notes {
        for text in wrap(&note, WIDTH - 2) {
            writeln!(out, "{DIM} {text}{DIM:#}")?;
        }
    }
    Ok(())
}
