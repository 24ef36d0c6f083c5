//! `drops` on a host that allows no programs in the kernel: by its drop monitor.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::bar::Bar;
use super::drops::{GLANCE, report, view};
use super::live::Live;
use crate::cli::{By, DropsArgs};
use crate::drops::{Window, monitor};
use crate::error::{EXIT_INTERRUPTED, Error};
use crate::model::SourceStatus;
use crate::render;
use crate::source::probe::Refusal;

/// Without either.
const COUNTERS: &str = "'netstat-deep rx' shows the counters, which need neither";

/// Shows what the drop monitor tells, once or window after window; `refusal` says why BPF can't be had, if it was wanted.
pub fn run(
    args: &DropsArgs,
    reason: Option<&str>,
    refusal: Option<Refusal>,
    out: &mut (dyn Write + Send),
    stop: &AtomicBool,
) -> Result<u8, Error> {
    if let Some(wanted) = needs_bpf(args) {
        return Err(missing(refusal, &format!("the drop monitor does not know what {wanted} asks for")));
    }
    let mut live = Live::begin(args.watch).map_err(Error::output)?;
    let mut windows = 0;
    loop {
        let watched = watch(args, reason, stop);
        let mut window = watched.map_err(|e| missing(refusal.clone(), &e.to_string()))?;
        if let Some(refusal) = &refusal {
            let reason = Some(refusal.what.clone());
            window.sources.push(SourceStatus { name: "drop probe".into(), ok: false, reason, microseconds: 0 });
        }
        windows += 1;
        let report = report(window, None, false);
        live.show(out, |out| render::drops::write(&report, view(args), out)).map_err(Error::output)?;
        let interrupted = stop.load(Ordering::Relaxed);
        if interrupted || windows == args.windows() {
            live.end(out).map_err(Error::output)?;
            return Ok(if interrupted { EXIT_INTERRUPTED } else { 0 });
        }
    }
}

/// Shows how the time passes, meanwhile.
fn watch(args: &DropsArgs, reason: Option<&str>, stop: &AtomicBool) -> io::Result<Window> {
    let bar = Bar::new(args.format(), args.interval);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| monitor::watch(args.interval, stop, reason));
        let begun = Instant::now();
        while !watching.is_finished() {
            bar.show((begun.elapsed().as_secs_f64() / args.interval.as_secs_f64()).min(1.0));
            std::thread::sleep(GLANCE);
        }
        bar.clear();
        watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The first option that asks for what only BPF tells.
fn needs_bpf(args: &DropsArgs) -> Option<&'static str> {
    let options = [
        ("--netns", args.netns.is_some()),
        ("--dev", args.dev.is_some()),
        ("--each", args.each),
        ("--pcap", args.pcap.is_some()),
        ("--flows", args.flows),
        ("--stack", args.stack),
        ("--by", matches!(args.by, By::Device | By::Netns | By::Process | By::Unit | By::Flow)),
    ];
    options.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
}

fn missing(refusal: Option<Refusal>, monitor: &str) -> Error {
    match refusal {
        None => Error::missing(monitor).hint(COUNTERS),
        Some(refusal) => Error::missing(format!("{}; {monitor}", refusal.what)).hint(match &refusal.todo {
            todo if todo.contains("netstat-deep rx") => refusal.todo,
            todo => format!("{todo}; {COUNTERS}"),
        }),
    }
}
