//! Who sets a setting besides us, and may overwrite a change of it: files that act at boot, and services that act while
//! they run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::{SettingFile, Tree};

/// Where systemd-sysctl looks besides /etc/sysctl.d. A file of the same name in an earlier folder hides a later one
/// (sysctl.d(5)).
const SYSCTL_FOLDERS: [&str; 3] = ["/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];
/// Where udev looks besides /etc/udev/rules.d (udev(7)).
const UDEV_FOLDERS: [&str; 2] = ["/run/udev/rules.d", "/usr/lib/udev/rules.d"];
/// Where tuned keeps the profiles that it comes with.
const TUNED_FOLDERS: [&str; 2] = ["/usr/lib/tuned", "/usr/lib/tuned/profiles"];
/// A profile of tuned may include another; deeper than this it includes itself.
const TUNED_DEPTH: usize = 8;

/// Services that set what a running system needs, by the name of their process, and the start of the keys that they set.
/// kube-proxy: conntrack settings of its configuration; calico-node and cilium-agent: rp_filter of their devices; bpftune:
/// its tuners' lists (net_buffer, udp_buffer, tcp_buffer, neigh_table, ip_frag).
const SERVICES: [(&str, &[&str]); 4] = [
    ("kube-proxy", &["net.netfilter.nf_conntrack_"]),
    ("calico-node", &["net.ipv4.conf."]),
    ("cilium-agent", &["net.ipv4.conf."]),
    (
        "bpftune",
        &[
            "net.core.netdev_max_backlog",
            "net.core.flow_limit_cpu_bitmap",
            "net.core.rmem_",
            "net.ipv4.udp_mem",
            "net.ipv4.tcp_",
            "net.ipv4.neigh.",
            "net.ipv6.neigh.",
            "net.ipv4.ipfrag_high_thresh",
        ],
    ),
];

/// Somebody who sets a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Owner {
    /// A file and line, or a process.
    pub who: String,
    /// The value that it sets, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// When it does.
    pub when: &'static str,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} sets it to {value} {}", self.who, self.when),
            None => write!(f, "{} may set it {}", self.who, self.when),
        }
    }
}

/// Everybody who sets the setting `knob`, whose file is `file`: files in the order in which they act (the last one wins),
/// then services. Our own files are left out.
pub fn owners(etc: &Path, knob: &str, file: &SettingFile) -> Vec<Owner> {
    let mut owners = match file.tree {
        Tree::Sysctl => sysctl_files(etc, knob),
        Tree::Sysfs => udev_files(etc, file),
        // systemd.link files say what a device is to have, not which: they are not looked through.
        Tree::Ethtool | Tree::Irq | Tree::Qdisc => Vec::new(),
    };
    if file.tree == Tree::Sysctl {
        owners.extend(tuned(etc, knob));
        owners.extend(cni(etc, knob));
        owners.extend(services(knob));
    }
    owners
}

/// The files that set a sysctl at boot.
fn sysctl_files(etc: &Path, knob: &str) -> Vec<Owner> {
    let own = super::persist::sysctl_file(etc);
    let mut files = configuration(etc, "sysctl.d", &SYSCTL_FOLDERS, "conf");
    // sysctl(8) and Debian's link 99-sysctl.conf read it last.
    files.push(etc.join("sysctl.conf"));
    files.retain(|path| *path != own);
    let at_boot = |path: &PathBuf| lines_that_set(path, knob, "at boot", &path.display().to_string());
    files.iter().flat_map(at_boot).collect()
}

/// The rules of udev that set this attribute of some device.
fn udev_files(etc: &Path, file: &SettingFile) -> Vec<Owner> {
    let own = super::persist::udev_file(etc);
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let files = configuration(etc, "udev/rules.d", &UDEV_FOLDERS, "rules").into_iter().filter(|path| *path != own);
    let mut owners = Vec::new();
    for path in files {
        for (at, line) in text(&path).lines().enumerate() {
            if !line.trim_start().starts_with('#') && line.contains("ATTR{") && line.contains(&format!("{name}}}=\"")) {
                let who = format!("{}, line {}", path.display(), at + 1);
                owners.push(Owner { who, value: None, when: "when a device appears" });
            }
        }
    }
    owners
}

/// What tuned's active profile sets, with the profiles that it includes.
fn tuned(etc: &Path, knob: &str) -> Vec<Owner> {
    let active = text(&etc.join("tuned/active_profile"));
    let mut names: Vec<String> = active.split_whitespace().map(str::to_owned).collect();
    let folders: Vec<PathBuf> = ["tuned", "tuned/profiles"]
        .map(|name| etc.join(name))
        .into_iter()
        .chain(TUNED_FOLDERS.map(PathBuf::from))
        .collect();
    let mut owners = Vec::new();
    for _ in 0..TUNED_DEPTH {
        let mut included = Vec::new();
        for name in names.iter().filter(|name| !name.contains('/')) {
            let paths = folders.iter().map(|folder| folder.join(name).join("tuned.conf"));
            let Some(path) = paths.into_iter().find(|path| path.is_file()) else { continue };
            let who = format!("tuned's profile {name} ({})", path.display());
            owners.extend(lines_that_set(&path, knob, "while tuned runs", &who));
            let includes = text(&path);
            let includes =
                includes.lines().filter_map(|line| line.trim().strip_prefix("include")?.trim().strip_prefix('='));
            included.extend(includes.flat_map(|names| names.split(',')).map(|name| name.trim().to_owned()));
        }
        names = included;
    }
    owners
}

/// What the "tuning" plugin of the container network sets, in every pod's namespace.
fn cni(etc: &Path, knob: &str) -> Vec<Owner> {
    let folder = etc.join("cni/net.d");
    let mut owners = Vec::new();
    for path in listed(&folder).into_values().filter(|path| {
        path.extension().is_some_and(|ending| ["conf", "conflist", "json"].iter().any(|known| ending == *known))
    }) {
        let Ok(config) = serde_json::from_str::<serde_json::Value>(&text(&path)) else { continue };
        let plugins = config["plugins"].as_array().cloned().unwrap_or_else(|| vec![config.clone()]);
        let values = plugins.iter().filter(|plugin| plugin["type"] == "tuning").filter_map(|plugin| {
            let settings = plugin["sysctl"].as_object()?;
            settings.iter().find(|(key, _)| same_key(key, knob)).map(|(_, value)| value.clone())
        });
        owners.extend(values.map(|value| Owner {
            who: format!("the container network ({})", path.display()),
            value: Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            when: "in each new container",
        }));
    }
    owners
}

/// Running services that set it.
fn services(knob: &str) -> Vec<Owner> {
    let dotted = knob.replace('/', ".");
    let concerned: Vec<&str> = SERVICES
        .iter()
        .filter(|(_, keys)| keys.iter().any(|key| dotted.starts_with(key)))
        .map(|(name, _)| *name)
        .collect();
    if concerned.is_empty() {
        return Vec::new();
    }
    let mut owners = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that is gone meanwhile sets nothing.
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let Some(name) = concerned.iter().find(|name| **name == comm.trim_end()) {
            owners.push(Owner { who: format!("{name}[{pid}]"), value: None, when: "while it runs" });
        }
    }
    owners
}

/// The configuration files with this ending in `etc/folder` and `others`, by name: of two with the same name the earlier
/// folder's counts.
fn configuration(etc: &Path, folder: &str, others: &[&str], ending: &str) -> Vec<PathBuf> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in std::iter::once(etc.join(folder)).chain(others.iter().map(PathBuf::from)) {
        for (name, path) in listed(&folder) {
            if path.extension().is_some_and(|found| found == ending) {
                files.entry(name).or_insert(path);
            }
        }
    }
    files.into_values().collect()
}

/// What is in a folder; nothing if it is not there.
fn listed(folder: &Path) -> BTreeMap<OsString, PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name(), entry.path())).collect()
}

/// The lines of `path` that set `knob`.
fn lines_that_set(path: &Path, knob: &str, when: &'static str, who: &str) -> Vec<Owner> {
    let setter = |(at, line): (usize, &str)| {
        let (key, value) = line.split_once('=').filter(|_| !line.trim_start().starts_with(['#', ';']))?;
        same_key(key, knob).then(|| Owner {
            who: format!("{who}, line {}", at + 1),
            value: Some(value.trim().to_owned()),
            when,
        })
    };
    text(path).lines().enumerate().filter_map(setter).collect()
}

/// `net/core/somaxconn`, `-net.core.somaxconn` (ignore errors) and blanks round the sign are all taken.
fn same_key(key: &str, knob: &str) -> bool {
    key.trim().trim_start_matches('-').replace('/', ".") == knob.replace('/', ".")
}

/// A file as text; empty if it is not there or may not be read, for then it is nobody's that we know of.
fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOB: &str = "net.core.rmem_max";

    fn found(etc: &Path) -> Vec<String> {
        let file = SettingFile { tree: Tree::Sysctl, path: "net/core/rmem_max".into() };
        let strip = |text: String| text.replace(&etc.display().to_string(), "ETC");
        owners(etc, KNOB, &file).into_iter().map(|owner| strip(owner.to_string())).collect()
    }

    fn etc(files: &[(&str, &str)]) -> tempfile::TempDir {
        let etc = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = etc.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        etc
    }

    #[test]
    fn files_are_named_with_their_line() {
        let etc = etc(&[
            ("sysctl.d/10-a.conf", "# net.core.rmem_max = 1\nnet/core/rmem_max=5\n"),
            ("sysctl.d/50-b.conf", "\n-net.core.rmem_max = 7\n"),
            ("sysctl.d/90-netstat-deep.conf", "net.core.rmem_max = 8\n"),
            ("sysctl.d/note.txt", "net.core.rmem_max = 9\n"),
        ]);
        let expected = [
            "ETC/sysctl.d/10-a.conf, line 2 sets it to 5 at boot",
            "ETC/sysctl.d/50-b.conf, line 2 sets it to 7 at boot",
        ];
        assert_eq!(found(etc.path()), expected);
    }

    #[test]
    fn tuned_is_followed_through_its_profiles() {
        let etc = etc(&[
            ("tuned/active_profile", "mine\n"),
            ("tuned/mine/tuned.conf", "[main]\ninclude=base\n"),
            ("tuned/profiles/base/tuned.conf", "[main]\ninclude = mine\n[sysctl]\nnet.core.rmem_max=16777216\n"),
        ]);
        let found = found(etc.path());
        assert_eq!(
            found[0],
            "tuned's profile base (ETC/tuned/profiles/base/tuned.conf), line 4 sets it to 16777216 while tuned runs"
        );
    }

    #[test]
    fn the_container_network_is_asked() {
        let config = r#"{"plugins":[{"type":"bridge"},{"type":"tuning","sysctl":{"net.core.rmem_max":"99"}}]}"#;
        let etc = etc(&[("cni/net.d/10-x.conflist", config), ("cni/net.d/20-bad.conf", "{")]);
        assert_eq!(
            found(etc.path()),
            ["the container network (ETC/cni/net.d/10-x.conflist) sets it to 99 in each new container"]
        );
    }

    #[test]
    fn udev_rules_are_named() {
        let etc = etc(&[(
            "udev/rules.d/70-net.rules",
            "# ATTR{queues/rx-0/rps_cpus}=\"1\"\nACTION==\"add\", ATTR{queues/rx-0/rps_cpus}=\"f\"\n",
        )]);
        let file = SettingFile { tree: Tree::Sysfs, path: "class/net/eth0/queues/rx-0/rps_cpus".into() };
        let owners = owners(etc.path(), "rps_cpus", &file);
        assert_eq!(owners.len(), 1);
        assert!(owners[0].who.ends_with("70-net.rules, line 2"), "{owners:?}");
    }
}
