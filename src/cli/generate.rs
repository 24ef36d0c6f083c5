//! What may be typed behind `generate`.

use std::path::PathBuf;

use clap::Args;

/// Write the papers made from the code.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The folder that holds README.md, man/ and completions/
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}
