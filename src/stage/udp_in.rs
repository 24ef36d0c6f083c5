//! R12, UDP input: datagrams are put into the queue of their socket.

mod memory;
pub(super) mod overflow;
mod unwanted;

use crate::counters;
use crate::model::flow::APPLICATION;
use crate::model::{Flow, Reason, Stage, Unit};
use crate::source::groups::{SOCKSTAT, SOCKSTAT6, UDP, UDP_LITE, UDP_LITE6, UDP6};

counters! {
    /// Datagrams that an application has read (or that a tunnel took). net/ipv4/udp.c udp_recvmsg().
    IN_DATAGRAMS = UDP.total("InDatagrams", Unit::Packets).flow(Flow::Pass { from: "udp_in", to: APPLICATION });
    /// Datagrams to a port on which nobody listens; the sender is told. net/ipv4/udp.c __udp4_lib_rcv().
    NO_PORTS = UDP.total("NoPorts", Unit::Packets).flow(Flow::Unwanted { at: "udp_in" });
    /// Datagrams that were lost: no room, wrong checksum, refused by the socket's filter. Holds the three below.
    /// net/ipv4/udp.c udp_queue_rcv_one_skb().
    IN_ERRORS = UDP.total("InErrors", Unit::Packets).same_loss("udp").flow(Flow::Lost { at: "udp_in" });
    /// Datagrams that were lost because the receive buffer of their socket was full; also in `Udp.InErrors`.
    /// net/ipv4/udp.c __udp_queue_rcv_skb().
    RCVBUF_ERRORS = UDP.total("RcvbufErrors", Unit::Packets).same_loss("udp");
    /// Datagrams with a wrong checksum; also in `Udp.InErrors`. net/ipv4/udp.c udp_csum_pull_header().
    IN_CSUM_ERRORS = UDP.total("InCsumErrors", Unit::Packets).same_loss("udp");
    /// Datagrams that were lost because UDP as a whole, or the memory cgroup, was over its limit; also in `Udp.InErrors`.
    /// 6.18 does not count these here, only in the socket. net/ipv4/udp.c __udp_queue_rcv_skb(), since 5.11.
    MEM_ERRORS = UDP.total("MemErrors", Unit::Packets).same_loss("udp");
    /// Multicast datagrams that no socket wanted. net/ipv4/udp.c __udp4_lib_mcast_deliver().
    IGNORED_MULTI = UDP.total("IgnoredMulti", Unit::Packets).flow(Flow::Unwanted { at: "udp_in" });
    /// Datagrams over IPv6 that an application has read. net/ipv6/udp.c udpv6_recvmsg().
    IN6_DATAGRAMS = UDP6.total("InDatagrams", Unit::Packets).flow(Flow::Pass { from: "udp_in", to: APPLICATION });
    /// Datagrams over IPv6 to a port on which nobody listens. net/ipv6/udp.c __udp6_lib_rcv().
    NO_PORTS6 = UDP6.total("NoPorts", Unit::Packets).flow(Flow::Unwanted { at: "udp_in" });
    /// Datagrams over IPv6 that were lost: no room, wrong checksum, refused by the socket's filter.
    /// net/ipv6/udp.c udpv6_queue_rcv_one_skb().
    IN6_ERRORS = UDP6.total("InErrors", Unit::Packets).same_loss("udp6").flow(Flow::Lost { at: "udp_in" });
    /// Datagrams over IPv6 that were lost because the receive buffer of their socket was full; also in `Udp6.InErrors`.
    /// net/ipv6/udp.c __udpv6_queue_rcv_skb().
    RCVBUF6_ERRORS = UDP6.total("RcvbufErrors", Unit::Packets).same_loss("udp6");
    /// Datagrams over IPv6 with a wrong checksum; also in `Udp6.InErrors`. net/ipv6/udp.c udp6_csum_init().
    IN6_CSUM_ERRORS = UDP6.total("InCsumErrors", Unit::Packets).same_loss("udp6");
    /// Datagrams over IPv6 that were lost because UDP as a whole was over its limit; also in `Udp6.InErrors`.
    /// net/ipv6/udp.c __udpv6_queue_rcv_skb(), since 5.11.
    MEM6_ERRORS = UDP6.total("MemErrors", Unit::Packets).same_loss("udp6");
    /// Multicast datagrams over IPv6 that no socket wanted. net/ipv6/udp.c __udp6_lib_mcast_deliver().
    IGNORED6_MULTI = UDP6.total("IgnoredMulti", Unit::Packets).flow(Flow::Unwanted { at: "udp_in" });
    /// UDP-Lite datagrams that an application has read. net/ipv4/udplite.c, until 7.0.
    LITE_IN_DATAGRAMS =
        UDP_LITE.total("InDatagrams", Unit::Packets).flow(Flow::Pass { from: "udp_in", to: APPLICATION });
    /// UDP-Lite datagrams that were lost. net/ipv4/udplite.c, until 7.0.
    LITE_IN_ERRORS = UDP_LITE.total("InErrors", Unit::Packets).flow(Flow::Lost { at: "udp_in" });
    /// UDP-Lite datagrams over IPv6 that an application has read. net/ipv6/udplite.c, until 7.0.
    LITE6_IN_DATAGRAMS =
        UDP_LITE6.total("InDatagrams", Unit::Packets).flow(Flow::Pass { from: "udp_in", to: APPLICATION });
    /// UDP-Lite datagrams over IPv6 that were lost. net/ipv6/udplite.c, until 7.0.
    LITE6_IN_ERRORS = UDP_LITE6.total("InErrors", Unit::Packets).flow(Flow::Lost { at: "udp_in" });
    /// UDP sockets over IPv4. net/ipv4/proc.c sockstat_seq_show().
    UDP_INUSE = SOCKSTAT.gauge("UDP_inuse", Unit::Sockets);
    /// UDP sockets over IPv6. net/ipv6/proc.c sockstat6_seq_show().
    UDP6_INUSE = SOCKSTAT6.gauge("UDP6_inuse", Unit::Sockets);
}

static REASONS: &[Reason] = &[
    Reason::harmless(
        "NO_SOCKET",
        "No process listens on this port; the sender was told by ICMP. Normal: scans and late answers. Many from one \
         known client mean a service that is down.",
    )
    .in_functions(&["__udp4_lib_rcv", "__udp6_lib_rcv", "udp_rcv", "udpv6_rcv", "udp_err"]),
    Reason::watch("UDP_CSUM", "A wrong UDP checksum: bad memory, cable or sender, or a card whose offload lies."),
    Reason::harmful(
        "SOCKET_RCVBUFF",
        "The socket's receive buffer is full: its reader is slower than its traffic, or the buffer is small for the \
         bursts. See udp-receive-buffer-overflow.",
    )
    .in_functions(&[
        "udp_queue_rcv_one_skb",
        "udpv6_queue_rcv_one_skb",
        "__udp_queue_rcv_skb",
        "__udp_enqueue_schedule_skb",
        "sock_queue_rcv_skb",
        "__sock_queue_rcv_skb",
    ]),
    Reason::harmful(
        "PROTO_MEM",
        "All UDP sockets together use more than net.ipv4.udp_mem allows, or those of a container more than its memory \
         limit. Never normal; the protocol's own counters may not show it. See udp-memory-exhausted.",
    ),
];

/// R12.
pub static STAGE: Stage = Stage {
    id: "udp_in",
    title: "UDP input",
    explain: "UDP finds the socket by address and port, checks the checksum and the socket's filter, and appends the \
              datagram to the socket's receive queue if the buffer has room. Nothing slows the sender down: what does not \
              fit is lost. A datagram counts as received only when the application has read it.",
    chapter: include_str!("chapter/udp_in.md"),
    fed_by: Some("forward"),
    queues_in_sockets: true,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&overflow::OVERFLOW, &memory::EXHAUSTED, &unwanted::CHECKSUMS, &unwanted::NO_LISTENER],
    knobs: &[
        &overflow::RMEM_DEFAULT,
        &overflow::RMEM_MAX,
        &overflow::SO_RCVBUF,
        &memory::UDP_MEM_LIMIT,
        &memory::RMEM_MIN,
        &memory::WMEM_MIN,
        &unwanted::L3MDEV,
        &unwanted::EARLY_DEMUX,
    ],
};
