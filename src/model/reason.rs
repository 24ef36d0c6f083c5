//! Why the kernel drops a packet, and whether that is normal.

use schemars::JsonSchema;
use serde::Serialize;

/// How much a drop hurts, by its reason alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Harm {
    /// Nobody misses these packets: they were not asked for, or are duplicates.
    Harmless,
    /// Normal in small numbers; a lot of it is a sign of something.
    Watch,
    /// Somebody wanted these packets.
    Harmful,
}

impl std::fmt::Display for Harm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Harm::Harmless => "harmless",
            Harm::Watch => "watch",
            Harm::Harmful => "harmful",
        })
    }
}

/// A reason for which packets are dropped; each is declared in the file of its stage.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    /// The kernel's name for it, without `SKB_DROP_REASON_` (include/net/dropreason-core.h).
    pub name: &'static str,
    /// How much it hurts.
    pub harm: Harm,
    /// Is this drop normal? What it means, in a sentence or two.
    pub normal: &'static str,
    /// Beginnings of the names of functions that drop for this reason, on kernels that give none (before 5.17).
    pub functions: &'static [&'static str],
    /// The same on kernels that give reasons, but none in these functions.
    pub unnamed_in: &'static [&'static str],
    /// No counter knows of these packets: they are missing in the balance of this stage.
    pub missing_at: Option<&'static str>,
    /// The same on the way out.
    pub missing_on_send: Option<&'static str>,
}

impl Reason {
    /// A reason that nobody needs to care for.
    pub const fn harmless(name: &'static str, normal: &'static str) -> Self {
        Reason {
            name,
            harm: Harm::Harmless,
            normal,
            functions: &[],
            unnamed_in: &[],
            missing_at: None,
            missing_on_send: None,
        }
    }

    /// A reason that is worth a look if there is a lot of it.
    pub const fn watch(name: &'static str, normal: &'static str) -> Self {
        Reason {
            name,
            harm: Harm::Watch,
            normal,
            functions: &[],
            unnamed_in: &[],
            missing_at: None,
            missing_on_send: None,
        }
    }

    /// A reason that hurts.
    pub const fn harmful(name: &'static str, normal: &'static str) -> Self {
        Reason {
            name,
            harm: Harm::Harmful,
            normal,
            functions: &[],
            unnamed_in: &[],
            missing_at: None,
            missing_on_send: None,
        }
    }

    /// The functions that drop for this reason on kernels that give none.
    pub const fn in_functions(self, functions: &'static [&'static str]) -> Self {
        Reason { functions, ..self }
    }

    /// The functions that drop for this reason as `NOT_SPECIFIED` on kernels that give others.
    pub const fn unnamed_in(self, unnamed_in: &'static [&'static str]) -> Self {
        Reason { unnamed_in, ..self }
    }

    /// The stage in whose balance these packets are missing, because no counter knows of them.
    pub const fn missing_at(self, stage: &'static str) -> Self {
        Reason { missing_at: Some(stage), ..self }
    }

    /// On the way out nobody counts them either: they are missing in the balance of this stage, that lost them.
    pub const fn missing_on_send(self, stage: &'static str) -> Self {
        Reason { missing_on_send: Some(stage), ..self }
    }
}
