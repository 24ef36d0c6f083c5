//! Keeping a change over a reboot: files that hold our settings only, each with what asked for it. Sysctls go into
//! sysctl.d. What is not a sysctl goes into a rule of udev, which also acts when the device comes back: a systemd.link
//! file would replace the distribution's whole (systemd.link(5): the first that matches is used, no other), and tmpfiles
//! would miss a device that comes later.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::journal::Step;
use crate::model::{Tree, ethtool};

const HEAD: &str = "# Written by netstat-deep; 'netstat-deep revert' removes what it wrote.\n";
/// Sysctls that are there only once a module is loaded: systemd-modules-load(8) does it before systemd-sysctl(8).
const MODULES: [(&str, &str); 2] = [("net.netfilter.nf_conntrack_", "nf_conntrack"), ("net.bridge.", "br_netfilter")];

/// Our file of sysctls below `etc`.
pub fn sysctl_file(etc: &Path) -> PathBuf {
    etc.join("sysctl.d/90-netstat-deep.conf")
}

/// Our file of udev's rules below `etc`.
pub fn udev_file(etc: &Path) -> PathBuf {
    etc.join("udev/rules.d/90-netstat-deep.rules")
}

/// Our list of modules below `etc`.
fn modules_file(etc: &Path) -> PathBuf {
    etc.join("modules-load.d/90-netstat-deep.conf")
}

/// Lines by what they set, each with the reason.
type Entries = BTreeMap<String, String>;

/// Writes `steps` into our files, beside what is there. Returns the files.
pub fn keep(etc: &Path, steps: &[&Step]) -> io::Result<Vec<PathBuf>> {
    change(etc, |file, entries| {
        for step in steps {
            let why = format!("{} (was {})", step.findings.join(", "), step.from);
            for line in lines(step, file) {
                entries.retain(|other, _| target(other) != target(&line));
                entries.insert(line, why.clone());
            }
        }
    })
}

/// Takes `steps` out of our files; an empty file is removed. Returns the files that held any.
pub fn forget(etc: &Path, steps: &[&Step]) -> io::Result<Vec<PathBuf>> {
    change(etc, |file, entries| {
        let still = |entries: &Entries, module: &str| {
            let key = MODULES.iter().find(|(_, name)| *name == module).map_or("", |(key, _)| key);
            entries.keys().any(|line| line.starts_with(key))
        };
        let sysctls = if file == Kept::Modules { read(&sysctl_file(etc)).unwrap_or_default() } else { Entries::new() };
        for line in steps.iter().flat_map(|step| lines(step, file)) {
            // A module is needed as long as any of our keys is its.
            if file != Kept::Modules || !still(&sysctls, &line) {
                entries.remove(&line);
            }
        }
    })
}

/// What a file of ours holds.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Sysctls,
    Rules,
    Modules,
}

/// The lines by which a step is kept in this file.
fn lines(step: &Step, file: Kept) -> Vec<String> {
    match (file, step.file.tree) {
        (Kept::Sysctls, Tree::Sysctl) => vec![format!("{} = {}", step.knob, step.to)],
        (Kept::Rules, Tree::Sysfs) => rule(step).into_iter().collect(),
        (Kept::Rules, Tree::Ethtool) => call(step).into_iter().collect(),
        (Kept::Modules, Tree::Sysctl) => {
            let needed = MODULES.iter().filter(|(key, _)| step.knob.starts_with(key));
            needed.map(|(_, module)| (*module).to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// What a line sets: all of it but the value.
fn target(line: &str) -> &str {
    let before = if line.contains("RUN+=") { ' ' } else { '=' };
    line.rsplit_once(before).map_or(line, |(target, _)| target)
}

/// `class/net/eth0/queues/rx-0/rps_cpus` as a rule for when the device appears, or gets its name. None for a device whose name a rule
/// can't hold.
fn rule(step: &Step) -> Option<String> {
    let (device, attribute) = step.file.path.strip_prefix("class/net/")?.split_once('/')?;
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    (plain(device) && plain(attribute)).then(|| {
        format!("ACTION==\"add|move\", SUBSYSTEM==\"net\", KERNEL==\"{device}\", ATTR{{{attribute}}}=\"{}\"", step.to)
    })
}

/// `ethtool/eth0/rings/rx` as a rule that calls ethtool when the device appears, or gets its name.
fn call(step: &Step) -> Option<String> {
    let (device, _) = step.file.path.strip_prefix("ethtool/")?.split_once('/')?;
    let command = ethtool(&step.file.path, &step.to)?;
    let plain = device.chars().all(|c| c.is_ascii_alphanumeric() || "._-:@".contains(c));
    plain.then(|| {
        format!("ACTION==\"add|move\", SUBSYSTEM==\"net\", KERNEL==\"{device}\", RUN+=\"/usr/sbin/{command}\"")
    })
}

/// Changes each of our files as a whole: a boot in between finds the old or the new one. Returns those that changed.
fn change(etc: &Path, edit: impl Fn(Kept, &mut Entries)) -> io::Result<Vec<PathBuf>> {
    let files = [(Kept::Sysctls, sysctl_file(etc)), (Kept::Rules, udev_file(etc)), (Kept::Modules, modules_file(etc))];
    let mut changed = Vec::new();
    for (kept, path) in files {
        let old = read(&path)?;
        let mut new = old.clone();
        edit(kept, &mut new);
        if new == old {
            continue;
        }
        if new.is_empty() {
            fs::remove_file(&path)?
        } else {
            replace(&path, &new)?
        }
        changed.push(path);
    }
    Ok(changed)
}

fn read(path: &Path) -> io::Result<Entries> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
        text => text?,
    };
    let mut entries = Entries::new();
    let mut why = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("# ") {
            Some(comment) => why = comment.to_owned(),
            None => drop(entries.insert(line.to_owned(), std::mem::take(&mut why))),
        }
    }
    Ok(entries)
}

fn replace(path: &Path, entries: &Entries) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut out = File::create(&new)?;
    out.write_all(HEAD.as_bytes())?;
    for (line, why) in entries {
        writeln!(out, "\n# {why}\n{line}")?;
    }
    out.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::apply::tests::change;
    use super::*;
    use crate::model::SettingFile;

    #[test]
    fn only_our_keys_are_kept_and_forgotten() {
        let etc = tempfile::tempdir().unwrap();
        let (first, _) = change(&["net.core.somaxconn", "net.core.rmem_max"]);
        let steps: Vec<&Step> = first.steps.iter().collect();
        let [path] = &keep(etc.path(), &steps[..1]).unwrap()[..] else { panic!() };
        keep(etc.path(), &steps[1..]).unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("net.core.somaxconn = 2") && text.contains("net.core.rmem_max = 2"), "{text}");
        assert_eq!(forget(etc.path(), &steps[..1]).unwrap(), std::slice::from_ref(path));
        assert!(!fs::read_to_string(path).unwrap().contains("somaxconn"));
        assert_eq!(forget(etc.path(), &steps).unwrap(), std::slice::from_ref(path));
        assert!(!path.exists(), "an empty file is removed");
        assert!(forget(etc.path(), &steps).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_sysctl_becomes_a_rule_for_the_device() {
        let etc = tempfile::tempdir().unwrap();
        let (mut change, _) = change(&["rps_cpus"]);
        change.steps[0].file = SettingFile { tree: Tree::Sysfs, path: "class/net/eth0/queues/rx-0/rps_cpus".into() };
        let steps: Vec<&Step> = change.steps.iter().collect();
        assert_eq!(keep(etc.path(), &steps).unwrap(), [udev_file(etc.path())]);
        let text = fs::read_to_string(udev_file(etc.path())).unwrap();
        assert!(text.contains("KERNEL==\"eth0\", ATTR{queues/rx-0/rps_cpus}=\"2\""), "{text}");
        forget(etc.path(), &steps).unwrap();
        assert!(!udev_file(etc.path()).exists());
    }

    #[test]
    fn what_ethtool_sets_becomes_a_rule_that_calls_it() {
        let etc = tempfile::tempdir().unwrap();
        let (mut change, _) = change(&["ring.rx", "ring.tx", "ring.rx"]);
        for (step, path) in change.steps.iter_mut().zip(["eth0/rings/rx", "eth0/rings/tx", "e'th/rings/rx"]) {
            step.file = SettingFile { tree: Tree::Ethtool, path: format!("ethtool/{path}") };
        }
        let text = || fs::read_to_string(udev_file(etc.path())).unwrap();
        keep(etc.path(), &change.steps.iter().collect::<Vec<_>>()).unwrap();
        assert!(text().contains("KERNEL==\"eth0\", RUN+=\"/usr/sbin/ethtool -G eth0 rx 2\""), "{}", text());
        assert!(text().contains("-G eth0 tx 2") && !text().contains("e'th"), "{}", text());
        // A later change of the same ring takes the place of the first.
        change.steps[0].to = "4".into();
        keep(etc.path(), &[&change.steps[0]]).unwrap();
        assert!(text().contains("rx 4") && !text().contains("rx 2") && text().contains("tx 2"), "{}", text());
        forget(etc.path(), &change.steps.iter().collect::<Vec<_>>()).unwrap();
        assert!(!udev_file(etc.path()).exists());
    }

    #[test]
    fn a_key_that_needs_a_module_brings_it_along() {
        let etc = tempfile::tempdir().unwrap();
        let (change, _) = change(&["net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets"]);
        let steps: Vec<&Step> = change.steps.iter().collect();
        keep(etc.path(), &steps).unwrap();
        assert!(fs::read_to_string(modules_file(etc.path())).unwrap().contains("\nnf_conntrack\n"));
        forget(etc.path(), &steps[..1]).unwrap();
        assert!(modules_file(etc.path()).exists(), "the other key still needs it");
        forget(etc.path(), &steps[1..]).unwrap();
        assert!(!modules_file(etc.path()).exists());
    }
}
