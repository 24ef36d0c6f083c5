//! Settings below `/proc/sys` and `/sys`, and those that ethtool shows, as the calling thread's network namespace has them. Only [`set`] writes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};

use super::qdisc::limit;
use super::{Host, ethtool, sysfs, text};
use crate::model::{SettingFile, Settings, Tree};

/// A setting has one line; what is longer is none.
const LONGEST: u64 = 4096;

/// Reads what `templates` stand for: in `net/ipv4/conf/DEV/rp_filter`, `DEV` is every device, in
/// `class/net/DEV/queues/rx-N/rps_cpus`, `rx-N` every receive queue. What is not there is left out.
pub fn read(host: &Host, templates: impl Iterator<Item = SettingFile>) -> Settings {
    let mut settings = Settings::default();
    let mut trees = Trees { host, sysfs: None };
    let mut blocks = BTreeSet::new();
    for template in templates {
        if template.tree == Tree::Ethtool {
            // One message for all devices has all settings of its kind.
            blocks.extend(template.path.split('/').nth(2).map(str::to_owned));
            continue;
        }
        if template.tree == Tree::Qdisc {
            limit::read(host, &mut settings);
            continue;
        }
        for path in trees.expand(&template) {
            if let Some(value) = trees.value(template.tree, &path) {
                settings.insert(path, value);
            }
        }
    }
    for block in &blocks {
        if block == ethtool::hash::BLOCK {
            let devices = trees.names(Tree::Sysfs, "class/net").unwrap_or_default();
            ethtool::hash::read(host, &devices, &mut settings);
        } else {
            ethtool::settings::read(host, block, &mut settings);
        }
    }
    settings
}

/// The present value, blanks normalised to one.
pub fn value(file: &SettingFile) -> io::Result<String> {
    match file.tree {
        Tree::Ethtool => return ethtool::settings::value_at(&file.path),
        Tree::Qdisc => return limit::value(&file.path),
        Tree::Sysctl | Tree::Sysfs | Tree::Irq => {}
    }
    let mut bytes = Vec::new();
    open(file, OFlags::RDONLY)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(text::one_blank(&bytes))
}

/// Whether the value could be set, without setting it.
pub fn writable(file: &SettingFile) -> io::Result<()> {
    match file.tree {
        Tree::Ethtool => ethtool::settings::settable(&file.path),
        Tree::Qdisc => limit::settable(&file.path),
        Tree::Sysctl | Tree::Sysfs | Tree::Irq => open(file, OFlags::WRONLY).map(drop),
    }
}

/// Sets the value.
pub fn set(file: &SettingFile, value: &str) -> io::Result<()> {
    match file.tree {
        Tree::Ethtool => ethtool::settings::set(&file.path, value),
        Tree::Qdisc => limit::set(&file.path, value),
        // The kernel takes a value as a whole, in one write.
        Tree::Sysctl | Tree::Sysfs | Tree::Irq => open(file, OFlags::WRONLY)?.write_all(value.as_bytes()),
    }
}

fn open(file: &SettingFile, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC;
    let opened = match file.tree {
        Tree::Sysctl => rustix::fs::openat(CWD, format!("/proc/sys/{}", file.path), flags, Mode::empty())?,
        Tree::Sysfs => rustix::fs::openat(sysfs::root()?, &file.path, flags, Mode::empty())?,
        Tree::Irq => rustix::fs::openat(CWD, format!("/proc/{}", file.path), flags, Mode::empty())?,
        Tree::Ethtool | Tree::Qdisc => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(File::from(opened))
}

/// Both trees of one host. The running kernel's sysfs is opened when it is first wanted.
struct Trees<'a> {
    host: &'a Host,
    sysfs: Option<io::Result<OwnedFd>>,
}

impl Trees<'_> {
    fn expand(&mut self, template: &SettingFile) -> Vec<String> {
        let mut paths = vec![String::new()];
        for part in template.path.split('/') {
            paths = paths.into_iter().flat_map(|path| self.children(template.tree, &path, part)).collect();
        }
        paths
    }

    /// What `part` of a template stands for below `path`.
    fn children(&mut self, tree: Tree, path: &str, part: &str) -> Vec<String> {
        let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let start = match part {
            "DEV" => "",
            "rx-N" => "rx-",
            "tx-N" => "tx-",
            "IRQ" => {
                let names = self.names(tree, path).unwrap_or_default();
                let number = |name: &&String| name.bytes().all(|b| b.is_ascii_digit());
                return names.iter().filter(number).map(|name| join(name)).collect();
            }
            name => return vec![join(name)],
        };
        let names = self.names(tree, path).unwrap_or_default();
        names.iter().filter(|name| name.starts_with(start)).map(|name| join(name)).collect()
    }

    /// The names in a folder. One that is no text can't be put into a path of this kind: its settings stay unknown.
    fn names(&mut self, tree: Tree, path: &str) -> io::Result<Vec<String>> {
        let names = match self.live_sysfs(tree) {
            Some(root) => sysfs::list(root?, path)?,
            None => self.host.list(&self.below_root(tree, path))?,
        };
        Ok(names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect())
    }

    fn value(&mut self, tree: Tree, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        match self.live_sysfs(tree) {
            Some(root) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let file = rustix::fs::openat(root.ok()?, path, flags, Mode::empty()).ok()?;
                File::from(file).take(LONGEST).read_to_end(&mut bytes).ok()?;
                self.host.keep(&self.below_root(tree, path), &bytes);
            }
            None => self.host.read(&self.below_root(tree, path), &mut bytes).ok()?,
        }
        Some(text::one_blank(&bytes))
    }

    fn below_root(&self, tree: Tree, path: &str) -> String {
        match tree {
            Tree::Sysctl => format!("proc/sys/{path}"),
            Tree::Irq => format!("proc/{path}"),
            Tree::Sysfs | Tree::Ethtool | Tree::Qdisc => format!("sys/{path}"),
        }
    }

    /// The root of the running kernel's sysfs, if that is what is wanted.
    fn live_sysfs(&mut self, tree: Tree) -> Option<io::Result<&OwnedFd>> {
        if matches!(tree, Tree::Sysctl | Tree::Irq) || self.host.is_recorded() {
            return None;
        }
        let root = self.sysfs.get_or_insert_with(sysfs::root);
        Some(root.as_ref().map_err(|e| e.kind().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(path: &str) -> Settings {
        read(&Host::Live, std::iter::once(SettingFile { tree: Tree::Sysfs, path: path.into() }))
    }

    #[test]
    fn every_device_and_queue_is_found() {
        let masks = all("class/net/DEV/queues/rx-N/rps_cpus");
        assert!(masks.get("class/net/lo/queues/rx-0/rps_cpus").is_some(), "{masks:?}");
    }

    #[test]
    fn every_interrupt_is_found() {
        let template = SettingFile { tree: Tree::Irq, path: "irq/IRQ/smp_affinity_list".into() };
        let lists = read(&Host::Live, std::iter::once(template));
        let irqs: Vec<&str> = lists.between("irq/", "/smp_affinity_list").map(|(irq, _)| irq).collect();
        assert!(!irqs.is_empty() && irqs.iter().all(|irq| irq.parse::<u32>().is_ok()), "{irqs:?}");
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        assert_eq!(all("class/net/DEV/no_such_setting"), Settings::default());
        assert_eq!(all("no/such/folder/DEV"), Settings::default());
        let missing = SettingFile { tree: Tree::Sysfs, path: "class/net/lo/no_such_setting".into() };
        assert_eq!(value(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
