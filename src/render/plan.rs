//! Plans and changes, as an operator reads them.

use std::fmt::Write;
use std::path::PathBuf;

use super::path::{BAD, BOLD, COMMAND, GOOD, ODD};
use super::words::{bytes, grouped, wrap};
use crate::model::Evidence;
use crate::tune::journal::{Change, State, Step};
use crate::tune::owner::Owner;
use crate::tune::plan::{Plan, Planned};
use crate::tune::revert::Outcome;
use crate::tune::verify::Verdict;

const WIDTH: usize = 80;

/// What would be changed, and what not, and why.
pub fn plan(plan: &Plan) -> String {
    let mut out = format!("\n{BOLD}PLAN{BOLD:#}\n");
    if plan.steps.is_empty() {
        out.push_str("  nothing to change\n");
    }
    for (number, step) in plan.steps.iter().enumerate() {
        let s = &step.suggestion;
        let _ = writeln!(out, "  {}. {BOLD}{}{BOLD:#} {} → {} {}", number + 1, s.name(), s.from, s.to, s.unit);
        field(&mut out, "for", &step.findings.join(", "));
        field(&mut out, "seen", &step.evidence.iter().map(evidence).collect::<Vec<_>>().join(", "));
        field(&mut out, "why", &s.why);
        field(&mut out, "owner", &owners(step));
        let memory = if s.memory_bytes > 0 { format!("; up to {}", bytes(s.memory_bytes)) } else { String::new() };
        field(&mut out, "risk", &format!("{}{memory}; acts {}", s.risk, s.takes_effect));
        let _ = writeln!(out, "     {:<6}{COMMAND}{}{COMMAND:#}", "do", s.command);
        let _ = writeln!(out, "     {:<6}{COMMAND}{}{COMMAND:#}", "undo", s.undo);
    }
    if plan.steps.len() > 1 && plan.memory_bytes() > 0 {
        let _ = writeln!(out, "  all together: up to {}", bytes(plan.memory_bytes()));
    }
    for refused in &plan.refused {
        let _ = writeln!(out, "  -  {}", refused.what);
        field(&mut out, "", &refused.why);
    }
    out
}

fn evidence(evidence: &Evidence) -> String {
    let instance = if evidence.instance.is_only() { String::new() } else { format!(" ({})", evidence.instance) };
    format!("{}{instance} {}", evidence.counter, grouped(evidence.delta))
}

/// Who sets it now.
fn owners(step: &Planned) -> String {
    if step.owners.is_empty() {
        let s = &step.suggestion;
        let knob = crate::stage::knobs().map(|(_, knob)| knob).find(|knob| knob.name_of(&s.instance) == s.knob);
        let is_default = knob.is_some_and(|knob| knob.default.split([' ', ',', ';']).any(|word| word == s.from));
        let by_hand = "nobody known here: no file and no service sets it, so it was set by hand";
        return if is_default { "the kernel's default: no file and no service sets it" } else { by_hand }.into();
    }
    let owners: Vec<String> = step.owners.iter().map(Owner::to_string).collect();
    owners.join("; ") + ": this would overwrite the change"
}

/// What was changed just now.
pub fn applied(change: &Change) -> String {
    let settings =
        if change.steps.len() == 1 { "1 setting".into() } else { format!("{} settings", change.steps.len()) };
    let back = match change.confirm_by {
        Some(_) => "It is taken back by itself unless 'netstat-deep confirm' comes in time".to_owned(),
        None => format!("'netstat-deep revert {}' takes it back", change.id),
    };
    let made = format!("Change {} is made: {settings}, written down before. {back}.", change.id);
    format!("\n{}\nWatching again, to see whether it helped.\n", wrap(&made, WIDTH).join("\n"))
}

/// What each step did, and what was taken back.
pub fn verdicts(change: &Change, outcomes: &[Outcome]) -> String {
    let mut out = format!("\n{BOLD}VERDICT{BOLD:#}\n");
    for step in &change.steps {
        let _ = writeln!(out, "  {BOLD}{}{BOLD:#} {} → {}", step.name(), step.from, step.to);
        verdict(&mut out, step);
    }
    for outcome in outcomes {
        let _ = writeln!(out, "  taken back: {} {}", outcome.knob, outcome.what);
    }
    if change.steps.iter().any(Step::undecided) {
        out.push_str("  'netstat-deep history --verify' judges later what is not known yet\n");
    }
    out
}

fn verdict(out: &mut String, step: &Step) {
    let Some(judged) = &step.verdict else { return field(out, "", "not judged") };
    let style = match judged.verdict {
        Verdict::Helped => GOOD,
        Verdict::NoEffect | Verdict::Hurt => BAD,
        Verdict::NotComparable | Verdict::Pending => ODD,
    };
    let _ = writeln!(out, "     {style}{}{style:#}:", judged.verdict);
    field(out, "", &judged.why);
}

/// Where a change is kept over a reboot, and who sets the same.
pub fn kept(files: &[PathBuf], conflicts: impl Iterator<Item = Owner>) -> String {
    let mut out = String::new();
    for file in files {
        let _ = writeln!(out, "\nKept over a reboot by {}", file.display());
    }
    for owner in conflicts {
        let _ = writeln!(out, "  but {owner}");
    }
    out
}

/// All changes of the journal, the oldest first.
pub fn history(changes: &[Change]) -> String {
    changes.iter().map(change).collect()
}

fn change(change: &Change) -> String {
    let place = change.netns.reference.as_deref().map_or(String::new(), |name| format!(", in {name}"));
    let mut out = format!("{}  {}  by {}{place}\n", change.id, change.at, change.who);
    for step in &change.steps {
        let state = match step.state {
            State::Planned => "not made",
            State::Writing => "cut off while it was made",
            State::Written => "in force",
            State::Undone => "taken back",
            State::LeftAlone => "left alone: somebody changed it since",
            State::Gone => "gone with its namespace or a reboot",
        };
        let _ = writeln!(out, "   {BOLD}{}{BOLD:#} {} → {}  ({state})", step.name(), step.from, step.to);
        field(&mut out, "for", &step.findings.join(", "));
        if step.verdict.is_some() {
            verdict(&mut out, step);
        }
    }
    out
}

fn field(out: &mut String, name: &str, text: &str) {
    for (i, line) in wrap(text, WIDTH - 11).iter().enumerate() {
        let name = if i == 0 { name } else { "" };
        let _ = writeln!(out, "     {name:<6}{line}");
    }
}
