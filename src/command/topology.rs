//! `topology`: which CPU works for which queue, how much, and what is crooked in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::bar::Bar;
use super::choice::{Ignored, thresholds};
use super::live::Live;
use super::path::{name, now, recorded_netns};
use crate::cli::TopologyArgs;
use crate::diagnose::{diagnose, wanted_knobs};
use crate::error::{EXIT_FOUND, EXIT_INTERRUPTED, Error};
use crate::model::{Layout, Observed, Severity, SourceStatus};
use crate::observe::{Detail, Observer, Window};
use crate::render;
use crate::report::topology::{Topology, TopologyKind};
use crate::report::{Netns, Own, SCHEMA};
use crate::source::place::{self, Place};
use crate::source::{Host, layout as source, settings};
use crate::stage::{Way, placement};

/// Shows the layout, once or window after window.
pub fn run(args: &TopologyArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    let hosts = args.root.as_deref().map_or_else(|| Ok(vec![Host::Live]), Host::recorded)?;
    let place = args.netns.as_deref().map_or_else(|| Ok(Place::here()), Place::find)?;
    let look = Looking {
        args,
        place: &place,
        ignored: Ignored::new(&args.ignore)?,
        thresholds: args.thresholds.as_deref().map_or_else(|| Ok(BTreeMap::new()), thresholds)?,
    };
    let worst = place.inside(|| look.windows(&hosts, out, stop)).flatten()?;
    Ok(match (args.check, worst) {
        _ if stop.load(Ordering::Relaxed) => EXIT_INTERRUPTED,
        (Some(limit), Some(worst)) if worst >= limit => EXIT_FOUND,
        _ => 0,
    })
}

/// The layout, of one device if it is named, and how reading it went.
pub(super) fn layout(host: &Host, device: Option<&str>) -> (Option<Layout>, SourceStatus) {
    let begin = Instant::now();
    let (layout, reason) = match source::read(host) {
        Ok(mut layout) => {
            layout.devices.retain(|place| device.is_none_or(|device| place.device == device));
            (Some(layout), None)
        }
        Err(error) => (None, Some(error.to_string())),
    };
    let microseconds = begin.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    (layout, SourceStatus { name: "queues and CPUs".into(), ok: reason.is_none(), reason, microseconds })
}

/// What was asked for.
struct Looking<'a> {
    args: &'a TopologyArgs,
    place: &'a Place,
    ignored: Ignored,
    thresholds: BTreeMap<(String, String), f64>,
}

impl Looking<'_> {
    /// Shows window after window; returns the worst severity found. Runs inside the observed namespace.
    fn windows(
        &self,
        hosts: &[Host],
        out: &mut (dyn Write + Send),
        stop: &AtomicBool,
    ) -> Result<Option<Severity>, Error> {
        let (format, interval) = (self.args.show.format(), self.args.interval);
        let mut worst = None;
        let mut live = Live::begin(self.args.show.watch).map_err(Error::output)?;
        let mut show = |host: &Host, window: Window| -> Result<(), Error> {
            let found = self.document(host, window)?;
            worst = worst.max(found.findings.iter().map(|finding| finding.severity).max());
            let look = render::Look { format, verbose: self.args.verbose };
            live.show(out, |out| render::topology::write(&found, look, out)).map_err(Error::output)
        };
        let first = hosts.first().unwrap_or(&Host::Live);
        let mut observer = Observer::new(first.clone(), Way::Receive).with(Detail::Queues);
        if let [_, after] = hosts {
            show(after, observer.between(after.clone(), || ()))?;
        } else if first.is_recorded() || interval.is_zero() {
            show(first, observer.since_boot())?;
        } else {
            let mut begin = observer.snapshot();
            let mut windows = 0;
            while !stop.load(Ordering::Relaxed) && (self.args.show.windows() == 0 || windows < self.args.show.windows())
            {
                let bar = Bar::new(format, interval);
                let (end, window) = observer.watch(&begin, interval, stop, |share| bar.show(share));
                bar.clear();
                show(first, window)?;
                begin = end;
                windows += 1;
            }
        }
        live.end(out).map_err(Error::output)?;
        Ok(worst)
    }

    fn document(&self, host: &Host, window: Window) -> Result<Topology, Error> {
        let Window { changes, sockets, mut sources } = window;
        let (layout, status) = layout(host, None);
        let Some(mut layout) = layout else {
            let why = status.reason.unwrap_or_default();
            return Err(Error::usage(format!("the network devices can't be listed: {why}"))
                .hint("see 'netstat-deep doctor'; a recording needs to be made by 'netstat-deep record'"));
        };
        sources.push(status);
        if let Some(device) = &self.args.dev {
            only(&mut layout, device)?;
        }
        let knobs = wanted_knobs(placement::RULES, &changes, sockets.as_ref(), None, &BTreeMap::new());
        let settings = settings::read(host, knobs.iter().filter_map(|knob| knob.template()));
        let enter = host.notes().map_or(&self.place.enter, |notes| &notes.enter).clone();
        let thresholds = self.thresholds.clone();
        let mut seen = Observed { changes, sockets, settings, thresholds, enter, ..Observed::default() };
        placement::put(layout, &mut seen);
        let mut findings = diagnose(placement::RULES, &seen);
        findings.retain(|finding| !self.ignored.holds(finding));
        let here = || {
            let (id, cookie) = place::identity();
            Netns { id, cookie, name: self.place.name.clone() }
        };
        Ok(Topology {
            schema: SCHEMA,
            kind: TopologyKind::Topology,
            tool_version: env!("CARGO_PKG_VERSION"),
            host: name(host, "proc/sys/kernel/hostname"),
            kernel: name(host, "proc/sys/kernel/osrelease"),
            taken_at: host.notes().map_or_else(|| Some(now()), |notes| notes.taken_at.clone()),
            window_seconds: seen.changes.seconds.filter(|_| !seen.changes.since_boot),
            netns: host.notes().map_or_else(|| Some(here()), recorded_netns),
            layout: seen.layout.unwrap_or_default(),
            findings,
            sources,
            own: Own::measure(),
        })
    }
}

/// Leaves only one device.
fn only(layout: &mut Layout, device: &str) -> Result<(), Error> {
    let names: Vec<String> = layout.devices.iter().map(|place| place.device.clone()).collect();
    layout.devices.retain(|place| place.device == device);
    if !layout.devices.is_empty() {
        return Ok(());
    }
    Err(Error::no_device(device, names))
}
