//! What may be typed behind `history`.

use std::path::PathBuf;

use clap::Args;

/// List changes.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Look again at changes of which it is not known yet what they did; take back what had no effect or hurt
    #[arg(long)]
    pub verify: bool,
    /// Keep those, too
    #[arg(long, requires = "verify")]
    pub keep: bool,
    /// Where changes are written down
    #[arg(long, value_name = "DIR", default_value = crate::tune::journal::DEFAULT)]
    pub state_dir: PathBuf,
}
