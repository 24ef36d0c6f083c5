//! How many windows, and how each is shown: what the verbs that report have in common.

use clap::Args;

use super::Format;

/// How many windows, and how each is shown.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// How many windows, one after the other; 0 is without end
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    pub count: u64,
    /// A live screen: window after window in the same place, until it is interrupted
    #[arg(long, conflicts_with_all = ["count", "output", "json", "jsonl", "root"])]
    pub watch: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table, conflicts_with_all = ["json", "jsonl"])]
    pub output: Format,
    /// One JSON document, the same as --output json
    #[arg(long, conflicts_with = "jsonl")]
    pub json: bool,
    /// A JSON document a line and window, the same as --output jsonl
    #[arg(long)]
    pub jsonl: bool,
}

impl ShowArgs {
    /// How many windows; 0 is without end.
    pub fn windows(&self) -> u64 {
        if self.watch { 0 } else { self.count }
    }

    /// The format, however it was asked for.
    pub fn format(&self) -> Format {
        match (self.json, self.jsonl) {
            (true, _) => Format::Json,
            (_, true) => Format::Jsonl,
            _ => self.output,
        }
    }
}
