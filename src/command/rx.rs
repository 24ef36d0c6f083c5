//! `rx`: the report on the receive path.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bar::Bar;
use super::choice::{Ignored, thresholds};
use crate::cli::RxArgs;
use crate::diagnose::{diagnose, wanted_knobs};
use crate::error::{EXIT_FOUND, EXIT_INTERRUPTED, Error, near_misses};
use crate::ledger;
use crate::model::{Finding, Instance, Knob, Observed, Scope, Settings, Severity, SourceStatus};
use crate::observe::{Observer, Window};
use crate::render::{self, Look};
use crate::report::{Netns, Own, Report, SCHEMA, Verb, stage_counters};
use crate::source::place::{self, Place};
use crate::source::{Host, groups, owner, sysctl, text};
use crate::stage::RECEIVE;

/// Watches the receive path and reports on it, once or window after window.
pub fn run(args: &RxArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    let hosts = args.root.as_deref().map_or_else(|| Ok(vec![Host::Live]), Host::recorded)?;
    let run = Run::new(args, stop)?;
    let worst = run.place.inside(|| run.windows(&hosts, out)).flatten()?;
    Ok(match (args.check, worst) {
        _ if stop.load(Ordering::Relaxed) => EXIT_INTERRUPTED,
        (Some(limit), Some(worst)) if worst >= limit => EXIT_FOUND,
        _ => 0,
    })
}

/// What was asked for, made out.
pub(super) struct Run<'a> {
    args: &'a RxArgs,
    stop: &'a AtomicBool,
    ignored: Ignored,
    thresholds: BTreeMap<(String, String), f64>,
    /// The namespace that we came from: machine-wide settings show only there, if anywhere.
    pub home: Place,
    /// The namespace that is looked at.
    pub place: Place,
}

impl<'a> Run<'a> {
    /// Finds all that the arguments name.
    pub fn new(args: &'a RxArgs, stop: &'a AtomicBool) -> Result<Self, Error> {
        Ok(Run {
            args,
            stop,
            ignored: Ignored::new(&args.ignore)?,
            thresholds: args.thresholds.as_deref().map_or_else(|| Ok(BTreeMap::new()), thresholds)?,
            home: Place::here_pinned(),
            place: args.netns.as_deref().map_or_else(|| Ok(Place::here()), Place::find)?,
        })
    }

    /// One window of this host.
    pub fn once(&self, interval: Duration) -> Result<Report, Error> {
        let watch = || {
            let mut observer = Observer::new(Host::Live);
            let first = observer.snapshot();
            let bar = self.bar();
            let (_, window) = observer.watch(&first, interval, self.stop, |share| bar.show(share));
            bar.clear();
            self.report(&Host::Live, window)
        };
        self.place.inside(watch).flatten()
    }
}

impl Run<'_> {
    /// Reports on window after window; returns the worst severity found. Runs inside the observed namespace.
    fn windows(&self, hosts: &[Host], out: &mut (dyn Write + Send)) -> Result<Option<Severity>, Error> {
        let host = hosts.last().unwrap_or(&Host::Live);
        let mut worst = None;
        let mut show = |window: Window| -> Result<(), Error> {
            let report = self.report(host, window)?;
            worst = worst.max(report.findings.iter().map(|finding| finding.severity).max());
            let look = Look { format: self.args.format(), verbose: self.args.verbose };
            render::write(&report, look, out).map_err(Error::output)
        };
        let mut observer = Observer::new(hosts[0].clone());
        if let [_, after] = hosts {
            show(observer.between(after.clone()))?;
        } else if self.args.interval.is_zero() || host.is_recorded() {
            show(observer.since_boot())?;
        } else {
            let mut first = observer.snapshot();
            let mut windows = 0;
            while !self.stop.load(Ordering::Relaxed) && (self.args.count == 0 || windows < self.args.count) {
                let bar = self.bar();
                let (last, window) = observer.watch(&first, self.args.interval, self.stop, |share| bar.show(share));
                bar.clear();
                show(window)?;
                first = last;
                windows += 1;
            }
        }
        Ok(worst)
    }

    fn bar(&self) -> Bar {
        Bar::new(self.args.format(), self.args.interval)
    }

    /// What one window says.
    fn report(&self, host: &Host, window: Window) -> Result<Report, Error> {
        let Window { mut changes, sockets, mut sources } = window;
        if let Some(device) = &self.args.dev {
            only_device(&mut changes, device)?;
        }
        let settings = self.settings(host, &wanted_knobs(RECEIVE, &changes));
        let thresholds = self.thresholds.clone();
        let seen = Observed { changes, sockets, settings, thresholds, enter: self.place.enter.clone() };
        let mut findings = diagnose(RECEIVE, &seen);
        findings.retain(|finding| !self.ignored.holds(finding));
        sources.extend(find_owners(host, &mut findings));
        let solved = (!seen.changes.since_boot).then(|| ledger::solve(RECEIVE, &seen.changes, seen.sockets.as_ref()));
        let (ledger, totals) = solved.unzip();
        let cpus = seen.changes.table(&groups::CPU).map(|table| table.rows.len()).filter(|cpus| *cpus > 0);
        Ok(Report {
            schema: SCHEMA,
            kind: Verb::Rx,
            tool_version: env!("CARGO_PKG_VERSION"),
            host: name(host, "proc/sys/kernel/hostname"),
            kernel: name(host, "proc/sys/kernel/osrelease"),
            cpus,
            taken_at: (!host.is_recorded()).then(now),
            window_seconds: seen.changes.seconds,
            since_boot: seen.changes.since_boot,
            netns: (!host.is_recorded()).then(|| self.netns()),
            totals,
            ledger,
            stages: stage_counters(RECEIVE, &seen.changes),
            findings,
            drops: None,
            drop_totals: None,
            sources,
            own: Own::measure(),
        })
    }

    /// The settings that the rules want to look at: a machine-wide one as it is at home, the others as they are here.
    fn settings(&self, host: &Host, knobs: &[&'static Knob]) -> Settings {
        let (machine, here): (Vec<_>, Vec<_>) = knobs.iter().partition(|knob| knob.scope == Scope::Machine);
        let read = |knobs: &[&Knob]| sysctl::read(host, knobs.iter().map(|knob| knob.path()));
        let mut settings = read(&here);
        if !machine.is_empty() {
            // If we may not go back home, machine-wide settings stay unknown.
            settings.extend(self.home.inside(|| read(&machine)).unwrap_or_default());
        }
        settings
    }

    fn netns(&self) -> Netns {
        let (id, cookie) = place::identity();
        Netns { id, cookie, name: self.place.name.clone() }
    }
}

/// Leaves only the rows of one device.
fn only_device(changes: &mut crate::model::Changes, device: &str) -> Result<(), Error> {
    let is = |instance: &Instance| matches!(instance, Instance::Device { device: name } if name == device);
    let names = || {
        changes.tables.iter().flat_map(|table| &table.rows).filter_map(|row| match &row.instance {
            Instance::Device { device } => Some(device.clone()),
            _ => None,
        })
    };
    if !names().any(|name| name == device) {
        let near = near_misses(device, names());
        let there: Vec<String> = if near.is_empty() { names().take(8).collect() } else { near };
        let hint =
            if there.is_empty() { "no device could be read".into() } else { format!("there is {}", there.join(", ")) };
        return Err(Error::usage(format!("there is no device '{device}' here")).hint(hint));
    }
    for table in &mut changes.tables {
        if table.group.scope == Scope::Device {
            table.rows.retain(|row| is(&row.instance));
        }
    }
    Ok(())
}

/// Looks up whose the sockets are that the findings name. Returns how that went, if there was anything to look up.
fn find_owners(host: &Host, findings: &mut [Finding]) -> Option<SourceStatus> {
    let start = std::time::Instant::now();
    let mut victims: Vec<_> = findings.iter_mut().flat_map(|finding| &mut finding.victims).collect();
    if victims.is_empty() {
        return None;
    }
    let reason = owner::find(host, &mut victims).err();
    let microseconds = start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    Some(SourceStatus { name: "owners of sockets".into(), ok: reason.is_none(), reason, microseconds })
}

/// A name that stands alone in a file.
pub(super) fn name(host: &Host, path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    host.read(path, &mut bytes).ok()?;
    let name = text::printable(bytes.trim_ascii());
    (!name.is_empty()).then_some(name)
}

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn now() -> String {
    written(jiff::Timestamp::now())
}

/// A time as reports write it.
pub(super) fn written(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
