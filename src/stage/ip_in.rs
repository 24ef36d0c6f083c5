//! R10, IP input: header, options, routing.

mod address;
mod fragments;
mod header;
mod martians;
mod reverse_path;
mod unaccounted;

use crate::counters;
use crate::model::{Flow, Reason, Stage, Unit};
use crate::source::groups::{IP, IP_EXT, IP6, RT_CACHE, SOCKSTAT, SOCKSTAT6, TCP_EXT};

counters! {
    /// IPv4 packets received, after GRO, before any check. net/ipv4/ip_input.c ip_rcv_core().
    IN_RECEIVES = IP.total("InReceives", Unit::Packets).flow(Flow::Pass { from: "ingress", to: "ip_in" });
    /// IPv6 packets received, after GRO, before any check. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_RECEIVES = IP6.total("InReceives", Unit::Packets).flow(Flow::Pass { from: "ingress", to: "ip_in" });
    /// IPv4 packets with a broken header, a wrong header checksum, or no time to live left. net/ipv4/ip_input.c
    /// ip_rcv_core(), net/ipv4/ip_forward.c.
    IN_HDR_ERRORS =
        IP.total("InHdrErrors", Unit::Packets).same_loss("ip-header").flow(Flow::Lost { at: "ip_in" });
    /// IPv6 packets with a broken header or no hops left. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_HDR_ERRORS = IP6.total("InHdrErrors", Unit::Packets).flow(Flow::Lost { at: "ip_in" });
    /// IPv4 packets with a wrong header checksum; also in `Ip.InHdrErrors`. net/ipv4/ip_input.c ip_rcv_core().
    IN_CSUM_ERRORS = IP_EXT.total("InCsumErrors", Unit::Packets).same_loss("ip-header");
    /// IPv4 packets to an address that is not ours, while forwarding is off. net/ipv4/route.c ip_error().
    IN_ADDR_ERRORS = IP.total("InAddrErrors", Unit::Packets).flow(Flow::Unwanted { at: "ip_in" });
    /// IPv6 packets to or from an address that is not allowed here. net/ipv6/ip6_input.c, net/ipv6/route.c.
    IN6_ADDR_ERRORS = IP6.total("InAddrErrors", Unit::Packets).flow(Flow::Unwanted { at: "ip_in" });
    /// IPv4 packets to be sent on for which there is no route. net/ipv4/route.c ip_error().
    IN_NO_ROUTES = IP_EXT.total("InNoRoutes", Unit::Packets).flow(Flow::Lost { at: "ip_in" });
    /// IPv6 packets for which there is no route. net/ipv6/route.c ip6_pkt_drop().
    IN6_NO_ROUTES = IP6.total("InNoRoutes", Unit::Packets).flow(Flow::Lost { at: "ip_in" });
    /// IPv4 packets shorter than their header says. net/ipv4/ip_input.c ip_rcv_core().
    IN_TRUNCATED = IP_EXT.total("InTruncatedPkts", Unit::Packets).flow(Flow::Lost { at: "ip_in" });
    /// IPv6 packets shorter than their header says. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_TRUNCATED = IP6.total("InTruncatedPkts", Unit::Packets).flow(Flow::Lost { at: "ip_in" });
    /// IPv4 packets dropped for want of memory or for their options. net/ipv4/ip_input.c ip_rcv_core().
    IN_DISCARDS = IP.total("InDiscards", Unit::Packets).flow(Flow::Lost { at: "ip_in" });
    /// IPv6 packets dropped for want of memory or by policy. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_DISCARDS = IP6.total("InDiscards", Unit::Packets).flow(Flow::Lost { at: "ip_in" });
    /// IPv4 packets dropped because the route back to their sender is not the way they came (rp_filter).
    /// net/ipv4/ip_input.c ip_rcv_finish_core().
    REVERSE_PATH_FILTER = TCP_EXT.total("IPReversePathFilter", Unit::Packets).same_loss("rp_filter")
        .flow(Flow::Lost { at: "ip_in" });
    /// IPv4 fragments given to reassembly, also those that netfilter put together. net/ipv4/ip_fragment.c ip_defrag().
    REASM_REQDS = IP.total("ReasmReqds", Unit::Fragments).flow(Flow::Merged { at: "ip_in" });
    /// IPv4 packets put together from fragments. net/ipv4/ip_fragment.c ip_frag_reasm().
    REASM_OKS = IP.total("ReasmOKs", Unit::Packets).flow(Flow::Unmerged { at: "ip_in" });
    /// IPv4 packets that could not be put together: a fragment never came, memory ran out, or they were malformed.
    /// net/ipv4/ip_fragment.c ip_expire().
    REASM_FAILS = IP.total("ReasmFails", Unit::Packets).same_loss("reassembly").flow(Flow::LostMerged { at: "ip_in" });
    /// IPv4 packets of which a fragment did not come in time; also in `Ip.ReasmFails`. net/ipv4/ip_fragment.c ip_expire().
    REASM_TIMEOUT = IP.total("ReasmTimeout", Unit::Packets).same_loss("reassembly");
    /// IPv4 fragments that overlapped others: malformed or an attack. net/ipv4/ip_fragment.c ip_frag_queue().
    REASM_OVERLAPS = IP_EXT.total("ReasmOverlaps", Unit::Fragments);
    /// IPv6 fragments given to reassembly. net/ipv6/reassembly.c ipv6_frag_rcv().
    REASM6_REQDS = IP6.total("ReasmReqds", Unit::Fragments).flow(Flow::Merged { at: "ip_in" });
    /// IPv6 packets put together from fragments. net/ipv6/reassembly.c ip6_frag_reasm().
    REASM6_OKS = IP6.total("ReasmOKs", Unit::Packets).flow(Flow::Unmerged { at: "ip_in" });
    /// IPv6 packets that could not be put together. net/ipv6/reassembly.c ip6frag_expire_frag_queue().
    REASM6_FAILS = IP6.total("ReasmFails", Unit::Packets).same_loss("reassembly6").flow(Flow::LostMerged { at: "ip_in" });
    /// IPv6 packets of which a fragment did not come in time; also in `Ip6.ReasmFails`. net/ipv6/reassembly.c.
    REASM6_TIMEOUT = IP6.total("ReasmTimeout", Unit::Packets).same_loss("reassembly6");
    /// IPv4 packets that wait for their other fragments. net/ipv4/proc.c sockstat_seq_show().
    FRAG_INUSE = SOCKSTAT.gauge("FRAG_inuse", Unit::Packets);
    /// Memory that waiting IPv4 fragments hold; the limit is net.ipv4.ipfrag_high_thresh.
    /// net/ipv4/proc.c sockstat_seq_show().
    FRAG_MEMORY = SOCKSTAT.gauge("FRAG_memory", Unit::Bytes);
    /// IPv6 packets that wait for their other fragments. net/ipv6/proc.c sockstat6_seq_show().
    FRAG6_INUSE = SOCKSTAT6.gauge("FRAG6_inuse", Unit::Packets);
    /// Memory that waiting IPv6 fragments hold. net/ipv6/proc.c sockstat6_seq_show().
    FRAG6_MEMORY = SOCKSTAT6.gauge("FRAG6_memory", Unit::Bytes);
    /// IPv4 multicast packets received for groups that somebody here has joined. net/ipv4/ip_input.c
    /// ip_rcv_finish_core().
    IN_MCAST = IP_EXT.total("InMcastPkts", Unit::Packets);
    /// IPv6 multicast packets received, also for groups that nobody here has joined: those end here and are in no other
    /// counter. net/ipv6/ip6_input.c ip6_mc_input().
    IN6_MCAST = IP6.total("InMcastPkts", Unit::Packets).flow(Flow::Uncertain { at: "ip_in" });
    /// IPv4 broadcast packets received. net/ipv4/ip_input.c ip_rcv_finish_core().
    IN_BCAST = IP_EXT.total("InBcastPkts", Unit::Packets);
    /// Bytes of IPv4 received, headers included. net/ipv4/ip_input.c ip_rcv_core().
    IN_OCTETS = IP_EXT.total("InOctets", Unit::Bytes);
    /// Bytes of IPv6 received, headers included. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_OCTETS = IP6.total("InOctets", Unit::Bytes);
    /// Packets from a source address that can't be, of the whole machine. Those that rp_filter drops count here too.
    /// net/ipv4/route.c ip_handle_martian_source().
    IN_MARTIAN_SRC = RT_CACHE.total("in_martian_src", Unit::Packets).same_loss("rp_filter");
    /// Packets to an address that can't be, of the whole machine. net/ipv4/route.c ip_route_input_slow().
    IN_MARTIAN_DST = RT_CACHE.total("in_martian_dst", Unit::Packets);
    /// Routing decisions that found no route, of the whole machine. net/ipv4/route.c ip_route_input_slow().
    IN_NO_ROUTE = RT_CACHE.total("in_no_route", Unit::Packets);
}

static REASONS: &[Reason] = &[
    Reason::watch(
        "IP_INHDR",
        "A bad IP header, or the TTL ran out while forwarding. A few are traceroute; many are a routing loop or a \
         broken sender.",
    )
    .in_functions(&["ip_rcv", "ipv6_rcv", "ip6_rcv_core", "ip_forward"]),
    Reason::watch("IP_CSUM", "A wrong IP header checksum. Rare on a healthy network: bad memory, cable or sender."),
    Reason::watch("PKT_TOO_SMALL", "The packet is shorter than its own headers say. A broken or hostile sender."),
    Reason::watch("IP_INADDRERRORS", "An address that cannot be here (IPv6 forwarding refused, wrong scope)."),
    Reason::watch(
        "IP_INNOROUTES",
        "There is no route to the packet's destination. Normal for strays; many mean a missing route on this router.",
    )
    .in_functions(&["ip_error", "ip6_pkt_drop", "ip6_pkt_discard"]),
    Reason::harmful(
        "IP_RPFILTER",
        "The reverse path filter: the way back to the sender leads over another device. Normal against forged \
         senders, harmful with asymmetric routes: see reverse-path-filter-drops.",
    )
    .in_functions(&["ip_rcv_finish_core", "ip_rcv_finish"]),
    Reason::watch(
        "IP_LOCAL_SOURCE",
        "A packet from outside bears one of our own addresses as its sender: forged, or a loop.",
    )
    .missing_at("ip_in"),
    Reason::watch(
        "IP_INVALID_SOURCE",
        "The sender's address is none that a host may have (multicast, zero, broadcast).",
    )
    .missing_at("ip_in"),
    Reason::watch(
        "IP_LOCALNET",
        "A loopback address (127.0.0.0/8) on the wire: forged, or route_localnet is meant to be on.",
    )
    .missing_at("ip_in"),
    Reason::watch("IP_INVALID_DEST", "The destination address is none that may be sent to.").missing_at("ip_in"),
    Reason::harmless(
        "UNICAST_IN_L2_MULTICAST",
        "A unicast packet in a broadcast or multicast frame. Against RFC 1122; a broken sender or a cluster.",
    )
    .missing_at("ip_in"),
    Reason::harmless(
        "IP_NOPROTO",
        "Nobody here speaks this IP protocol (GRE, SCTP, ESP ...). The sender was told by ICMP.",
    )
    .in_functions(&["ip_local_deliver_finish", "ip_protocol_deliver_rcu", "ip6_protocol_deliver_rcu"]),
    Reason::harmless("INVALID_PROTO", "The packet is of a protocol that may not be carried here."),
    Reason::harmless("DUP_FRAG", "A fragment that had come already. Normal with retransmission below IP."),
    Reason::harmful(
        "FRAG_REASM_TIMEOUT",
        "Fragments of a packet were lost on the way: the rest is thrown away after ipfrag_time. The loss was \
         elsewhere; avoid fragments (path MTU).",
    )
    .in_functions(&["ip_expire", "ip_frag_queue", "ip6_frag_expire", "ip_defrag"]),
    Reason::watch("FRAG_TOO_FAR", "Fragments of one sender came too far out of order (ipfrag_max_dist)."),
    // Not the kernel's: it gives no reason for these.
    Reason::harmless("MULTICAST_NOT_JOINED", "A multicast group that nobody here has joined. Normal on every link.")
        .in_functions(&["ip6_mc_input"])
        .unnamed_in(&["ip6_mc_input"]),
    Reason::harmless("IPV6DISABLED", "IPv6 is switched off on the device. Normal if that was meant."),
    Reason::watch(
        "IPV6_BAD_EXTHDR",
        "An IPv6 extension header that is malformed or not known. A broken or hostile sender.",
    ),
    Reason::watch("ICMP_CSUM", "A wrong checksum in an ICMP packet: bad memory, cable or sender.")
        .in_functions(&["icmp_rcv", "icmpv6_rcv"]),
];

/// R10.
pub static STAGE: Stage = Stage {
    id: "ip_in",
    title: "IP input",
    explain: "IP checks the header, lets netfilter see the packet (PREROUTING: conntrack, NAT), puts fragments together \
              and asks the routing table: for us, for another host, or for nobody. What netfilter, XFRM policies or \
              the martian check take out here is in no counter of IP; the ledger's unexplained packets are those.",
    chapter: include_str!("chapter/ip_in.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[
        &header::BAD_HEADERS,
        &address::NOT_FOR_US,
        &reverse_path::REVERSE_PATH,
        &martians::MARTIANS,
        &unaccounted::UNACCOUNTED,
        &fragments::FAILS,
    ],
    knobs: &[
        &address::IP_FORWARD,
        &reverse_path::RP_FILTER,
        &reverse_path::RP_FILTER_ALL,
        &martians::LOG_MARTIANS,
        &fragments::HIGH_THRESH,
        &fragments::TIME,
        &fragments::MAX_DIST,
        &fragments::HIGH_THRESH6,
        &fragments::TIME6,
    ],
};
