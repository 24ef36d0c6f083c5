//! By how much everything changed between two snapshots.

use std::collections::BTreeMap;

use super::{Counter, Group, Instance, Kind, Row, Snapshot, Span, Table, grown};

/// How one value changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A counter that only grows.
    Total {
        /// Its value at the end.
        total: u64,
        /// By how much it grew; absent if that can't be known (new, reset).
        delta: Option<u64>,
    },
    /// A value that goes up and down.
    Gauge {
        /// Its value at the start; absent if it was not there then.
        first: Option<u64>,
        /// Its value at the end.
        value: u64,
        /// The highest value seen in the window.
        max: u64,
    },
}

/// The changes of one table's row.
#[derive(Clone, Debug)]
pub struct ChangeRow {
    /// What the row stands for.
    pub instance: Instance,
    /// A change per counter of the table.
    pub changes: Vec<Option<Change>>,
}

/// The changes of one table.
#[derive(Clone, Debug)]
pub struct ChangeTable {
    /// Which table.
    pub group: &'static Group,
    /// The counters that the changes of each row belong to.
    pub counters: Vec<&'static Counter>,
    /// The rows that there are at the end.
    pub rows: Vec<ChangeRow>,
    /// When the table was read for the first and for the second snapshot.
    pub read: [Span; 2],
}

/// The changes of all tables over one window.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Length of the window in seconds: between the snapshots, or since boot. Absent if it can't be known.
    pub seconds: Option<f64>,
    /// True if the totals since boot stand for the changes.
    pub since_boot: bool,
    /// The tables.
    pub tables: Vec<ChangeTable>,
    /// The highest values that gauges held over two looks in a row: what a single look sees may be over at once.
    pub held: Vec<Table>,
}

impl Changes {
    /// The changes from `first` to `last`; `peaks` holds the highest values that gauges had in between.
    pub fn between(first: &Snapshot, last: &Snapshot, peaks: &[Table], seconds: Option<f64>) -> Changes {
        let tables = last.tables.iter().map(|table| {
            let before = first.table(table.group);
            let peak = peaks.iter().find(|peak| peak.group == table.group);
            compare(table, before, peak)
        });
        Changes { seconds, since_boot: false, tables: tables.collect(), held: Vec::new() }
    }

    /// The totals of one snapshot, taken as the changes since boot.
    pub fn since_boot(snapshot: &Snapshot, uptime: Option<f64>) -> Changes {
        let mut changes = Self::between(snapshot, snapshot, &[], uptime);
        changes.since_boot = true;
        for row in changes.tables.iter_mut().flat_map(|table| &mut table.rows) {
            for change in row.changes.iter_mut().flatten() {
                if let Change::Total { total, delta } = change {
                    *delta = Some(*total);
                }
            }
        }
        changes
    }

    /// All rows of `counter` with their change.
    pub fn each(&self, counter: &'static Counter) -> impl Iterator<Item = (&Instance, Change)> {
        self.tables.iter().filter(move |table| table.group == counter.group).flat_map(move |table| {
            let at = table.counters.iter().position(|c| *c == counter);
            table.rows.iter().filter_map(move |row| Some((&row.instance, row.changes[at?]?)))
        })
    }

    /// By how much `counter` grew, over all its rows. Absent if no row could be compared.
    pub fn delta(&self, counter: &'static Counter) -> Option<u64> {
        let grown = self.each(counter).filter_map(|(_, change)| match change {
            Change::Total { delta, .. } => delta,
            Change::Gauge { .. } => None,
        });
        grown.reduce(u64::saturating_add)
    }

    /// The sum of what several counters grew by: those that could be compared.
    pub fn delta_of(&self, counters: &[&'static Counter]) -> u64 {
        counters.iter().filter_map(|counter| self.delta(counter)).fold(0, u64::saturating_add)
    }

    /// By how much `counters` grew in all beyond what `known` grew by, each device by itself.
    pub fn beyond(&self, counters: &[&'static Counter], known: &'static Counter) -> u64 {
        let mut devices: BTreeMap<&Instance, u64> = BTreeMap::new();
        for counter in counters {
            for (instance, grown) in self.grown(counter) {
                let sum = devices.entry(instance).or_default();
                *sum = sum.saturating_add(grown);
            }
        }
        let known: BTreeMap<&Instance, u64> = self.grown(known).collect();
        let beyond = |(instance, grown): (&&Instance, &u64)| grown.saturating_sub(*known.get(instance).unwrap_or(&0));
        devices.iter().map(beyond).fold(0, u64::saturating_add)
    }

    /// The rows of `counter` that grew, and by how much.
    pub fn grown(&self, counter: &'static Counter) -> impl Iterator<Item = (&Instance, u64)> {
        self.each(counter).filter_map(|(instance, change)| match change {
            Change::Total { delta: Some(grown), .. } if grown > 0 => Some((instance, grown)),
            _ => None,
        })
    }

    /// By how much `counter` grew for one instance; 0 if that is not known.
    pub fn delta_at(&self, counter: &'static Counter, instance: &Instance) -> u64 {
        self.grown(counter).find(|(other, _)| *other == instance).map_or(0, |(_, grown)| grown)
    }

    /// The highest value of a gauge in the window, and its last one, over all its rows.
    pub fn gauge(&self, counter: &'static Counter) -> Option<(u64, u64)> {
        let values = self.each(counter).filter_map(|(_, change)| match change {
            Change::Gauge { value, max, .. } => Some((max, value)),
            Change::Total { .. } => None,
        });
        values.reduce(|a, b| (a.0.max(b.0), a.1.saturating_add(b.1)))
    }

    /// By how much a gauge is higher at the end than at the start, over the rows that were there at both.
    pub fn risen(&self, counter: &'static Counter) -> Option<i64> {
        let risen = self.each(counter).filter_map(|(_, change)| match change {
            Change::Gauge { first: Some(first), value, .. } => {
                let by = i128::from(value) - i128::from(first);
                Some(i64::try_from(by).unwrap_or(if by > 0 { i64::MAX } else { i64::MIN }))
            }
            _ => None,
        });
        risen.reduce(i64::saturating_add)
    }

    /// The highest value that a row of a gauge held over two looks in a row.
    pub fn held(&self, counter: &'static Counter) -> Option<(&Instance, u64)> {
        let table = self.held.iter().find(|table| table.group == counter.group)?;
        let at = table.counters.iter().position(|c| *c == counter)?;
        let rows = table.rows.iter().filter_map(|row| Some((&row.instance, row.values[at]?)));
        rows.max_by_key(|(_, value)| *value)
    }

    /// The table of `group`.
    pub fn table(&self, group: &Group) -> Option<&ChangeTable> {
        self.tables.iter().find(|table| table.group == group)
    }
}

fn compare(table: &Table, before: Option<&Table>, peak: Option<&Table>) -> ChangeTable {
    let old = Rows::of(before);
    let high = Rows::of(peak);
    let mut rows: Vec<ChangeRow> = Vec::with_capacity(table.rows.len());
    for (i, row) in table.rows.iter().enumerate() {
        let old = old.find(i, &row.instance);
        let high = high.find(i, &row.instance);
        let changes = table.counters.iter().enumerate().map(|(column, counter)| {
            let new = row.values[column]?;
            let old = old.and_then(|row| row.values[column]);
            Some(match counter.kind {
                Kind::Total => {
                    Change::Total { total: new, delta: old.and_then(|old| grown(old, new, counter.group.bits)) }
                }
                Kind::Gauge => {
                    let high = high.and_then(|row| row.values[column]);
                    Change::Gauge { first: old, value: new, max: new.max(old.unwrap_or(0)).max(high.unwrap_or(0)) }
                }
            })
        });
        rows.push(ChangeRow { instance: row.instance.clone(), changes: changes.collect() });
    }
    if table.group.folded {
        rows = fold(rows, table.counters.len());
    }
    let read = [before.map_or(table.read, |table| table.read), table.read];
    ChangeTable { group: table.group, counters: table.counters.clone(), rows, read }
}

/// Adds up the per-CPU rows of a folded table. A sum of which a part is unknown is unknown.
fn fold(rows: Vec<ChangeRow>, columns: usize) -> Vec<ChangeRow> {
    if rows.is_empty() {
        return rows;
    }
    let sum = |column: usize| {
        rows.iter().filter_map(|row| row.changes[column]).reduce(|a, b| match (a, b) {
            (Change::Total { total: a, delta: da }, Change::Total { total: b, delta: db }) => {
                Change::Total { total: a.saturating_add(b), delta: da.zip(db).map(|(a, b)| a.saturating_add(b)) }
            }
            // The entries of such a table: the kernel prints the one number in every CPU's line.
            (Change::Gauge { first: fa, value: a, max: ma }, Change::Gauge { first: fb, value: b, max: mb }) => {
                Change::Gauge { first: fa.max(fb), value: a.max(b), max: ma.max(mb) }
            }
            (a, _) => a,
        })
    };
    vec![ChangeRow { instance: Instance::Only, changes: (0..columns).map(sum).collect() }]
}

/// Finds the row of an instance: mostly it is at the same place; CPUs and devices come and go.
struct Rows<'a> {
    rows: &'a [Row],
    moved: std::cell::OnceCell<BTreeMap<&'a Instance, &'a Row>>,
}

impl<'a> Rows<'a> {
    fn of(table: Option<&'a Table>) -> Self {
        Rows { rows: table.map_or(&[], |table| &table.rows), moved: std::cell::OnceCell::new() }
    }

    fn find(&self, likely: usize, instance: &Instance) -> Option<&'a Row> {
        match self.rows.get(likely) {
            Some(row) if row.instance == *instance => Some(row),
            _ if self.rows.is_empty() => None,
            _ => {
                let moved = self.moved.get_or_init(|| self.rows.iter().map(|row| (&row.instance, row)).collect());
                moved.get(instance).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Scope, Unit};

    static CPUS: Group = Group { id: "t", scope: Scope::Cpu, bits: 32, folded: false, origin: "", kernel: "" };
    static SUM: Group = Group { id: "s", scope: Scope::Netns, bits: 32, folded: true, origin: "", kernel: "" };
    static SEEN: Counter = CPUS.total("seen", Unit::Packets);
    static DEPTH: Counter = CPUS.gauge("depth", Unit::Packets);
    static LOST: Counter = SUM.total("lost", Unit::Packets);

    fn cpus(rows: &[(u32, u64, u64)]) -> Snapshot {
        let rows = rows
            .iter()
            .map(|&(cpu, seen, depth)| Row { instance: Instance::Cpu { cpu }, values: vec![Some(seen), Some(depth)] });
        let table = Table { group: &CPUS, counters: vec![&SEEN, &DEPTH], rows: rows.collect(), read: Span::default() };
        Snapshot { tables: vec![table], ..Snapshot::default() }
    }

    #[test]
    fn a_cpu_that_came_between_the_readings_has_no_delta() {
        let first = cpus(&[(0, 10, 0), (2, 50, 0)]);
        let last = cpus(&[(0, 11, 0), (1, 999, 0), (2, 53, 0)]);
        let changes = Changes::between(&first, &last, &[], Some(1.0));
        let deltas: Vec<_> = changes.each(&SEEN).collect();
        assert_eq!(deltas[1].1, Change::Total { total: 999, delta: None });
        assert_eq!(changes.delta(&SEEN), Some(4), "rows are matched by CPU, not by line");
    }

    #[test]
    fn a_cpu_that_went_away_does_not_shift_the_others() {
        let first = cpus(&[(0, 10, 0), (1, 7, 0), (2, 50, 0)]);
        let last = cpus(&[(0, 11, 0), (2, 53, 0)]);
        assert_eq!(Changes::between(&first, &last, &[], Some(1.0)).delta(&SEEN), Some(4));
    }

    #[test]
    fn a_gauge_remembers_its_peak() {
        let peak = cpus(&[(0, 0, 90)]).tables;
        let changes = Changes::between(&cpus(&[(0, 0, 5)]), &cpus(&[(0, 0, 3)]), &peak, Some(1.0));
        assert_eq!(changes.gauge(&DEPTH), Some((90, 3)));
    }

    #[test]
    fn per_cpu_cells_wrap_one_by_one_before_they_are_added_up() {
        let table = |a: u64, b: u64| Snapshot {
            tables: vec![Table {
                group: &SUM,
                counters: vec![&LOST],
                rows: [a, b].map(|v| Row { instance: Instance::Only, values: vec![Some(v)] }).into(),
                read: Span::default(),
            }],
            ..Snapshot::default()
        };
        let changes = Changes::between(&table(0xffff_ffff, 5), &table(1, 6), &[], Some(1.0));
        assert_eq!(changes.delta(&LOST), Some(3));
    }

    #[test]
    fn a_number_that_stands_in_every_cpu_s_line_is_one_number() {
        static HELD: Counter = SUM.gauge("held", Unit::Entries);
        let row = |value| Row { instance: Instance::Only, values: vec![Some(value)] };
        let table = |value| Snapshot {
            tables: vec![Table {
                group: &SUM,
                counters: vec![&HELD],
                rows: vec![row(value), row(value)],
                read: Span::default(),
            }],
            ..Snapshot::default()
        };
        let changes = Changes::between(&table(7), &table(9), &[], Some(1.0));
        assert_eq!((changes.gauge(&HELD), changes.risen(&HELD)), (Some((9, 9)), Some(2)));
    }

    #[test]
    fn a_reset_counter_has_a_total_and_no_delta() {
        let changes = Changes::between(&cpus(&[(0, 500_000, 0)]), &cpus(&[(0, 3, 0)]), &[], Some(1.0));
        assert_eq!(changes.each(&SEEN).next().unwrap().1, Change::Total { total: 3, delta: None });
    }
}
