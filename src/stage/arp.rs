//! R9, ARP and neighbour discovery: who has which address on the link.

mod knobs;

use crate::counters;
use crate::model::{Reason, Stage, Unit};
use crate::source::groups::{ARP_CACHE, ICMP6, NDISC_CACHE, TCP_EXT};

counters! {
    /// ARP requests that were not answered because arp_filter says that another device is the right one.
    /// net/ipv4/arp.c arp_filter().
    ARP_FILTER = TCP_EXT.total("ArpFilter", Unit::Packets);
    /// Look-ups in the IPv4 neighbour table. net/core/neighbour.c neigh_lookup().
    ARP_LOOKUPS = ARP_CACHE.total("lookups", Unit::Events);
    /// Look-ups in the IPv4 neighbour table that found an entry. net/core/neighbour.c neigh_lookup().
    ARP_HITS = ARP_CACHE.total("hits", Unit::Events);
    /// ARP requests by broadcast that were received. net/ipv4/arp.c arp_process().
    ARP_PROBES_MCAST = ARP_CACHE.total("rcv_probes_mcast", Unit::Packets);
    /// ARP requests to our own address that were received. net/ipv4/arp.c arp_process().
    ARP_PROBES_UCAST = ARP_CACHE.total("rcv_probes_ucast", Unit::Packets);
    /// Look-ups in the IPv6 neighbour table. net/core/neighbour.c neigh_lookup().
    NDISC_LOOKUPS = NDISC_CACHE.total("lookups", Unit::Events);
    /// Look-ups in the IPv6 neighbour table that found an entry. net/core/neighbour.c neigh_lookup().
    NDISC_HITS = NDISC_CACHE.total("hits", Unit::Events);
    /// Neighbour solicitations by multicast that were received. net/ipv6/ndisc.c ndisc_recv_ns().
    NDISC_PROBES_MCAST = NDISC_CACHE.total("rcv_probes_mcast", Unit::Packets);
    /// Neighbour solicitations to our own address that were received. net/ipv6/ndisc.c ndisc_recv_ns().
    NDISC_PROBES_UCAST = NDISC_CACHE.total("rcv_probes_ucast", Unit::Packets);
    /// Neighbour solicitations received (who has this IPv6 address?). net/ipv6/icmp.c icmpv6_rcv().
    IN_NEIGHBOR_SOLICITS = ICMP6.total("InNeighborSolicits", Unit::Packets);
    /// Neighbour advertisements received (I have it). net/ipv6/icmp.c icmpv6_rcv().
    IN_NEIGHBOR_ADVERTISEMENTS = ICMP6.total("InNeighborAdvertisements", Unit::Packets);
    /// Router solicitations received. net/ipv6/icmp.c icmpv6_rcv().
    IN_ROUTER_SOLICITS = ICMP6.total("InRouterSolicits", Unit::Packets);
    /// Router advertisements received. net/ipv6/icmp.c icmpv6_rcv().
    IN_ROUTER_ADVERTISEMENTS = ICMP6.total("InRouterAdvertisements", Unit::Packets);
}

static REASONS: &[Reason] = &[
    Reason::harmless(
        "ARP_PVLAN_DISABLE",
        "An ARP request that only a private-VLAN proxy would answer, and that is off. Normal.",
    ),
    Reason::watch(
        "IPV6_NDISC_FRAG",
        "A fragmented neighbour discovery packet: forbidden by RFC 6980. A broken or hostile sender.",
    ),
    Reason::watch("IPV6_NDISC_HOP_LIMIT", "A neighbour discovery packet that passed a router: forged, never normal."),
    Reason::watch("IPV6_NDISC_BAD_CODE", "A neighbour discovery packet with a wrong code. A broken or hostile sender."),
    Reason::watch(
        "IPV6_NDISC_BAD_OPTIONS",
        "A neighbour discovery packet with malformed options. A broken or hostile sender.",
    ),
    Reason::harmless(
        "IPV6_NDISC_NS_OTHERHOST",
        "A neighbour solicitation for an address that is not ours. Normal on every shared network.",
    )
    .in_functions(&["ndisc_rcv"]),
];

/// R9.
pub static STAGE: Stage = Stage {
    id: "arp",
    title: "ARP and ND",
    explain: "Requests for our addresses are answered and what others tell about theirs is remembered, in one table per \
              protocol for the whole machine. ARP frames go no further; neighbour discovery is ICMPv6 and passes \
              through IP.",
    chapter: include_str!("chapter/arp.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[],
    knobs: knobs::ALL,
};
