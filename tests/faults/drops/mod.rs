//! `drops`: every packet that the kernel frees as dropped, by the probe in the kernel.
//!
//! Oracle of each: packets sent, all of which the fault must drop. Exact: one packet is one drop.

mod iptables;
mod load;
mod policy;
mod probed;
mod process;
mod program;
mod reasons;
pub mod ring;
mod stream;
mod tcp;
mod transmit;

use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netstat_deep::generate::{event_schema, schema};
use serde_json::Value;

use crate::case::{Case, Checks, Outcome, wrong};
use crate::lab::Namespace;
use crate::observe::inside;
use crate::report::Report;
use crate::tool::{self, Run};

/// Reading the kernel's types takes a debug build on a loaded machine its time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between the probe's attachment, which is the last, and the window's begin; traffic keeps away from both ends.
const MARGIN: Duration = Duration::from_millis(100);

pub fn cases() -> Vec<Case> {
    [
        reasons::cases(),
        policy::cases(),
        iptables::cases(),
        program::cases(),
        load::cases(),
        process::cases(),
        stream::cases(),
        probed::cases(),
        ring::cases(),
        transmit::cases(),
        tcp::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What was seen of one window.
struct Seen {
    report: Report,
    told: u64,
}

/// Runs `traffic` wholly inside one window of `drops` on `namespace`.
fn observe(namespace: &Namespace, window: Duration, traffic: impl FnOnce() -> Outcome<u64>) -> Outcome<Seen> {
    observe_with(namespace, window, &[], traffic)
}

fn observe_with(
    namespace: &Namespace,
    window: Duration,
    more: &[&str],
    traffic: impl FnOnce() -> Outcome<u64>,
) -> Outcome<Seen> {
    let args = [&["drops", "--json", "--netns", &namespace.name][..], more].concat();
    let ([report], told) = inside([tool::start_with(&args, window)], attached, traffic)?;
    valid(&report.0)?;
    Ok(Seen { report, told })
}

/// Waits until the program holds the link of the drop probe, as the kernel tells of its open files.
pub fn attached(run: &Run) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !process::open_files(run.pid())
        .lines()
        .any(|line| line.starts_with("tp_name:") && line.ends_with("kfree_skb"))
    {
        if Instant::now() > deadline {
            return wrong("the probe is not attached after 20 s");
        }
        sleep(Duration::from_millis(5));
    }
    sleep(MARGIN);
    Ok(())
}

/// What is printed must be what the schema promises.
fn valid(document: &Value) -> Outcome {
    static REPORT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&schema()).unwrap_or_default());
    static EVENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&event_schema()).unwrap_or_default());
    let schema = if document["kind"] == "drop" { &EVENT } else { &REPORT };
    let validator = jsonschema::validator_for(schema)?;
    match validator.validate(document) {
        Ok(()) => Ok(()),
        Err(error) => wrong(format_args!("not as the schema says: {}: {error}", error.instance_path)),
    }
}

impl Seen {
    /// The rows of one reason, by name or by place.
    fn rows(&self, reason: &str) -> Vec<&Value> {
        self.all().iter().filter(|row| row["reason"] == reason || row["likely"] == reason).collect()
    }

    fn all(&self) -> &[Value] {
        self.report.0["drops"].as_array().map_or(&[], Vec::as_slice)
    }

    fn count(&self, reason: &str) -> u64 {
        self.rows(reason).iter().filter_map(|row| row["count"].as_u64()).sum()
    }

    /// How often a hook saw something, and the first of it.
    fn incident(&self, hook: &str) -> (u64, &Value) {
        let all = self.report.0["incidents"].as_array().map_or(&[][..], Vec::as_slice);
        let of: Vec<&Value> = all.iter().filter(|incident| incident["hook"] == hook).collect();
        let count = of.iter().filter_map(|incident| incident["count"].as_u64()).sum();
        (count, of.first().copied().unwrap_or(&Value::Null))
    }

    /// All drops of `reason`, exactly so many, of this harm and at this stage.
    fn check(&self, checks: &mut Checks, reason: &str, harm: &str, stage: &str, count: u64) -> Outcome<&Value> {
        checks.same(&format!("drops for {reason}"), count, self.count(reason));
        for row in self.rows(reason) {
            checks.same(&format!("{reason}: harm"), Some(harm), row["harm"].as_str());
            checks.same(&format!("{reason}: stage"), Some(stage), row["stage"].as_str());
            let place = row["location"].as_str().unwrap_or_default();
            checks.that(place.contains("+0x"), format_args!("{reason}: no symbol but '{place}'"));
        }
        let missed = self.report.0["self"]["probes"][0]["missed"].as_u64().unwrap_or(0);
        checks.same("missed runs", 0, missed);
        match self.rows(reason).first() {
            Some(row) => Ok(row),
            None => wrong(format_args!("no drop for {reason}, but {:#}", self.report.0["drops"])),
        }
    }
}
