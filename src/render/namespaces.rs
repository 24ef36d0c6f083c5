//! The network namespaces of a host: a line each, those that lose first.

use std::io::{self, Write};

use super::path::{BAD, BOLD, DIM, ODD};
use super::table::{self, style_of};
use super::words::{grouped, share, short, wrap};
use crate::ledger::Totals;
use crate::report::Report;
use crate::report::namespaces::NetnsReport;

const WIDTH: usize = 80;
/// What a label may take of a line.
const LABEL: usize = 22;
/// Quiet namespaces that are named, at most.
const NAMED: usize = 8;

/// The lines. Quiet ones stand together, unless `all` are wanted.
pub fn write(report: &Report, namespaces: &[NetnsReport], all: bool, out: &mut dyn Write) -> io::Result<()> {
    let [taken, delivered] = table::in_and_out(report);
    let [label, lost, unexplained] = ["namespace", "lost", "unexplained"];
    let heading = format!(" {label:<LABEL$} {taken:>9} {delivered:>9} {lost:>14} {unexplained:>11}  found");
    writeln!(out, "\n{BOLD}{heading}{BOLD:#}")?;
    let (unseen, seen): (Vec<_>, Vec<_>) = namespaces.iter().partition(|one| one.unseen.is_some());
    let (quiet, busy): (Vec<_>, Vec<_>) = seen.into_iter().partition(|one| !all && one.is_quiet());
    for one in &busy {
        line(one, out)?;
    }
    if !quiet.is_empty() {
        together(report, &quiet, out)?;
    }
    for one in unseen {
        let why = one.unseen.as_deref().unwrap_or_default();
        writeln!(out, " {} {DIM}{why}{DIM:#}", cut(&one.label))?;
    }
    let hidden = report.sources.iter().find(|source| source.name == "network namespaces");
    if let Some(reason) = hidden.and_then(|source| source.reason.as_ref()) {
        writeln!(out, " {} {DIM}{reason}{DIM:#}", cut("(others?)"))?;
    }
    if namespaces.iter().any(|one| one.missing().1 > 0) { table::unexplained(report, out) } else { Ok(()) }
}

fn line(one: &NetnsReport, out: &mut dyn Write) -> io::Result<()> {
    let label = cut(&one.label);
    write!(out, " {label}")?;
    match one.totals {
        Some(totals) => numbers(totals, out)?,
        None => write!(out, " {:>9} {:>9} {:>14} {:>11}", "-", "-", "-", "-")?,
    }
    if let Some(worst) = one.worst() {
        let style = style_of(worst);
        write!(out, "  {style}{worst}{style:#}")?;
    }
    writeln!(out)
}

fn numbers(totals: Totals, out: &mut dyn Write) -> io::Result<()> {
    let up_to = |most: u64, n: u64| if n < most { grouped(n) } else { short(n as f64) };
    let number = |n| up_to(10_000_000, n);
    let lost = match totals.lost {
        0 => "0".into(),
        n => format!("{} ({})", up_to(100_000, n), share(n, totals.taken).replace(' ', "")),
    };
    let (bad, odd) = (style_if(totals.lost > 0, BAD), style_if(totals.unexplained > 0, ODD));
    write!(out, " {:>9} {:>9}", number(totals.taken), number(totals.delivered))?;
    write!(out, " {bad}{lost:>14}{bad:#} {odd}{:>11}{odd:#}", number(totals.unexplained))
}

fn style_if(is: bool, style: anstyle::Style) -> anstyle::Style {
    if is { style } else { anstyle::Style::new() }
}

/// Those in which nothing happens, in one sentence.
fn together(report: &Report, quiet: &[&NetnsReport], out: &mut dyn Write) -> io::Result<()> {
    let known = quiet.iter().any(|one| one.totals.is_some());
    let (what, named) = (if known { "quiet" } else { "where nothing was found" }, quiet.iter().take(NAMED));
    let names: Vec<&str> = named.map(|one| one.label.as_str()).collect();
    let more = if quiet.len() > NAMED { ", ... (-v shows all)" } else { "" };
    let only = if report.namespaces.as_ref().is_some_and(|all| all.len() == quiet.len()) { "" } else { "more " };
    let text = format!("{} {only}{what}: {}{more}", quiet.len(), names.join(", "));
    for part in wrap(&text, WIDTH - 2) {
        writeln!(out, " {DIM}{part}{DIM:#}")?;
    }
    Ok(())
}

/// A label of exactly that many characters.
fn cut(label: &str) -> String {
    if label.chars().count() <= LABEL {
        return format!("{label:<LABEL$}");
    }
    let kept: String = label.chars().take(LABEL - 1).collect();
    format!("{kept}…")
}
