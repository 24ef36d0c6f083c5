//! `sockets`: which socket, ranked by what is wrong with it or by one of its numbers.

mod rows;

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bar::Bar;
use super::drops::GLANCE;
use super::live::Live;
use super::path::{name, recorded_netns, written};
use crate::cli::{Format, SocketsArgs};
use crate::error::{EXIT_INTERRUPTED, Error};
use crate::model::{SourceStatus, Transport};
use crate::render;
use crate::report::sockets::{Kind, SocketReport};
use crate::report::{Netns, Own, SCHEMA};
use crate::sockets::limits::Limits;
use crate::sockets::{Survey, Wanted, Watch};
use crate::source::place::{self, Place};
use crate::source::{Host, owner};

/// Looks at sockets and shows them, once or window after window.
pub fn run(args: &SocketsArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    let hosts = args.root.as_deref().map_or_else(|| Ok(vec![Host::Live]), Host::recorded)?;
    let place = args.netns.as_deref().map_or_else(|| Ok(Place::here()), Place::find)?;
    let home = Place::here_pinned();
    let last = hosts.last().unwrap_or(&Host::Live);
    // Where processes are looked up it is the same in every network namespace.
    let wanted = wanted(args, last)?;
    let machine = if place.is_here() { Limits::machine(last) } else { home.inside(|| Limits::machine(last))? };
    place
        .inside(|| windows(args, &hosts, &place, Watch::new(wanted, Limits::read(last, machine)), out, stop))
        .flatten()?;
    Ok(if stop.load(Ordering::Relaxed) { EXIT_INTERRUPTED } else { 0 })
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
    Ok(Wanted { transports, states, port: args.port, inodes, by: args.by, top: args.top.into() })
}

/// Shows window after window. Runs inside the namespace that is looked at.
fn windows(
    args: &SocketsArgs,
    hosts: &[Host],
    place: &Place,
    mut watch: Watch,
    out: &mut (dyn Write + Send),
    stop: &AtomicBool,
) -> Result<(), Error> {
    let view = render::sockets::View { format: args.show.format(), verbose: args.verbose };
    let mut live = Live::begin(args.show.watch).map_err(Error::output)?;
    let mut show = |host: &Host, survey: Survey, limits: &Limits| {
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
    live.end(out).map_err(Error::output)
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
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::missing("there is nothing here that tells of sockets")
            .hint("the kernel needs inet_diag (modprobe tcp_diag udp_diag); a recording needs a newer netstat-deep"),
        _ => Error::missing(format!("the sockets can't be read: {error}")).hint("try again, or look with -vv at rx"),
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

fn report(args: &SocketsArgs, host: &Host, place: &Place, survey: Survey, limits: &Limits) -> SocketReport {
    let (rows, owners) = rows::rows(host, &survey, limits, args.verbose > 0);
    let [sockets, listeners] = rows;
    let Survey { ranked, census, left_out, gone, dumped, took, ended, seconds, .. } = survey;
    let reason = (dumped.bad > 0).then(|| format!("{} messages made no sense", dumped.bad));
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
        sources: std::iter::once(dump).chain(owners).collect(),
        own: Own::measure(),
    }
}
