//! Takes snapshots through the doors, and watches what lies between two of them.

mod sockets;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::model::{
    Changes, Counter, Group, Instance, Key, Kind, Row, Snapshot, SocketSums, SocketWatch, Sockets, SourceStatus, Span,
    Table,
};
use crate::source::groups::{CONNTRACK, DOORS, Door, LINK, NF_CONNTRACK, Shape};
use crate::source::link::{self, Link};
use crate::source::netlink::{Dumped, Pending};
use crate::source::sockdiag::{self, connections};
use crate::source::{Host, Label, Sheet, SheetRow, conntrack, text};
use crate::stage::counters_of;
use sockets::{SOCK_DIAG, SocketLooks, connections_tell, take_sums, with_connections};

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

/// Reads one host again and again, in the network namespace of the calling thread.
pub struct Observer {
    host: Host,
    clock: Instant,
    bytes: Vec<u8>,
    /// When the last snapshot was complete, as far as that is known.
    complete: Option<Duration>,
}

impl Observer {
    /// An observer of `host`.
    pub fn new(host: Host) -> Self {
        Observer { host, clock: Instant::now(), bytes: Vec::new(), complete: None }
    }

    /// Everything, as it is at the start of a window.
    pub fn snapshot(&mut self) -> Snapshot {
        self.take_all(|now| connections_tell(None, now))
    }

    /// The same at the end of the window that began with `first`.
    fn snapshot_after(&mut self, first: &Snapshot) -> Snapshot {
        self.take_all(|now| connections_tell(Some(first), now))
    }

    fn take_all(&mut self, with_connections: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut online = Vec::new();
        // Another thread waits for the kernel's rtnl lock while this one reads the files.
        let (begin, links) = (self.clock.elapsed(), link::start(&self.host));
        for door in DOORS {
            self.open(door, &mut online, &mut snapshot);
        }
        self.conntrack(&mut snapshot);
        self.links(begin, links.and_then(Pending::wait), &mut snapshot);
        self.sockets(&mut snapshot);
        if with_connections(&snapshot) {
            self.connections(&mut snapshot);
        }
        snapshot.at = self.clock.elapsed();
        self.complete = self.host.complete(snapshot.at);
        snapshot
    }

    /// What the counters say since boot, as far as one snapshot can tell.
    pub fn since_boot(&mut self) -> Window {
        let uptime = self.uptime();
        // What single connections dropped since each was made, nothing can be compared with.
        let snapshot = self.take_all(|_| false);
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
        let sockets = sockets.map(|(watch, sums)| with_connections(watch.end(sums), first, &last));
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
        let changes = Changes::between(&first, &last, &[], seconds);
        let sockets = first.sockets.clone().map(SocketWatch::start).zip(last.sockets.as_ref());
        let sockets = sockets.map(|(watch, sums)| with_connections(watch.end(sums), &first, &last));
        Window { changes, sockets, sources: last.sources }
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

    fn links(&mut self, begin: Duration, result: io::Result<(Vec<Link>, Dumped)>, snapshot: &mut Snapshot) {
        let read = self.span(LINKS, begin);
        let status = result.and_then(|(links, dumped)| {
            let taken = take(&LINK, &link::sheet(&links), &[], "", read, snapshot);
            something(taken, left_out(dumped))
        });
        snapshot.sources.push(status_of(LINKS, status, begin, self.clock.elapsed()));
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

    fn span(&self, source: &str, begin: Duration) -> Span {
        self.host.span(source, Span { begin, end: self.clock.elapsed() })
    }
}

const LINKS: &str = "rtnetlink links";

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

/// A source that gave no value at all gave nothing.
fn something(taken: usize, left_out: Option<String>) -> io::Result<Option<String>> {
    match (taken, left_out) {
        (0, Some(reason)) => Err(io::Error::other(reason)),
        (0, None) => Err(io::Error::other("holds nothing that is known here")),
        (_, left_out) => Ok(left_out),
    }
}

/// Puts what stands in a file into the snapshot's tables. Returns what was left out.
fn fill(door: &Door, bytes: &[u8], online: &[u32], read: Span, snapshot: &mut Snapshot) -> io::Result<Option<String>> {
    let (mut bad, mut taken) = (0, 0);
    match door.shape {
        Shape::Tables(parse) => {
            for sheet in parse(bytes) {
                bad += sheet.bad;
                let group = match sheet.name {
                    b"" => door.groups.first(),
                    name => door.groups.iter().find(|group| group.id.as_bytes() == name),
                };
                // Tables that nobody declared (IcmpMsg, MPTcpExt) are not kept.
                if let Some(group) = group {
                    taken += take(group, &sheet, online, "", read, snapshot);
                }
            }
        }
        Shape::Lines(parse) => {
            for sheet in parse(bytes) {
                bad += sheet.bad;
                let prefix = format!("{}_", text::printable(sheet.name));
                taken += take(door.groups[0], &sheet, online, &prefix, read, snapshot);
            }
        }
        Shape::Number(name) => {
            let rows = vec![SheetRow { label: Label::Only, cells: vec![text::first_number(bytes)] }];
            let sheet = Sheet { columns: vec![name.as_bytes()], rows, ..Sheet::default() };
            bad += usize::from(sheet.rows[0].cells[0].is_none());
            taken += take(door.groups[0], &sheet, online, "", read, snapshot);
        }
    }
    something(taken, (bad > 0).then(|| format!("{bad} lines made no sense and were left out")))
}

/// Takes the declared counters of `group` out of a sheet. A sheet may hold only a part of a one-row table; the parts are
/// joined. Returns how many values it held.
fn take(
    group: &'static Group,
    sheet: &Sheet,
    online: &[u32],
    prefix: &str,
    read: Span,
    snapshot: &mut Snapshot,
) -> usize {
    let counters = counters_of(group);
    let columns = columns(sheet, &counters, prefix);
    let mut taken = 0;
    let rows = sheet.rows.iter().filter_map(|row| {
        let values: Vec<Option<u64>> =
            columns.iter().map(|column| row.cells.get((*column)?).copied().flatten()).collect();
        taken += values.iter().flatten().count();
        Some(Row { instance: instance(group, row.label, online)?, values })
    });
    match snapshot.tables.iter_mut().find(|table| table.group == group) {
        Some(table) => {
            table.read = table.read.cover(read);
            if let (Some(old), Some(new)) = (table.rows.first_mut(), rows.take(1).next()) {
                for (old, new) in old.values.iter_mut().zip(new.values) {
                    *old = old.or(new);
                }
            }
        }
        None => {
            let rows = rows.collect();
            snapshot.tables.push(Table { group, counters, rows, read });
        }
    }
    taken
}

/// In which column of the sheet each counter stands. Headers are mostly in the order of the declarations, so the search
/// goes on from the last find.
fn columns(sheet: &Sheet, counters: &[&'static Counter], prefix: &str) -> Vec<Option<usize>> {
    let count = sheet.columns.len();
    let mut next = 0;
    let mut find = |name: &str| {
        let name = name.strip_prefix(prefix)?.as_bytes();
        let found = (next..count).chain(0..next.min(count)).find(|&i| sheet.columns[i] == name)?;
        next = found + 1;
        Some(found)
    };
    counters
        .iter()
        .map(|counter| match counter.key {
            Key::Column(index) => Some(index),
            Key::Name(name) => find(name),
        })
        .collect()
}

/// What a row stands for. A line that is a CPU's by its place is the n-th online one's.
fn instance(group: &Group, label: Label, online: &[u32]) -> Option<Instance> {
    Some(match label {
        Label::Cpu(cpu) => Instance::Cpu { cpu },
        Label::Device(name) => Instance::device(text::printable(name)),
        // Of a folded table every possible CPU has a line: the number only tells the lines apart.
        Label::Line(n) if group.folded => Instance::Cpu { cpu: u32::try_from(n).ok()? },
        Label::Line(n) => Instance::Cpu { cpu: online.get(n).copied().or_else(|| u32::try_from(n).ok())? },
        Label::Only => Instance::Only,
    })
}

/// What gauges were seen at in between.
#[derive(Default)]
struct Peaks {
    /// The highest values seen so far.
    highest: Vec<Table>,
    /// The highest that they held from one look to the next.
    held: Vec<Table>,
    /// The look before.
    before: Vec<Table>,
}

impl Peaks {
    fn look(&mut self, now: Vec<Table>) {
        for table in &now {
            keep(&mut self.highest, table.clone());
            if let Some(before) = self.before.iter().find(|before| before.group == table.group) {
                let mut both = table.clone();
                merge(&mut both, before, |now, before| now.zip(before).map(|(now, before)| now.min(before)));
                keep(&mut self.held, both);
            }
        }
        self.before = now;
    }
}

/// Keeps the higher of each value.
fn keep(kept: &mut Vec<Table>, table: Table) {
    match kept.iter_mut().find(|kept| kept.group == table.group) {
        // CPUs came or went: what was seen before can't be told apart any more, but the newest is right.
        Some(old) if old.rows.len() != table.rows.len() => *old = table,
        Some(old) => merge(old, &table, Option::max),
        None => kept.push(table),
    }
}

fn merge(into: &mut Table, from: &Table, how: impl Fn(Option<u64>, Option<u64>) -> Option<u64>) {
    for (into, from) in into.rows.iter_mut().zip(&from.rows) {
        for (into, from) in into.values.iter_mut().zip(&from.values) {
            *into = how(*into, *from);
        }
    }
}
