//! What binds this process besides capabilities: namespaces, filters, policies, and settings that can't be changed.

use std::io::{Error, ErrorKind};

use rustix::fs::StatVfsMountFlags;

use super::Facts;
use crate::model::{Place, SettingFile};
use crate::report::card::{Access, Limit, ReadOnly};
use crate::source::settings;
use crate::stage;

/// Each limit, whether it costs something or not.
pub fn look(facts: &Facts) -> Vec<Limit> {
    let mut limits = vec![
        namespace("user namespace", facts.initial_user, "capabilities do not count for BPF, nor for other namespaces"),
        namespace("pid namespace", facts.initial_pid, "sockets of processes outside have no name"),
        namespace(
            "network namespace",
            facts.initial_net,
            "machine-wide settings and neighbour tables do not show here",
        ),
        mount(),
    ];
    let filter = facts.status.seccomp.map(|mode| match mode {
        0 => limit("seccomp", "no filter", None),
        _ => limit("seccomp", "system calls are filtered", Some("BPF may be refused")),
    });
    let lockdown = facts.lockdown.as_ref().map(|mode| {
        let costs = (mode == "confidentiality").then_some("BPF can't read the kernel's structures");
        limit("lockdown", mode.as_str(), costs)
    });
    limits.extend(filter.into_iter().chain(lockdown));
    limits.extend(policy("kernel/unprivileged_bpf_disabled", |_| None));
    limits.extend(policy("kernel/kptr_restrict", |value| (value == "2").then_some("functions have no names")));
    limits.push(match &facts.bpf {
        Ok(()) => limit("system call bpf", "answers", None),
        Err(e) => limit("system call bpf", e.to_string(), Some("nothing can be counted in the kernel")),
    });
    limits
}

/// Which of the settings that the program may suggest can be changed from here. Nothing is written.
pub fn access() -> Access {
    let mut access = Access::default();
    for (_, knob) in stage::knobs().filter(|(_, knob)| matches!(knob.place, Place::Sysctl)) {
        // What a device has, all of them have together.
        let (name, path) = (knob.id.replace("DEV", "all"), knob.path().replace("DEV", "all"));
        if access.writable.contains(&name) || access.absent.contains(&name) {
            continue;
        }
        match settings::writable(&SettingFile::sysctl(path.as_str())) {
            Ok(()) => access.writable.push(name),
            Err(e) if e.kind() == ErrorKind::NotFound => access.absent.push(name),
            Err(e) if access.read_only.iter().all(|other| other.knob != name) => {
                access.read_only.push(ReadOnly { knob: name, reason: why_not(&path, &e) });
            }
            Err(_) => {}
        }
    }
    access
}

/// Machine-wide settings that show in a namespace bear no permission to write there.
pub const NOT_IN_THIS_NAMESPACE: &str = "read-only in this network namespace";

fn why_not(path: &str, error: &Error) -> String {
    let mode = || rustix::fs::stat(format!("/proc/sys/{path}")).map(|stat| stat.st_mode);
    match error.kind() {
        ErrorKind::PermissionDenied if mode().is_ok_and(|mode| mode & 0o222 == 0) => NOT_IN_THIS_NAMESPACE.into(),
        ErrorKind::PermissionDenied => "not permitted".into(),
        ErrorKind::ReadOnlyFilesystem => "/proc/sys is mounted read-only".into(),
        _ => error.to_string(),
    }
}

fn namespace(name: &'static str, initial: bool, costs: &'static str) -> Limit {
    if initial { limit(name, "initial", None) } else { limit(name, "another", Some(costs)) }
}

fn mount() -> Limit {
    match rustix::fs::statvfs("/proc/sys") {
        Ok(stat) if stat.f_flag.contains(StatVfsMountFlags::RDONLY) => {
            limit("/proc/sys", "read-only", Some("no setting can be changed"))
        }
        Ok(_) => limit("/proc/sys", "writable", None),
        Err(e) => limit("/proc/sys", e.to_string(), Some("no setting can be read or changed")),
    }
}

fn policy(path: &'static str, costs: fn(&str) -> Option<&'static str>) -> Option<Limit> {
    let value = settings::value(&SettingFile::sysctl(path)).ok()?;
    let costs = costs(&value);
    let name = path.rsplit('/').next().unwrap_or(path);
    Some(limit(name, value, costs))
}

fn limit(name: &'static str, value: impl Into<String>, costs: Option<&'static str>) -> Limit {
    Limit { name, value: value.into(), costs }
}
