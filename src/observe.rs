//! Takes snapshots through the doors, and watches what lies between two of them.

mod tables;

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::tables::{fill, take};
use crate::model::{Changes, Kind, Protocol, Snapshot, SocketSums, SocketWatch, Sockets, SourceStatus, Span, Table};
use crate::source::devices::{self, Answer, Answers};
use crate::source::groups::{DOORS, Door};
use crate::source::netlink::Dumped;
use crate::source::{Host, sockdiag, text};
use crate::stage::counters_of;

/// How often gauges are looked at within a window.
const LOOK: Duration = Duration::from_millis(100);
/// How often a queue that loses is looked at, to tell a reader that pauses from one that never catches up.
const CLOSE_LOOK: Duration = Duration::from_millis(10);
/// A source that takes longer than this is read at the ends of the window only, so that looking costs little.
const CHEAP: Duration = Duration::from_millis(1);

/// What happened between two snapshots, or since boot.
#[derive(Debug)]
pub struct Window {
    /// By how much the counters changed.
    pub changes: Changes,
    /// What the sockets did.
    pub sockets: Option<Sockets>,
    /// How the sources went, at the end of the window.
    pub sources: Vec<SourceStatus>,
}

/// Reads one host again and again, in the network namespace of the calling thread.
pub struct Observer {
    host: Host,
    clock: Instant,
    bytes: Vec<u8>,
    /// What did not answer in time.
    slow: BTreeSet<String>,
}

impl Observer {
    /// An observer of `host`.
    pub fn new(host: Host) -> Self {
        Observer { host, clock: Instant::now(), bytes: Vec::new(), slow: BTreeSet::new() }
    }

    /// Everything, as it is now.
    pub fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut online = Vec::new();
        // Other threads wait for the kernel's rtnl lock while this one reads the files.
        let (begin, answers) = (self.clock.elapsed(), devices::start(&self.host, self.clock, &self.slow));
        for door in DOORS {
            self.open(door, &mut online, &mut snapshot);
        }
        match answers {
            Ok(answers) => self.devices(answers, &mut snapshot),
            Err(e) => snapshot.sources.push(status_of("devices", Err(e), begin, self.clock.elapsed())),
        }
        self.sockets(&mut snapshot);
        snapshot.at = self.clock.elapsed();
        snapshot
    }

    /// What the counters say since boot, as far as one snapshot can tell.
    pub fn since_boot(&mut self) -> Window {
        let uptime = self.uptime();
        let snapshot = self.snapshot();
        let changes = Changes::since_boot(&snapshot, uptime);
        let sockets = snapshot.sockets.as_ref().map(|sums| SocketWatch::since_boot().end(sums));
        Window { changes, sockets, sources: snapshot.sources }
    }

    /// Watches from `first` on for as long as `interval`, or until `stop`; `tick` is called in between with the share of
    /// the window that has passed.
    pub fn watch(
        &mut self,
        first: &Snapshot,
        interval: Duration,
        stop: &AtomicBool,
        mut tick: impl FnMut(f64),
    ) -> (Snapshot, Window) {
        let end = first.at + interval;
        let doors = cheap_gauges(first);
        let mut sockets = SocketLooks::new(first);
        let mut peaks: Vec<Table> = Vec::new();
        let mut next = first.at + LOOK;
        while !stop.load(Ordering::Relaxed) {
            let now = self.clock.elapsed();
            if now >= next {
                tick((now - first.at).as_secs_f64() / interval.as_secs_f64());
                let mut look = Snapshot::default();
                let mut online = Vec::new();
                for door in &doors {
                    self.open(door, &mut online, &mut look);
                }
                keep_peaks(&mut peaks, look.tables);
                next += LOOK;
            }
            if now >= end {
                break;
            }
            sockets.look(&self.host, now);
            let wake = end.min(next).min(sockets.next);
            std::thread::sleep(wake.saturating_sub(self.clock.elapsed()));
        }
        // Sockets are read before the protocol's counters here, and were read after them at the start: so none is said to
        // have lost more than those counted.
        let before = sockets.all(&self.host);
        let last = self.snapshot();
        let seconds = last.at.saturating_sub(first.at).as_secs_f64();
        let changes = Changes::between(first, &last, &peaks, Some(seconds));
        let sockets = sockets.watch.zip(before.as_ref().or(last.sockets.as_ref()));
        let sockets = sockets.map(|(watch, sums)| watch.end(sums));
        let sources = last.sources.clone();
        (last, Window { changes, sockets, sources })
    }

    /// What lies between two recorded samples.
    pub fn between(&mut self, after: Host) -> Window {
        let (first, start) = (self.snapshot(), self.uptime());
        self.host = after;
        let (last, end) = (self.snapshot(), self.uptime());
        let seconds = start.zip(end).map(|(start, end)| end - start).filter(|seconds| *seconds > 0.0);
        let changes = Changes::between(&first, &last, &[], seconds);
        let sockets = first.sockets.map(SocketWatch::start).zip(last.sockets.as_ref());
        Window { changes, sockets: sockets.map(|(watch, sums)| watch.end(sums)), sources: last.sources }
    }

    /// Seconds since boot, from `/proc/uptime`.
    pub fn uptime(&mut self) -> Option<f64> {
        self.host.read("proc/uptime", &mut self.bytes).ok()?;
        text::uptime(&self.bytes)
    }

    fn open(&mut self, door: &Door, online: &mut Vec<u32>, snapshot: &mut Snapshot) {
        let begin = self.clock.elapsed();
        let result = self.host.read(door.path, &mut self.bytes);
        let read = self.span(begin);
        let status = result.and_then(|()| {
            if door.path == "proc/stat" {
                *online = text::online_cpus(&self.bytes);
            }
            fill(door, &self.bytes, online, read, snapshot)
        });
        snapshot.sources.push(status_of(door.path, status, begin, self.clock.elapsed()));
    }

    fn devices(&mut self, answers: Answers, snapshot: &mut Snapshot) {
        let mut all: Vec<Answer> = answers.collect();
        // Several threads ask; which is done first is chance.
        all.sort_by(|a, b| a.name.cmp(&b.name));
        for Answer { name, span: [begin, end], result } in all {
            if result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut) {
                self.slow.insert(name.clone());
            }
            let read = if self.host.is_recorded() { Span::default() } else { Span { begin, end } };
            let status = result.map(|(tables, dumped)| {
                for rows in tables.iter().filter(|rows| !rows.rows.is_empty()) {
                    take(rows.group, &rows.sheet(), &[], "", read, snapshot);
                }
                left_out(dumped)
            });
            snapshot.sources.push(status_of(&name, status, begin, end));
        }
    }

    fn sockets(&mut self, snapshot: &mut Snapshot) {
        let begin = self.clock.elapsed();
        let status = sockdiag::read(&self.host, None).map(|(sums, dumped): (SocketSums, Dumped)| {
            snapshot.sockets = Some(sums);
            left_out(dumped)
        });
        snapshot.sources.push(status_of(SOCKETS, status, begin, self.clock.elapsed()));
    }

    /// A recording was not read when it was made, so it has no times.
    fn span(&self, begin: Duration) -> Span {
        if self.host.is_recorded() { Span::default() } else { Span { begin, end: self.clock.elapsed() } }
    }
}

const SOCKETS: &str = "sock_diag sockets";

/// Looks at the sockets within a window, if that is cheap.
struct SocketLooks {
    watch: Option<SocketWatch>,
    cheap: bool,
    /// UDP sockets lose: in between, they alone are looked at closely.
    losing: bool,
    next: Duration,
    next_of_all: Duration,
}

impl SocketLooks {
    fn new(first: &Snapshot) -> Self {
        let cheap = cost(first, SOCKETS).is_some_and(|cost| cost < CHEAP);
        // A look that is never due must not wake the watch either.
        let next = if cheap { first.at + LOOK } else { Duration::MAX };
        let watch = first.sockets.clone().map(SocketWatch::start);
        SocketLooks { watch, cheap, losing: false, next, next_of_all: next }
    }

    fn all(&self, host: &Host) -> Option<SocketSums> {
        self.cheap.then(|| sockdiag::read(host, None).ok()).flatten().map(|(sums, _)| sums)
    }

    fn look(&mut self, host: &Host, now: Duration) {
        if now < self.next {
            return;
        }
        let only = (now < self.next_of_all).then_some(Protocol::Udp);
        if only.is_none() {
            self.next_of_all = now + LOOK;
        }
        let Some(watch) = &mut self.watch else { return };
        if let Ok((sums, _)) = sockdiag::read(host, only) {
            self.losing = watch.look(&sums);
        }
        self.next = if self.losing { now + CLOSE_LOOK } else { self.next_of_all };
    }
}

/// The doors that hold gauges and are cheap to open again and again.
fn cheap_gauges(first: &Snapshot) -> Vec<&'static Door> {
    let has_gauge =
        |door: &Door| door.groups.iter().any(|group| counters_of(group).iter().any(|c| c.kind == Kind::Gauge));
    DOORS
        .iter()
        .filter(|door| has_gauge(door) && door.groups.iter().any(|group| first.table(group).is_some()))
        // The large tables hold a gauge too, but not one that is worth reading them ten times a second.
        .filter(|door| !door.path.ends_with("/snmp"))
        .filter(|door| cost(first, door.path).is_some_and(|cost| cost < CHEAP))
        .collect()
}

fn cost(snapshot: &Snapshot, source: &str) -> Option<Duration> {
    let status = snapshot.sources.iter().find(|status| status.name == source)?;
    status.ok.then(|| Duration::from_micros(status.microseconds))
}

fn left_out(dumped: Dumped) -> Option<String> {
    match (dumped.disturbed, dumped.bad) {
        (true, _) => Some("changed while it was read: rows may be missing or stand twice".into()),
        (false, 0) => None,
        (false, bad) => Some(format!("{bad} messages made no sense and were left out")),
    }
}

fn status_of(name: &str, result: io::Result<Option<String>>, begin: Duration, end: Duration) -> SourceStatus {
    let microseconds = end.saturating_sub(begin).as_micros().try_into().unwrap_or(u64::MAX);
    let (ok, reason) = match result {
        Ok(reason) => (true, reason),
        Err(e) => (false, Some(why(&e))),
    };
    SourceStatus { name: name.into(), ok, reason, microseconds }
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not on this kernel, or not in this network namespace".into(),
        io::ErrorKind::Unsupported => "not on this kernel".into(),
        io::ErrorKind::PermissionDenied => "not permitted".into(),
        _ => error.to_string(),
    }
}

/// The highest values seen so far.
fn keep_peaks(peaks: &mut Vec<Table>, tables: Vec<Table>) {
    for table in tables {
        match peaks.iter_mut().find(|peak| peak.group == table.group) {
            // CPUs came or went: what was seen before can't be told apart any more, but the newest is right.
            Some(peak) if peak.rows.len() != table.rows.len() => *peak = table,
            Some(peak) => {
                for (high, now) in peak.rows.iter_mut().zip(&table.rows) {
                    for (high, now) in high.values.iter_mut().zip(&now.values) {
                        *high = (*high).max(*now);
                    }
                }
            }
            None => peaks.push(table),
        }
    }
}
