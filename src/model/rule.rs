//! What can be wrong, and one instance of it with its evidence.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Connection, Counter, Instance, Knob, Observed, Scope, Socket, Suggestion};

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; nobody need act.
    Info,
    /// Packets are lost, or soon will be.
    Warning,
    /// Packets are lost now, and many of them.
    Critical,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        })
    }
}

/// A limit in a rule that the user may set otherwise.
#[derive(Debug)]
pub struct Threshold {
    /// Its key in a thresholds file, below the rule's id.
    pub key: &'static str,
    /// Its value when nobody set it.
    pub default: f64,
    /// What it limits, its unit, and where the number comes from.
    pub help: &'static str,
}

/// A smallest observation, and how severe the rule must find it: `None` for a trap that must not make it fire.
#[derive(Debug)]
pub struct Example {
    /// What is observed, in words.
    pub what: &'static str,
    /// What the rule must say of it.
    pub severity: Option<Severity>,
    /// The observation.
    pub observed: fn() -> Observed,
}

/// Something that can be wrong at a stage.
#[derive(Debug)]
pub struct Rule {
    /// Its id, named for what is wrong, never for a cure. Fixed: dashboards key on it.
    pub id: &'static str,
    /// What is wrong, in a line.
    pub title: &'static str,
    /// What happens, how to tell it from its neighbours, what to do, what not to do.
    pub explain: &'static str,
    /// The counters that must have moved, or gauges that must not be 0, before the rule needs a look.
    pub triggers: &'static [&'static Counter],
    /// Drop reasons and hooks of the probes, [`super::Sockets::LOSS`], or [`Rule::MISSING_AT`] and a stage, of which one must have been seen, where no
    /// counter tells.
    pub seen: &'static [&'static str],
    /// The settings that it looks at; it suggests no others.
    pub knobs: &'static [&'static Knob],
    /// Its limits.
    pub thresholds: &'static [Threshold],
    /// Looks at what was observed. No finding, no fault; one for each cause where there are several. The caller caps the
    /// severity where only totals are known.
    pub fires: fn(&Observed, &Rule) -> Vec<Finding>,
    /// Observations on which it must fire, one at least for each severity that it knows, and its traps.
    pub examples: &'static [Example],
}

impl Rule {
    /// Before a stage's id among what must have been seen: packets are missing in that stage's balance.
    pub const MISSING_AT: &str = "missing at ";
}

/// One instance of a fault.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// The rule's id.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// The stage of the packet's path.
    pub stage: String,
    /// What it is about: the machine, a namespace, a device...
    pub scope: Scope,
    /// Which one, where there are several.
    #[serde(default, skip_serializing_if = "Instance::is_only")]
    pub instance: Instance,
    /// What is wrong, in a line.
    pub title: String,
    /// Packets lost by it in the window.
    pub lost: u64,
    /// Why, with the numbers of this case.
    pub why: String,
    /// The numbers that show it.
    pub evidence: Vec<Evidence>,
    /// Who was hurt, the worst first. Empty if that can't be proven.
    pub victims: Vec<Victim>,
    /// What to change: only what binds.
    pub suggestions: Vec<Suggestion>,
    /// Why no setting of the system fixes this, and who can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_setting_helps: Option<String>,
    /// Settings that are often turned in this case and do not help here.
    #[serde(rename = "not", default, skip_serializing_if = "Vec::is_empty")]
    pub folklore: Vec<Folklore>,
}

impl Finding {
    /// An empty finding of `rule`; its stage is filled in by the one who runs the rule.
    pub fn new(rule: &Rule, severity: Severity, scope: Scope, lost: u64, why: impl Into<String>) -> Self {
        Finding {
            id: rule.id.into(),
            severity,
            stage: String::new(),
            scope,
            instance: Instance::Only,
            title: rule.title.into(),
            lost,
            why: why.into(),
            evidence: Vec::new(),
            victims: Vec::new(),
            suggestions: Vec::new(),
            no_setting_helps: None,
            folklore: Vec::new(),
        }
    }
}

/// A number that shows a fault.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Evidence {
    /// The counter's id.
    pub counter: String,
    /// Which one, where there are several.
    #[serde(default, skip_serializing_if = "Instance::is_only")]
    pub instance: Instance,
    /// By how much it grew in the window; for a gauge, its highest value.
    pub delta: u64,
    /// The same per second; absent for a gauge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// The limit that it exceeded, in the same unit: per second for a total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

/// Who was hurt. What could not be found out is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(default)]
pub struct Victim {
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The process's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// The user that made its socket, where only the kernel could still tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its cgroup's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Its systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its container's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The address that its socket is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The other end of its socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Packets that it lost in the window.
    pub lost: u64,
    /// Now in its queue, and the queue's limit, in the queue's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<[u64; 2]>,
    /// The inode of its socket, by which its process is found.
    #[serde(skip)]
    pub inode: u32,
    /// The kernel's number for its socket, never used again.
    #[serde(skip)]
    pub cookie: u64,
}

impl Victim {
    /// A socket that lost so many packets; its process is looked up later.
    pub fn of(socket: &Socket, lost: u64) -> Self {
        Victim {
            local: Some(socket.local.to_string()),
            lost,
            queue: Some([socket.queue.into(), socket.limit.into()]),
            inode: socket.inode,
            cookie: socket.cookie,
            ..Victim::default()
        }
    }

    /// A connection that lost so many segments; its process is looked up later.
    pub fn of_connection(connection: &Connection, lost: u64) -> Self {
        Victim {
            local: Some(connection.local.to_string()),
            remote: Some(connection.remote.to_string()),
            lost,
            queue: Some([connection.received.into(), connection.buffer.into()]),
            inode: connection.inode,
            cookie: connection.cookie,
            ..Victim::default()
        }
    }
}

/// A setting that is often turned in this case and does not help here.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Folklore {
    /// The setting.
    pub knob: String,
    /// Why it does not help here.
    pub why: String,
}
