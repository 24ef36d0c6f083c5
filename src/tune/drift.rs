//! What was applied and is not so any more.

use std::collections::BTreeMap;
use std::path::Path;

use super::journal::{self, Change, State, Step};
use crate::model::Drift;

/// Settings in force by the journal in `folder` that have another value now. `ours` tells of a step of a change whether it
/// belongs to where `read` reads its present value; one that can't be read is left out. Empty if the journal can't be
/// read.
pub fn drifted(
    folder: &Path,
    ours: impl Fn(&Change, &Step) -> bool,
    read: impl Fn(&Step) -> Option<String>,
) -> Vec<Drift> {
    let changes = journal::read(folder).map_or_else(|_| Vec::new(), |(changes, _)| changes);
    // The last change of a setting is the one that counts.
    let mut last = BTreeMap::new();
    for change in &changes {
        for step in change.steps.iter().filter(|step| step.state == State::Written && ours(change, step)) {
            last.insert(&step.file, (change, step));
        }
    }
    let drift = |(change, step): (&Change, &Step)| {
        let now = read(step).filter(|now| *now != step.to)?;
        Some(Drift {
            setting: step.name(),
            from: step.from.clone(),
            to: step.to.clone(),
            now,
            change: change.id,
            at: change.at.clone(),
            kept: change.persist.is_some(),
        })
    };
    last.into_values().filter_map(drift).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Scope, SettingFile};
    use crate::tune::journal::{Journal, new_change};

    fn set(knob: &str, to: &str, state: State) -> Step {
        let file = SettingFile::sysctl(knob.replace('.', "/"));
        Step { knob: knob.into(), file, from: "0".into(), to: to.into(), state, ..Step::empty(Scope::Netns) }
    }

    #[test]
    fn only_the_last_value_that_is_in_force_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(drifted(&folder.path().join("none"), |_, _| true, |_| None), []);
        let journal = Journal::open(folder.path()).unwrap();
        let steps = [
            vec![set("a.a", "1", State::Written), set("b.b", "5", State::Undone), set("c.c", "7", State::Written)],
            vec![set("a.a", "2", State::Written), set("c.c", "8", State::LeftAlone)],
        ];
        for (id, steps) in (1..).zip(steps) {
            journal.put(&Change { steps, ..new_change(id) }).unwrap();
        }
        let drifts = |now: fn(&Step) -> Option<String>| -> Vec<(String, u64, String)> {
            let all = drifted(folder.path(), |_, _| true, now);
            all.into_iter().map(|drift| (drift.setting, drift.change, drift.to)).collect()
        };
        let expected = [("a.a".to_owned(), 2, "2".to_owned()), ("c.c".to_owned(), 1, "7".to_owned())];
        assert_eq!(drifts(|_| Some("9".into())), expected);
        assert_eq!(drifts(|step| Some(step.to.clone())), []);
        assert_eq!(drifts(|_| None), []);
        assert_eq!(drifted(folder.path(), |change, _| change.id > 2, |_| Some("9".into())), []);
    }
}
