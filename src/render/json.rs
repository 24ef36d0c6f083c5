//! JSON: the report as it is.

use std::io::{self, IsTerminal, Write};

use crate::report::Report;

/// One document: indented for eyes, on one line for a pipe.
pub fn document(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if std::io::stdout().is_terminal() { write(serde_json::to_vec_pretty(report)?, out) } else { line(report, out) }
}

/// One document on one line.
pub fn line(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write(serde_json::to_vec(report)?, out)
}

fn write(mut document: Vec<u8>, out: &mut dyn Write) -> io::Result<()> {
    document.push(b'\n');
    out.write_all(&document)
}
