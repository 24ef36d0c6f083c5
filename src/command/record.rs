//! `record`: what a host tells, as files from which every report can be made again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bar::Bar;
use super::memory;
use super::path::{Run, now};
use crate::cli::{Format, RecordArgs};
use crate::error::{EXIT_INTERRUPTED, Error};
use crate::model::Knob;
use crate::render::{self, Look};
use crate::report::Report;
use crate::source::bundle::{Bundle, Written};
use crate::source::place::Place;
use crate::source::sockdiag::every::{self, Asked};
use crate::source::tape::{Reel, Tape};
use crate::source::{Host, layout, nftables, owner, redact, xtables};
use crate::stage::{self, Way};

/// How often it is looked whether the window is over.
const LOOK: Duration = Duration::from_millis(50);

/// Takes samples of the receive path, keeps all that was read, and reports on it.
pub fn run(args: &RecordArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    let place = args.netns.as_deref().map_or_else(|| Ok(Place::here()), Place::find)?;
    // A folder that can't be made must not cost a window.
    let bundle = Bundle::new(&args.bundle)?;
    let mut run = Run::at(Way::Receive, place, stop);
    run.format = args.format();
    let names: &[&str] = if args.interval.is_zero() { &[""] } else { &["before", "after"] };
    let tapes: Vec<Arc<Tape>> = names.iter().map(|_| Arc::default()).collect();
    let (report, mut missing) = run.place.inside(|| watch(&run, args.interval, &tapes)).flatten()?;
    let mut reels: Vec<Reel> = tapes.iter().map(|tape| tape.take()).collect();
    if args.redact {
        missing.extend(redact::redact(&mut reels));
    }
    let samples: Vec<(&str, &Reel)> = names.iter().copied().zip(&reels).collect();
    let written = bundle.write(&samples)?;
    let look = Look { format: run.format, verbose: 0 };
    render::write(&report, look, out).map_err(Error::output)?;
    if look.format == Format::Table {
        out.write_all(summary(args, written, &missing).as_bytes()).map_err(Error::output)?;
    }
    Ok(if stop.load(Ordering::Relaxed) { EXIT_INTERRUPTED } else { 0 })
}

/// Samples the namespace of the calling thread. Returns the report, and what could not be read.
fn watch(run: &Run, interval: Duration, tapes: &[Arc<Tape>]) -> Result<(Report, Vec<String>), Error> {
    let hosts: Vec<Host> = tapes.iter().map(|tape| Host::Taped(Arc::clone(tape))).collect();
    let mut unread = None;
    let report = run.sampled(&hosts, || {
        // The first sample, if there is another one; the last is read with the rest.
        unread = hosts.split_last().and_then(|(_, before)| sockets(before.first()?).err());
        wait(run, interval);
    })?;
    let mut missing = hosts.last().map(|host| read_the_rest(run, host)).unwrap_or_default();
    missing.extend(unread.map(|reason| format!("sockets at the begin: {reason}")));
    for tape in tapes {
        tape.note_place(report.taken_at.clone().unwrap_or_else(now), &run.place);
    }
    Ok((report, missing))
}

fn wait(run: &Run, interval: Duration) {
    let (start, bar) = (Instant::now(), Bar::new(run.format, interval));
    while !run.stop.load(Ordering::Relaxed) && start.elapsed() < interval {
        bar.show(start.elapsed().as_secs_f64() / interval.as_secs_f64());
        std::thread::sleep(LOOK.min(interval.saturating_sub(start.elapsed())));
    }
    bar.clear();
}

/// What this report had no reason to read, but another one of the same samples may: with other limits, or by a newer
/// version. Returns what could not be read.
fn read_the_rest(run: &Run, host: &Host) -> Vec<String> {
    let knobs: Vec<&'static Knob> = stage::knobs().map(|(_, knob)| knob).collect();
    run.settings(host, &knobs);
    // What a plan may take: machine-wide, so it is read at home.
    let plan = || (memory::available(host), memory::udp(host), memory::tcp(host));
    let failed = [
        ("memory", run.home.inside(plan).map(drop).map_err(|e| e.to_string())),
        ("sockets", sockets(host)),
        ("owners of sockets", owner::keep(host)),
        ("queues and CPUs", layout::keep(host).map_err(|e| e.to_string())),
        ("rules of nftables", rules_of_nftables(host).map_err(|e| e.to_string())),
        ("rules of iptables", xtables::read(host).map(drop).map_err(|e| e.to_string())),
    ];
    failed.into_iter().filter_map(|(what, result)| Some(format!("{what}: {}", result.err()?))).collect()
}

/// Every socket, so that `sockets` can look at them again; not of a host with so many that keeping them would burden it.
fn sockets(host: &Host) -> Result<(), String> {
    const MOST: u64 = 100_000;
    let mut seen = 0;
    let text = |host: &Host, path: &str| {
        let mut bytes = Vec::new();
        host.read(path, &mut bytes).map(|()| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    for path in ["proc/thread-self/net/sockstat", "proc/thread-self/net/sockstat6"] {
        let file = text(&Host::Live, path);
        let numbers = file.split_whitespace().zip(file.split_whitespace().skip(1));
        seen += numbers
            .filter(|(name, _)| ["inuse", "tw"].contains(name))
            .filter_map(|(_, n)| n.parse::<u64>().ok())
            .sum::<u64>();
    }
    if seen > MOST {
        return Err(format!("there are {seen}, more than {MOST}"));
    }
    every::read(host, &Asked::all(), &mut (), |()| (), |(), _| ()).map(drop).map_err(|e| e.to_string())
}

/// Nothing is loaded into the kernel for a recording.
fn rules_of_nftables(host: &Host) -> io::Result<()> {
    if nftables::is_there() { nftables::read(host).map(drop) } else { Ok(()) }
}

fn summary(args: &RecordArgs, written: Written, missing: &[String]) -> String {
    let folder = args.bundle.display();
    let words = if args.redact { ", addresses and names replaced" } else { "" };
    let size = render::words::bytes(written.bytes as u64);
    let mut text = format!("\nRecorded in {folder}: {} files, {size}{words}\n", written.files);
    for what in missing {
        text.push_str(&format!("  without {what}\n"));
    }
    text.push_str(&format!("  look at it with 'netstat-deep rx --root {folder}', or tune or sockets --root\n"));
    text
}
