//! One window of `tx`: counters, the program, traffic, counters. It ends when the traffic is over, however long that took.

use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;

use crate::case::{Checks, Outcome, again};
use crate::kernel::Counters;
use crate::lab::Namespace;
use crate::report::{Finding, Report};
use crate::tool;

/// The program needs so long to take its first sample.
const HEAD_START: Duration = Duration::from_millis(500);

/// What the program said about the traffic, and what the kernel counted.
pub struct Told<T> {
    pub report: Report,
    pub before: Counters,
    pub after: Counters,
    /// The same, at the ends of the traffic: timers go on outside of it.
    pub within: [Counters; 2],
    pub traffic: T,
}

/// Runs `traffic` in a window of `tx` that ends when the traffic does.
pub fn observe<T: Send>(namespace: &Namespace, traffic: impl FnOnce() -> Outcome<T> + Send) -> Outcome<Told<T>> {
    let before = Counters::read(namespace)?;
    let probes = if tool::probing() { "on" } else { "off" };
    let args = ["tx", "--json", "--probes", probes, "--netns", &namespace.name];
    let run = tool::start_with(&args, Duration::from_secs(60))?;
    sleep(if tool::probing() { HEAD_START * 6 } else { HEAD_START });
    let start = Counters::read(namespace)?;
    let begun = Timestamp::now();
    let done = namespace.inside(|| Ok(traffic()))??;
    let end = Counters::read(namespace)?;
    let report = run.interrupt()?;
    if report.window()?.0 > begun {
        return again("the traffic began before the window");
    }
    Ok(Told { report, before, after: Counters::read(namespace)?, within: [start, end], traffic: done })
}

impl<T> Told<T> {
    pub fn grew(&self, counter: &str) -> u64 {
        self.after.since(&self.before, counter)
    }

    /// The one finding of this id; the counter is its evidence, as the kernel counts it. None other is above a remark.
    pub fn only(&self, checks: &mut Checks, id: &str, severity: &str, counter: &str) -> Finding<'_> {
        let alarms: Vec<&str> = self.report.alarms().into_iter().filter(|other| *other != id).collect();
        checks.same("other alarms", vec![], alarms);
        self.found(checks, id, severity, counter)
    }

    /// The same, whatever else there is.
    pub fn found(&self, checks: &mut Checks, id: &str, severity: &str, counter: &str) -> Finding<'_> {
        let all = self.report.findings(id);
        checks.same(&format!("findings {id}"), 1, all.len());
        let finding = Finding(all.first().copied());
        checks.same(&format!("{id}: severity"), Some(severity), finding.0.and_then(|one| one["severity"].as_str()));
        let told = finding.evidence(counter).unwrap_or(0);
        let [start, end] = &self.within;
        let (least, most) = (end.since(start, counter), self.grew(counter));
        checks.that((least..=most).contains(&told), format_args!("{id}: {counter}: {told}, not {least} to {most}"));
        finding
    }

    pub fn done(&self, checks: Checks) -> Outcome {
        checks.done(&self.report)
    }
}

/// Packets that a finding tells of as lost.
pub fn lost(finding: &Finding) -> Option<u64> {
    finding.0.and_then(|finding| finding["lost"].as_u64())
}
