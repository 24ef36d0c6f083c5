//! Every setting that is no sysctl: found on a real device in another namespace, set through that namespace's own sysfs
//! or its own ethtool netlink, and set back.
//!
//! Oracle: the file as `cat` reads it inside the namespace; what `ethtool` shows there.

use std::time::Duration;

use netstat_deep::command::panel::Switches;
use netstat_deep::model::{Instance, Knob, Place as Where, Scope, Tree};
use netstat_deep::source::place::Place;
use netstat_deep::source::settings::writable;
use netstat_deep::stage::knobs;
use netstat_deep::tune::apply::{Failed, apply};
use netstat_deep::tune::journal::{Change, Journal, Step, new_change};
use netstat_deep::tune::recent;
use netstat_deep::tune::revert::revert;

use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::guard;
use crate::lab::{Lab, SERVER_DEVICE, ip};
use crate::need::Need;

pub fn cases() -> Vec<Case> {
    const MACHINE: &[Need] = &[Need::Namespaces, Need::Conntrack, Need::MachineWide];
    vec![
        Case::new("places::every_setting_in_sysfs", &[Need::Namespaces, Need::Ethtool], |_: Duration| every_setting()),
        Case::new("places::settings_of_ethtool", &[Need::Namespaces, Need::Ethtool], |_: Duration| ethtool()),
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
        // An older kernel does not have all of them.
        if !lab.server.inside(|| Ok(std::path::Path::new("/proc/sys").join(&path).exists()))?
            && !std::path::Path::new("/proc/sys").join(&path).exists()
        {
            continue;
        }
        // Of the machine's, a namespace shows only some.
        let present = if knob.scope == Scope::Machine {
            std::fs::read_to_string(format!("/proc/sys/{path}"))
        } else {
            lab.server.inside(|| std::fs::read_to_string(format!("/proc/sys/{path}")))
        };
        let present = match present {
            Ok(present) => present,
            Err(trouble) => return wrong(format_args!("{path}: {trouble}")),
        };
        // Of names there is no largest.
        if present.trim().starts_with(|first: char| first.is_ascii_alphabetic()) && knob.unit != Knob::CPUS {
            continue;
        }
        let end = if knob.unit == Knob::CPUS { "1".into() } else { knob.range.end().to_string() };
        let value = present.split_whitespace().map(|_| end.as_str()).collect::<Vec<_>>().join(" ");
        tried += 1;
        if knob.scope == Scope::Machine {
            machine.push((path, value));
        } else {
            let set = lab.server.inside(|| std::fs::write(format!("/proc/sys/{path}"), &value));
            if let Err(trouble) = set {
                return wrong(format_args!("{path} = {value}: {trouble}"));
            }
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
        "xps_cpus" | "xps_rxqs" => Instance::queue("vx", "tx-1"),
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
    // Only what is polled can be polled by threads: a veth that merges is.
    for device in ["vx", "vy"] {
        ip(&["-n", server, "link", "set", device, "up"])?;
    }
    lab.server.exec(&["ethtool", "-K", "vx", "gro", "on"])?;
    let has_ifb = ip(&["-n", server, "link", "add", "ifbx", "type", "ifb"]).is_ok();
    let cat = |path: &str| Ok::<_, crate::case::Trouble>(lab.server.exec(&["cat", path])?.trim().to_owned());
    let mut steps = Vec::new();
    // Only hardware holds a queue to a rate.
    for (_, knob) in knobs().filter(|(_, knob)| matches!(knob.place, Where::Sysfs(_)) && knob.id != "tx_maxrate") {
        let instance = instance(knob);
        if !has_ifb && instance.to_string().starts_with("ifbx") {
            return again("this kernel has no ifb");
        }
        let Some(file) = knob.file_of(&instance).filter(|file| file.tree == Tree::Sysfs) else { continue };
        let from = cat(&file.to_string())?;
        // Another value of the same shape.
        let to = match knob.unit {
            Knob::CPUS if from == "1" => "2",
            Knob::CPUS | "0/1" | "receive queues, a bitmap" => "1",
            "ms" => "100",
            _ => "1024",
        };
        let (to, id) = (to.to_owned(), knob.id.into());
        steps.push(Step { knob: id, instance: instance.to_string(), file, from, to, ..Step::empty(knob.scope) });
    }
    let folder = tempfile::tempdir()?;
    let Ok(journal) = Journal::open(folder.path()) else { return again("no journal") };
    let home = Place::here_pinned();
    let Ok(place) = Place::find(server) else { return again("no namespace") };
    let panel = Switches { home: &home, place: Some(&place) };
    let mut change = Change { steps, ..new_change(1) };
    let mut checks = Checks::default();
    checks.same("settings in sysfs", 13, change.steps.len());
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

/// What a veth, and a tap with its coalescing, let be set: channels, features, coalescing. A veth has no rings.
const OF_ETHTOOL: &[(&str, &str, &str, [&str; 3])] = &[
    ("channels.rx", "vx", "-l", ["RX:", "1", "2"]),
    ("feature.rx-gro", "vx", "-k", ["generic-receive-offload:", "off", "on"]),
    ("feature.rx-gro-list", "vx", "-k", ["rx-gro-list:", "off", "on"]),
    ("feature.rx-udp-gro-forwarding", "vx", "-k", ["rx-udp-gro-forwarding:", "off", "on"]),
    ("coalesce.rx-frames", "tapx", "-c", ["rx-frames:", "0", "32"]),
];

fn ethtool() -> Outcome {
    let lab = Lab::new()?;
    let server = lab.server.name.as_str();
    let queues = ["numtxqueues", "2", "numrxqueues", "2", "type", "veth", "peer", "name", "vy"];
    ip(&[&["-n", server, "link", "add", "vx"], &queues[..]].concat())?;
    lab.server.exec(&["ethtool", "-L", "vx", "rx", "1"])?;
    lab.server.exec(&["ip", "tuntap", "add", "tapx", "mode", "tap"])?;
    // The last line that begins so: the maximum of a channel stands above its present value.
    let shown = |device: &str, flag: &str, name: &str| {
        let text = lab.server.exec(&["ethtool", flag, device])?;
        let mut lines = text.lines().rev().filter_map(|line| line.trim().strip_prefix(name));
        Ok::<_, crate::case::Trouble>(
            lines.next().and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned(),
        )
    };
    let mut steps = Vec::new();
    for (id, device, flag, [name, from, to]) in OF_ETHTOOL {
        let Some((_, knob)) = knobs().find(|(_, knob)| knob.id == *id) else { return wrong(id) };
        let instance = Instance::device(*device);
        let Some(file) = knob.file_of(&instance).filter(|file| file.tree == Tree::Ethtool) else { return wrong(id) };
        let found = shown(device, flag, name)?;
        if found != *from {
            return again(format_args!("{id} of {device} is '{found}', not {from}"));
        }
        let (from, to) = ((*from).into(), (*to).into());
        steps.push(Step {
            knob: (*id).into(),
            instance: instance.to_string(),
            file,
            from,
            to,
            ..Step::empty(knob.scope)
        });
    }
    let folder = tempfile::tempdir()?;
    let Ok(journal) = Journal::open(folder.path()) else { return again("no journal") };
    let home = Place::here_pinned();
    let Ok(place) = Place::find(server) else { return again("no namespace") };
    let panel = Switches { home: &home, place: Some(&place) };
    let mut change = Change { steps, ..new_change(1) };
    let mut checks = Checks::default();
    if let Err(failed) = apply(&mut change, &panel, &journal) {
        checks.that(false, format_args!("{failed:?}"));
        return checks.done(&"");
    }
    for (id, device, flag, [name, _, to]) in OF_ETHTOOL {
        checks.same(id, (*to).to_owned(), shown(device, flag, name)?);
    }
    // A link that goes down by it is not blamed on the cable.
    let restarted = recent::restarted(folder.path(), 1.0);
    checks.same("devices it set", vec!["tapx", "vx"], restarted.keys().map(String::as_str).collect());
    let outcomes = revert(&mut change, &panel, &journal, |_| true);
    for (id, device, flag, [name, from, _]) in OF_ETHTOOL {
        checks.same(id, (*from).to_owned(), shown(device, flag, name)?);
    }
    // Nothing is changed by looking whether it could be.
    let twice = |id: &str, device: &str| {
        let (_, knob) = knobs().find(|(_, knob)| knob.id == id)?;
        knob.file_of(&Instance::device(device))
    };
    for (id, device, flag, [name, from, _]) in OF_ETHTOOL {
        let Some(file) = twice(id, device) else { return wrong(id) };
        let could = place.inside(|| writable(&file));
        checks.that(matches!(could, Ok(Ok(()))), format_args!("{id} could not be set: {could:?}"));
        checks.same(id, (*from).to_owned(), shown(device, flag, name)?);
    }
    // More queues than the device has places for are refused, and nothing is left half done.
    let refused =
        [("channels.rx", "vx", "1", "3"), ("feature.rx-gro", "vx", "off", "on")].map(|(id, device, from, to)| {
            let (_, knob) = knobs().find(|(_, knob)| knob.id == id)?;
            let file = knob.file_of(&Instance::device(device))?;
            Some(Step { knob: id.into(), file, from: from.into(), to: to.into(), ..Step::empty(knob.scope) })
        });
    let mut change = Change { steps: refused.into_iter().flatten().rev().collect(), ..new_change(2) };
    let failed = apply(&mut change, &panel, &journal);
    checks.that(matches!(failed, Err(Failed::RolledBack(_))), format_args!("{failed:?}"));
    checks.same("rx-gro", "off".to_owned(), shown("vx", "-k", "generic-receive-offload:")?);
    checks.done(&format_args!("{outcomes:?}"))
}
