//! Takes snapshots through the doors, and watches what lies between two of them.

mod peaks;
mod sockets;
mod tables;

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::model::{Changes, Group, Kind, SenderSums, Snapshot, SocketSums, SocketWatch, Sockets, SourceStatus, Span};
pub use crate::source::devices::Detail;
use crate::source::devices::{self, Answer, Answers};
use crate::source::groups::{ARP_CACHE, CONNTRACK, DOORS, Door, NDISC_CACHE, NF_CONNTRACK};
use crate::source::netlink::Dumped;
use crate::source::sockdiag::{self, connections};
use crate::source::{Host, conntrack, neighbour, text};
use crate::stage::{Way, counters_of};
use peaks::Peaks;
use sockets::{
    SENDERS, SOCK_DIAG, SocketLooks, Tell, connections_tell, read_senders, senders_tell, take_sums, with_single,
};
use tables::{fill, something, take};

/// How often gauges are looked at within a window.
const LOOK: Duration = Duration::from_millis(100);
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

impl Window {
    /// What lies between two snapshots that many `seconds` apart, with no look in between.
    pub fn between(first: &Snapshot, last: &Snapshot, seconds: Option<f64>) -> Self {
        let changes = Changes::between(first, last, &[], seconds);
        let sockets = first.sockets.clone().map(SocketWatch::start).zip(last.sockets.as_ref());
        let sockets = sockets.map(|(watch, sums)| with_single(watch.end(sums), first, last));
        Window { changes, sockets, sources: last.sources.clone() }
    }
}

/// Reads one host again and again, in the network namespace of the calling thread.
pub struct Observer {
    host: Host,
    /// Another one reads what is the same in every network namespace.
    only_netns: bool,
    clock: Instant,
    bytes: Vec<u8>,
    /// When the last snapshot was complete, as far as that is known.
    complete: Option<Duration>,
    /// What did not answer in time.
    slow: BTreeSet<String>,
    /// Whether what belongs to the send path alone is read as well: neighbours, and the connections that send.
    sends: bool,
    /// How closely the devices are looked at.
    detail: Detail,
    /// How much of that is told: a recording holds what any verb reads, and tells what its own verb does.
    told: Detail,
}

impl Observer {
    /// An observer of `host`, for one way of packets or for both: what takes many files is read for its own way only. A
    /// recording serves every verb.
    pub fn new(host: Host, way: Way) -> Self {
        let taped = matches!(host, Host::Taped(_));
        let told = match way {
            Way::Receive => Detail::Devices,
            Way::Send => Detail::Qdiscs,
            Way::Both => Detail::Queues,
        };
        let detail = if taped { Detail::Queues } else { told };
        let sends = taped || way != Way::Receive;
        let (clock, bytes, slow) = (Instant::now(), Vec::new(), BTreeSet::new());
        Observer { host, only_netns: false, clock, bytes, complete: None, slow, sends, detail, told }
    }

    /// The same, but it looks more closely at the devices.
    pub fn with(mut self, detail: Detail) -> Self {
        (self.detail, self.told) = (detail, detail);
        self
    }

    /// An observer of the running kernel that goes from one network namespace to the next, and leaves out what is the same
    /// in all of them. Times are taken from `clock`, so that another one may end a window that this one begins.
    pub fn of_namespaces(clock: Instant, way: Way) -> Self {
        Observer { only_netns: true, clock, ..Observer::new(Host::Live, way) }
    }

    /// Everything, as it is at the start of a window.
    pub fn snapshot(&mut self) -> Snapshot {
        self.take_all(None, true)
    }

    /// The same at the end of the window that began with `first`.
    pub fn snapshot_after(&mut self, first: &Snapshot) -> Snapshot {
        self.take_all(Some(first), true)
    }

    /// `single`: connections one by one, where they are worth it.
    fn take_all(&mut self, first: Option<&Snapshot>, single: bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut online = Vec::new();
        // Other threads wait for the kernel's rtnl lock while this one reads the files.
        let (begin, answers) = (self.clock.elapsed(), self.ask_of_devices());
        let only_netns = self.only_netns;
        for door in DOORS.iter().filter(|door| !only_netns || !door.is_of_machine()) {
            self.open(door, &mut online, &mut snapshot);
        }
        self.conntrack(&mut snapshot);
        if self.sends && snapshot.table(&ARP_CACHE).is_none() {
            self.kept_only(&mut snapshot, Self::neighbours);
        }
        match answers {
            Ok(answers) => self.devices(answers, &mut snapshot),
            Err(e) => snapshot.sources.push(status_of("devices", Err(e), begin, self.clock.elapsed())),
        }
        self.sockets(&mut snapshot);
        if single && connections_tell(first, &snapshot) {
            self.connections(&mut snapshot);
        }
        if single && self.sends {
            self.kept_only(&mut snapshot, |this, snapshot| this.senders(first, snapshot));
        }
        snapshot.at = self.clock.elapsed();
        self.complete = self.host.complete(snapshot.at);
        snapshot
    }

    /// All namespaces wait for the same lock: if it was held too long in one, the others are not asked.
    fn ask_of_devices(&self) -> io::Result<Answers> {
        if self.only_netns && self.slow.contains(devices::LINKS) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "not asked: no answer in another namespace"));
        }
        devices::start(&self.host, self.clock, &self.slow, self.detail)
    }

    /// What the counters say since boot, as far as one snapshot can tell.
    pub fn since_boot(&mut self) -> Window {
        let uptime = self.uptime();
        // What single connections dropped since each was made, nothing can be compared with.
        let snapshot = self.take_all(None, false);
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
        let mut peaks = Peaks::default();
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
                peaks.look(look.tables);
                next += LOOK;
            }
            if now >= end {
                break;
            }
            if let Some(sums) = sockets.look(&self.host, now) {
                let mut look = Snapshot::default();
                take_sums(&sums, Span::default(), &mut look);
                peaks.look(look.tables);
            }
            let wake = end.min(next).min(sockets.next);
            std::thread::sleep(wake.saturating_sub(self.clock.elapsed()));
        }
        // Sockets are read before the protocol's counters here, and were read after them at the start: so none is said to
        // have lost more than those counted.
        let before = sockets.all(&self.host);
        let last = self.snapshot_after(first);
        let seconds = last.at.saturating_sub(first.at).as_secs_f64();
        let mut changes = Changes::between(first, &last, &peaks.highest, Some(seconds));
        changes.held = peaks.held;
        let sockets = sockets.watch.zip(before.as_ref().or(last.sockets.as_ref()));
        let sockets = sockets.map(|(watch, sums)| with_single(watch.end(sums), first, &last));
        let sources = last.sources.clone();
        (last, Window { changes, sockets, sources })
    }

    /// What lies between a sample and another of `after`, which is taken when `wait` is over.
    pub fn between(&mut self, after: Host, wait: impl FnOnce()) -> Window {
        let (first, start, begin) = (self.snapshot(), self.uptime(), self.complete);
        wait();
        self.host = after;
        let (last, end) = (self.snapshot_after(&first), self.uptime());
        let measured = begin.zip(self.complete).map(|(begin, end)| end.saturating_sub(begin).as_secs_f64());
        let seconds = measured.or(start.zip(end).map(|(start, end)| end - start)).filter(|seconds| *seconds > 0.0);
        Window::between(&first, &last, seconds)
    }

    /// Seconds since boot, from `/proc/uptime`.
    pub fn uptime(&mut self) -> Option<f64> {
        self.host.read("proc/uptime", &mut self.bytes).ok()?;
        text::uptime(&self.bytes)
    }

    fn open(&mut self, door: &Door, online: &mut Vec<u32>, snapshot: &mut Snapshot) {
        let begin = self.clock.elapsed();
        let result = self.host.read(door.path, &mut self.bytes);
        let read = self.span(door.path, begin);
        let status = result.and_then(|()| {
            if door.path == "proc/stat" {
                *online = text::online_cpus(&self.bytes);
            }
            fill(door, &self.bytes, online, read, snapshot)
        });
        snapshot.sources.push(status_of(door.path, status, begin, self.clock.elapsed()));
    }

    /// What no file tells of connection tracking, if one of them shows that it is there.
    fn conntrack(&mut self, snapshot: &mut Snapshot) {
        let there = |group: &Group| snapshot.table(group).is_some();
        let (begin, host) = (self.clock.elapsed(), &self.host);
        let (group, sheet, name) = match (there(&NF_CONNTRACK), there(&CONNTRACK)) {
            (false, true) => {
                let counted = conntrack::read(host);
                let sheet = counted.map(|(counted, dumped)| (conntrack::sheet(&counted), dumped));
                (&NF_CONNTRACK, sheet, "ctnetlink statistics")
            }
            (true, false) => {
                let sheet = conntrack::fill(host).map(|fill| (conntrack::fill_sheet(fill), Dumped::default()));
                (&CONNTRACK, sheet, "ctnetlink fill")
            }
            _ => return,
        };
        let read = self.span(name, begin);
        let status =
            sheet.and_then(|(sheet, dumped)| something(take(group, &sheet, &[], "", read, snapshot), left_out(dumped)));
        snapshot.sources.push(status_of(name, status, begin, self.clock.elapsed()));
    }

    /// Reads what belongs to the send path. If the report is about the other way, it is read for the recording alone.
    fn kept_only(&mut self, snapshot: &mut Snapshot, read: impl FnOnce(&mut Self, &mut Snapshot)) {
        if self.told > Detail::Devices {
            read(self, snapshot);
        } else {
            read(self, &mut Snapshot { tables: snapshot.tables.clone(), ..Snapshot::default() });
        }
    }

    /// The neighbour tables, where no file shows them.
    fn neighbours(&mut self, snapshot: &mut Snapshot) {
        let (begin, name) = (self.clock.elapsed(), "rtnetlink neighbour tables");
        let tables = neighbour::tables(&self.host);
        let read = self.span(name, begin);
        let status = tables.and_then(|(tables, dumped)| {
            let taken = tables.iter().map(|table| {
                let group = if table.v6 { &NDISC_CACHE } else { &ARP_CACHE };
                take(group, &table.sheet(), &[], "", read, snapshot)
            });
            something(taken.sum(), left_out(dumped))
        });
        snapshot.sources.push(status_of(name, status, begin, self.clock.elapsed()));
    }

    fn devices(&mut self, answers: Answers, snapshot: &mut Snapshot) {
        let mut all: Vec<Answer> = answers.collect();
        // Several threads ask; which is done first is chance.
        all.sort_by(|a, b| a.name.cmp(&b.name));
        for Answer { name, span: [begin, end], result, detail } in all {
            if detail > self.told {
                continue;
            }
            if result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut) {
                self.slow.insert(name.clone());
            }
            let read = self.host.span(&name, Span { begin, end });
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
            take_sums(&sums, self.span(SOCK_DIAG, begin), snapshot);
            snapshot.sockets = Some(sums);
            left_out(dumped)
        });
        snapshot.sources.push(status_of(SOCK_DIAG, status, begin, self.clock.elapsed()));
    }

    fn connections(&mut self, snapshot: &mut Snapshot) {
        let begin = self.clock.elapsed();
        let status = connections::read(&self.host).map(|(sums, dumped)| {
            snapshot.connections = Some(sums);
            left_out(dumped)
        });
        snapshot.sources.push(status_of("sock_diag connections", status, begin, self.clock.elapsed()));
    }

    fn senders(&mut self, first: Option<&Snapshot>, snapshot: &mut Snapshot) {
        let begin = self.clock.elapsed();
        let status = match senders_tell(first, snapshot) {
            // What was counted before still holds.
            Tell::Nothing => {
                let before = first.map_or_else(|| Some(SenderSums::default()), |first| first.senders.clone());
                snapshot.senders = before.map(SenderSums::counts_only);
                return;
            }
            Tell::TooMany(count) => Err(io::Error::other(format!(
                "{count} connections are too many to look at each in every window: 'netstat-deep sockets' does"
            ))),
            Tell::Something => {
                let before = first.and_then(|first| first.senders.as_ref());
                read_senders(&self.host, before).map(|(sums, dumped)| {
                    snapshot.senders = Some(sums);
                    left_out(dumped)
                })
            }
        };
        snapshot.sources.push(status_of(SENDERS, status, begin, self.clock.elapsed()));
    }

    fn span(&self, source: &str, begin: Duration) -> Span {
        self.host.span(source, Span { begin, end: self.clock.elapsed() })
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
        .filter(|door| !["/snmp", "/protocols", "/netlink"].iter().any(|large| door.path.ends_with(large)))
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
        io::ErrorKind::PermissionDenied => "not permitted".into(),
        _ => error.to_string(),
    }
}
