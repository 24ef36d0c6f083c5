//! The layout of queues, interrupts and CPUs, as a document.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Netns, Own};
use crate::model::{Finding, Layout, SourceStatus};

/// The document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Topology {
    /// The version of this format.
    pub schema: &'static str,
    /// Always `topology`.
    pub kind: TopologyKind,
    /// The version of the program.
    pub tool_version: &'static str,
    /// The host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The kernel's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// RFC 3339, UTC, milliseconds; of a recording, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Length of the window; absent where only totals since boot are known: then there are no rates either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<f64>,
    /// The network namespace; absent for a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<Netns>,
    /// What works where.
    #[serde(flatten)]
    pub layout: Layout,
    /// What is crooked in it, the worst first.
    pub findings: Vec<Finding>,
    /// How the sources went.
    pub sources: Vec<SourceStatus>,
    /// What the program itself cost so far.
    #[serde(rename = "self")]
    pub own: Own,
}

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TopologyKind {
    /// The layout.
    Topology,
}
