//! What may be typed behind `explain`.

use clap::{Args, ValueEnum};

use super::Color;

/// Explain something.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A counter (Udp.RcvbufErrors, also as nstat writes it), rule (backlog-overflow), knob (net.core.rmem_max), stage
    /// (udp_in) or drop reason (NO_SOCKET)
    #[arg(required_unless_present = "list")]
    pub id: Option<String>,
    /// List all that can be explained, by kind and in each by stage; or one kind
    #[arg(long, value_enum, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "all", conflicts_with = "id")]
    pub list: Option<Kind>,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Everything
    All,
    /// Stages of the packet's path
    Stages,
    /// What can be wrong
    Rules,
    /// What can be turned
    Knobs,
    /// What is counted
    Counters,
    /// Why the kernel drops a packet
    Reasons,
}
