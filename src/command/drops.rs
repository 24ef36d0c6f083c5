//! `drops`: every packet that the kernel drops.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bar::Bar;
use super::drop_monitor;
use super::live::Live;
use super::path::{name, written};
use crate::cli::{By, DropsArgs, Format, Source};
use crate::drops::{Clock, DropWatch, Only, Window};
use crate::error::{EXIT_INTERRUPTED, Error, near_misses};
use crate::model::Harm;
use crate::render::drops::View;
use crate::render::pcap::Pcap;
use crate::render::{self, drop_event};
use crate::report::{Netns, Own, Report, SCHEMA, Verb};
use crate::source::Host;
use crate::source::place::{self, Place};
use crate::source::privilege;
use crate::source::probe::drops::Wanted;
use crate::source::probe::{self, Refusal};
use crate::stage;

/// How often an interrupt is looked for while a window passes.
pub(super) const GLANCE: Duration = Duration::from_millis(50);

/// Watches what the kernel drops and shows it, once or window after window.
pub fn run(args: &DropsArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    if args.interval.is_zero() {
        return Err(Error::usage("drops are counted from now on: there are none since boot")
            .hint("give a window, such as --interval 10s"));
    }
    let netns = args.netns.as_deref().map(Place::find).transpose()?;
    let inode = netns.as_ref().map(|place| place.inside(place::inode)).transpose()?.flatten();
    let reason = args.reason.as_deref().map(known_reason).transpose()?;
    let number = reason.as_ref().and_then(|reason| reason.1).unwrap_or(0);
    let wanted = Wanted {
        rows: args.rows,
        raw: args.raw,
        flows: args.flows || args.by == By::Flow,
        stacks: args.stack,
        events: if args.each || args.pcap.is_some() { args.rate } else { 0 },
        only: (number, inode.unwrap_or(0)),
        per_packet: args.per_packet,
    };
    let reason = reason.map(|reason| reason.0);
    if args.source == Source::DropMonitor {
        return drop_monitor::run(args, reason.as_deref(), None, out, stop);
    }
    let only = Only { reason: reason.clone(), device: args.dev.clone(), netns: inode };
    let begun = DropWatch::begin(wanted, only);
    let mut watch = match begun {
        Ok(watch) => watch,
        Err(refusal) => {
            show_verifier(&refusal, args.verbose);
            if args.source == Source::Auto {
                return drop_monitor::run(args, reason.as_deref(), Some(refusal), out, stop);
            }
            return Err(Error::missing(refusal.what).hint(refusal.todo));
        }
    };
    let mut stream = Stream::new(args)?;
    // What is needed of the namespace and the files is open; the rest works with less.
    let netns = netns.map(|place| {
        let (id, cookie) = place.inside(place::identity).unwrap_or_default();
        Netns { id, cookie, name: place.name }
    });
    privilege::keep_only_what_is_read_with();
    let mut live = Live::begin(args.watch).map_err(Error::output)?;
    let mut windows = 0;
    loop {
        wait(args, stop, || {
            watch.keep_below(args.max_cpu);
            stream.pass_on(&mut watch, out)
        })?;
        windows += 1;
        let last = stop.load(Ordering::Relaxed) || windows == args.windows();
        if last {
            watch.end();
        }
        stream.pass_on(&mut watch, out)?;
        let window = watch.window().map_err(|e| Error::missing(format!("the probe's counts can't be read: {e}")))?;
        let report = report(window, netns.clone(), stream.wanted());
        live.show(out, |out| render::drops::write(&report, view(args), out)).map_err(Error::output)?;
        if last {
            live.end(out).map_err(Error::output)?;
            return Ok(if stop.load(Ordering::Relaxed) { EXIT_INTERRUPTED } else { 0 });
        }
    }
}

/// How they are to be shown.
pub(super) fn view(args: &DropsArgs) -> View {
    View { format: args.format(), by: args.by, harmless: args.harmless, verbose: args.verbose }
}

/// Single drops, as they are shown and kept.
struct Stream<'a> {
    args: &'a DropsArgs,
    pcap: Option<Pcap<BufWriter<File>>>,
    clock: Clock,
}

impl<'a> Stream<'a> {
    fn new(args: &'a DropsArgs) -> Result<Self, Error> {
        let begin = |path: &PathBuf| File::create(path).and_then(|file| Pcap::begin(BufWriter::new(file)));
        let pcap = args.pcap.as_ref().map(begin).transpose().map_err(|e| unwritable(args, &e))?;
        Ok(Stream { args, pcap, clock: Clock::now() })
    }

    fn wanted(&self) -> bool {
        self.args.each || self.pcap.is_some()
    }

    /// Shows and keeps what has come.
    fn pass_on(&mut self, watch: &mut DropWatch, out: &mut dyn Write) -> Result<(), Error> {
        if !self.wanted() {
            return Ok(());
        }
        for (event, said) in watch.events(self.clock) {
            if self.args.each && self.args.format() == Format::Jsonl {
                drop_event::json(&said, out).map_err(Error::output)?;
            } else if self.args.each && (self.args.harmless || said.drop.harm > Harm::Harmless) {
                drop_event::text(&said, out).map_err(Error::output)?;
            }
            if let Some(pcap) = &mut self.pcap {
                pcap.add(&event, &said, self.clock.nanoseconds(event.time)).map_err(|e| unwritable(self.args, &e))?;
            }
        }
        if let Some(pcap) = &mut self.pcap {
            pcap.flush().map_err(|e| unwritable(self.args, &e))?;
        }
        out.flush().map_err(Error::output)
    }
}

fn unwritable(args: &DropsArgs, error: &std::io::Error) -> Error {
    let path = args.pcap.as_deref().unwrap_or(std::path::Path::new("")).display();
    Error::usage(format!("the capture file {path} can't be written: {error}")).hint("give a file that you may write to")
}

/// Waits until the window is over, or the user does not want to wait longer; does `meanwhile` again and again.
fn wait(args: &DropsArgs, stop: &AtomicBool, mut meanwhile: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let bar = Bar::new(args.format(), args.interval);
    let begun = Instant::now();
    while let Some(left) = args.interval.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        bar.show(begun.elapsed().as_secs_f64() / args.interval.as_secs_f64());
        std::thread::sleep(left.min(GLANCE));
        meanwhile()?;
    }
    bar.clear();
    Ok(())
}

/// A reason by its name, with or without the kernel's prefix, in capitals or not; and its number here, if it has one.
fn known_reason(name: &str) -> Result<(String, Option<u32>), Error> {
    let short = name.to_uppercase();
    let short = short.strip_prefix("SKB_DROP_REASON_").unwrap_or(&short);
    let kernels = probe::reason_names();
    let ours = stage::reasons().map(|(_, reason)| reason.name);
    let mut all = kernels.iter().map(|(_, name)| name).chain(ours).chain(["NOT_SPECIFIED"]);
    if let Some(known) = all.find(|known| known.eq_ignore_ascii_case(short)) {
        return Ok((known.to_owned(), kernels.number(known)));
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

/// What the kernel's verifier says, for those who ask.
fn show_verifier(refusal: &Refusal, verbose: u8) {
    if verbose > 0 {
        for line in &refusal.verifier {
            eprintln!("  {line}");
        }
    }
}

pub(super) fn report(window: Window, netns: Option<Netns>, streamed: bool) -> Report {
    let host = &Host::Live;
    let mut own = Own::measure();
    own.probes = window.probes;
    own.events_lost = streamed.then_some(window.left_out);
    Report {
        schema: SCHEMA,
        kind: Verb::Drops,
        tool_version: env!("CARGO_PKG_VERSION"),
        host: name(host, "proc/sys/kernel/hostname"),
        kernel: name(host, "proc/sys/kernel/osrelease"),
        cpus: std::thread::available_parallelism().ok().map(usize::from),
        taken_at: Some(written(window.ended)),
        recorded: false,
        window_seconds: Some(window.seconds),
        since_boot: false,
        netns,
        totals: None,
        ledger: None,
        stages: Vec::new(),
        findings: Vec::new(),
        drops: Some(window.drops),
        drop_totals: Some(window.totals),
        incidents: Some(window.incidents),
        sources: window.sources,
        plan: None,
        change: None,
        own,
    }
}
