//! All that a renderer may see.

pub mod card;
pub mod namespaces;
pub mod sockets;
pub mod topology;

use std::collections::HashMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::ledger::{Line, Totals};
use crate::model::{
    Change as Grown, Changes, Counter, Drop, DropTotals, Finding, Incident, Instance, Kind, Probe, Scope, Severity,
    SourceStatus, Stage, per_second,
};
use crate::stage::SEND;
use crate::tune::journal::Change;
use crate::tune::plan::Plan;

/// The contract that dashboards hold us to: fields may be added within version 1, never renamed or removed.
pub const SCHEMA: &str = "netstat-deep/1";

/// One report: one network namespace over one window.
#[derive(Clone, Debug, serde::Serialize, JsonSchema)]
pub struct Report {
    /// The version of this format.
    pub schema: &'static str,
    /// Which report.
    pub kind: Verb,
    /// The version of the program.
    pub tool_version: &'static str,
    /// The host's name; of a recording, if it holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The kernel's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// CPUs that are online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<usize>,
    /// The end of the window: RFC 3339, UTC, milliseconds; of a recording, if it holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Length of the window in seconds; since boot, if that is the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<f64>,
    /// True if the totals since boot stand for a window: then there is no ledger and no finding above info.
    pub since_boot: bool,
    /// True if it was made of a recording.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// The network namespace; of a recording, if it holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<Netns>,
    /// The path as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// What each stage did with packets, in the order of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Vec<Line>>,
    /// The counters of each stage.
    pub stages: Vec<StageCounters>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// Packets that the kernel freed as dropped, the most harmful first. Absent without probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drops: Option<Vec<Drop>>,
    /// What they add up to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_totals: Option<DropTotals>,
    /// What went wrong without a packet being freed as dropped, or besides. Absent without probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incidents: Option<Vec<Incident>>,
    /// How the sources went.
    pub sources: Vec<SourceStatus>,
    /// Every network namespace of the host, those that lose most first; only with --netns all. What is the same in all of
    /// them then stands once, outside of it, and `netns`, `totals` and `ledger` only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<namespaces::NetnsReport>>,
    /// What should be changed; only where a plan was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What was changed, and what it did; only with --apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// What the program itself cost so far.
    #[serde(rename = "self")]
    pub own: Own,
}

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// The receive path.
    Rx,
    /// The send path.
    Tx,
    /// Both paths and a plan of what to change there.
    Tune,
    /// What the kernel drops.
    Drops,
}

impl Verb {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Rx => "rx",
            Verb::Tx => "tx",
            Verb::Tune => "tune",
            Verb::Drops => "drops",
        }
    }
}

/// A network namespace.
#[derive(Clone, Debug, Default, serde::Serialize, JsonSchema)]
pub struct Netns {
    /// As the kernel writes it: `net:[4026531840]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The kernel's number for it that is never used again, since 5.14.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// Its name, if it was asked for by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What the program itself cost so far.
#[derive(Clone, Debug, Default, serde::Serialize, JsonSchema)]
pub struct Own {
    /// CPU time of the whole run, in user mode and in the kernel.
    pub cpu_microseconds: u64,
    /// The most memory that it held.
    pub max_rss_bytes: u64,
    /// What its programs in the kernel did. Absent without probes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// Single events that could not be shown: there were too many at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_lost: Option<u64>,
}

impl Own {
    /// As the kernel has counted until now.
    pub fn measure() -> Self {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` is a place for the structure that the call fills, and all zeros is a valid value of it.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
        // ru_maxrss is in KiB on Linux.
        Own {
            cpu_microseconds: micros(usage.ru_utime) + micros(usage.ru_stime),
            max_rss_bytes: usage.ru_maxrss as u64 * 1024,
            probes: Vec::new(),
            events_lost: None,
        }
    }
}

/// The counters of one stage, for one instance.
#[derive(Clone, Debug, serde::Serialize, JsonSchema)]
pub struct StageCounters {
    /// The stage of the packet's path.
    pub stage: &'static str,
    /// What the values stand for.
    pub scope: Scope,
    /// Which one, where there are several.
    #[serde(default, skip_serializing_if = "Instance::is_only")]
    pub instance: Instance,
    /// Values by counter id. A counter that this kernel does not have is absent, never zero.
    pub counters: Values,
}

/// Values by counter id.
#[derive(Clone, Debug, Default)]
pub struct Values(pub Vec<(&'static Counter, Value)>);

/// A counter's value in a report.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// A counter that only grows.
    Total {
        /// Its value at the end of the window.
        total: u64,
        /// By how much it grew in the window; absent if that can't be known (it is new, or was reset).
        #[serde(skip_serializing_if = "Option::is_none")]
        delta: Option<u64>,
        /// The same per second; since boot, if that is the window.
        #[serde(skip_serializing_if = "Option::is_none")]
        per_second: Option<f64>,
    },
    /// A value that goes up and down.
    Gauge {
        /// Its value at the end of the window.
        value: u64,
        /// The highest value seen in the window.
        max: u64,
    },
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Id(&'static Counter);
        impl Serialize for Id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{}.{}", self.0.group.id, self.0.name))
            }
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (counter, value) in &self.0 {
            map.serialize_entry(&Id(counter), value)?;
        }
        map.end()
    }
}

/// The schema names every counter, with the text of its declaration.
impl JsonSchema for Values {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = serde_json::Map::new();
        let value = generator.subschema_for::<Value>();
        for (_, counter) in crate::stage::counters() {
            let mut property = value.clone();
            property.insert("description".into(), counter.text().into());
            properties.insert(counter.id(), property.into());
        }
        schemars::json_schema!({ "type": "object", "properties": properties, "additionalProperties": value })
    }
}

/// The counters of all stages, for every instance.
pub fn stage_counters(stages: &[&'static Stage], changes: &Changes) -> Vec<StageCounters> {
    let mut by_stage: Vec<Vec<StageCounters>> = vec![Vec::new(); stages.len()];
    let mut places: HashMap<(usize, Scope, &Instance), usize> = HashMap::new();
    for table in &changes.tables {
        // A table's counters are in the order of the path, so the search goes on from the last find.
        let mut next = 0;
        let stage_of = |counter| {
            let after = (next..stages.len()).chain(0..next);
            let found = after.into_iter().find(|&stage| stages[stage].counters.contains(counter));
            next = found.unwrap_or(next);
            found
        };
        let columns: Vec<Option<usize>> = table.counters.iter().map(stage_of).collect();
        for row in &table.rows {
            for (column, change) in row.changes.iter().enumerate() {
                let (Some(stage), Some(change)) = (columns[column], change) else { continue };
                let entries = &mut by_stage[stage];
                let scope = table.group.scope;
                // A row's neighbours in the table mostly go to the same place.
                let is_here = |entry: &StageCounters| entry.scope == scope && entry.instance == row.instance;
                let at = match entries.last() {
                    Some(last) if is_here(last) => entries.len() - 1,
                    _ => *places.entry((stage, scope, &row.instance)).or_insert_with(|| {
                        let (stage, instance) = (stages[stage].id, row.instance.clone());
                        entries.push(StageCounters { stage, scope, instance, counters: Values::default() });
                        entries.len() - 1
                    }),
                };
                entries[at].counters.0.push((table.counters[column], value_of(*change, changes)));
            }
        }
    }
    by_stage.into_iter().flatten().collect()
}

fn value_of(change: Grown, changes: &Changes) -> Value {
    match change {
        Grown::Gauge { value, max, .. } => Value::Gauge { value, max },
        Grown::Total { total, delta } => {
            let rate = delta.zip(changes.seconds).and_then(|(delta, seconds)| per_second(delta, seconds));
            // Since boot, the change is the total: it is said once.
            Value::Total { total, delta: delta.filter(|_| !changes.since_boot), per_second: rate }
        }
    }
}

impl Report {
    /// True if its ledger is that of the send path. A plan may be about either.
    pub fn is_of_sending(&self) -> bool {
        let lines = self.ledger.iter().flatten();
        self.kind == Verb::Tx || lines.into_iter().any(|line| SEND.iter().any(|stage| stage.id == line.stage))
    }

    /// How many findings there are of each severity, the worst first, as words.
    pub fn summary(&self) -> String {
        let all = self.all_findings();
        summary(all.iter().map(|(_, finding)| *finding))
    }

    /// All findings with the label of their namespace, if there are several, the worst first.
    pub fn all_findings(&self) -> Vec<(Option<&str>, &Finding)> {
        let own = self.findings.iter().map(|finding| (None, finding));
        let of_each = self.namespaces.iter().flatten();
        let theirs = of_each.flat_map(|of| of.findings.iter().map(|finding| (Some(of.label.as_str()), finding)));
        let mut all: Vec<_> = own.chain(theirs).collect();
        // Each list is in this order already.
        all.sort_by(|(_, a), (_, b)| b.severity.cmp(&a.severity).then(b.lost.cmp(&a.lost)));
        all
    }

    /// All values of `counter`, with their instance.
    pub fn values(&self, counter: &'static Counter) -> impl Iterator<Item = (&Instance, Value)> {
        values_in(&self.stages, counter)
    }

    /// By how much `counter` grew in all; absent if that is not known.
    pub fn delta(&self, counter: &'static Counter) -> Option<u64> {
        debug_assert_eq!(counter.kind, Kind::Total);
        let grown = self.values(counter).filter_map(|(_, value)| match value {
            Value::Total { delta, .. } => delta,
            Value::Gauge { .. } => None,
        });
        grown.reduce(u64::saturating_add)
    }
}

/// All values of `counter` in these stages, with their instance.
pub fn values_in<'a>(
    stages: &'a [StageCounters],
    counter: &'static Counter,
) -> impl Iterator<Item = (&'a Instance, Value)> {
    stages.iter().flat_map(move |stage| {
        let found = stage.counters.0.iter().filter(move |(c, _)| *c == counter);
        found.map(move |(_, value)| (&stage.instance, *value))
    })
}

/// How many findings there are of each severity, in words.
pub fn summary<'a>(findings: impl Iterator<Item = &'a Finding> + Clone) -> String {
    let count = |severity| findings.clone().filter(|finding| finding.severity == severity).count();
    let parts: Vec<String> = [Severity::Critical, Severity::Warning, Severity::Info]
        .into_iter()
        .map(|severity| (count(severity), severity))
        .filter(|(count, _)| *count > 0)
        .map(|(count, severity)| format!("{count} {severity}"))
        .collect();
    if parts.is_empty() { "nothing found".into() } else { parts.join(", ") }
}
