//! T5, neighbour: the link address of the next hop is found.

mod full;
mod knobs;
mod unresolved;

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::{ARP_CACHE, NDISC_CACHE};

counters! {
    /// Entries in the IPv4 neighbour table, of all network namespaces together. net/core/neighbour.c struct neigh_table.
    ARP_ENTRIES = ARP_CACHE.gauge("entries", Unit::Entries).quiet_below(512);
    /// Times that there was no room for another IPv4 neighbour: the packet to it was lost, and its sender told.
    /// net/core/neighbour.c neigh_alloc(), since 4.15.
    ARP_FULL = ARP_CACHE.total("table_fulls", Unit::Events).sends(LOST);
    /// Packets lost because too many waited for the link address of one IPv4 next hop; the oldest goes.
    /// net/core/neighbour.c __neigh_event_send().
    ARP_DISCARDS = ARP_CACHE.total("unresolved_discards", Unit::Packets).sends(LOST);
    /// IPv4 next hops that did not answer; what waited for them is lost, and not counted. net/core/neighbour.c
    /// neigh_invalidate().
    ARP_FAILED = ARP_CACHE.total("res_failed", Unit::Events);
    /// Times that old IPv4 entries had to be thrown out to make room, out of turn. net/core/neighbour.c neigh_forced_gc().
    ARP_FORCED_GC = ARP_CACHE.total("forced_gc_runs", Unit::Runs);
    /// Entries in the IPv6 neighbour table, of all network namespaces together. net/core/neighbour.c struct neigh_table.
    NDISC_ENTRIES = NDISC_CACHE.gauge("entries", Unit::Entries).quiet_below(512);
    /// Times that there was no room for another IPv6 neighbour. net/core/neighbour.c neigh_alloc(), since 4.15.
    NDISC_FULL = NDISC_CACHE.total("table_fulls", Unit::Events).sends(LOST);
    /// Packets lost because too many waited for the link address of one IPv6 next hop.
    /// net/core/neighbour.c __neigh_event_send().
    NDISC_DISCARDS = NDISC_CACHE.total("unresolved_discards", Unit::Packets).sends(LOST);
    /// IPv6 next hops that did not answer. net/core/neighbour.c neigh_invalidate().
    NDISC_FAILED = NDISC_CACHE.total("res_failed", Unit::Events);
    /// Times that old IPv6 entries had to be thrown out to make room. net/core/neighbour.c neigh_forced_gc().
    NDISC_FORCED_GC = NDISC_CACHE.total("forced_gc_runs", Unit::Runs);
}

/// The tables are the machine's: of what they lost, at most what is missing is this namespace's.
const LOST: Flow = Flow::MayExplain { at: "neighbour", from: "neighbour" };

/// T5.
pub static STAGE: Stage = Stage {
    id: "neighbour",
    title: "neighbour",
    explain: "The packet needs the link address of its next hop. While that is asked for (ARP, neighbour discovery), some \
              packets wait; if there is no answer they are lost, and no counter of IP or UDP says so. All network namespaces \
              share one table for each IP version.",
    chapter: include_str!("chapter/neighbour.md"),
    fed_by: Some("ip_out"),
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[&full::FULL, &unresolved::DROPS, &unresolved::FAILS, &full::FORCED],
    reasons: &[],
    knobs: knobs::ALL,
};
