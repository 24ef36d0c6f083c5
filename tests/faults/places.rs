//! Every setting that is no sysctl: found on a real device in another namespace, set through that namespace's own sysfs,
//! and set back.
//!
//! Oracle: the file as `cat` reads it inside the namespace.

use std::time::Duration;

use netstat_deep::command::panel::Switches;
use netstat_deep::model::{Instance, Knob, Place as Where, Scope, Tree};
use netstat_deep::source::place::Place;
use netstat_deep::stage::knobs;
use netstat_deep::tune::apply::apply;
use netstat_deep::tune::journal::{Change, Journal, Step, new_change};
use netstat_deep::tune::revert::revert;

use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::guard;
use crate::lab::{Lab, SERVER_DEVICE, ip};
use crate::need::Need;

pub fn cases() -> Vec<Case> {
    const MACHINE: &[Need] = &[Need::Namespaces, Need::Conntrack, Need::MachineWide];
    vec![
        Case::new("places::every_setting_in_sysfs", &[Need::Namespaces], |_: Duration| every_setting()),
        Case::new("places::the_largest_values_are_accepted", MACHINE, |_: Duration| largest()),
    ]
}

/// Whatever a rule may suggest, this kernel takes: the upper end of each range is set and read back, of several numbers in
/// each of them; of a bitmap, the first CPU.
fn largest() -> Outcome {
    let lab = Lab::new()?;
    let (mut machine, mut tried) = (Vec::new(), 0);
    for (_, knob) in knobs().filter(|(_, knob)| knob.place == Where::Sysctl) {
        let path = knob.path_of(&Instance::device(SERVER_DEVICE));
        // Of the machine's, a namespace shows only some.
        let present = if knob.scope == Scope::Machine {
            std::fs::read_to_string(format!("/proc/sys/{path}"))?
        } else {
            lab.server.get(&path)?
        };
        let end = if knob.unit == Knob::CPUS { "1".into() } else { knob.range.end().to_string() };
        let value = present.split_whitespace().map(|_| end.as_str()).collect::<Vec<_>>().join(" ");
        tried += 1;
        if knob.scope == Scope::Machine {
            machine.push((path, value));
        } else {
            lab.server.set(&path, &value)?;
            let found = lab.server.get(&path)?.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut checks = Checks::default();
            checks.same(&path, value, found);
            checks.done(&"")?;
        }
    }
    if tried < 30 {
        return wrong(format_args!("only {tried} sysctls"));
    }
    // The guard itself reads back.
    let pairs: Vec<(&str, &str)> = machine.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
    guard::lower_all(&pairs).map(drop)
}

/// The device and queue on which this kernel has the setting: BQL is there on an ifb only, XPS only with several queues.
fn instance(knob: &Knob) -> Instance {
    match knob.id {
        id if id.starts_with("bql.") => Instance::queue("ifbx", "tx-0"),
        "xps_cpus" => Instance::queue("vx", "tx-1"),
        id if id.starts_with("rps_") => Instance::queue("vx", "rx-1"),
        _ => Instance::device("vx"),
    }
}

fn every_setting() -> Outcome {
    let lab = Lab::new()?;
    let server = lab.server.name.as_str();
    ip(&[
        "-n",
        server,
        "link",
        "add",
        "vx",
        "numtxqueues",
        "2",
        "numrxqueues",
        "2",
        "type",
        "veth",
        "peer",
        "name",
        "vy",
    ])?;
    let has_ifb = ip(&["-n", server, "link", "add", "ifbx", "type", "ifb"]).is_ok();
    let cat = |path: &str| Ok::<_, crate::case::Trouble>(lab.server.exec(&["cat", path])?.trim().to_owned());
    let mut steps = Vec::new();
    for (_, knob) in knobs().filter(|(_, knob)| matches!(knob.place, Where::Sysfs(_))) {
        let instance = instance(knob);
        if !has_ifb && instance.to_string().starts_with("ifbx") {
            return again("this kernel has no ifb");
        }
        let Some(file) = knob.file_of(&instance).filter(|file| file.tree == Tree::Sysfs) else { continue };
        let from = cat(&file.to_string())?;
        // Another value of the same shape.
        let to = if knob.unit == Knob::CPUS { if from == "1" { "2" } else { "1" }.into() } else { "1024".to_owned() };
        let (knob, scope) = (knob.id.into(), knob.scope);
        steps.push(Step { knob, instance: instance.to_string(), file, from, to, ..Step::empty(scope) });
    }
    let folder = tempfile::tempdir()?;
    let Ok(journal) = Journal::open(folder.path()) else { return again("no journal") };
    let home = Place::here_pinned();
    let Ok(place) = Place::find(server) else { return again("no namespace") };
    let panel = Switches { home: &home, place: Some(&place) };
    let mut change = Change { steps, ..new_change(1) };
    let mut checks = Checks::default();
    checks.same("settings in sysfs", 8, change.steps.len());
    if let Err(failed) = apply(&mut change, &panel, &journal) {
        checks.that(false, format_args!("{failed:?}"));
        return checks.done(&"");
    }
    for step in &change.steps {
        checks.same(&step.name(), step.to.clone(), cat(&step.file.to_string())?);
    }
    let outcomes = revert(&mut change, &panel, &journal, |_| true);
    for step in &change.steps {
        checks.same(&step.name(), step.from.clone(), cat(&step.file.to_string())?);
    }
    checks.done(&format_args!("{outcomes:?}"))
}
