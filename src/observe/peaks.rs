//! What gauges were seen at in between two snapshots.

use crate::model::Table;

/// What gauges were seen at in between.
#[derive(Default)]
pub(super) struct Peaks {
    /// The highest values seen so far.
    pub highest: Vec<Table>,
    /// The highest that they held from one look to the next.
    pub held: Vec<Table>,
    /// The look before.
    before: Vec<Table>,
}

impl Peaks {
    pub fn look(&mut self, now: Vec<Table>) {
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
