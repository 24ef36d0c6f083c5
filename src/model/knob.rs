//! What can be turned, and a suggestion to turn it.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Instance, Scope};

/// Where a knob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file below `/proc/sys`; `DEV` in the knob's id stands for a device.
    Sysctl,
    /// A file below `/sys`, at this path: `DEV` in it stands for a device, `rx-N` and `tx-N` for one of its queues.
    Sysfs(&'static str),
    /// A device's own setting, as ethtool shows it: `ethtool/DEV/rings/rx`.
    Ethtool(&'static str),
    /// A qdisc's own setting, as tc shows it: `qdisc/DEV/HANDLE/limit`.
    Qdisc(&'static str),
    /// A file of an interrupt, below `/proc`: `IRQ` in this path stands for its number.
    Irq(&'static str),
    /// Where these words say: only its owner can change it there.
    Elsewhere(&'static str),
}

impl Place {
    /// A socket option or an argument.
    pub const APPLICATION: Place = Place::Elsewhere("the application's code or configuration");
    /// What is fixed when the kernel starts.
    pub const BOOT: Place = Place::Elsewhere("the kernel's command line, from the next boot on");
}

/// Where the kernel shows settings: two trees of files, and ethtool's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tree {
    /// `/proc/sys`.
    #[default]
    Sysctl,
    /// `/sys`.
    Sysfs,
    /// No file: a device's setting that ethtool sets. Its path is the kind of message and the name in it.
    Ethtool,
    /// `/proc`, for what belongs to interrupts.
    Irq,
    /// No file: a qdisc's setting that tc sets.
    Qdisc,
}

/// The place of one setting: which tree, and the path below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SettingFile {
    /// Which tree.
    #[serde(default)]
    pub tree: Tree,
    /// The path below it.
    pub path: String,
}

impl SettingFile {
    /// A file below `/proc/sys`.
    pub fn sysctl(path: impl Into<String>) -> Self {
        SettingFile { tree: Tree::Sysctl, path: path.into() }
    }
}

impl std::fmt::Display for SettingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let root = match self.tree {
            Tree::Sysctl => "/proc/sys",
            Tree::Sysfs => "/sys",
            // Its path begins with that word.
            Tree::Irq => "/proc",
            Tree::Ethtool | Tree::Qdisc => return f.write_str(&self.path.replace('/', " ")),
        };
        write!(f, "{root}/{}", self.path)
    }
}

/// What can go wrong when it is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Risk {
    Low,
    Medium,
    High,
}

impl std::fmt::Display for Risk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        })
    }
}

/// Whose memory a larger value may take: besides what the machine has, each protocol has a limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// The kernel's, without a limit of its own.
    #[default]
    Kernel,
    /// What UDP sockets may hold together: net.ipv4.udp_mem.
    Udp,
    /// What TCP sockets may hold together: net.ipv4.tcp_mem.
    Tcp,
}

/// Something that can be turned.
#[derive(Debug)]
pub struct Knob {
    /// The sysctl's name, with `DEV` for a device; for others the name the field uses.
    pub id: &'static str,
    /// Where it is.
    pub place: Place,
    /// What one value of it governs.
    pub scope: Scope,
    /// Unit of its value.
    pub unit: &'static str,
    /// Values that the kernel accepts and that make sense.
    pub range: RangeInclusive<u64>,
    /// What it is when nobody changed it, by kernel.
    pub default: &'static str,
    /// What it governs.
    pub help: &'static str,
    /// How a good value is found.
    pub formula: &'static str,
    /// What can go wrong.
    pub risk: Risk,
    /// Why that is the risk.
    pub harm: &'static str,
    /// When a new value begins to act.
    pub takes_effect: &'static str,
    /// True if it acts only on sockets, listeners or queues that are made after the change.
    pub waits: bool,
    /// Whose memory a larger value may take.
    pub memory: Memory,
    /// How it is kept over a reboot.
    pub keep: &'static str,
}

/// The next power of two: the sizes that people recognise. Without running over: a recording may hold any numbers.
pub fn power_of_two(n: u64) -> u64 {
    n.checked_next_power_of_two().unwrap_or(u64::MAX)
}

/// The numbers of a value, of which some settings have several (net.ipv4.udp_mem: `190014 253355 380028`); absent if a
/// word of it is none.
pub fn numbers(value: &str) -> Option<Vec<u64>> {
    let numbers: Vec<u64> = value.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    (!numbers.is_empty()).then_some(numbers)
}

/// The present numbers of a setting grown to the wanted ones: none falls, none leaves the range, and none is smaller than
/// the one before it, for these are a minimum, a middle and a maximum (the kernel does not check that everywhere).
pub fn grow(present: &[u64], wanted: &[u64], range: &RangeInclusive<u64>) -> Vec<u64> {
    let mut least = 0;
    let grown = present.iter().enumerate().map(|(at, present)| {
        let wanted = wanted.get(at).copied().unwrap_or(0).min(*range.end());
        least = wanted.max(*present).max(least);
        least
    });
    grown.collect()
}

impl Knob {
    /// The unit of a bitmap of CPUs.
    pub const CPUS: &str = "CPUs";
    /// The unit of a list of CPUs.
    pub const CPU_LIST: &str = "list of CPUs";
    /// The unit of what is either on or off.
    pub const SWITCH: &str = "on/off";

    /// Where it is, in words: a path, a command, or who has it.
    pub fn whereabouts(&self) -> String {
        match self.place {
            Place::Sysctl => format!("/proc/sys/{}", self.path()),
            Place::Sysfs(path) => format!("/sys/{path}"),
            Place::Irq(path) => format!("/proc/{path}"),
            Place::Ethtool(path) => ethtool(path, "VALUE").unwrap_or_default(),
            Place::Qdisc(_) => "tc qdisc change dev DEV parent PARENT handle HANDLE KIND limit VALUE".into(),
            Place::Elsewhere(words) => words.into(),
        }
    }

    /// Its path below its tree, `DEV` and the queue still in it.
    pub fn path(&self) -> String {
        match self.place {
            Place::Sysfs(path) | Place::Ethtool(path) | Place::Irq(path) | Place::Qdisc(path) => path.into(),
            Place::Sysctl | Place::Elsewhere(_) => self.id.replace('.', "/"),
        }
    }

    /// Its path below its tree for this instance.
    pub fn path_of(&self, instance: &Instance) -> String {
        let (device, queue) = match instance {
            Instance::Queue { device, queue } => (device.clone(), queue.as_str()),
            // `htb 1:`: the kind is no part of a path.
            Instance::Qdisc { device, qdisc } => (device.clone(), qdisc.split(' ').nth(1).unwrap_or_default()),
            other => (other.to_string(), ""),
        };
        let part = |part: &str| match part {
            "DEV" => device.clone(),
            "rx-N" | "tx-N" | "IRQ" | "HANDLE" => queue.into(),
            part => part.to_owned(),
        };
        self.path().split('/').map(part).collect::<Vec<_>>().join("/")
    }

    /// Its file for this instance; none if it is the application's.
    pub fn file_of(&self, instance: &Instance) -> Option<SettingFile> {
        Some(SettingFile { tree: self.tree()?, path: self.path_of(instance) })
    }

    /// Its file, `DEV` and the queue still in its path; none if it is the application's.
    pub fn template(&self) -> Option<SettingFile> {
        Some(SettingFile { tree: self.tree()?, path: self.path() })
    }

    fn tree(&self) -> Option<Tree> {
        match self.place {
            Place::Sysctl => Some(Tree::Sysctl),
            Place::Sysfs(_) => Some(Tree::Sysfs),
            Place::Ethtool(_) => Some(Tree::Ethtool),
            Place::Irq(_) => Some(Tree::Irq),
            Place::Qdisc(_) => Some(Tree::Qdisc),
            Place::Elsewhere(_) => None,
        }
    }

    /// Whether this is its name, for some device.
    pub fn is_called(&self, name: &str) -> bool {
        match self.id.split_once("DEV") {
            Some((start, end)) => name
                .strip_prefix(start)
                .and_then(|rest| rest.strip_suffix(end))
                .is_some_and(|device| !device.is_empty()),
            None => self.id == name,
        }
    }

    /// Its name as sysctl(8) writes it: in a device's name, `/` stands for a dot.
    pub fn name_of(&self, instance: &Instance) -> String {
        self.id
            .split('.')
            .map(|part| if part == "DEV" { instance.to_string().replace('.', "/") } else { part.to_owned() })
            .collect::<Vec<_>>()
            .join(".")
    }
}

/// The call of ethtool that sets what stands at `ethtool/DEVICE/BLOCK/NAME`. None for a path of another kind.
pub fn ethtool(path: &str, value: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let ["ethtool", device, block, name] = parts[..] else { return None };
    if block == "rss-hash" {
        return Some(format!("ethtool -N {} rx-flow-hash {name} {value}", quoted(device)));
    }
    let (flag, name) = match block {
        "rings" => ("-G", name),
        "channels" => ("-L", name),
        "coalesce" => ("-C", name),
        "pause" => ("-A", name),
        "features" => ("-K", name),
        "rss" => ("-X", "equal"),
        _ => ("-s", name),
    };
    Some(format!("ethtool {flag} {} {name} {value}", quoted(device)))
}

/// A word as a POSIX shell takes it unchanged.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/=:,@".contains(c);
    if word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// One setting to change: the one that binds.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Suggestion {
    /// The knob's id, for this instance.
    pub knob: String,
    /// Which one, where there are several.
    #[serde(default, skip_serializing_if = "Instance::is_only")]
    pub instance: Instance,
    /// The present value as the kernel prints it, blanks normalised to one.
    pub from: String,
    /// The proposed value.
    pub to: String,
    /// Unit of both.
    pub unit: String,
    /// Why this knob and this value.
    pub why: String,
    /// What can go wrong.
    pub risk: Risk,
    /// Memory that the change may cost at worst, in bytes.
    pub memory_bytes: u64,
    /// Whose memory that is.
    #[serde(skip)]
    pub memory: Memory,
    /// What one value of the knob governs.
    pub scope: Scope,
    /// The file that it is written to; none if it is the application's.
    #[serde(skip)]
    pub file: Option<SettingFile>,
    /// When the new value begins to act.
    pub takes_effect: String,
    /// True if it acts only on sockets, listeners or queues that are made after the change.
    pub waits: bool,
    /// The command that makes the change; for an application, the call in it.
    pub command: String,
    /// The command that takes it back.
    pub undo: String,
    /// True if this program could make the change; false if only the application's owner can.
    pub appliable: bool,
}

impl Suggestion {
    /// The knob's id, and the device and queue where it does not say them.
    pub fn name(&self) -> String {
        match &self.file {
            Some(SettingFile { tree: Tree::Sysfs | Tree::Ethtool | Tree::Irq | Tree::Qdisc, .. }) => {
                format!("{} of {}", self.knob, self.instance)
            }
            _ => self.knob.clone(),
        }
    }

    /// A value of it as numbers, so that two can be compared: the first that differ decide. A bitmap of CPUs is one
    /// hexadecimal number (cpumask_print_to_pagebuf() in include/linux/cpumask.h).
    pub fn numbers(&self, value: &str) -> Option<Vec<u128>> {
        match self.unit.as_str() {
            Knob::CPUS => Some(vec![u128::from_str_radix(&value.replace(',', ""), 16).ok()?]),
            Knob::SWITCH => Some(vec![["off", "on"].iter().position(|word| *word == value)? as u128]),
            _ => Some(numbers(value)?.into_iter().map(u128::from).collect()),
        }
    }

    /// True if every number of its new value is at least as large as that of `other`'s: who has this one has the other's,
    /// too.
    pub fn includes(&self, other: &Suggestion) -> bool {
        let (ours, others) = (self.numbers(&self.to), other.numbers(&other.to));
        ours.zip(others).is_some_and(|(ours, others)| {
            ours.len() == others.len() && ours.iter().zip(&others).all(|(ours, others)| ours >= others)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_be_several_numbers() {
        assert_eq!(numbers("4096\t131072  6291456\n"), Some(vec![4096, 131_072, 6_291_456]));
        assert_eq!((numbers("fq_codel"), numbers("1 -2"), numbers("")), (None, None, None));
    }

    #[test]
    fn numbers_grow_in_order_and_in_range() {
        let range = 1..=1000;
        assert_eq!(grow(&[10, 20, 30], &[0, 0, 60], &range), [10, 20, 60]);
        assert_eq!(grow(&[10, 20, 30], &[40, 5, 5], &range), [40, 40, 40]);
        assert_eq!(grow(&[10, 20, 30], &[5, 5, 5000], &range), [10, 20, 1000]);
        assert_eq!(grow(&[10, 20, 3000], &[20], &range), [20, 20, 3000]);
    }
}
