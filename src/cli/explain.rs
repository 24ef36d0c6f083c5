//! What may be typed behind `explain`.

use clap::Args;

/// Explain something.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A counter (Udp.RcvbufErrors), rule (backlog-overflow), knob (net.core.rmem_max), stage (udp_in) or
    /// drop reason (NO_SOCKET)
    #[arg(required_unless_present = "list")]
    pub id: Option<String>,
    /// List all that can be explained
    #[arg(long)]
    pub list: bool,
}
