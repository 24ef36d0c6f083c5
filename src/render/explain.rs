//! What is known of a counter, rule, knob, stage or drop reason, as running text.

pub mod chapter;
mod flow;
mod item;
mod list;

pub use item::{counter, knob, reason, rule};
pub use list::list;

use super::path::{BOLD, COMMAND, DIM};
use super::words::wrap;
use crate::model::Stage;
use crate::stage::{RECEIVE, SEND};

const WIDTH: usize = 80;
/// Names up to this length have their text beside them.
const NAME: usize = 28;

/// A stage: what happens there, its chapter, and what it has. Whoever goes from one to the next has learnt the path.
pub fn stage(stage: &Stage) -> String {
    let (path, stages) = match RECEIVE.iter().any(|other| other.id == stage.id) {
        true => ("receive path", RECEIVE),
        false => ("send path", SEND),
    };
    let at = stages.iter().position(|other| other.id == stage.id).unwrap_or(0);
    let mut out = heading(stage.id, stage.title, &format!("{path}, stage {} of {}", at + 1, stages.len()));
    paragraph(&mut out, stage.explain);
    chapter::show(&mut out, stage.chapter);
    let counters = stage.counters.iter().map(|counter| (counter.id(), counter.text()));
    section(&mut out, "Counted here", counters);
    let reasons = stage.reasons.iter().map(|reason| (reason.name.to_owned(), reason.normal.to_owned()));
    section(&mut out, "Dropped here for", reasons);
    section(
        &mut out,
        "Can be wrong here",
        crate::stage::rules_of(stage).iter().map(|rule| (rule.id.into(), rule.title.into())),
    );
    section(&mut out, "Can be turned here", stage.knobs.iter().map(|knob| (knob.id.into(), knob.help.into())));
    let before = at.checked_sub(1).and_then(|at| stages.get(at));
    for (word, other) in [("before it", before), ("after it", stages.get(at + 1))] {
        if let Some(other) = other {
            let gap = if word == "before it" { "\n" } else { "" };
            out.push_str(&format!("{gap} {word:<9}  {COMMAND}netstat-deep explain {}{COMMAND:#}\n", other.id));
        }
    }
    out
}

/// Up to the first full stop that ends a sentence.
pub fn first_sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}

fn section(out: &mut String, heading: &str, items: impl Iterator<Item = (String, String)>) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        title(out, heading);
    }
    names(out, items.map(|(name, text)| (name, first_sentence(&text))));
}

/// A name in the margin, and what it is about beside it; below it, if it is long.
fn names(out: &mut String, items: impl Iterator<Item = (String, String)>) {
    let margin = " ".repeat(NAME + 4);
    for (name, text) in items {
        let length = name.chars().count();
        let first = match length <= NAME {
            true => format!("  {COMMAND}{name}{COMMAND:#}{}", " ".repeat(NAME + 2 - length)),
            false => format!("  {COMMAND}{name}{COMMAND:#}\n{margin}"),
        };
        out.push_str(&first);
        for (n, line) in wrap(&text.replace('`', ""), WIDTH - NAME - 4).iter().enumerate() {
            let margin = if n == 0 { "" } else { &margin };
            out.push_str(&format!("{margin}{line}\n"));
        }
    }
}

/// What it is called and what kind of thing it is, on either side of the screen.
fn heading(id: &str, kind: &str, place: &str) -> String {
    let right = if kind == place { kind.to_owned() } else { format!("{kind}, {place}") };
    let free = WIDTH.saturating_sub(id.chars().count() + right.chars().count()).max(2);
    format!("{BOLD}{id}{BOLD:#}{}{DIM}{right}{DIM:#}\n\n", " ".repeat(free))
}

fn title(out: &mut String, text: &str) {
    out.push_str(&format!("\n{BOLD}{text}{BOLD:#}\n"));
}

fn paragraph(out: &mut String, text: &str) {
    chapter::lines(out, "  ", "  ", text);
}

fn field(out: &mut String, name: &str, value: &str) {
    const INDENT: usize = 22;
    if value.split_whitespace().any(|word| INDENT + word.chars().count() > WIDTH) {
        // A path that is too long to stand beside its name stands below it.
        out.push_str(&format!("  {name}\n"));
        return chapter::lines(out, "    ", "    ", value);
    }
    chapter::lines(out, &format!("  {name:<19} "), &" ".repeat(INDENT), value);
}
