//! What may be typed behind `doctor`.

use clap::Args;

use super::Color;

/// Show what can be done here.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show each hook and source too
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
