//! Makes a change: checks all of it first, writes each step down before it is made, reads back; undoes all if one fails.

use std::io;

use super::journal::{Change, Journal, State, Step};
use super::plan::Plan;
use super::revert;

/// Where settings are read and written. Each in the namespace that its scope asks for.
pub trait Panel {
    /// The present value, blanks normalised to one.
    fn read(&self, step: &Step) -> io::Result<String>;
    /// Sets a value.
    fn write(&self, step: &Step, value: &str) -> io::Result<()>;
    /// Whether it could be written, without writing.
    fn writable(&self, step: &Step) -> io::Result<()>;
}

/// Why a change was not made.
#[derive(Debug)]
pub enum Failed {
    /// A check failed before anything was written: one line for each.
    Check(Vec<String>),
    /// A step failed; what had been written was undone.
    RolledBack(String),
    /// A step failed, and not all could be undone: what went wrong, then what is left.
    Incomplete(String, Vec<String>),
}

/// The steps of a plan, as the journal keeps them.
pub fn steps(plan: &Plan) -> Vec<Step> {
    let step = |planned: &super::plan::Planned| Step {
        knob: planned.suggestion.knob.clone(),
        path: path_of(&planned.suggestion.knob),
        scope: planned.suggestion.scope,
        from: planned.suggestion.from.clone(),
        to: planned.suggestion.to.clone(),
        findings: planned.findings.clone(),
        why: planned.suggestion.why.clone(),
        waits: planned.suggestion.waits,
        state: State::Planned,
        verdict: None,
    };
    plan.steps.iter().map(step).collect()
}

/// `net.ipv4.conf.eth0/100.rp_filter` is `net/ipv4/conf/eth0.100/rp_filter` below `/proc/sys`, as sysctl(8) has it.
fn path_of(name: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(swap).collect()
}

/// Makes `change`. Its steps say afterwards how far each is.
pub fn apply(change: &mut Change, panel: &dyn Panel, journal: &Journal) -> Result<(), Failed> {
    let wrong: Vec<String> = change.steps.iter().filter_map(|step| check(step, panel).err()).collect();
    if !wrong.is_empty() {
        return Err(Failed::Check(wrong));
    }
    for at in 0..change.steps.len() {
        if let Err(why) = make(change, at, panel, journal) {
            let left = revert::undo(change, panel, journal);
            return Err(if left.is_empty() { Failed::RolledBack(why) } else { Failed::Incomplete(why, left) });
        }
    }
    Ok(())
}

/// It is there, may be written, and still has the value that the plan saw.
fn check(step: &Step, panel: &dyn Panel) -> Result<(), String> {
    let now = panel.read(step).map_err(|e| format!("{} can't be read: {}", step.knob, reason(&e)))?;
    if now != step.from {
        return Err(format!("{} is {now} now, not {} as the plan saw it", step.knob, step.from));
    }
    panel.writable(step).map_err(|e| format!("{} can't be written: {}", step.knob, reason(&e)))
}

fn make(change: &mut Change, at: usize, panel: &dyn Panel, journal: &Journal) -> Result<(), String> {
    let note = |change: &Change| journal.put(change).map_err(|e| format!("the journal can't be written: {e}"));
    change.steps[at].state = State::Writing;
    if let Err(why) = note(change) {
        // Nothing was written yet.
        change.steps[at].state = State::Planned;
        return Err(why);
    }
    let step = &change.steps[at];
    panel.write(step, &step.to).map_err(|e| format!("{} = {} was refused: {}", step.knob, step.to, reason(&e)))?;
    let now = panel.read(step).map_err(|e| format!("{} can't be read back: {}", step.knob, reason(&e)))?;
    if now != step.to {
        return Err(format!("{} was set to {}, but the kernel made it {now}", step.knob, step.to));
    }
    change.steps[at].state = State::Written;
    note(change)
}

/// An error as an operator understands it.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist on this kernel, or not in this network namespace".into(),
        io::ErrorKind::PermissionDenied => {
            "not permitted (needs root; from inside a container only the host may)".into()
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "/proc/sys is read-only here, as in most containers: change it on the host".into()
        }
        io::ErrorKind::InvalidInput => "this kernel does not accept the value".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Scope;
    use crate::tune::journal::{new_change, read};
    use std::cell::RefCell;
    use std::collections::HashMap;

    /// Settings in memory: the kernel's own are tried in the fault tests.
    #[derive(Default)]
    pub struct Desk {
        pub values: RefCell<HashMap<String, String>>,
        /// Writing this one fails.
        pub stuck: Option<&'static str>,
        /// The kernel makes this one of whatever is written there.
        pub clamped: Option<(&'static str, &'static str)>,
    }

    impl Panel for Desk {
        fn read(&self, step: &Step) -> io::Result<String> {
            self.values.borrow().get(&step.path).cloned().ok_or(io::ErrorKind::NotFound.into())
        }

        fn write(&self, step: &Step, value: &str) -> io::Result<()> {
            if self.stuck == Some(step.path.as_str()) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let value = match self.clamped {
                Some((path, clamped)) if path == step.path && value == step.to => clamped,
                _ => value,
            };
            self.values.borrow_mut().insert(step.path.clone(), value.into());
            Ok(())
        }

        fn writable(&self, _: &Step) -> io::Result<()> {
            Ok(())
        }
    }

    pub fn change(names: &[&str]) -> (Change, Desk) {
        let step = |name: &&str| Step {
            knob: (*name).into(),
            path: path_of(name),
            scope: Scope::Machine,
            from: "1".into(),
            to: "2".into(),
            findings: Vec::new(),
            why: String::new(),
            waits: false,
            state: State::Planned,
            verdict: None,
        };
        let change = Change { steps: names.iter().map(step).collect(), ..new_change(1) };
        let values = change.steps.iter().map(|step| (step.path.clone(), step.from.clone())).collect();
        (change, Desk { values: RefCell::new(values), ..Desk::default() })
    }

    fn states(change: &Change) -> Vec<&State> {
        change.steps.iter().map(|step| &step.state).collect()
    }

    #[test]
    fn names_become_paths_as_sysctl_has_it() {
        assert_eq!(path_of("net.ipv4.conf.eth0/100.rp_filter"), "net/ipv4/conf/eth0.100/rp_filter");
    }

    #[test]
    fn every_step_is_made_and_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (mut change, desk) = change(&["a.a", "b.b"]);
        apply(&mut change, &desk, &journal).unwrap();
        assert_eq!(states(&change), [&State::Written, &State::Written]);
        assert_eq!(read(folder.path()).unwrap().0, [change]);
        assert!(desk.values.borrow().values().all(|value| value == "2"));
    }

    #[test]
    fn nothing_is_written_if_any_value_is_not_as_the_plan_saw_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (mut change, desk) = change(&["a.a", "b.b"]);
        desk.values.borrow_mut().insert("b/b".into(), "7".into());
        assert!(matches!(apply(&mut change, &desk, &journal), Err(Failed::Check(wrong)) if wrong.len() == 1));
        assert_eq!(desk.values.borrow()["a/a"], "1");
        assert!(read(folder.path()).unwrap().0.is_empty());
    }

    #[test]
    fn a_refused_step_undoes_those_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (mut change, desk) = change(&["a.a", "b.b"]);
        let desk = Desk { stuck: Some("b/b"), ..desk };
        assert!(matches!(apply(&mut change, &desk, &journal), Err(Failed::RolledBack(_))));
        assert!(desk.values.borrow().values().all(|value| value == "1"));
        assert!(!read(folder.path()).unwrap().0[0].open());
    }

    #[test]
    fn a_value_that_the_kernel_changes_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (mut change, desk) = change(&["a.a"]);
        let desk = Desk { clamped: Some(("a/a", "9")), ..desk };
        let failed = apply(&mut change, &desk, &journal).unwrap_err();
        assert!(matches!(failed, Failed::RolledBack(why) if why.contains('9')));
        assert_eq!(desk.values.borrow()["a/a"], "1");
    }
}
