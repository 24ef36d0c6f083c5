//! What may be typed behind `topology`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::parse_interval;
use super::{Color, Format};
use crate::model::Severity;

/// Show which CPU works for which queue.
#[derive(Debug, Args)]
pub struct TopologyArgs {
    /// Length of the window: 1s, 500ms, 2m
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// How many windows, one after the other; 0 is without end
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    pub count: u64,
    /// Of the devices, show only this one
    #[arg(long, value_name = "DEVICE")]
    pub dev: Option<String>,
    /// Look at this network namespace: a name that 'ip netns' knows, a path, or pid:N
    #[arg(long, value_name = "NAME|PATH|pid:N")]
    pub netns: Option<String>,
    /// One JSON document
    #[arg(long, conflicts_with = "jsonl")]
    pub json: bool,
    /// A JSON document a line and window
    #[arg(long)]
    pub jsonl: bool,
    /// Read a recorded tree of /proc and /sys instead of this host; two samples if it holds before/ and after/
    #[arg(long, value_name = "DIR", conflicts_with = "netns")]
    pub root: Option<PathBuf>,
    /// Exit with 1 if there is a finding of this severity or above
    #[arg(long, value_enum, value_name = "SEVERITY", num_args = 0..=1, require_equals = true, default_missing_value = "critical")]
    pub check: Option<Severity>,
    /// Leave out findings of this rule, or of this rule for this instance
    #[arg(long, value_name = "ID[:INSTANCE]")]
    pub ignore: Vec<String>,
    /// Limits of rules other than the built-in ones: a TOML file with a table per rule
    #[arg(long, value_name = "FILE")]
    pub thresholds: Option<PathBuf>,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

impl TopologyArgs {
    /// The format, however it was asked for.
    pub fn format(&self) -> Format {
        match (self.json, self.jsonl) {
            (true, _) => Format::Json,
            (_, true) => Format::Jsonl,
            _ => Format::Table,
        }
    }
}
