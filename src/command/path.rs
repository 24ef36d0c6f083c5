//! `rx` and `tx`: the report on a path of packets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bar::Bar;
use super::choice::{Ignored, thresholds};
use super::drift;
use super::live::Live;
use super::lookup::{find_owners, next_hops, path_mtus};
use super::probing::{Probing, Seen, explained, uncounted};
use super::{namespaces, ports, topology};
use crate::cli::{Format, PathArgs, Probes};
use crate::diagnose::{diagnose, wanted_knobs};
use crate::error::{EXIT_FOUND, EXIT_INTERRUPTED, Error};
use crate::ledger;
use crate::model::{Changes, Instance, Knob, Lasting, Observed, Probed, Scope, Settings, Severity, SourceStatus};
use crate::observe::{Observer, Window};
use crate::render::{self, Look};
use crate::report::{Netns, Own, Report, SCHEMA, Verb, stage_counters};
use crate::source::place::{self, Place};
use crate::source::tape::Notes;
use crate::source::{Host, groups, inventory, settings, text, xfrm};
use crate::stage::{Way, forward, ip_out, link, placement};
use crate::tune::{journal, recent};

/// Watches one way and reports on it, once or window after window.
pub fn run(way: Way, args: &PathArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    if args.probes == Probes::On && (args.root.is_some() || args.interval.is_zero()) {
        return Err(Error::usage("probes see what happens from now on: not a recording, nor the time since boot")
            .hint("leave --probes on away, or look at a window of this host"));
    }
    let worst = if args.everywhere() {
        namespaces::windows(&Run::in_place(way, args, Place::here(), stop)?, args, out)?
    } else {
        let (hosts, run) = (args.hosts()?, Run::new(way, args, stop)?);
        run.place.inside(|| run.windows(args, &hosts, out)).flatten()?
    };
    Ok(match (args.check, worst) {
        _ if stop.load(Ordering::Relaxed) => EXIT_INTERRUPTED,
        (Some(limit), Some(worst)) if worst >= limit => EXIT_FOUND,
        _ => 0,
    })
}

/// Where to look, and what not to show.
pub(super) struct Run<'a> {
    pub way: Way,
    pub stop: &'a AtomicBool,
    ignored: Ignored,
    thresholds: BTreeMap<(String, String), f64>,
    /// Of the devices, only this one.
    pub device: Option<String>,
    /// How the report will be shown.
    pub format: Format,
    pub probes: Probes,
    /// The namespace that we came from: machine-wide settings show only there, if anywhere.
    pub home: Place,
    /// The namespace that is looked at.
    pub place: Place,
    /// Where this program writes down what it changes.
    pub journal: &'a Path,
}

impl<'a> Run<'a> {
    /// Finds all that the arguments name.
    pub fn new(way: Way, args: &'a PathArgs, stop: &'a AtomicBool) -> Result<Self, Error> {
        Self::in_place(way, args, args.netns.as_deref().map_or_else(|| Ok(Place::here()), Place::find)?, stop)
    }

    /// The same, in a place that was found already.
    pub fn in_place(way: Way, args: &'a PathArgs, place: Place, stop: &'a AtomicBool) -> Result<Self, Error> {
        Ok(Run {
            ignored: Ignored::new(&args.ignore)?,
            thresholds: args.thresholds.as_deref().map_or_else(|| Ok(BTreeMap::new()), thresholds)?,
            device: args.dev.clone(),
            format: args.show.format(),
            probes: args.probes,
            journal: &args.change.state_dir,
            ..Run::at(way, place, stop)
        })
    }

    /// The same at another place.
    pub fn elsewhere(&self, place: Place) -> Self {
        let (ignored, thresholds) = (self.ignored.clone(), self.thresholds.clone());
        let Run { format, probes, journal, .. } = *self;
        Run {
            ignored,
            thresholds,
            device: self.device.clone(),
            format,
            probes,
            journal,
            ..Run::at(self.way, place, self.stop)
        }
    }

    /// Everything there, with the usual limits.
    pub fn at(way: Way, place: Place, stop: &'a AtomicBool) -> Self {
        let (ignored, thresholds) = (Ignored::none(), BTreeMap::new());
        let (home, format, probes) = (Place::here_pinned(), Format::Table, Probes::Auto);
        let journal = Path::new(journal::DEFAULT);
        Run { way, stop, ignored, thresholds, device: None, format, probes, home, place, journal }
    }

    /// One window of this host.
    pub fn once(&self, interval: Duration) -> Result<Report, Error> {
        let watch = || {
            let mut observer = Observer::new(Host::Live, self.way);
            let mut probing = Probing::begin(self.probes)?;
            let first = observer.snapshot();
            let bar = Bar::new(self.format, interval);
            let (_, window) = observer.watch(&first, interval, self.stop, |share| bar.show(share));
            bar.clear();
            self.report(&Host::Live, window, probing.window(), Lasting::default())
        };
        self.place.inside(watch).flatten()
    }
}

impl PathArgs {
    /// Where to read: this host, or the samples of a recording, of which there is one at least.
    pub(super) fn hosts(&self) -> Result<Vec<Host>, Error> {
        self.root.as_deref().map_or_else(|| Ok(vec![Host::Live]), Host::recorded)
    }
}

impl Run<'_> {
    /// What lies between two samples, the second of which is taken when `wait` is over; of one, what it says since boot.
    pub fn sampled(&self, hosts: &[Host], wait: impl FnOnce()) -> Result<Report, Error> {
        let mut observer = Observer::new(hosts[0].clone(), self.way);
        let (host, window) = match hosts {
            [_, after] => (after, observer.between(after.clone(), wait)),
            _ => (&hosts[0], observer.since_boot()),
        };
        self.report(host, window, Seen::default(), Lasting::default())
    }

    /// Reports on window after window; returns the worst severity found. Runs inside the observed namespace.
    fn windows(
        &self,
        args: &PathArgs,
        hosts: &[Host],
        out: &mut (dyn Write + Send),
    ) -> Result<Option<Severity>, Error> {
        let host = hosts.last().unwrap_or(&Host::Live);
        let mut worst = None;
        let mut live = Live::begin(args.show.watch).map_err(Error::output)?;
        let mut show = |report: Report| -> Result<(), Error> {
            worst = worst.max(report.findings.iter().map(|finding| finding.severity).max());
            let look = Look { format: args.show.format(), verbose: args.verbose };
            live.show(out, |out| render::write(&report, look, out)).map_err(Error::output)
        };
        if args.interval.is_zero() || host.is_recorded() {
            show(self.sampled(hosts, || ())?)?;
        } else {
            let mut observer = Observer::new(Host::Live, self.way);
            let mut probing = Probing::begin(self.probes)?;
            let mut first = observer.snapshot();
            let (mut windows, mut lasting) = (0, Lasting::default());
            while !self.stop.load(Ordering::Relaxed) && (args.show.windows() == 0 || windows < args.show.windows()) {
                let bar = Bar::new(self.format, args.interval);
                let (last, window) = observer.watch(&first, args.interval, self.stop, |share| bar.show(share));
                bar.clear();
                let report = self.report(host, window, probing.window(), lasting.clone())?;
                lasting.follow(&report.findings, report.window_seconds.unwrap_or(0.0));
                show(report)?;
                first = last;
                windows += 1;
            }
        }
        live.end(out).map_err(Error::output)?;
        Ok(worst)
    }

    /// What one window says, after others that found what `lasting` tells.
    pub fn report(&self, host: &Host, window: Window, seen: Seen, lasting: Lasting) -> Result<Report, Error> {
        let stages = self.way.stages();
        let Window { mut changes, sockets, mut sources } = window;
        if let Some(device) = &self.device {
            only_device(&mut changes, device)?;
        }
        sources.extend(seen.status);
        let drops = seen.window;
        let mut probed = drops.as_ref().map(|seen| Probed {
            drops: seen.drops.clone(),
            incidents: seen.incidents.clone(),
            longer: changes.seconds.map_or(0.0, |seconds| (seen.seconds / seconds - 1.0).max(0.0)),
            ..Probed::default()
        });
        let mut uncounted = uncounted(self.way, changes.delta_of(&forward::SENT_ON) > 0, probed.as_ref());
        let balances = !changes.since_boot;
        let mut solved = balances.then(|| ledger::solve(self.way, &changes, sockets.as_ref(), &mut uncounted));
        if let Some((lines, totals)) = solved.as_mut().filter(|_| self.way == Way::Send) {
            let odd = lines.iter().any(|line| line.stage == ip_out::STAGE.id && line.unexplained > Some(0));
            // Asked only if it matters, and only whoever may is told.
            if odd && xfrm::associations(host).is_ok_and(|count| count > 0) {
                ledger::counted_twice(ip_out::STAGE.id, "IPsec counts what it protects twice", lines, totals);
            }
        }
        let (ledger, totals) = solved.unzip();
        if let Some(probed) = &mut probed {
            probed.explained = explained(&uncounted);
        }
        let path_mtus = path_mtus(host, &changes, &mut sources);
        let unexplained = missing(ledger.as_deref().unwrap_or_default());
        let wanted = wanted_knobs(&self.way.rules(), &changes, sockets.as_ref(), probed.as_ref(), &unexplained);
        let settings = self.settings(host, &wanted);
        let next_hops = next_hops(host, &changes, &unexplained, &mut sources);
        let ports = if self.way == Way::Receive {
            Vec::new()
        } else {
            ports::in_use(host, &changes, sockets.as_ref(), &settings, &mut sources)
        };
        let thresholds = self.thresholds.clone();
        let enter = host.notes().map_or(&self.place.enter, |notes| &notes.enter).clone();
        let hidden = if changes.since_boot { Vec::new() } else { inventory::hidden(host) };
        let restarted = self.restarted(host, &changes);
        let live = !host.is_recorded() && self.way != Way::Receive;
        let drifted = if live { drift::drifted(self) } else { Vec::new() };
        let mut seen = Observed {
            changes,
            sockets,
            settings,
            thresholds,
            enter,
            probed,
            path_mtus,
            next_hops,
            unexplained,
            hidden,
            lasting,
            drifted,
            ports,
            restarted,
            layout: None,
        };
        self.place_work(host, &mut seen, &mut sources);
        let mut findings = diagnose(&self.way.rules(), &seen);
        findings.retain(|finding| !self.ignored.holds(finding));
        sources.extend(find_owners(host, &mut findings));
        let cpus = seen.changes.table(&groups::CPU).map(|table| table.rows.len()).filter(|cpus| *cpus > 0);
        Ok(Report {
            schema: SCHEMA,
            kind: match self.way {
                Way::Receive => Verb::Rx,
                Way::Send => Verb::Tx,
                Way::Both => Verb::Tune,
            },
            tool_version: env!("CARGO_PKG_VERSION"),
            host: name(host, "proc/sys/kernel/hostname"),
            kernel: name(host, "proc/sys/kernel/osrelease"),
            cpus,
            taken_at: host.notes().map_or_else(|| Some(now()), |notes| notes.taken_at.clone()),
            recorded: host.is_recorded(),
            window_seconds: seen.changes.seconds,
            since_boot: seen.changes.since_boot,
            netns: host.notes().map_or_else(|| Some(self.netns()), recorded_netns),
            totals,
            ledger,
            stages: stage_counters(&stages, &seen.changes),
            findings,
            drop_totals: drops.as_ref().map(|seen| seen.totals),
            incidents: drops.as_ref().map(|seen| seen.incidents.clone()),
            own: Own { probes: drops.as_ref().map_or_else(Vec::new, |seen| seen.probes.clone()), ..Own::measure() },
            drops: drops.map(|seen| seen.drops),
            sources,
            namespaces: None,
            plan: None,
            change: None,
        })
    }

    /// The settings that the rules want to look at: a machine-wide one as it is at home, the others as they are here.
    pub fn settings(&self, host: &Host, knobs: &[&'static Knob]) -> Settings {
        let away = |knob: &&Knob| knob.scope == Scope::Machine && !self.place.is_here();
        let (machine, here): (Vec<_>, Vec<_>) = knobs.iter().copied().partition(away);
        let read = |knobs: &[&Knob]| settings::read(host, knobs.iter().filter_map(|knob| knob.template()));
        let mut settings = read(&here);
        if !machine.is_empty() {
            // If we may not go back home, machine-wide settings stay unknown.
            settings.extend(self.home.inside(|| read(&machine)).unwrap_or_default());
        }
        settings
    }

    /// Looks up which CPU does whose work, for who looks at both ways.
    fn place_work(&self, host: &Host, seen: &mut Observed, sources: &mut Vec<SourceStatus>) {
        if self.way != Way::Both || seen.changes.since_boot {
            return;
        }
        let (layout, status) = topology::layout(host, self.device.as_deref());
        if let Some(layout) = layout {
            placement::put(layout, seen);
        }
        sources.push(status);
    }

    /// Devices that this program itself restarted in the window, if one lost its link.
    fn restarted(&self, host: &Host, changes: &Changes) -> BTreeMap<String, String> {
        let down = changes.delta_of(&[&link::CARRIER_DOWN, &link::EXT_DOWN]) > 0;
        match changes.seconds.filter(|_| down && !changes.since_boot && !host.is_recorded()) {
            Some(seconds) => recent::restarted(self.journal, seconds),
            None => BTreeMap::new(),
        }
    }

    fn netns(&self) -> Netns {
        let (id, cookie) = place::identity();
        Netns { id, cookie, name: self.place.name.clone() }
    }
}

/// What is missing at each stage, as far as the ledger can tell.
fn missing(ledger: &[ledger::Line]) -> BTreeMap<&'static str, u64> {
    ledger.iter().filter_map(|line| Some((line.stage, line.unexplained?))).collect()
}

/// The namespace that a recording was made in, if it says so.
pub(super) fn recorded_netns(notes: &Notes) -> Option<Netns> {
    let id = Some(text::printable(notes.netns.as_ref()?.as_bytes()));
    let name = notes.netns_name.as_ref().map(|name| text::printable(name.as_bytes()));
    Some(Netns { id, cookie: None, name })
}

/// The devices that there are.
pub(super) fn devices(changes: &Changes) -> BTreeSet<String> {
    let rows = changes.tables.iter().flat_map(|table| &table.rows);
    let names = rows.filter_map(|row| match &row.instance {
        Instance::Device { device } => Some(device.clone()),
        _ => None,
    });
    // Each stands in several tables.
    names.collect()
}

/// That there is this device among those.
pub(super) fn known_device(device: &str, names: BTreeSet<String>) -> Result<(), Error> {
    if !names.contains(device) {
        return Err(Error::no_device(device, names.into_iter().collect()));
    }
    Ok(())
}

/// Leaves only the rows of one device.
fn only_device(changes: &mut Changes, device: &str) -> Result<(), Error> {
    known_device(device, devices(changes))?;
    for table in &mut changes.tables {
        table.rows.retain(|row| row.instance.of_device().is_none_or(|name| name == device));
    }
    Ok(())
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
