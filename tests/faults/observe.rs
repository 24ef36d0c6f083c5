//! One window: the kernel's counters, the program under test, the traffic, the counters again.

use std::thread::sleep;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::actor::Actor;
use crate::case::{Checks, Outcome, again, wrong};
use crate::drops;
use crate::kernel::Counters;
use crate::lab::Namespace;
use crate::report::{Finding, Report};
use crate::tool;

/// The program has no way to say that it has taken its first sample, so the traffic waits this long, and longer in the
/// longer windows of a second try; the check of the window tells if that was not enough.
const HEAD_START: Duration = Duration::from_millis(400);

/// A sample is several files, read one after the other: the traffic keeps this far from both ends.
const MARGIN: SignedDuration = SignedDuration::from_millis(50);

/// What was seen of one window.
pub struct Seen<T> {
    pub report: Report,
    pub before: Counters,
    pub after: Counters,
    /// What the traffic gave back.
    pub told: T,
}

/// Runs `traffic` wholly inside one window of the program on `namespace`.
pub fn observe<T>(namespace: &Namespace, window: Duration, traffic: impl FnOnce() -> Outcome<T>) -> Outcome<Seen<T>> {
    let before = Counters::read(namespace)?;
    let ([report], told) = side_by_side([&namespace.name], window, traffic)?;
    let after = Counters::read(namespace)?;
    Ok(Seen { report, before, after, told })
}

/// Runs `traffic` wholly inside one window of each of several programs, one for each `--netns`.
pub fn side_by_side<const N: usize, T>(
    netns: [&str; N],
    window: Duration,
    traffic: impl FnOnce() -> Outcome<T>,
) -> Outcome<([Report; N], T)> {
    let runs = netns.map(|netns| tool::start(netns, window));
    let wait = |run: &tool::Run| {
        if tool::probing() {
            drops::attached(run)?;
        }
        sleep(HEAD_START.max(window / 5));
        Ok(())
    };
    inside(runs, wait, traffic)
}

/// Runs `traffic` wholly inside the windows of programs that have just been started; `begun` waits until one's has begun.
pub fn inside<const N: usize, T>(
    runs: [Outcome<tool::Run>; N],
    begun: impl Fn(&tool::Run) -> Outcome,
    traffic: impl FnOnce() -> Outcome<T>,
) -> Outcome<([Report; N], T)> {
    for run in runs.iter().flatten() {
        begun(run)?;
    }
    let start = Timestamp::now();
    let told = traffic()?;
    let stop = Timestamp::now();
    let reports = runs.into_iter().map(|run| run?.report()).collect::<Outcome<Vec<_>>>()?;
    for report in &reports {
        let (opened, closed) = report.window()?;
        if start < opened + MARGIN || stop + MARGIN > closed {
            return again(format_args!("traffic {start} to {stop} not inside the window {opened} to {closed}"));
        }
    }
    match reports.try_into() {
        Ok(reports) => Ok((reports, told)),
        Err(reports) => wrong(format_args!("{N} programs, {} reports", Vec::len(&reports))),
    }
}

impl<T> Seen<T> {
    /// How much the kernel itself says a counter grew.
    pub fn grew(&self, counter: &str) -> u64 {
        self.after.since(&self.before, counter)
    }

    /// Fails the try if packets were lost where the case wants none lost: the machine was too busy.
    pub fn only_as_planned(&self, still: &[&str]) -> Outcome {
        match still.iter().find(|counter| self.grew(counter) != 0) {
            None => Ok(()),
            Some(counter) => again(format_args!("{counter} grew by {}", self.grew(counter))),
        }
    }

    /// The kernel must agree with the oracle before the program is measured against it.
    pub fn kernel_agrees(&self, counter: &str, oracle: u64) -> Outcome {
        if std::env::var_os("FAULTS_SHOW").is_some() {
            eprintln!("{counter} grew by {}, the oracle counts {oracle}", self.grew(counter));
        }
        match self.grew(counter) {
            0 => again(format_args!("{counter} did not move: no fault")),
            grew if grew == oracle => Ok(()),
            grew => again(format_args!("{counter} grew by {grew}, but the oracle counts {oracle}")),
        }
    }

    /// The one finding with this id, its evidence and its severity.
    pub fn finding<'a>(&'a self, checks: &mut Checks, id: &str, counter: &str, delta: u64) -> Finding<'a> {
        let finding = self.found(checks, id, counter, delta);
        let alarm = finding.0.is_some_and(|finding| finding["severity"] != "info");
        checks.that(alarm, format_args!("{id}: severity should be warning or critical"));
        finding
    }

    /// The same for what is worth a remark only.
    pub fn remark<'a>(&'a self, checks: &mut Checks, id: &str, counter: &str, delta: u64) -> Finding<'a> {
        let finding = self.found(checks, id, counter, delta);
        let severity = finding.0.and_then(|finding| finding["severity"].as_str());
        checks.same(&format!("{id}: severity"), Some("info"), severity);
        finding
    }

    fn found<'a>(&'a self, checks: &mut Checks, id: &str, counter: &str, delta: u64) -> Finding<'a> {
        let all = self.report.findings(id);
        checks.same(&format!("findings {id}"), 1, all.len());
        let finding = Finding(all.first().copied());
        checks.same(&format!("{id}: evidence {counter}"), Some(delta), finding.evidence(counter));
        finding
    }

    /// With probes: as many packets freed for this reason at this stage, and no finding besides that of `id`: a loss that a
    /// counter knows of is not made two.
    pub fn probed(&self, checks: &mut Checks, id: &str, reason: &str, stage: &str, lost: u64) {
        if !tool::probing() {
            return;
        }
        let rows = self.report.drops(reason);
        checks.same(&format!("drops for {reason}"), lost, rows.iter().filter_map(|row| row["count"].as_u64()).sum());
        for row in rows {
            checks.same(&format!("{reason}: stage"), Some(stage), row["stage"].as_str());
        }
        checks.same("alarms", vec![id], self.report.alarms());
    }

    pub fn ledger(&self, checks: &mut Checks, stage: &str, lost: u64) {
        checks.same(&format!("ledger {stage}: lost"), Some(lost), self.report.ledger_sum(stage, "lost"));
    }
}

/// One victim, and it is `actor`, whose socket lies at `local` and lost so many packets.
pub fn check_victim(checks: &mut Checks, finding: &Finding, actor: &Actor, local: &str, lost: u64) {
    checks.same("victims", 1, finding.victims().len());
    let Some(victim) = finding.victims().first() else { return };
    checks.same("victim's pid", Some(u64::from(actor.pid())), victim["pid"].as_u64());
    checks.same("victim's comm", Some(actor.comm()), victim["comm"].as_str());
    checks.same("victim's local address", Some(local), victim["local"].as_str());
    checks.same("victim's loss", Some(lost), victim["lost"].as_u64());
}
