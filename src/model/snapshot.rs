//! Everything as it was read at one moment.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ConnectionSums, Counter, Group, Instance, SenderSums, SocketSums};

/// When a source was read: begin and end, on a clock that does not jump. Zero for a recorded tree.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// Before the first byte.
    pub begin: Duration,
    /// After the last byte.
    pub end: Duration,
}

impl Span {
    /// The shortest span that holds both.
    pub fn cover(self, other: Span) -> Span {
        Span { begin: self.begin.min(other.begin), end: self.end.max(other.end) }
    }

    /// Its length in seconds.
    pub fn seconds(self) -> f64 {
        self.end.saturating_sub(self.begin).as_secs_f64()
    }
}

/// The rows of one kernel table, with a value for each declared counter; absent is not zero.
#[derive(Clone, Debug)]
pub struct Table {
    /// Which table.
    pub group: &'static Group,
    /// The counters that the values of each row belong to.
    pub counters: Vec<&'static Counter>,
    /// The rows.
    pub rows: Vec<Row>,
    /// When it was read.
    pub read: Span,
}

/// One row of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the row stands for.
    pub instance: Instance,
    /// A value per counter of the table.
    pub values: Vec<Option<u64>>,
}

/// How the reading of one source went.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SourceStatus {
    /// The source: a file, or a netlink request.
    pub name: String,
    /// False if it gave nothing.
    pub ok: bool,
    /// Why it gave nothing, or what was left out of what it gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the reading took.
    pub microseconds: u64,
}

/// All tables and sockets as read at one moment, and which sources gave nothing, and why.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When its reading ended, on a clock that does not jump.
    pub at: Duration,
    /// All tables.
    pub tables: Vec<Table>,
    /// What the sockets add up to. Absent where sock_diag gave nothing.
    pub sockets: Option<SocketSums>,
    /// What the TCP connections add up to. Absent where nothing made them worth the reading.
    pub connections: Option<ConnectionSums>,
    /// What the TCP connections that send add up to, by tcp_info. Absent where nobody wanted to know.
    pub senders: Option<SenderSums>,
    /// How each source went.
    pub sources: Vec<SourceStatus>,
}

impl Snapshot {
    /// The table of `group`, if it was read.
    pub fn table(&self, group: &Group) -> Option<&Table> {
        self.tables.iter().find(|table| table.group == group)
    }

    /// The sum of `counter` over all rows.
    pub fn sum(&self, counter: &Counter) -> Option<u64> {
        let table = self.table(counter.group)?;
        let at = table.counters.iter().position(|c| *c == counter)?;
        table.rows.iter().filter_map(|row| row.values[at]).reduce(u64::saturating_add)
    }
}
