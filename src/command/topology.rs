//! `topology`: which CPU works for which queue, how much, and what is crooked in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bar::Bar;
use super::choice::{Ignored, thresholds};
use super::path::{name, now};
use crate::cli::TopologyArgs;
use crate::diagnose::diagnose_with;
use crate::error::{EXIT_FOUND, EXIT_INTERRUPTED, Error, near_misses};
use crate::model::{Changes, Counter, Instance, Layout, Observed, Severity};
use crate::observe::{Observer, Window};
use crate::render;
use crate::report::topology::{Topology, TopologyKind};
use crate::report::{Netns, Own, SCHEMA};
use crate::source::place::{self, Place};
use crate::source::{Host, layout};
use crate::stage::{PLACEMENT, driver_tx, interrupt, ring, softirq};

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

/// What was asked for.
struct Looking<'a> {
    args: &'a TopologyArgs,
    place: &'a Place,
    ignored: Ignored,
    thresholds: BTreeMap<(String, String), f64>,
}

impl Looking<'_> {
    fn windows(&self, hosts: &[Host], out: &mut dyn Write, stop: &AtomicBool) -> Result<Option<Severity>, Error> {
        let mut worst = None;
        let mut show = |host: &Host, window: Window| -> Result<(), Error> {
            let found = self.document(host, window)?;
            worst = worst.max(found.findings.iter().map(|finding| finding.severity).max());
            render::topology(&found, self.args.format(), out).map_err(Error::output)
        };
        let first = hosts.first().unwrap_or(&Host::Live);
        let mut observer = Observer::new(first.clone());
        if let [_, after] = hosts {
            show(after, observer.between(after.clone(), || ()))?;
        } else if first.is_recorded() || self.args.interval.is_zero() {
            show(first, observer.since_boot())?;
        } else {
            let mut begin = observer.snapshot();
            let mut windows = 0;
            while !stop.load(Ordering::Relaxed) && (self.args.count == 0 || windows < self.args.count) {
                let bar = Bar::new(self.args.format(), self.args.interval);
                let (end, window) = observer.watch(&begin, self.args.interval, stop, |share| bar.show(share));
                bar.clear();
                show(first, window)?;
                begin = end;
                windows += 1;
            }
        }
        Ok(worst)
    }

    fn document(&self, host: &Host, window: Window) -> Result<Topology, Error> {
        let Window { changes, sockets, sources } = window;
        let mut layout = layout::read(host).map_err(|e| {
            Error::usage(format!("the network devices can't be listed: {e}")).hint("see 'netstat-deep doctor'")
        })?;
        if let Some(device) = &self.args.dev {
            only(&mut layout, device)?;
        }
        measure(&mut layout, &changes);
        let enter = host.notes().map_or(&self.place.enter, |notes| &notes.enter).clone();
        let thresholds = self.thresholds.clone();
        let mut seen = Observed { changes, sockets, thresholds, enter, layout: Some(layout), ..Observed::default() };
        let shares = softirq::shares(&seen);
        for cpu in seen.layout.iter_mut().flat_map(|layout| &mut layout.cpus) {
            cpu.softirq_percent = shares.iter().find(|(of, _)| *of == cpu.cpu).map(|(_, share)| *share);
        }
        let mut findings = diagnose_with(PLACEMENT.iter().map(|(stage, rules)| (*stage, *rules)), &seen);
        findings.retain(|finding| !self.ignored.holds(finding) && self.wanted(&finding.instance));
        let netns = (!host.is_recorded()).then(|| {
            let (id, cookie) = place::identity();
            Netns { id, cookie, name: self.place.name.clone() }
        });
        Ok(Topology {
            schema: SCHEMA,
            kind: TopologyKind::Topology,
            tool_version: env!("CARGO_PKG_VERSION"),
            host: name(host, "proc/sys/kernel/hostname"),
            kernel: name(host, "proc/sys/kernel/osrelease"),
            taken_at: host.notes().map_or_else(|| Some(now()), |notes| notes.taken_at.clone()),
            window_seconds: seen.changes.seconds.filter(|_| !seen.changes.since_boot),
            netns,
            layout: seen.layout.unwrap_or_default(),
            findings,
            sources,
            own: Own::measure(),
        })
    }

    /// False for another device than the one asked for.
    fn wanted(&self, instance: &Instance) -> bool {
        match (&self.args.dev, instance) {
            (Some(wanted), Instance::Device { device } | Instance::Queue { device, .. }) => device == wanted,
            _ => true,
        }
    }
}

/// Leaves only one device.
fn only(layout: &mut Layout, device: &str) -> Result<(), Error> {
    let names: Vec<String> = layout.devices.iter().map(|place| place.device.clone()).collect();
    layout.devices.retain(|place| place.device == device);
    if !layout.devices.is_empty() {
        return Ok(());
    }
    let near = near_misses(device, names.iter().cloned());
    let there = if near.is_empty() { names.into_iter().take(8).collect() } else { near };
    Err(Error::usage(format!("there is no device '{device}' here")).hint(format!("there is {}", there.join(", "))))
}

/// How busy each part was in the window. Since boot that is not known.
fn measure(layout: &mut Layout, changes: &Changes) {
    let Some(seconds) = changes.seconds.filter(|seconds| *seconds > 0.0 && !changes.since_boot) else { return };
    let rate = |counter: &'static Counter, at: Instance| {
        let known = changes.each(counter).any(|(instance, _)| *instance == at);
        known.then(|| changes.delta_at(counter, &at) as f64 / seconds)
    };
    for cpu in &mut layout.cpus {
        cpu.net_rx_per_second = rate(&softirq::NET_RX, Instance::Cpu { cpu: cpu.cpu });
    }
    for device in &mut layout.devices {
        let at = |queue: &str| Instance::queue(device.device.clone(), queue);
        for queue in &mut device.queues {
            let receives = queue.queue.starts_with("rx-");
            let counter = if receives { &ring::QUEUE_PACKETS } else { &driver_tx::QUEUE_SENT };
            queue.packets_per_second = rate(counter, at(&queue.queue));
        }
        for vector in &mut device.vectors {
            vector.per_second = rate(&interrupt::VECTOR, at(&vector.vector));
        }
    }
}
