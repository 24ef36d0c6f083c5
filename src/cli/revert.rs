//! What may be typed behind `revert`.

use std::path::PathBuf;

use clap::Args;

/// Take back changes.
#[derive(Debug, Args)]
pub struct RevertArgs {
    /// The number of the change, as history shows it; without, the newest that is not taken back yet
    #[arg(conflicts_with = "all")]
    pub id: Option<u64>,
    /// All changes
    #[arg(long)]
    pub all: bool,
    /// Where changes are written down
    #[arg(long, value_name = "DIR", default_value = crate::tune::journal::DEFAULT)]
    pub state_dir: PathBuf,
}
