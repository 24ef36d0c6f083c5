//! JSON: the report as it is.

use std::io::{self, Write};

use crate::report::Report;

/// One document, indented.
pub fn pretty(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

/// One document on one line.
pub fn line(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    writeln!(out)
}
