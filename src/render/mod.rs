//! Reports for people and machines: a file per format.

mod doctor;
pub mod drop_event;
pub mod drops;
pub mod explain;
mod json;
mod namespaces;
mod openmetrics;
mod path;
pub mod pcap;
pub mod plan;
mod policy;
pub mod sockets;
mod table;
pub mod topology;
pub mod words;

use std::io::{self, Write};

use crate::cli::Format;
use crate::report::Report;
use crate::report::card::Card;

/// How a report is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Which format.
    pub format: Format,
    /// How much more to show.
    pub verbose: u8,
}

/// Writes a report.
pub fn write(report: &Report, look: Look, out: &mut dyn Write) -> io::Result<()> {
    match look.format {
        Format::Table => table::write(report, look.verbose, out),
        Format::Json => json::document(report, out),
        Format::Jsonl => json::line(report, out),
        Format::Openmetrics => openmetrics::write(report, out),
    }?;
    out.flush()
}

/// Writes a capability card, as JSON or for people.
pub fn card(card: &Card, json: bool, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    if json { json::document(card, out) } else { doctor::write(card, verbose, out) }
}
