//! What may be typed behind `rx`, `tx` and `tune`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::parse_interval;
use super::{ChangeArgs, Color, Probes, ShowArgs};
use crate::model::Severity;

/// Report on a path of packets.
#[derive(Debug, Args)]
pub struct PathArgs {
    /// Length of the window: 1s, 500ms, 2m. 0 shows the totals since boot
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
    /// Whether to count dropped packets in the kernel too (eBPF), which tells what no counter knows; auto: if it is
    /// permitted here
    #[arg(long, value_enum, default_value_t = Probes::Auto)]
    pub probes: Probes,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show the counters that moved too; twice, also those that did not, and the sources
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Changing settings
    #[command(flatten)]
    pub change: ChangeArgs,
}

impl PathArgs {
    /// True if a plan is wanted, or a change.
    pub fn plans(&self) -> bool {
        self.change.dry_run || self.change.apply.is_some()
    }
}
