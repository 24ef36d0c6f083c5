//! What a parser finds: columns by name or by position, one row per label.

use crate::model::Group;

/// A table as it stood in the file.
#[derive(Debug, Default, PartialEq)]
pub struct Sheet<'a> {
    /// The table's name, where a file holds several.
    pub name: &'a [u8],
    /// The names of the columns; empty for a table without a header.
    pub columns: Vec<&'a [u8]>,
    /// The rows.
    pub rows: Vec<SheetRow<'a>>,
    /// Lines that could not be read.
    pub bad: usize,
}

/// One row. A cell that is no number, or is not there, is absent.
#[derive(Debug, PartialEq)]
pub struct SheetRow<'a> {
    /// What the row is called.
    pub label: Label<'a>,
    /// Its cells, in the order of the columns.
    pub cells: Vec<Option<u64>>,
}

/// What a row is called in its table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label<'a> {
    /// There is only one.
    Only,
    /// It has no name: the n-th line, counted from 0.
    Line(usize),
    /// A CPU's number.
    Cpu(u32),
    /// A device's name.
    Device(&'a [u8]),
    /// A device's name, and the number of one of its receive queues.
    RxQueue(&'a [u8], u32),
    /// A device's name, and the number of one of its transmit queues.
    TxQueue(&'a [u8], u32),
    /// A device's name, and that of one of its interrupts.
    Vector(&'a [u8], &'a [u8]),
    /// A device's name, and that of one of its qdiscs.
    Qdisc(&'a [u8], &'a str),
    /// A device's name, and that of a class of one of its qdiscs.
    Class(&'a [u8], &'a str),
}

/// A table of devices or their queues, as it was gathered from the messages of a dump.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Which table.
    pub group: &'static Group,
    /// The names of the columns.
    pub columns: &'static [&'static str],
    /// Whose row, and its cells in the order of the columns.
    pub rows: Vec<(Owner, Vec<Option<u64>>)>,
}

/// Whose row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A device, by name.
    Device(Vec<u8>),
    /// A receive queue of a device.
    RxQueue(Vec<u8>, u32),
    /// A transmit queue of a device.
    TxQueue(Vec<u8>, u32),
    /// An interrupt of a device, by name.
    Vector(Vec<u8>, Vec<u8>),
    /// A qdisc of a device, by kind and handle.
    Qdisc(Vec<u8>, String),
    /// A class of a device's qdisc, by kind and handle.
    Class(Vec<u8>, String),
}

impl Rows {
    /// A table that has no row yet.
    pub fn new(group: &'static Group, columns: &'static [&'static str]) -> Self {
        Rows { group, columns, rows: Vec::new() }
    }

    /// As a sheet.
    pub fn sheet(&self) -> Sheet<'_> {
        Sheet {
            columns: self.columns.iter().map(|name| name.as_bytes()).collect(),
            rows: self.rows.iter().map(|(owner, cells)| owner.row(cells)).collect(),
            ..Sheet::default()
        }
    }
}

impl Owner {
    fn row(&self, cells: &[Option<u64>]) -> SheetRow<'_> {
        let label = match self {
            Owner::Device(name) => Label::Device(name),
            Owner::RxQueue(name, number) => Label::RxQueue(name, *number),
            Owner::TxQueue(name, number) => Label::TxQueue(name, *number),
            Owner::Vector(name, vector) => Label::Vector(name, vector),
            Owner::Qdisc(name, qdisc) => Label::Qdisc(name, qdisc),
            Owner::Class(name, class) => Label::Class(name, class),
        };
        SheetRow { label, cells: cells.to_vec() }
    }
}
