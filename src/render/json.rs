//! JSON: a document as it is.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// One document: indented for eyes, on one line for a pipe.
pub fn document(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    if std::io::stdout().is_terminal() { write(serde_json::to_vec_pretty(document)?, out) } else { line(document, out) }
}

/// One document on one line.
pub fn line(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    write(serde_json::to_vec(document)?, out)
}

fn write(mut document: Vec<u8>, out: &mut dyn Write) -> io::Result<()> {
    document.push(b'\n');
    out.write_all(&document)
}
