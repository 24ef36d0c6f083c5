//! R6, GRO: segments of one flow are merged before the stack sees them.

mod knobs;

use crate::counters;
use crate::model::{Stage, Unit};
use crate::source::groups::{IP_EXT, IP6, QSTATS};

counters! {
    /// IPv4 packets without ECN, as they were on the wire. With the other three: divided by `Ip.InReceives` this tells
    /// how many wire packets GRO put into one. net/ipv4/ip_input.c ip_rcv_core() counts gso_segs.
    IN_NO_ECT = IP_EXT.total("InNoECTPkts", Unit::WirePackets);
    /// IPv4 packets marked ECT(1), as they were on the wire. net/ipv4/ip_input.c ip_rcv_core().
    IN_ECT1 = IP_EXT.total("InECT1Pkts", Unit::WirePackets);
    /// IPv4 packets marked ECT(0), as they were on the wire. net/ipv4/ip_input.c ip_rcv_core().
    IN_ECT0 = IP_EXT.total("InECT0Pkts", Unit::WirePackets);
    /// IPv4 packets that a router marked instead of dropping them: congestion on the way.
    /// net/ipv4/ip_input.c ip_rcv_core().
    IN_CE = IP_EXT.total("InCEPkts", Unit::WirePackets);
    /// IPv6 packets without ECN, as they were on the wire. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_NO_ECT = IP6.total("InNoECTPkts", Unit::WirePackets);
    /// IPv6 packets marked ECT(1), as they were on the wire. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_ECT1 = IP6.total("InECT1Pkts", Unit::WirePackets);
    /// IPv6 packets marked ECT(0), as they were on the wire. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_ECT0 = IP6.total("InECT0Pkts", Unit::WirePackets);
    /// IPv6 packets that a router marked instead of dropping them: congestion on the way.
    /// net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_CE = IP6.total("InCEPkts", Unit::WirePackets);
    /// Packets that the device itself had merged of several frames. include/net/netdev_queues.h
    /// struct netdev_queue_stats_rx.
    HW_GRO_PACKETS = QSTATS.total("rx-hw-gro-packets", Unit::Packets);
    /// Frames that the device merged into others. include/net/netdev_queues.h struct netdev_queue_stats_rx.
    HW_GRO_WIRE = QSTATS.total("rx-hw-gro-wire-packets", Unit::WirePackets);
}

/// R6.
pub static STAGE: Stage = Stage {
    id: "gro",
    title: "GRO",
    explain: "Segments of one flow that arrive together are merged into one large packet, so that all that follows runs \
              once for many. Nothing is lost here. From here on counters count merged packets: they are smaller than \
              the device's.",
    chapter: include_str!("chapter/gro.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[],
    knobs: knobs::ALL,
};
