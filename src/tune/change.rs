//! A change and its steps, as the journal keeps them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verify::{Judgement, Measured};
use crate::model::{Scope, SettingFile};

/// The version of the format, in each file.
pub(super) const VERSION: u32 = 1;

/// One change: what one run of `--apply` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Version of this format.
    pub version: u32,
    /// Its number, counted up from 1.
    pub id: u64,
    /// The host that it was made on.
    pub host: String,
    /// /proc/sys/kernel/random/boot_id: unpersisted values are gone after a reboot.
    pub boot_id: String,
    /// When it was begun: RFC 3339, UTC.
    pub at: String,
    /// Who made it: user and, behind sudo, the user before.
    pub who: String,
    /// The network namespace in which settings of that scope were changed.
    pub netns: Namespace,
    /// Until when it must be confirmed, in seconds since boot (CLOCK_BOOTTIME, which does not jump); absent if it need
    /// not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<u64>,
    /// The folder (as /etc) in which it is kept over a reboot, or will be once it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<PathBuf>,
    /// The window in which the findings were made, so that what the change did can be judged later, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Measured>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// A network namespace, so that it can be found again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Namespace {
    /// `net:[4026531840]`: may be used again after the namespace is gone.
    pub id: Option<String>,
    /// The kernel's number for it that is never used again, since 5.14.
    pub cookie: Option<u64>,
    /// How the user called it; absent for the one we were in.
    pub reference: Option<String>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its name.
    pub knob: String,
    /// Of which device and queue, where the name does not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// Its file.
    #[serde(flatten)]
    pub file: SettingFile,
    /// What it governs: a machine-wide one is written from the host's own namespace.
    pub scope: Scope,
    /// Its value before.
    pub from: String,
    /// Its value after.
    pub to: String,
    /// The rules that asked for it.
    pub findings: Vec<String>,
    /// Why this value.
    pub why: String,
    /// True if it acts only on what is made after the change.
    pub waits: bool,
    /// The sockets whose loss asked for it. Empty: none in particular.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<Loser>,
    /// True if other sockets lose by the same rule for a reason that this setting does not touch.
    #[serde(default)]
    pub partial: bool,
    /// How far it is.
    pub state: State,
    /// What it did; absent until that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Judgement>,
}

/// A socket that lost packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Loser {
    /// The kernel's number for it, never used again.
    pub cookie: u64,
    /// The address it is bound to.
    pub local: String,
    /// Whose it is: `dnsd[1423], dnsd.service`. Empty if that could not be found out.
    pub who: String,
}

/// How far a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not written.
    Planned,
    /// About to be written: it may or may not have been.
    Writing,
    /// Written and read back.
    Written,
    /// Has its old value again.
    Undone,
    /// Left alone, because somebody else changed it since.
    LeftAlone,
    /// Gone with its namespace, or at a reboot.
    Gone,
}

impl Step {
    /// A planned step with nothing in it yet.
    pub fn empty(scope: Scope) -> Self {
        Step {
            knob: String::new(),
            instance: String::new(),
            file: SettingFile::default(),
            scope,
            from: String::new(),
            to: String::new(),
            findings: Vec::new(),
            why: String::new(),
            waits: false,
            victims: Vec::new(),
            partial: false,
            state: State::Planned,
            verdict: None,
        }
    }

    /// Its name, and the device and queue where the name does not say them.
    pub fn name(&self) -> String {
        if self.instance.is_empty() { self.knob.clone() } else { format!("{} of {}", self.knob, self.instance) }
    }

    /// True if it is in force, and what it did is not known yet.
    pub fn undecided(&self) -> bool {
        self.state == State::Written && self.verdict.as_ref().is_none_or(|judged| judged.verdict.undecided())
    }

    /// True if its new value may still be in force.
    pub fn open(&self) -> bool {
        matches!(self.state, State::Writing | State::Written)
    }
}

impl Change {
    /// True if any of its values may still be in force.
    pub fn open(&self) -> bool {
        self.steps.iter().any(Step::open)
    }

    /// True if it was not confirmed in time, and is still in force. `now` is in seconds since boot.
    pub fn overdue(&self, now: u64) -> bool {
        self.open() && self.confirm_by.is_some_and(|limit| limit <= now)
    }
}

/// An empty change.
pub fn new_change(id: u64) -> Change {
    Change {
        version: VERSION,
        id,
        host: String::new(),
        boot_id: String::new(),
        at: String::new(),
        who: String::new(),
        netns: Namespace::default(),
        confirm_by: None,
        persist: None,
        before: None,
        steps: Vec::new(),
    }
}
