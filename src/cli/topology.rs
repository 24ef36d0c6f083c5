//! What may be typed behind `topology`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::parse_interval;
use super::{Color, ShowArgs};
use crate::model::Severity;

/// Show which CPU works for which queue.
#[derive(Debug, Args)]
pub struct TopologyArgs {
    /// Length of the window: 1s, 500ms, 2m. 0 shows what leads where, and no rates
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// How many windows, and how each is shown
    #[command(flatten)]
    pub show: ShowArgs,
    /// Of the devices, show only this one
    #[arg(long, value_name = "DEVICE")]
    pub dev: Option<String>,
    /// Look at this network namespace: a name that 'ip netns' knows, a path, or pid:N
    #[arg(long, value_name = "NAME|PATH|pid:N")]
    pub netns: Option<String>,
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
    /// Show the queues and CPUs that did nothing, interrupts that serve no queue, and the sources too
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
