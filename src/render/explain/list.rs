//! Everything that can be explained, a line each.

use super::super::path::{BOLD, COMMAND, DIM};
use super::{WIDTH, first_sentence};
use crate::cli::Kind;
use crate::model::Stage;
use crate::stage;

/// What is listed: kind by kind, and in each by stage, in the order of the path.
const KINDS: [(Kind, &str, &str); 5] = [
    (Kind::Stages, "STAGES", "what happens there"),
    (Kind::Rules, "RULES", "what can be wrong"),
    (Kind::Knobs, "KNOBS", "what can be turned"),
    (Kind::Counters, "COUNTERS", "what is counted"),
    (Kind::Reasons, "DROP REASONS", "why the kernel drops a packet"),
];
/// Longer names push their text to the right.
const LONGEST: usize = 34;

/// The list of one kind, or of all.
pub fn list(wanted: Kind) -> String {
    let mut out = String::new();
    for (kind, heading, what) in KINDS.into_iter().filter(|(kind, ..)| wanted == Kind::All || wanted == *kind) {
        let gap = if out.is_empty() { "" } else { "\n" };
        out.push_str(&format!("{gap}{BOLD}{heading}{BOLD:#}  {DIM}{what}{DIM:#}\n"));
        let groups = groups(kind);
        let names = groups.iter().flat_map(|(_, items)| items).map(|(name, _)| name.chars().count());
        let width = names.filter(|length| *length <= LONGEST).max().unwrap_or(0);
        for (stage, items) in groups.iter().filter(|(_, items)| !items.is_empty()) {
            if !stage.is_empty() {
                out.push_str(&format!(" {DIM}{stage}{DIM:#}\n"));
            }
            items.iter().for_each(|(name, text)| line(&mut out, width, name, text));
        }
    }
    out
}

type Items = Vec<(String, String)>;

/// Names and texts of a kind, by stage in the order of the path. Stages have none above them.
fn groups(kind: Kind) -> Vec<(&'static str, Items)> {
    let by_stage = |items: fn(&'static Stage) -> Items| stage::stages().map(|stage| (stage.id, items(stage))).collect();
    match kind {
        Kind::All => Vec::new(),
        Kind::Stages => {
            vec![("", stage::stages().map(|stage| (stage.id.into(), stage.explain.into())).collect())]
        }
        Kind::Rules => by_stage(|stage| {
            crate::stage::rules_of(stage).iter().map(|rule| (rule.id.into(), rule.title.into())).collect()
        }),
        Kind::Knobs => by_stage(|stage| stage.knobs.iter().map(|knob| (knob.id.into(), knob.help.into())).collect()),
        Kind::Counters => {
            by_stage(|stage| stage.counters.iter().map(|counter| (counter.id(), counter.text())).collect())
        }
        Kind::Reasons => {
            let mut groups: Vec<(&str, Items)> = Vec::new();
            for (stage, reason) in stage::reasons() {
                if groups.last().is_none_or(|(last, _)| *last != stage) {
                    groups.push((stage, Vec::new()));
                }
                if let Some((_, items)) = groups.last_mut() {
                    items.push((reason.name.into(), reason.normal.into()));
                }
            }
            groups
        }
    }
}

/// One line, cut at the right edge: a list is searched, not read.
fn line(out: &mut String, width: usize, name: &str, text: &str) {
    const INDENT: usize = 3;
    let width = width.max(name.chars().count());
    let gap = " ".repeat(width - name.chars().count() + 2);
    let room = WIDTH.saturating_sub(INDENT + width + 2);
    let text = first_sentence(&text.replace('`', ""));
    let text = match text.chars().count() > room {
        true => text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
        false => text,
    };
    out.push_str(&format!("{:INDENT$}{COMMAND}{name}{COMMAND:#}{gap}{text}\n", ""));
}
