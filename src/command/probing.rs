//! The probes beside the counters of `rx`: what they saw of the observed namespace, and what the ledger may make of it.

use std::collections::BTreeMap;

use crate::cli::Probes;
use crate::drops::{DropWatch, Only, Window};
use crate::error::Error;
use crate::model::{Direction, Drop, Harm, Probed, SourceStatus, Uncounted};
use crate::source::place;
use crate::source::probe::drops::Wanted;
use crate::stage::{self, Way};

/// The probes of one namespace, if they could be attached.
pub struct Probing {
    watch: Option<DropWatch>,
    refused: Option<String>,
}

/// What they saw in one window.
#[derive(Debug, Default)]
pub struct Seen {
    /// The drops. Absent without probes.
    pub window: Option<Window>,
    /// Why there are none, or what of them is not known.
    pub status: Vec<SourceStatus>,
}

impl Probing {
    /// Attaches them for the calling thread's namespace.
    pub fn begin(wanted: Probes) -> Result<Self, Error> {
        Self::of(wanted, Only { netns: place::inode(), ..Only::default() })
    }

    /// Attaches them for every namespace.
    pub fn everywhere(wanted: Probes) -> Result<Self, Error> {
        Self::of(wanted, Only::default())
    }

    fn of(wanted: Probes, only: Only) -> Result<Self, Error> {
        if wanted == Probes::Off {
            return Ok(Probing { watch: None, refused: None });
        }
        match DropWatch::begin(Wanted::default(), only) {
            Ok(watch) => Ok(Probing { watch: Some(watch), refused: None }),
            Err(refusal) if wanted == Probes::On => Err(Error::missing(refusal.what).hint(refusal.todo)),
            Err(refusal) => Ok(Probing { watch: None, refused: Some(refusal.what) }),
        }
    }

    /// What they saw since this was last asked.
    pub fn window(&mut self) -> Seen {
        let read = self.watch.as_mut().map(DropWatch::window).transpose();
        let (mut window, failed) = match read {
            Ok(window) => (window, self.refused.clone()),
            Err(e) => (None, Some(e.to_string())),
        };
        let status =
            |reason| SourceStatus { name: "drop probe".into(), ok: false, reason: Some(reason), microseconds: 0 };
        let mut all: Vec<SourceStatus> = failed.map(status).into_iter().collect();
        all.extend(window.as_mut().map(|window| std::mem::take(&mut window.sources)).unwrap_or_default());
        Seen { window, status: all }
    }
}

impl Seen {
    /// What of it was in the namespace of this id.
    pub fn within(&self, netns: &str) -> Self {
        let here = |other: &Option<String>| other.as_deref() == Some(netns);
        let window = self.window.as_ref().map(|window| Window {
            drops: window.drops.iter().filter(|drop| here(&drop.netns)).cloned().collect(),
            incidents: window.incidents.iter().filter(|incident| here(&incident.netns)).cloned().collect(),
            probes: Vec::new(),
            sources: Vec::new(),
            ..*window
        });
        Seen { window, status: Vec::new() }
    }
}

/// Packets of which no counter knows, for the ledger: by reason, as the stages declare it.
///
/// A packet that is sent on has come in: where some were, those that were dropped so explain what packets of our own do not.
pub fn uncounted(way: Way, sent_on: bool, probed: Option<&Probed>) -> Vec<Uncounted> {
    let drops = || probed.iter().flat_map(|probed| &probed.drops);
    let sends = way == Way::Send;
    let own = drops().filter(|drop| (drop.direction == Some(Direction::Out)) == sends);
    let others = drops().filter(|drop| sends && sent_on && drop.direction != Some(Direction::Out));
    own.chain(others).filter_map(|drop| one(drop, sends)).collect()
}

fn one(drop: &Drop, sends: bool) -> Option<Uncounted> {
    let name = drop.likely.as_deref().unwrap_or(&drop.reason);
    let (at, reason) = stage::reason(name, drop.protocol.as_deref())?;
    let from = if sends { reason.missing_on_send? } else { reason.missing_at? };
    Some(Uncounted {
        at: if sends { from } else { at },
        from,
        v6: drop.network.as_deref() == Some("ipv6"),
        packets: drop.count,
        unwanted: reason.harm == Harm::Harmless,
        reason: reason.name,
        explained: 0,
    })
}

/// What the ledger has explained by them, for each reason.
pub fn explained(uncounted: &[Uncounted]) -> BTreeMap<&'static str, u64> {
    let mut explained = BTreeMap::new();
    for one in uncounted {
        *explained.entry(one.reason).or_default() += one.explained;
    }
    explained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_received_packets_that_nobody_counts_enter_the_ledger() {
        let sent = Drop { direction: Some(Direction::Out), ..Drop::example("NETFILTER_DROP", 5) };
        let v6 = Drop { network: Some("ipv6".into()), ..Drop::example("NETFILTER_DROP", 7) };
        let drops = vec![Drop::example("NETFILTER_DROP", 3), sent, v6, Drop::example("SOCKET_RCVBUFF", 9)];
        let found = uncounted(Way::Receive, false, Some(&Probed { drops, ..Probed::default() }));
        let found: Vec<_> = found.iter().map(|one| (one.at, one.from, one.v6, one.packets)).collect();
        assert_eq!(found, [("netfilter", "ip_in", false, 3), ("netfilter", "ip_in", true, 7)]);
    }

    #[test]
    fn on_the_way_out_those_that_came_in_explain_only_where_some_were_sent_on() {
        let sent = Drop { direction: Some(Direction::Out), ..Drop::example("NETFILTER_DROP", 5) };
        let drops = vec![Drop::example("NETFILTER_DROP", 3), sent];
        let probed = Probed { drops, ..Probed::default() };
        let found = |sent_on| -> Vec<u64> {
            uncounted(Way::Send, sent_on, Some(&probed)).iter().map(|one| one.packets).collect()
        };
        assert_eq!((found(false), found(true)), (vec![5], vec![5, 3]));
    }
}
