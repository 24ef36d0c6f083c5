//! The capability card: what this kernel, these privileges and this container allow, and what is lost without each.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Netns, Own};
use crate::model::SourceStatus;

/// The card.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Card {
    /// The version of this format.
    pub schema: &'static str,
    /// Always `doctor`.
    pub kind: CardKind,
    /// The version of the program.
    pub tool_version: &'static str,
    /// The host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The kernel's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// RFC 3339, UTC, milliseconds.
    pub taken_at: String,
    /// The network namespace that the card is of.
    pub netns: Netns,
    /// What the program can do here.
    pub abilities: Vec<Ability>,
    /// What to do to get what is missing.
    pub remedies: Vec<Remedy>,
    /// What it needs of the kernel.
    pub features: Features,
    /// The kernel's hooks that it wants to count at.
    pub hooks: Vec<Hook>,
    /// The capabilities that it can use, each by its name.
    pub capabilities: Vec<Capability>,
    /// What else binds this process.
    pub limits: Vec<Limit>,
    /// The settings that it may suggest to change.
    pub settings: Access,
    /// How the sources went.
    pub sources: Vec<SourceStatus>,
    /// What the program itself cost so far.
    #[serde(rename = "self")]
    pub own: Own,
}

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CardKind {
    /// The capability card.
    Doctor,
}

/// One thing that the program can do, or can't do here.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ability {
    /// Its name.
    pub id: &'static str,
    /// What it shows or does.
    pub title: &'static str,
    /// True if it can be had here, now.
    pub works: bool,
    /// What stands in the way; nothing, if it works.
    pub missing: Vec<String>,
    /// What is not seen without it.
    pub lost: &'static str,
}

/// A way to get what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Remedy {
    /// What to do.
    pub what: String,
    /// A command that does it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// For which abilities.
    pub abilities: Vec<&'static str>,
}

/// What the program needs of the kernel.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Features {
    /// The kernel's type information.
    pub btf: Btf,
    /// How many reasons for a drop this kernel tells apart; absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reasons: Option<usize>,
    /// The drop monitor: its module is loaded, or can be.
    pub drop_monitor: bool,
}

/// The kernel's type information.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Btf {
    /// True if it can be read.
    pub ok: bool,
    /// Its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// Why it can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A tracepoint or function that the program counts at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Hook {
    /// Its group and name: `skb:kfree_skb`; a function is called `fexit:nft_do_chain`.
    pub id: String,
    /// What is counted there.
    pub gives: &'static str,
    /// Where this kernel says that it has it; absent if it does not, or does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundIn>,
    /// Whether our program could be attached to it just now; absent where that was not tried, for want of what all of them
    /// need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached: Option<bool>,
    /// Why it was not found, or not attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The verifier's last lines, if it refused the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verifier: Vec<String>,
}

/// Where a hook was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FoundIn {
    /// In the kernel's types, so that its arguments are known too.
    Btf,
    /// In tracefs.
    Tracefs,
}

/// A capability of this process.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Capability {
    /// Its name: `CAP_BPF`.
    pub name: &'static str,
    /// True if this process has it; absent if that can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// What it is good for here.
    pub gives: &'static str,
}

/// Something that binds this process, besides capabilities.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Limit {
    /// Its name.
    pub name: &'static str,
    /// How it is.
    pub value: String,
    /// What that costs; absent if it costs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub costs: Option<&'static str>,
}

/// Which settings can be changed from here.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Access {
    /// Those that can.
    pub writable: Vec<String>,
    /// Those that are there, and can't.
    pub read_only: Vec<ReadOnly>,
    /// Those that this kernel does not have, or this namespace does not show.
    pub absent: Vec<String>,
}

/// A setting that can't be changed from here.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReadOnly {
    /// Which one.
    pub knob: String,
    /// Why not.
    pub reason: String,
}
