//! What may be typed behind `confirm`, and what the guard is started with.

use std::path::PathBuf;

use clap::Args;

/// Keep a change.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The number of the change; without, the newest that waits
    pub id: Option<u64>,
    /// Where changes are written down
    #[arg(long, value_name = "DIR", default_value = crate::tune::journal::DEFAULT)]
    pub state_dir: PathBuf,
}

/// Wait for a confirmation.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The number of the change
    pub id: u64,
    /// Where changes are written down
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
}
