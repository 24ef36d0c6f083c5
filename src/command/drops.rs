//! `drops`: every packet that the kernel drops.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bar::Bar;
use super::rx::{name, now};
use crate::cli::{By, DropsArgs};
use crate::drops::{DropWatch, Only, Window};
use crate::error::{EXIT_INTERRUPTED, Error, near_misses};
use crate::render::{self, drops::View};
use crate::report::{Netns, Own, Report, SCHEMA, Verb};
use crate::source::Host;
use crate::source::place::{self, Place};
use crate::source::probe::drops::Wanted;
use crate::source::probe::{self, Refusal};
use crate::stage;

/// How often an interrupt is looked for while a window passes.
const GLANCE: Duration = Duration::from_millis(50);

/// Watches what the kernel drops and shows it, once or window after window.
pub fn run(args: &DropsArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    if args.interval.is_zero() {
        return Err(Error::usage("drops are counted from now on: there are none since boot")
            .hint("give a window, such as --interval 10s"));
    }
    let netns = args.netns.as_deref().map(Place::find).transpose()?;
    let inode = netns.as_ref().map(|place| place.inside(place::inode)).transpose()?.flatten();
    let reason = args.reason.as_deref().map(known_reason).transpose()?;
    let only = Only { reason, device: args.dev.clone(), netns: inode };
    let wanted = Wanted { flows: args.flows || args.by == By::Flow, stacks: args.stack };
    let mut watch = DropWatch::begin(wanted, only).map_err(|refusal| missing(refusal, args.verbose))?;
    let view = View { format: args.format(), by: args.by, harmless: args.harmless, verbose: args.verbose };
    let mut windows = 0;
    loop {
        wait(args, stop);
        windows += 1;
        let last = stop.load(Ordering::Relaxed) || windows == args.count;
        if last {
            watch.end();
        }
        let taken_at = now();
        let window = watch.window().map_err(|e| Error::missing(format!("the probe's counts can't be read: {e}")))?;
        let report = report(window, taken_at, netns.as_ref());
        render::drops::write(&report, view, out).map_err(Error::output)?;
        if last {
            return Ok(if stop.load(Ordering::Relaxed) { EXIT_INTERRUPTED } else { 0 });
        }
    }
}

/// Waits until the window is over, or the user does not want to wait longer.
fn wait(args: &DropsArgs, stop: &AtomicBool) {
    let bar = Bar::new(args.format(), args.interval);
    let begun = Instant::now();
    while let Some(left) = args.interval.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        bar.show(begun.elapsed().as_secs_f64() / args.interval.as_secs_f64());
        std::thread::sleep(left.min(GLANCE));
    }
    bar.clear();
}

/// A reason by its name, with or without the kernel's prefix, in capitals or not.
fn known_reason(name: &str) -> Result<String, Error> {
    let short = name.to_uppercase();
    let short = short.strip_prefix("SKB_DROP_REASON_").unwrap_or(&short);
    let kernels = probe::reason_names();
    let ours = stage::reasons().map(|(_, reason)| reason.name);
    let mut all = kernels.iter().map(|(_, name)| name).chain(ours).chain(["NOT_SPECIFIED"]);
    if let Some(known) = all.find(|known| known.eq_ignore_ascii_case(short)) {
        return Ok(known.to_owned());
    }
    let names = kernels.iter().map(|(_, name)| name.to_owned());
    let near = near_misses(short, names.chain(stage::reasons().map(|(_, reason)| reason.name.to_owned())));
    let hint = if near.is_empty() {
        "'netstat-deep explain --list' shows them".into()
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    Err(Error::usage(format!("there is no drop reason '{name}'")).hint(hint))
}

fn missing(refusal: Refusal, verbose: u8) -> Error {
    if verbose > 0 {
        for line in &refusal.verifier {
            eprintln!("  {line}");
        }
    }
    Error::missing(refusal.what).hint(refusal.todo)
}

fn report(window: Window, taken_at: String, netns: Option<&Place>) -> Report {
    let host = &Host::Live;
    let mut own = Own::measure();
    own.probes = vec![window.probe];
    Report {
        schema: SCHEMA,
        kind: Verb::Drops,
        tool_version: env!("CARGO_PKG_VERSION"),
        host: name(host, "proc/sys/kernel/hostname"),
        kernel: name(host, "proc/sys/kernel/osrelease"),
        cpus: std::thread::available_parallelism().ok().map(usize::from),
        taken_at: Some(taken_at),
        window_seconds: Some(window.seconds),
        since_boot: false,
        netns: netns.map(|place| {
            let (id, cookie) = place.inside(place::identity).unwrap_or_default();
            Netns { id, cookie, name: place.name.clone() }
        }),
        totals: None,
        ledger: None,
        stages: Vec::new(),
        findings: Vec::new(),
        drops: Some(window.drops),
        drop_totals: Some(window.totals),
        sources: window.sources,
        own,
    }
}
