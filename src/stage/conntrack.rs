//! Connection tracking: netfilter remembers every flow.

mod hash;
mod invalid;
mod races;
mod table_full;
mod timeouts;

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::{CONNTRACK, NF_CONNTRACK};

counters! {
    /// Flows that the namespace tracks now. net/netfilter/nf_conntrack_standalone.c.
    COUNT = CONNTRACK.gauge("count", Unit::Entries);
    /// Flows that each namespace may track: net.netfilter.nf_conntrack_max. net/netfilter/nf_conntrack_standalone.c.
    MAX = CONNTRACK.gauge("max", Unit::Entries);
    /// Packets dropped because the table was full (and nothing could be evicted), or memory was short; received ones and
    /// our own. net/netfilter/nf_conntrack_core.c __nf_conntrack_alloc().
    DROP = NF_CONNTRACK.total("drop", Unit::Packets).same_loss("conntrack")
        .flow(Flow::MayExplain { at: "conntrack", from: "ip_in" });
    /// Entries that were evicted, before their time, to make room for new ones: the table is full.
    /// net/netfilter/nf_conntrack_core.c early_drop().
    EARLY_DROP = NF_CONNTRACK.total("early_drop", Unit::Entries);
    /// Packets dropped because another packet of the same flow was entered first (two DNS queries from one socket).
    /// net/netfilter/nf_conntrack_core.c __nf_conntrack_confirm().
    INSERT_FAILED = NF_CONNTRACK.total("insert_failed", Unit::Packets).same_loss("conntrack");
    /// Packets that belong to no flow and can't begin one; dropped only if a rule says so.
    /// net/netfilter/nf_conntrack_core.c nf_conntrack_in().
    INVALID = NF_CONNTRACK.total("invalid", Unit::Packets);
    /// Flows entered by hand or expectation. net/netfilter/nf_conntrack_core.c nf_conntrack_hash_check_insert().
    INSERT = NF_CONNTRACK.total("insert", Unit::Entries);
    /// Look-ups that found an entry only at its second try. net/netfilter/nf_conntrack_core.c nf_conntrack_tuple_taken().
    FOUND = NF_CONNTRACK.total("found", Unit::Events);
    /// Packets of flows that need no tracking, on kernels before 5.15. net/netfilter/nf_conntrack_core.c.
    IGNORE = NF_CONNTRACK.total("ignore", Unit::Packets);
    /// Clashes of two first packets of a flow that were settled without loss. net/netfilter/nf_conntrack_core.c
    /// nf_ct_resolve_clash().
    CLASHRES = NF_CONNTRACK.total("clashres", Unit::Packets);
    /// Times that an entry found no place because a hash chain was too long, since 5.15.
    /// net/netfilter/nf_conntrack_core.c __nf_conntrack_confirm().
    CHAINLENGTH = NF_CONNTRACK.total("chainlength", Unit::Events);
    /// ICMP errors that fit no flow. net/netfilter/nf_conntrack_proto_icmp.c.
    ICMP_ERROR = NF_CONNTRACK.total("icmp_error", Unit::Packets);
    /// Look-ups that had to start again because the table was being resized.
    /// net/netfilter/nf_conntrack_core.c ____nf_conntrack_find().
    SEARCH_RESTART = NF_CONNTRACK.total("search_restart", Unit::Events);
}

/// Within R10 and T4.
pub static STAGE: Stage = Stage {
    id: "conntrack",
    title: "conntrack",
    explain: "If any firewall rule or NAT asks for it, every packet is matched with a table of known flows, before \
              routing for received ones and before leaving for our own. A first packet makes an entry; if there is no \
              room it is dropped.",
    chapter: include_str!("chapter/conntrack.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[&table_full::TABLE_FULL, &races::RACES, &invalid::INVALID_PACKETS, &hash::SMALL],
    knobs: &[
        &table_full::CONNTRACK_MAX,
        &hash::BUCKETS,
        &invalid::BE_LIBERAL,
        &invalid::LOOSE,
        &timeouts::ESTABLISHED,
        &timeouts::TIME_WAIT,
        &timeouts::CLOSE_WAIT,
        &timeouts::UDP,
        &timeouts::UDP_STREAM,
        &timeouts::GENERIC,
    ],
};
