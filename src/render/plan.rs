//! Plans and changes, as an operator reads them.

use std::fmt::Write;

use super::words::{bytes, wrap};
use crate::tune::journal::{Change, State};
use crate::tune::persist::Setter;
use crate::tune::plan::Plan;
use crate::tune::revert::Outcome;

const WIDTH: usize = 80;

/// What would be changed, and what not, and why.
pub fn plan(plan: &Plan, owners: impl Fn(&str) -> Vec<Setter>) -> String {
    let mut out = String::from("\nPLAN\n");
    if plan.steps.is_empty() {
        out.push_str("  nothing to change\n");
    }
    for (number, step) in plan.steps.iter().enumerate() {
        let s = &step.suggestion;
        let _ = writeln!(out, "  {}. {} {} → {} {}", number + 1, s.knob, s.from, s.to, s.unit);
        field(&mut out, "for", &step.findings.join(", "));
        field(&mut out, "why", &s.why);
        for owner in owners(&s.knob) {
            let text = format!("{}, line {}, sets it to {} at boot", owner.path.display(), owner.line, owner.value);
            field(&mut out, "owner", &text);
        }
        let memory = if s.memory_bytes > 0 { format!("; up to {}", bytes(s.memory_bytes)) } else { String::new() };
        field(&mut out, "risk", &format!("{}{memory}; acts {}", s.risk, s.takes_effect));
        let _ = writeln!(out, "     {:<6}{}", "do", s.command);
        let _ = writeln!(out, "     {:<6}{}", "undo", s.undo);
    }
    for (what, reason) in &plan.refused {
        let _ = writeln!(out, "  -  {what}");
        field(&mut out, "", reason);
    }
    out
}

/// What was changed just now.
pub fn applied(change: &Change) -> String {
    let settings =
        if change.steps.len() == 1 { "1 setting".into() } else { format!("{} settings", change.steps.len()) };
    let back = match change.confirm_by {
        Some(_) => "It is taken back by itself unless 'netstat-deep confirm' comes in time".to_owned(),
        None => format!("'netstat-deep revert {}' takes it back", change.id),
    };
    format!(
        "\nChange {} is made: {settings}, written down before. {back}.\nWatching again, to see whether it helped.\n",
        change.id
    )
}

/// What each step did, and what was taken back.
pub fn verdicts(change: &Change, outcomes: &[Outcome]) -> String {
    let mut out = String::from("\nVERDICT\n");
    for step in &change.steps {
        let _ = writeln!(out, "  {} {} → {}", step.knob, step.from, step.to);
        field(&mut out, "", step.verdict.as_deref().unwrap_or("not judged"));
        if step.waits && step.verdict.as_deref().is_some_and(|verdict| verdict.starts_with("pending")) {
            field(&mut out, "", "It acts on new sockets only: restart the application named above.");
        }
    }
    for outcome in outcomes {
        let _ = writeln!(out, "  taken back: {} {}", outcome.knob, outcome.what);
    }
    out
}

/// One change of the journal.
pub fn change(change: &Change) -> String {
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
        let _ = writeln!(out, "   {} {} → {}  ({state})", step.knob, step.from, step.to);
        field(&mut out, "for", &step.findings.join(", "));
        if let Some(verdict) = &step.verdict {
            field(&mut out, "", verdict);
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
