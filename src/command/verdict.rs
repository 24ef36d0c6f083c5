//! Judging a change: another window, of the same length as the one that it was made after.

use std::time::Duration;

use super::memory;
use super::panel::Switches;
use super::path::Run;
use crate::error::Error;
use crate::model::Kind;
use crate::report::{Report, Value};
use crate::source::{Host, sockdiag};
use crate::stage::softirq::SOFTIRQ;
use crate::tune::apply::Panel;
use crate::tune::journal::{Change, Journal, Step};
use crate::tune::revert::{Outcome, revert};
use crate::tune::verify::{Judgement, Measured, Verdict, judge};

/// Ticks of the kernel's clock for user space, a second (USER_HZ).
const TICKS: f64 = 100.0;

/// Watches again and judges what is not decided; what had no effect or hurt is taken back, unless all is to be kept.
pub(super) fn verify(
    run: &Run,
    window: Duration,
    change: &mut Change,
    panel: &Switches,
    journal: &Journal,
    keep: bool,
) -> Result<Vec<Outcome>, Error> {
    let Some(before) = change.before.clone() else { return Ok(Vec::new()) };
    let after = measured(&run.once(window)?);
    let cookies: Vec<u64> = change.steps.iter().flat_map(|step| &step.victims).map(|victim| victim.cookie).collect();
    // What can't be seen counts as alive: then the verdict waits.
    let alive = run.place.inside(|| sockdiag::alive(&Host::Live, &cookies))?.unwrap_or(cookies);
    for step in change.steps.iter_mut().filter(|step| step.undecided()) {
        let judged = judge(step, &before, &after, |cookie| alive.contains(&cookie));
        step.verdict = Some(overwritten(step, panel).unwrap_or(judged));
    }
    journal.put(change).map_err(|e| Error::incomplete(format!("the verdict can't be written down: {e}")))?;
    let useless = |step: &Step| step.verdict.as_ref().is_some_and(|judged| judged.verdict.take_back());
    Ok(if keep { Vec::new() } else { revert(change, panel, journal, useless) })
}

/// A value that somebody else set meanwhile says nothing about ours.
fn overwritten(step: &Step, panel: &Switches) -> Option<Judgement> {
    let now = panel.read(step).ok().filter(|now| *now != step.to)?;
    let why = format!("it is {now} again: somebody else sets it, and would go on (the plan names who it may be)");
    Some(Judgement { verdict: Verdict::NoEffect, why })
}

/// What a verdict needs of a window.
pub(super) fn measured(report: &Report) -> Measured {
    let totals = report.totals.unwrap_or_default();
    let mut measured = Measured {
        seconds: report.window_seconds.unwrap_or_default(),
        arrived: totals.taken,
        lost: totals.lost,
        softirq: busiest(report),
        memory: memory::available(&Host::Live),
        ..Measured::default()
    };
    report.findings.iter().for_each(|finding| measured.add(finding));
    measured
}

/// The share of its time that the busiest CPU spent in softirqs.
fn busiest(report: &Report) -> Option<f64> {
    debug_assert_eq!(SOFTIRQ.kind, Kind::Total);
    let seconds = report.window_seconds.filter(|seconds| *seconds > 0.0)?;
    let ticks = report.values(&SOFTIRQ).filter_map(|(_, value)| match value {
        Value::Total { delta, .. } => delta,
        Value::Gauge { .. } => None,
    });
    ticks.max().map(|ticks| (ticks as f64 / TICKS / seconds).min(1.0))
}
