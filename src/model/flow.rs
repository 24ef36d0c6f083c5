//! What a counter says about the packet's way. The ledger is solved over these edges; it knows no stage by itself.

use super::counter::Counter;

/// Where packets come from before the first stage.
pub const WIRE: &str = "wire";
/// Where packets end that were delivered: a socket's reader, or the kernel itself (ICMP, ARP).
pub const APPLICATION: &str = "application";
/// Where packets end that were sent on to another host.
pub const FORWARDED: &str = "forwarded";

/// One edge of the packet's way. `at`, `from` and `to` are stage ids, or the three ends above.
#[derive(Clone, Copy, Debug)]
pub enum Flow {
    /// Passed from one stage to a later one, or to an end.
    Pass {
        /// The stage that they leave.
        from: &'static str,
        /// The stage that takes them.
        to: &'static str,
    },
    /// Lost at this stage.
    Lost {
        /// The stage.
        at: &'static str,
    },
    /// Discarded because nobody here asked for them: no listener, somebody else's, unknown protocol. Not a loss.
    Unwanted {
        /// The stage.
        at: &'static str,
    },
    /// Lost at this stage: what exceeds that which `known` already counted for the same device, and `with`, which counts
    /// beyond `known`, too.
    LostBeyond {
        /// The stage.
        at: &'static str,
        /// The device's own counter, which may hold the same packets.
        known: &'static Counter,
        /// Another one that may be held by `known`; disjoint from this one.
        with: Option<&'static Counter>,
    },
    /// Counts no packets, but tells of a device that those are lost at this stage which `counted` counted meanwhile, less
    /// those of `less`.
    LostAsIn {
        /// The stage.
        at: &'static str,
        /// Where they are counted.
        counted: &'static Counter,
        /// What else is counted there, and is no loss.
        less: &'static Counter,
    },
    /// Lost at this stage, as far as `limit` counted losses in the same window; what exceeds it is unwanted at `rest`.
    /// For counters in which the kernel puts both (a device's `rx_dropped`).
    LostUpTo {
        /// The stage that loses.
        at: &'static str,
        /// The (machine-wide) counter of the losses alone.
        limit: &'static Counter,
        /// The stage that discards the rest.
        rest: &'static str,
        /// Counters of losses that drivers put in here as well: taken out before anything else.
        apart: &'static [&'static Counter],
    },
    /// Lost at this stage, but the counter also holds packets of other ways (locally made ones): it explains at most
    /// what is missing in the balance of `from`, and among those sent on.
    MayExplain {
        /// The stage that loses.
        at: &'static str,
        /// The stage in whose balance they are missing.
        from: &'static str,
    },
    /// The same as [`Flow::MayExplain`] for what exceeds that which `known` counted: that knows the same packets, lost
    /// elsewhere.
    MayExplainBeyond {
        /// The stage that loses.
        at: &'static str,
        /// The stage in whose balance they are missing.
        from: &'static str,
        /// Counts some of them where they are lost.
        known: &'static Counter,
    },
    /// Passed from one stage to a later one, if the kernel also counts `beside`: one that does not has them in another
    /// counter already.
    PassBeside {
        /// The stage that they leave.
        from: &'static str,
        /// The stage that takes them.
        to: &'static str,
        /// What must be there.
        beside: &'static Counter,
    },
    /// Left this stage by the counts of a device, that also hold packets of ways which `past` does not see, and pieces of
    /// larger packets: of what `past` passed on, at least that is missing which they do not reach.
    Reaches {
        /// The last stage that counts whole packets.
        past: &'static str,
        /// The stage that they leave.
        at: &'static str,
        /// Another counter of the same device: the larger one holds.
        or: &'static Counter,
    },
    /// How many wait at this stage: a gauge.
    Queued {
        /// The stage.
        at: &'static str,
    },
    /// Made here, and sent the way of those that are sent on.
    Joins,
    /// Given to a device, of those that are sent on and those that were made here. A kernel that counts these counts a
    /// packet as sent on before its firewall and its size are looked at.
    Leaves,
    /// Fragments that were taken to be put together: no longer packets of their own.
    Merged {
        /// The stage.
        at: &'static str,
    },
    /// Packets made of merged ones.
    Unmerged {
        /// The stage.
        at: &'static str,
    },
    /// Lost among the merged ones: a loss, but already outside the balance.
    LostMerged {
        /// The stage.
        at: &'static str,
    },
    /// Each of these may or may not have ended at this stage without being counted: widens the line.
    Uncertain {
        /// The stage.
        at: &'static str,
    },
}

impl Flow {
    /// True if packets end here that should have gone on, or that nobody asked for.
    pub fn is_loss(self) -> bool {
        !matches!(
            self,
            Flow::Pass { .. }
                | Flow::PassBeside { .. }
                | Flow::Reaches { .. }
                | Flow::Queued { .. }
                | Flow::Joins
                | Flow::Leaves
                | Flow::Merged { .. }
                | Flow::Unmerged { .. }
                | Flow::Uncertain { .. }
        )
    }
}

/// Packets that a probe saw being dropped, and no counter knows of: they explain at most what is missing in a balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncounted {
    /// The stage that dropped them.
    pub at: &'static str,
    /// The stage in whose balance they are missing.
    pub from: &'static str,
    /// IPv6 (true) and IPv4 balance apart.
    pub v6: bool,
    /// How many.
    pub packets: u64,
    /// True if nobody here asked for them: then they are no loss.
    pub unwanted: bool,
    /// Why, by the kernel's name for it.
    pub reason: &'static str,
    /// How many of them were missing there: the ledger says so.
    pub explained: u64,
}
