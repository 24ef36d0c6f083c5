//! `sockets`: which socket, ranked by what is wrong with it or by one of its numbers.

mod rows;

use std::collections::HashSet;
use std::io::Write;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bar::Bar;
use super::drops::GLANCE;
use super::live::Live;
use super::path::{name, recorded_netns, written};
use crate::cli::{Format, SocketsArgs};
use crate::error::{EXIT_FOUND, EXIT_INTERRUPTED, Error};
use crate::model::{Severity, SourceStatus, Transport};
use crate::render;
use crate::report::sockets::{Kind, SocketReport, TroubleCount};
use crate::report::{Netns, Own, SCHEMA};
use crate::sockets::limits::Limits;
use crate::sockets::through::Through;
use crate::sockets::{Survey, Wanted, Watch};
use crate::source::place::{self, Place};
use crate::source::sockdiag::every::{self, Asked, Looked};
use crate::source::{Host, link, owner, text};

/// Looks at sockets and shows them, once or window after window.
pub fn run(args: &SocketsArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    let hosts = args.root.as_deref().map_or_else(|| Ok(vec![Host::Live]), Host::recorded)?;
    let place = args.netns.as_deref().map_or_else(|| Ok(Place::here()), Place::find)?;
    let home = Place::here_pinned();
    let last = hosts.last().unwrap_or(&Host::Live);
    let machine = if place.is_here() { Limits::machine(last) } else { home.inside(|| Limits::machine(last))? };
    let look = || {
        let watch = Watch::new(wanted(args, last)?, Limits::read(last, machine));
        windows(args, &hosts, &place, watch, out, stop)
    };
    let worst = place.inside(look).flatten()?;
    Ok(match (args.check, worst) {
        _ if stop.load(Ordering::Relaxed) => EXIT_INTERRUPTED,
        (Some(limit), Some(worst)) if worst >= limit => EXIT_FOUND,
        _ => 0,
    })
}

/// The device of that name in the calling thread's network namespace.
fn device(name: &str) -> Result<Through, Error> {
    let unread = |e: std::io::Error| Error::missing(format!("the devices can't be read: {e}"));
    let (links, _) = link::read(&Host::Live).map_err(unread)?;
    let Some(device) = links.iter().find(|link| link.name == name.as_bytes()) else {
        let names = links.iter().map(|link| text::printable(&link.name));
        return Err(Error::no_device(name, names.collect()));
    };
    Through::new(device.index).map_err(unread)
}

fn wanted(args: &SocketsArgs, host: &Host) -> Result<Wanted, Error> {
    let of = |held: Result<HashSet<u32>, String>, none: String| {
        let inodes = held.map_err(|e| Error::missing(format!("sockets can't be told apart by process: {e}")))?;
        if inodes.is_empty() {
            return Err(Error::usage(none).hint("as root more of them can be seen; without the filter all are shown"));
        }
        Ok(inodes)
    };
    let inodes = match (args.pid, &args.unit) {
        (Some(pid), _) => {
            Some(of(owner::inodes(host, |other, _| other == pid), format!("no socket of process {pid} can be seen"))?)
        }
        (_, Some(unit)) => {
            let is = |_, name: Option<&str>| {
                name.is_some_and(|name| name == unit || name.strip_suffix(".service") == Some(unit))
            };
            Some(of(owner::inodes(host, is), format!("no socket of unit '{unit}' can be seen"))?)
        }
        _ => None,
    };
    let transports = match args.transport.as_slice() {
        [] => Transport::ALL.to_vec(),
        some => some.iter().map(|speaks| Transport::from(*speaks)).collect(),
    };
    let states = match args.state.as_slice() {
        [] => u32::MAX,
        some => some.iter().map(|state| 1 << state.0 as u32).fold(0, |all, one| all | one),
    };
    let through = args.dev.as_deref().map(device).transpose()?.map(Rc::new);
    let asked = Asked { transports, states, port: args.port };
    Ok(Wanted { asked, inodes, through, by: args.by, top: args.top.into() })
}

/// Shows window after window; returns the worst severity found. Runs inside the namespace that is looked at.
fn windows(
    args: &SocketsArgs,
    hosts: &[Host],
    place: &Place,
    mut watch: Watch,
    out: &mut (dyn Write + Send),
    stop: &AtomicBool,
) -> Result<Option<Severity>, Error> {
    let mut worst = None;
    let view = render::sockets::View { format: args.show.format(), verbose: args.verbose };
    let mut live = Live::begin(args.show.watch).map_err(Error::output)?;
    let mut show = |host: &Host, survey: Survey, limits: &Limits| {
        worst = worst.max(survey.troubles.keys().map(|(_, severity)| *severity).max());
        let report = report(args, host, place, survey, limits);
        live.show(out, |out| render::sockets::write(&report, view, out)).map_err(Error::output)
    };
    match hosts {
        [before, after] => {
            watch.begin(before).map_err(unreadable)?;
            let survey = watch.end(after, false, between(before, after)).map_err(unreadable)?;
            show(after, survey, watch.limits())?;
        }
        [host, ..] if host.is_recorded() || args.interval.is_zero() => {
            let survey = watch.end(host, false, None).map_err(unreadable)?;
            show(host, survey, watch.limits())?;
        }
        _ => {
            watch.begin(&Host::Live).map_err(unreadable)?;
            let mut windows = 0;
            loop {
                wait(args.show.format(), args.interval, stop);
                windows += 1;
                let last = stop.load(Ordering::Relaxed) || windows == args.show.windows();
                let survey = watch.end(&Host::Live, !last, None).map_err(unreadable)?;
                show(&Host::Live, survey, watch.limits())?;
                if last {
                    break;
                }
            }
        }
    }
    live.end(out).map_err(Error::output)?;
    Ok(worst)
}

fn wait(format: Format, interval: Duration, stop: &AtomicBool) {
    let (begun, bar) = (std::time::Instant::now(), Bar::new(format, interval));
    while let Some(left) = interval.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        bar.show(begun.elapsed().as_secs_f64() / interval.as_secs_f64());
        std::thread::sleep(left.min(GLANCE));
    }
    bar.clear();
}

fn unreadable(error: std::io::Error) -> Error {
    if every::is_missing(&error) {
        Error::missing("there is nothing here that tells of sockets")
            .hint("the kernel needs inet_diag (modprobe tcp_diag udp_diag); a recording needs a newer netstat-deep")
    } else {
        Error::missing(format!("the sockets can't be read: {error}")).hint("try again, or look with -vv at rx")
    }
}

/// The time between two samples of a recording, by the host's uptime.
fn between(before: &Host, after: &Host) -> Option<f64> {
    let [before, after] = [before, after].map(|host| {
        let mut bytes = Vec::new();
        host.read("proc/uptime", &mut bytes).ok()?;
        crate::source::text::uptime(&bytes)
    });
    Some(after? - before?).filter(|seconds| *seconds > 0.0)
}

/// Sockets of one kind that nothing here tells of.
fn untold(host: &Host, (transport, error): &(Transport, std::io::Error)) -> SourceStatus {
    let name = transport.name();
    let reason = match host {
        Host::Recorded(_) if error.kind() == std::io::ErrorKind::NotFound => "not in this recording".to_owned(),
        _ => format!("this kernel tells nothing of them (modprobe {name}_diag may help): {}", error.kind()),
    };
    SourceStatus { name: format!("{name} sockets"), ok: false, reason: Some(reason), microseconds: 0 }
}

fn report(args: &SocketsArgs, host: &Host, place: &Place, survey: Survey, limits: &Limits) -> SocketReport {
    let (rows, owners) = rows::rows(host, &survey, limits, args.verbose > 0);
    let [sockets, listeners] = rows;
    let Survey { ranked, troubles, of_every_device, census, left_out, gone, looked, took, ended, seconds, .. } = survey;
    let Looked { dumped, missing } = looked;
    let reason = (dumped.bad > 0).then(|| format!("{} messages made no sense, or the end is missing", dumped.bad));
    let reason = reason.or_else(|| dumped.disturbed.then(|| "the kernel's tables changed meanwhile".to_owned()));
    let dump = SourceStatus {
        name: "sock_diag with tcp_info".into(),
        ok: true,
        reason,
        microseconds: took.as_micros().try_into().unwrap_or(u64::MAX),
    };
    let (id, cookie) = place::identity();
    let here = || Netns { id, cookie, name: place.name.clone() };
    let totals = rows::totals(census, limits);
    SocketReport {
        schema: SCHEMA,
        kind: Kind::Sockets,
        tool_version: env!("CARGO_PKG_VERSION"),
        host: name(host, "proc/sys/kernel/hostname"),
        kernel: name(host, "proc/sys/kernel/osrelease"),
        taken_at: host.notes().map_or_else(|| Some(written(ended)), |notes| notes.taken_at.clone()),
        window_seconds: seconds,
        recorded: host.is_recorded(),
        netns: host.notes().map_or_else(|| Some(here()), recorded_netns),
        ranked_by: args.by,
        device: args.dev.clone(),
        of_every_device: args.dev.is_some().then_some(of_every_device),
        troubles: troubles
            .into_iter()
            .rev()
            .map(|((trouble, severity), count)| TroubleCount { trouble, severity, count })
            .collect(),
        ranked,
        sockets,
        listeners,
        states: totals.states,
        drops: totals.drops,
        drops_at_most: totals.drops_at_most,
        congestion: totals.congestion,
        networks: totals.networks,
        networks_others: totals.networks_others,
        ephemeral_ports: limits.ports(),
        destinations: totals.destinations,
        consistent: !dumped.disturbed,
        untracked: left_out,
        gone,
        sources: std::iter::once(dump)
            .chain(missing.iter().map(|missing| untold(host, missing)))
            .chain(owners)
            .collect(),
        own: Own::measure(),
    }
}
