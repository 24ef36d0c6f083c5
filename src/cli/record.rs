//! What may be typed behind `record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::parse_interval;
use super::{Color, Format};

/// Record what this host tells.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The folder to make for the recording
    #[arg(long, value_name = "DIR")]
    pub bundle: PathBuf,
    /// Time between the two samples: 1s, 500ms, 2m. 0 takes one sample: the totals since boot
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// Record this network namespace: a name that 'ip netns' knows, a path, or pid:N
    #[arg(long, value_name = "NAME|PATH|pid:N")]
    pub netns: Option<String>,
    /// Replace addresses and the names of the host, of devices, processes, cgroups and namespaces, each by the same
    /// one everywhere, and leave out what can't be: for a recording that strangers may see
    #[arg(long)]
    pub redact: bool,
    /// Show the report on what was recorded as one JSON document
    #[arg(long)]
    pub json: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

impl RecordArgs {
    /// The format of the report.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Table }
    }
}
