//! A stage of the packet's path: what is counted there, what can be wrong there, what can be turned there.

use super::{Counter, Knob, Reason, Rule};

/// One stage; each has a file of its own in `stage/`.
#[derive(Debug)]
pub struct Stage {
    /// Its id, also the name of its file.
    pub id: &'static str,
    /// A few words for it, in a table.
    pub title: &'static str,
    /// What happens to a packet here, in a few sentences.
    pub explain: &'static str,
    /// The same for those who want to learn it: what the kernel does, function by function, which counter tells what, and
    /// what is commonly misread. Headings, paragraphs and lists in Markdown; a file of its own beside the stage's.
    pub chapter: &'static str,
    /// The stage from which packets come that no counter counts on the way: the ledger works out how many.
    pub fed_by: Option<&'static str>,
    /// True for the stage whose queues are the receive queues of sockets: they tell what they hold and what they lost.
    pub queues_in_sockets: bool,
    /// What is counted here.
    pub counters: &'static [&'static Counter],
    /// Reasons for which the kernel drops packets here.
    pub reasons: &'static [Reason],
    /// What can be wrong here.
    pub rules: &'static [&'static Rule],
    /// What can be turned here.
    pub knobs: &'static [&'static Knob],
}

/// The stage in `stages` that declares `counter`.
pub fn stage_of(stages: &[&'static Stage], counter: &Counter) -> Option<&'static Stage> {
    stages.iter().find(|stage| stage.counters.contains(&counter)).copied()
}
