//! What a parser finds: columns by name or by position, one row per label.

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
}
