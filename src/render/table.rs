//! The screen: what an operator reads first.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};

use super::namespaces;
use super::path::{self, BAD, BOLD, COMMAND, DIM, GOOD, ODD};
use super::words::{bytes, grouped, share, short, time, wrap};
use crate::ledger::Line;
use crate::model::{Evidence, Finding, Instance, Severity, SourceStatus, Suggestion, Victim};
use crate::report::{Report, StageCounters, Value};

/// The narrowest terminal that people still use.
const WIDTH: usize = 80;
const INDENT: usize = 8;

/// The report as a screen of text.
pub fn write(report: &Report, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    headline(report, out)?;
    if let Some([names, values]) = path::draw(report, WIDTH) {
        writeln!(out, "\n{names}\n{values}")?;
    }
    balance(report, out)?;
    if let Some(all) = &report.namespaces {
        namespaces::write(report, all, verbose > 0, out)?;
    }
    for (netns, finding) in report.all_findings() {
        writeln!(out)?;
        let all = report.namespaces.as_ref().map(|_| "the whole machine, whatever the namespace");
        show_finding(finding, netns.or(all), &when(report.since_boot, report.window_seconds), out)?;
    }
    if report.since_boot && verbose == 0 {
        losses_since_boot(report, out)?;
    }
    if let Some(next) = what_next(report) {
        writeln!(out, "\n{DIM} {next}{DIM:#}")?;
    }
    if verbose > 0 {
        ledger(report.ledger.as_deref(), out)?;
        counters(report, &report.stages, verbose > 1, out)?;
        for one in
            report.namespaces.iter().flatten().filter(|one| one.unseen.is_none() && (verbose > 1 || !one.is_quiet()))
        {
            writeln!(out, "\n{BOLD}{}{BOLD:#}", one.label)?;
            ledger(one.ledger.as_deref(), out)?;
            counters(report, &one.stages, verbose > 1, out)?;
        }
    }
    sources(&report.sources, verbose > 1, out)
}

fn headline(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut parts: Vec<String> = vec![report.kind.name().into()];
    parts.extend(report.host.clone());
    parts.extend(report.netns.as_ref().and_then(|netns| netns.name.as_ref()).map(|name| format!("netns {name}")));
    parts.extend(report.namespaces.as_ref().map(|all| format!("{} netns", all.len())));
    parts.extend(report.kernel.as_ref().map(|kernel| format!("Linux {kernel}")));
    parts.extend(report.cpus.map(|cpus| format!("{cpus} CPU{}", if cpus == 1 { "" } else { "s" })));
    parts.push(match (report.since_boot, report.window_seconds) {
        (true, Some(seconds)) => format!("since boot, {}", time(seconds)),
        (true, None) => "since boot".into(),
        (false, Some(seconds)) => time(seconds),
        (false, None) => "unknown time".into(),
    });
    let (left, right) = (parts.join("  "), report.summary());
    let style = report.all_findings().first().map_or(GOOD, |(_, finding)| style_of(finding.severity));
    let free = WIDTH.saturating_sub(left.chars().count() + right.chars().count());
    if free >= 2 {
        writeln!(out, "{BOLD}{left}{BOLD:#}{}{style}{right}{style:#}", " ".repeat(free))
    } else {
        writeln!(out, "{BOLD}{left}{BOLD:#}\n{style}{right:>WIDTH$}{style:#}")
    }
}

/// The words for what a path takes in, and what comes out of it.
pub(super) fn in_and_out(report: &Report) -> [&'static str; 2] {
    if report.is_of_sending() { ["to send", "sent"] } else { ["in", "delivered"] }
}

fn balance(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Some(totals) = report.totals else { return Ok(()) };
    let lost_style = if totals.lost > 0 { BAD } else { Style::new() };
    let [taken, passed] = in_and_out(report);
    write!(out, " {taken} {}  {passed} {}", grouped(totals.taken), grouped(totals.delivered))?;
    write!(out, "  {lost_style}lost {}", grouped(totals.lost))?;
    if totals.lost > 0 {
        write!(out, " ({})", share(totals.lost, totals.taken))?;
    }
    write!(out, "{lost_style:#}")?;
    if totals.unwanted > 0 {
        write!(out, "  unwanted {}", grouped(totals.unwanted))?;
    }
    if totals.queued != 0 {
        write!(out, "  queued {:+}", totals.queued)?;
    }
    let style = if totals.unexplained > 0 { ODD } else { Style::new() };
    writeln!(out, "  {style}unexplained {}{style:#}", grouped(totals.unexplained))?;
    if totals.unexplained > 0 { unexplained(report, out) } else { Ok(()) }
}

pub(super) fn unexplained(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    paragraph(out, "", if report.is_of_sending() { UNSEEN_OUT } else { UNSEEN_IN }, DIM)
}

/// A finding, and where it is if that is to be said; `when` stands behind the number of lost packets.
pub fn show_finding(finding: &Finding, place: Option<&str>, when: &str, out: &mut dyn Write) -> io::Result<()> {
    let style = style_of(finding.severity);
    let severity = finding.severity.to_string().to_uppercase();
    let amount = amount(finding, when);
    let left = severity.len() + 2 + finding.id.len();
    let free = WIDTH.saturating_sub(left + amount.chars().count()).max(2);
    writeln!(out, "{style}{severity}{style:#}  {BOLD}{}{BOLD:#}{}{amount}", finding.id, " ".repeat(free))?;
    if let Some(place) = place {
        paragraph(out, "in", place, BOLD)?;
    }
    paragraph(out, "", &finding.title, Style::new())?;
    for victim in finding.victims.iter().take(3) {
        paragraph(out, "who", &describe(victim), Style::new())?;
    }
    if finding.victims.len() > 3 {
        paragraph(out, "", &format!("and {} more sockets", finding.victims.len() - 3), DIM)?;
    }
    paragraph(out, "why", &finding.why, Style::new())?;
    for suggestion in &finding.suggestions {
        show_suggestion(suggestion, out)?;
    }
    if let Some(reason) = &finding.no_setting_helps {
        paragraph(out, "fix", &format!("no setting of this system: {reason}"), Style::new())?;
    }
    for folklore in &finding.folklore {
        paragraph(out, "not", &format!("{}: {}", folklore.knob, folklore.why), DIM)?;
    }
    Ok(())
}

/// Where packets go of which no counter tells.
const UNSEEN_IN: &str = "No counter says where the unexplained packets went: most likely firewall rules, or XFRM policies. \
                         'nft list ruleset' shows the rules' own counters.";
const UNSEEN_OUT: &str = "No counter says where the unexplained packets went: most likely firewall rules (OUTPUT, FORWARD), BPF \
                          programs, or next hops that do not answer. 'drops' sees each; -v shows at which stage.";

/// What to look at when nothing was found. Of a recording there is nothing more to be seen.
fn what_next(report: &Report) -> Option<&'static str> {
    if !report.all_findings().is_empty() || report.recorded {
        return None;
    }
    Some(match report.since_boot {
        true => "totals do not tell when: -i 10s watches for ten seconds what is lost now",
        false => "lost now and then? -i 60s watches for longer, -i 0 shows the totals since boot",
    })
}

/// The number that counts: packets lost, or what the first evidence shows.
fn amount(finding: &Finding, when: &str) -> String {
    if finding.lost == 0 {
        let shows = |evidence: &Evidence| format!("{} {}", evidence.counter, grouped(evidence.delta));
        return finding.evidence.first().map(shows).unwrap_or_default();
    }
    format!("{} packets lost{when}", grouped(finding.lost))
}

/// ` in 1.0 s`.
fn when(since_boot: bool, seconds: Option<f64>) -> String {
    match (since_boot, seconds) {
        (true, _) => " since boot".into(),
        (false, Some(seconds)) => format!(" in {}", time(seconds)),
        (false, None) => String::new(),
    }
}

fn describe(victim: &Victim) -> String {
    let mut parts: Vec<String> = Vec::new();
    match (&victim.comm, victim.pid) {
        (Some(comm), Some(pid)) => parts.push(format!("{comm}[{pid}]")),
        (None, Some(pid)) => parts.push(format!("process {pid}")),
        _ => parts.push("process unknown".into()),
    }
    parts.extend(victim.unit.clone());
    parts.extend(victim.container.as_ref().map(|id| format!("container {}", &id[..12])));
    parts.extend(match (&victim.local, &victim.remote) {
        (Some(local), Some(remote)) => Some(format!("{local} → {remote}")),
        (local, _) => local.clone(),
    });
    if let Some([held, limit]) = victim.queue {
        parts.push(format!("queue {} of {}", grouped(held), grouped(limit)));
    }
    // Who is short of something need not have lost any packet.
    if victim.lost > 0 || victim.remote.is_none() {
        parts.push(format!("lost {}", grouped(victim.lost)));
    }
    parts.join(", ")
}

fn show_suggestion(suggestion: &Suggestion, out: &mut dyn Write) -> io::Result<()> {
    let Suggestion { from, to, unit, risk, .. } = suggestion;
    let knob = suggestion.name();
    let memory =
        if suggestion.memory_bytes > 0 { format!(", up to {}", bytes(suggestion.memory_bytes)) } else { String::new() };
    let text = format!("{knob} {from} → {to} {unit}; {risk} risk{memory}; {}", suggestion.takes_effect);
    paragraph(out, "do", &text, Style::new())?;
    if suggestion.appliable {
        writeln!(out, "{:INDENT$}{COMMAND}{}{COMMAND:#}", "", suggestion.command)?;
    }
    Ok(())
}

/// A word in the margin, then text that is broken at the right edge.
fn paragraph(out: &mut dyn Write, word: &str, text: &str, style: Style) -> io::Result<()> {
    for (i, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
        let margin = if i == 0 && !word.is_empty() { format!("  {word}") } else { String::new() };
        writeln!(out, "{margin:INDENT$}{style}{line}{style:#}")?;
    }
    Ok(())
}

/// The colour of a finding.
pub fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Critical => BAD,
        Severity::Warning => ODD.bold(),
        Severity::Info => AnsiColor::Blue.on_default().bold(),
    }
}

fn ledger(lines: Option<&[Line]>, out: &mut dyn Write) -> io::Result<()> {
    let Some(lines) = lines else { return Ok(()) };
    let number = |value: Option<u64>| value.map_or("-".into(), grouped);
    let mut table = plain(&["stage", "in", "out", "lost", "unwanted", "queued", "unexplained", "±"], 1..8);
    for line in lines {
        table.add_row([
            line.stage.into(),
            number(line.taken),
            number(line.out),
            grouped(line.lost),
            grouped(line.unwanted),
            line.queued.map_or("-".into(), |queued| queued.to_string()),
            number(line.unexplained),
            number(line.uncertainty),
        ]);
    }
    writeln!(out, "\n{table}")
}

fn counters(report: &Report, stages: &[StageCounters], all: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut table = plain(&["stage", "counter", "", "by", "per s"], 3..5);
    for entry in stages {
        for (counter, value) in &entry.counters.0 {
            let (amount, rate) = match *value {
                Value::Total { total, delta, per_second } => {
                    let amount = if report.since_boot { Some(total) } else { delta };
                    (amount.map_or("unknown".into(), grouped), per_second.map_or(String::new(), short))
                }
                Value::Gauge { value, max } if max > value => (grouped(value), format!("max {}", grouped(max))),
                Value::Gauge { value, .. } => (grouped(value), "now".into()),
            };
            if all || amount != "0" {
                table.add_row([entry.stage.into(), counter.id(), cell(&entry.instance), amount, rate]);
            }
        }
    }
    writeln!(out, "\n{table}")
}

/// What was lost since boot, stage by stage: the totals tell that, if not when.
fn losses_since_boot(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut table = plain(&["stage", "lost or refused since boot", "", "total"], 3..4);
    for entry in &report.stages {
        for (counter, value) in &entry.counters.0 {
            if let Value::Total { total, .. } = *value
                && total > 0
                && counter.is_loss()
            {
                table.add_row([entry.stage.into(), counter.id(), cell(&entry.instance), grouped(total)]);
            }
        }
    }
    if table.is_empty() { writeln!(out, "\n no packet lost since boot") } else { writeln!(out, "\n{table}") }
}

fn cell(instance: &Instance) -> String {
    instance.to_string()
}

fn plain(header: &[&str], right: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    for column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// How the sources went.
pub fn sources(sources: &[SourceStatus], all: bool, out: &mut dyn Write) -> io::Result<()> {
    let failed = sources.iter().filter(|source| !source.ok || source.reason.is_some()).count();
    if all {
        writeln!(out)?;
        for source in sources {
            let mark = if source.ok { "ok" } else { "no" };
            let reason = source.reason.as_deref().unwrap_or("");
            writeln!(out, " {mark}  {:<44} {:>7} µs  {reason}", source.name, source.microseconds)?;
        }
    } else if failed > 0 {
        let (sources, gave) = if failed == 1 { ("source", "gives") } else { ("sources", "give") };
        writeln!(out, "\n{DIM} {failed} {sources} {gave} nothing, or not all, here: -vv says why{DIM:#}")?;
    }
    Ok(())
}
