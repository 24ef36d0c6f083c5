//! What can be turned, and a suggestion to turn it.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Instance, Scope};

/// Where a knob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file below `/proc/sys`; `DEV` in the knob's id stands for a device.
    Sysctl,
    /// In the application: a socket option or an argument. Only its owner can change it.
    Application,
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
    /// How it is kept over a reboot.
    pub keep: &'static str,
}

/// The next power of two: the sizes that people recognise. Without running over: a recording may hold any numbers.
pub fn power_of_two(n: u64) -> u64 {
    n.checked_next_power_of_two().unwrap_or(u64::MAX)
}

impl Knob {
    /// Its path below `/proc/sys`, `DEV` still in it.
    pub fn path(&self) -> String {
        self.id.replace('.', "/")
    }

    /// Its path below `/proc/sys` for this instance.
    pub fn path_of(&self, instance: &Instance) -> String {
        self.path()
            .split('/')
            .map(|part| if part == "DEV" { instance.to_string() } else { part.to_owned() })
            .collect::<Vec<_>>()
            .join("/")
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
    /// What one value of the knob governs.
    pub scope: Scope,
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
