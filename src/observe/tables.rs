//! What the doors found, put into the snapshot's tables.

use std::io;

use crate::model::{Counter, Group, Instance, Key, Row, Scope, Snapshot, Span, Table};
use crate::source::groups::{Door, Shape};
use crate::source::{Label, Sheet, SheetRow, text};
use crate::stage::counters_of;

/// A source that gave no value at all gave nothing.
pub fn something(taken: usize, left_out: Option<String>) -> io::Result<Option<String>> {
    match (taken, left_out) {
        (0, Some(reason)) => Err(io::Error::other(reason)),
        (0, None) => Err(io::Error::other("holds nothing that is known here")),
        (_, left_out) => Ok(left_out),
    }
}

/// Puts what stands in a file into the snapshot's tables. Returns what was left out.
pub fn fill(
    door: &Door,
    bytes: &[u8],
    online: &[u32],
    read: Span,
    snapshot: &mut Snapshot,
) -> io::Result<Option<String>> {
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
pub fn take(
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
            // Each device gives rows of its own.
            if matches!(group.scope, Scope::Device | Scope::Queue) {
                table.rows.extend(rows);
                return taken;
            }
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
        Label::RxQueue(name, number) => Instance::queue(text::printable(name), format!("rx-{number}")),
        Label::TxQueue(name, number) => Instance::queue(text::printable(name), format!("tx-{number}")),
        Label::Vector(name, vector) => Instance::queue(text::printable(name), text::printable(vector)),
        Label::Qdisc(name, qdisc) => Instance::qdisc(text::printable(name), qdisc),
        Label::Class(name, class) => Instance::Class { device: text::printable(name), class: class.into() },
        // Of a folded table every possible CPU has a line: the number only tells the lines apart.
        Label::Line(n) if group.folded => Instance::Cpu { cpu: u32::try_from(n).ok()? },
        Label::Line(n) => Instance::Cpu { cpu: online.get(n).copied().or_else(|| u32::try_from(n).ok())? },
        Label::Only => Instance::Only,
    })
}
