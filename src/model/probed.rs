//! What the probes in the kernel saw, beside the counters.

use std::collections::BTreeMap;

use super::{Drop, Incident};

/// What the probes in the kernel saw of one namespace in the window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probed {
    /// Packets freed as dropped.
    pub drops: Vec<Drop>,
    /// What went wrong besides.
    pub incidents: Vec<Incident>,
    /// By how much the probes watched longer than the counters, as a share: they begin before and end after them.
    pub longer: f64,
    /// For reasons that no counter knows: what of their packets was missing in the ledger.
    pub explained: BTreeMap<&'static str, u64>,
}

impl Probed {
    /// True if this drop reason, or this hook, was seen.
    pub fn saw(&self, name: &str) -> bool {
        self.drops.iter().any(|drop| drop.is_for(name)) || self.incidents.iter().any(|incident| incident.hook == name)
    }
}
