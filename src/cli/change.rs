//! What may be typed to change settings, behind `rx` and `tune`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::value::parse_interval;

/// Change settings.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changing settings")]
pub struct ChangeArgs {
    /// Make the changes that the findings suggest; all: also those that carry a high risk or are no sysctls
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "usual")]
    pub apply: Option<Apply>,
    /// Show what --apply would do, exactly, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, requires = "apply")]
    pub yes: bool,
    /// Of the settings, change only this one
    #[arg(long, value_name = "KNOB")]
    pub only: Vec<String>,
    /// Length of the windows before and after the change, by which it is judged: the interval, or 10s if no time is given
    #[arg(long, value_name = "TIME", requires = "apply", num_args = 0..=1, default_missing_value = "10s", value_parser = parse_interval)]
    pub verify: Option<Duration>,
    /// Keep a change that had no effect or hurt
    #[arg(long, requires = "apply")]
    pub keep: bool,
    /// Take the change back unless 'netstat-deep confirm' comes within this time, also if this terminal is lost
    #[arg(long, value_name = "TIME", requires = "apply", value_parser = parse_interval)]
    pub confirm_within: Option<Duration>,
    /// Keep the change over a reboot, in sysctl.d or a udev rule; revert removes it again
    #[arg(long, requires = "apply", conflicts_with = "netns")]
    pub persist: bool,
    /// The folder to keep it in, instead of /etc
    #[arg(long, value_name = "DIR", default_value = "/etc")]
    pub root_etc: PathBuf,
    /// Where changes are written down before they are made
    #[arg(long, value_name = "DIR", default_value = crate::tune::journal::DEFAULT)]
    pub state_dir: PathBuf,
}

/// What to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Apply {
    /// Sysctls that carry a low or medium risk
    Usual,
    /// Also what carries a high risk, and what is no sysctl
    All,
}
