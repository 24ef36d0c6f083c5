//! One file per verb; each a short chain of pipeline calls.

pub mod choice;
pub mod explain;
pub mod generate;
pub mod rx;
