//! What a counter is in the ledger, in words.

use crate::model::Flow;

/// One edge of the ledger.
pub fn edge(flow: Flow) -> String {
    match flow {
        Flow::Pass { from, to } => format!("packets that went from {from} to {to}"),
        Flow::Lost { at } => format!("packets lost at {at}"),
        Flow::Unwanted { at } => format!("packets at {at} that nobody here asked for"),
        Flow::LostBeyond { at, known, .. } => {
            format!("packets lost at {at}, those that are not in {} of the same device", known.id())
        }
        Flow::LostAsIn { at, counted, less } => {
            format!("packets lost at {at}: what {} of the same device counted, less {}", counted.id(), less.id())
        }
        Flow::LostUpTo { at, limit, rest, .. } => {
            format!("packets lost at {at}, as many as {} counted; the rest nobody asked for at {rest}", limit.id())
        }
        Flow::MayExplain { at, from } => {
            format!("packets lost at {at}, as many as are missing at {from} or among those sent on")
        }
        Flow::MayExplainBeyond { at, from, known } => format!(
            "packets lost at {at}, as many as are missing at {from}; not those that {} counted where they were lost",
            known.id()
        ),
        Flow::PassBeside { from, to, beside } => {
            format!("packets that went from {from} to {to}, where the kernel counts {}", beside.id())
        }
        Flow::Reaches { past, at, or } => format!(
            "packets that left {at}; what passed {past} and is in neither this nor {} of the same device is missing there",
            or.id()
        ),
        Flow::Queued { at } => format!("packets that wait at {at}"),
        Flow::Joins => "packets made here, beside those that are sent on".into(),
        Flow::Leaves => "packets made here or sent on that were given to a device".into(),
        Flow::Merged { at } => format!("fragments taken in at {at}"),
        Flow::Unmerged { at } => format!("packets made of fragments at {at}"),
        Flow::LostMerged { at } => format!("packets lost at {at} while waiting for fragments"),
        Flow::Uncertain { at } => format!("packets that may end at {at} uncounted"),
    }
}
