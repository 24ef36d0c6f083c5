//! Makes a change: checks all of it first, writes each step down before it is made, reads back; undoes all if one fails.

use std::io;

use super::journal::{Change, Journal, Loser, State, Step};
use super::plan::{Plan, Planned};
use super::revert;
use crate::model::Victim;

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
    /// A setting may not be written here, or does not exist; nothing was.
    Forbidden(Vec<String>),
    /// A step failed; what had been written was undone.
    RolledBack(String),
    /// A step failed, and not all could be undone: what went wrong, then what is left.
    Incomplete(String, Vec<String>),
}

/// The steps of a plan, as the journal keeps them.
pub fn steps(plan: &Plan) -> Vec<Step> {
    plan.steps.iter().filter_map(step).collect()
}

fn step(planned: &Planned) -> Option<Step> {
    let suggestion = planned.suggestion.clone();
    let named = suggestion.name() != suggestion.knob;
    Some(Step {
        instance: if named { suggestion.instance.to_string() } else { String::new() },
        // Without a file it is the application's.
        file: suggestion.file?,
        knob: suggestion.knob,
        from: suggestion.from,
        to: suggestion.to,
        findings: planned.findings.clone(),
        why: suggestion.why,
        waits: suggestion.waits,
        victims: planned.victims.iter().map(loser).collect(),
        partial: planned.partial,
        ..Step::empty(suggestion.scope)
    })
}

fn loser(victim: &Victim) -> Loser {
    let process = victim.comm.as_deref().zip(victim.pid).map(|(comm, pid)| format!("{comm}[{pid}]"));
    let who: Vec<String> = process.into_iter().chain(victim.unit.clone()).collect();
    Loser { cookie: victim.cookie, local: victim.local.clone().unwrap_or_default(), who: who.join(", ") }
}

/// Makes `change`. Its steps say afterwards how far each is.
pub fn apply(change: &mut Change, panel: &dyn Panel, journal: &Journal) -> Result<(), Failed> {
    let mut forbidden = Vec::new();
    let mut wrong = Vec::new();
    for step in &change.steps {
        match check(step, panel) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => wrong.push(why),
            Err(why) => forbidden.push(why),
        }
    }
    if !forbidden.is_empty() {
        return Err(Failed::Forbidden([forbidden, wrong].concat()));
    }
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

/// It is there and may be written (else an error), and still has the value that the plan saw (else the inner one).
fn check(step: &Step, panel: &dyn Panel) -> Result<Result<(), String>, String> {
    let now = panel.read(step).map_err(|e| format!("{} can't be read: {}", step.name(), reason(&e)))?;
    panel.writable(step).map_err(|e| format!("{} can't be written: {}", step.name(), reason(&e)))?;
    let differs = || format!("{} is {now} now, not {} as the plan saw it", step.name(), step.from);
    Ok(if now == step.from { Ok(()) } else { Err(differs()) })
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
    panel.write(step, &step.to).map_err(|e| format!("{} = {} was refused: {}", step.name(), step.to, reason(&e)))?;
    let now = panel.read(step).map_err(|e| format!("{} can't be read back: {}", step.name(), reason(&e)))?;
    if now != step.to {
        return Err(format!("{} was set to {}, but the kernel made it {now}", step.name(), step.to));
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
    use crate::model::{Scope, SettingFile};
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
            self.values.borrow().get(&step.file.path).cloned().ok_or(io::ErrorKind::NotFound.into())
        }

        fn write(&self, step: &Step, value: &str) -> io::Result<()> {
            if self.stuck == Some(step.file.path.as_str()) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let value = match self.clamped {
                Some((path, clamped)) if path == step.file.path && value == step.to => clamped,
                _ => value,
            };
            self.values.borrow_mut().insert(step.file.path.clone(), value.into());
            Ok(())
        }

        fn writable(&self, _: &Step) -> io::Result<()> {
            Ok(())
        }
    }

    pub fn change(names: &[&str]) -> (Change, Desk) {
        let step = |name: &&str| Step {
            knob: (*name).into(),
            file: SettingFile::sysctl(name.replace('.', "/")),
            from: "1".into(),
            to: "2".into(),
            ..Step::empty(Scope::Machine)
        };
        let change = Change { steps: names.iter().map(step).collect(), ..new_change(1) };
        let values = change.steps.iter().map(|step| (step.file.path.clone(), step.from.clone())).collect();
        (change, Desk { values: RefCell::new(values), ..Desk::default() })
    }

    fn states(change: &Change) -> Vec<&State> {
        change.steps.iter().map(|step| &step.state).collect()
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
    fn a_setting_that_is_not_there_forbids_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (mut change, desk) = change(&["a.a", "b.b"]);
        desk.values.borrow_mut().remove("b/b");
        let failed = apply(&mut change, &desk, &journal).unwrap_err();
        assert!(matches!(failed, Failed::Forbidden(why) if why.len() == 1 && why[0].contains("does not exist")));
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
