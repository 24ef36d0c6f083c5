//! Takes changes back: in reverse order, past errors, and never over what somebody else has set since.

use super::apply::{Panel, reason};
use super::journal::{Change, Journal, State, Step};

/// What became of one step.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// The setting.
    pub knob: String,
    /// What was done, or why not.
    pub what: String,
    /// True if the setting may still have our value, and should not.
    pub left: bool,
}

/// Takes back the open steps of `change` that are wanted, in reverse. A value that is neither ours nor the old one was set by somebody
/// else: it is left alone. The journal says afterwards how far each step is.
pub fn revert(
    change: &mut Change,
    panel: &dyn Panel,
    journal: &Journal,
    wanted: impl Fn(&Step) -> bool,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for at in (0..change.steps.len()).rev() {
        if !change.steps[at].open() || !wanted(&change.steps[at]) {
            continue;
        }
        let (state, what, left) = one(change, at, panel);
        let knob = change.steps[at].name();
        if let Some(state) = state {
            change.steps[at].state = state;
        }
        outcomes.push(Outcome { knob, what, left });
        if let Err(e) = journal.put(change) {
            let what = format!("the journal can't be written: {e}");
            outcomes.push(Outcome { knob: change.steps[at].name(), what, left: true });
        }
    }
    outcomes
}

fn one(change: &Change, at: usize, panel: &dyn Panel) -> (Option<State>, String, bool) {
    let step = &change.steps[at];
    let (from, to) = (&step.from, &step.to);
    let now = match panel.read(step) {
        Ok(now) => now,
        Err(e) => return (None, format!("can't be read: {}", reason(&e)), true),
    };
    if now == *from {
        return (Some(State::Undone), format!("has its old value {from} already"), false);
    }
    // A step that was cut off while it was written may have left a value that the kernel made of ours.
    if now != *to && step.state == State::Written {
        return (Some(State::LeftAlone), format!("is {now}, which somebody set since we set {to}: left alone"), false);
    }
    if let Err(e) = panel.write(step, from) {
        return (None, format!("can't be set back from {now} to {from}: {}", reason(&e)), true);
    }
    match panel.read(step) {
        Ok(back) if back == *from => (Some(State::Undone), format!("{now} → {from}"), false),
        Ok(back) => (None, format!("was set back to {from}, but the kernel made it {back}"), true),
        Err(e) => (None, format!("can't be read back: {}", reason(&e)), true),
    }
}

/// Takes back a change that failed half-way. Returns what could not be.
pub(super) fn undo(change: &mut Change, panel: &dyn Panel, journal: &Journal) -> Vec<String> {
    let outcomes = revert(change, panel, journal, |_| true);
    outcomes
        .into_iter()
        .filter(|outcome| outcome.left)
        .map(|outcome| format!("{}: {}", outcome.knob, outcome.what))
        .collect()
}

/// Notes that the values of `change` are gone, with its namespace or at a reboot. Returns how many.
pub fn gone(change: &mut Change, lost: impl Fn(&Step) -> bool, journal: &Journal) -> std::io::Result<usize> {
    let mut count = 0;
    for step in change.steps.iter_mut().filter(|step| step.open()) {
        if lost(step) {
            step.state = State::Gone;
            count += 1;
        }
    }
    if count > 0 {
        journal.put(change)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::super::apply::apply;
    use super::super::apply::tests::{Desk, change};
    use super::*;

    fn applied(names: &[&str]) -> (Change, Desk, Journal, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (mut change, desk) = change(names);
        apply(&mut change, &desk, &journal).unwrap();
        (change, desk, journal, folder)
    }

    #[test]
    fn every_value_is_as_before() {
        let (mut change, desk, journal, _folder) = applied(&["a.a", "b.b"]);
        let outcomes = revert(&mut change, &desk, &journal, |_| true);
        assert_eq!(outcomes[0].knob, "b.b", "in reverse");
        assert!(desk.values.borrow().values().all(|value| value == "1"));
        assert!(!change.open());
    }

    #[test]
    fn what_somebody_set_since_is_left_alone() {
        let (mut change, desk, journal, _folder) = applied(&["a.a", "b.b"]);
        desk.values.borrow_mut().insert("b/b".into(), "77".into());
        let outcomes = revert(&mut change, &desk, &journal, |_| true);
        assert!(outcomes[0].what.contains("77") && outcomes[0].what.contains('2'), "{outcomes:?}");
        assert_eq!(change.steps[1].state, State::LeftAlone);
        assert_eq!((desk.values.borrow()["a/a"].as_str(), desk.values.borrow()["b/b"].as_str()), ("1", "77"));
    }

    #[test]
    fn killed_before_the_write_is_already_done() {
        let (mut change, desk, journal, _folder) = applied(&["a.a"]);
        change.steps[0].state = State::Writing;
        desk.values.borrow_mut().insert("a/a".into(), "1".into());
        assert!(!revert(&mut change, &desk, &journal, |_| true)[0].left);
        assert_eq!(change.steps[0].state, State::Undone);
    }

    #[test]
    fn an_error_does_not_stop_the_rest() {
        let (mut change, desk, journal, _folder) = applied(&["a.a", "b.b"]);
        let desk = Desk { stuck: Some("b/b"), ..desk };
        let outcomes = revert(&mut change, &desk, &journal, |_| true);
        assert!(outcomes[0].left && !outcomes[1].left);
        assert_eq!(desk.values.borrow()["a/a"], "1");
        assert!(change.open(), "the journal still holds what could not be undone");
    }
}
