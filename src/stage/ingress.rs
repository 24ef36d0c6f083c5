//! R8, core receive: taps, tc, and the choice of the protocol.

use crate::counters;
use crate::model::{Flow, Reason, Stage, Unit};
use crate::source::groups::LINK;

counters! {
    /// Frames that reached a standby member of a bond or team, or found no handler for their device: not for us.
    /// net/core/dev.c __netif_receive_skb_core(), since 4.6.
    RX_NOHANDLER = LINK.total("rx_nohandler", Unit::Packets).flow(Flow::Unwanted { at: "ingress" });
    /// Frames for another host's MAC address that a device in promiscuous mode, or a flooding switch, brought in.
    /// net/ipv4/ip_input.c ip_rcv_core(), since 5.19.
    RX_OTHERHOST_DROPPED = LINK.total("rx_otherhost_dropped", Unit::Packets).flow(Flow::Unwanted { at: "ingress" });
}

static REASONS: &[Reason] = &[
    Reason::harmless(
        "UNHANDLED_PROTO",
        "No protocol here wants frames of this type (LLDP, STP, an unused VLAN or IPv6 switched off). Normal on most \
         networks.",
    )
    .in_functions(&["__netif_receive_skb_core"]),
    Reason::harmless(
        "OTHERHOST",
        "The frame has the address of another host: the device is promiscuous, or a switch floods. Normal while \
         sniffing.",
    )
    .in_functions(&["ip_rcv_core"]),
    Reason::watch(
        "TC_INGRESS",
        "A tc filter or tcx program on the way in dropped the packet. Normal if it is meant to filter; no other \
         counter shows it.",
    )
    .in_functions(&["sch_handle_ingress", "tcf_classify_ingress"]),
    Reason::watch(
        "TC_COOKIE_ERROR",
        "A tc chain could not be resumed where the hardware had left off: an offload fault.",
    ),
    Reason::watch("TC_CHAIN_NOTFOUND", "A tc filter jumps to a chain that does not exist: a mistake in the filters."),
    Reason::watch("TC_RECLASSIFY_LOOP", "Filters of tc send the packet round in a circle: a mistake in the filters."),
    Reason::watch(
        "PACKET_SOCK_ERROR",
        "A packet socket (tcpdump, a DHCP client) could not take its copy. The packet itself goes on; only the copy \
         is lost.",
    )
    .in_functions(&["packet_rcv", "tpacket_rcv"]),
    Reason::harmless(
        "MAC_INVALID_SOURCE",
        "The frame's source address is none that a host may have (multicast, zero). A broken or hostile sender.",
    ),
    Reason::harmless(
        "LOCAL_MAC",
        "The frame comes from outside with the address of one of our own devices: a loop or a copied address, if \
         there are many.",
    ),
    Reason::harmless(
        "MAC_IEEE_MAC_CONTROL",
        "A control frame for the link (pause) reached the stack. Normal; nobody needs it there.",
    ),
    Reason::harmless(
        "BRIDGE_INGRESS_STP_STATE",
        "The bridge port is not forwarding: spanning tree blocks it. Normal on the blocked side of a loop.",
    ),
    Reason::harmless("CAN_RX_INVALID_FRAME", "A CAN frame with a broken header. A broken sender or driver."),
    Reason::harmless("CANFD_RX_INVALID_FRAME", "A CAN FD frame with a broken header. A broken sender or driver."),
    Reason::harmless("CANXL_RX_INVALID_FRAME", "A CAN XL frame with a broken header. A broken sender or driver."),
];

/// R8.
pub static STAGE: Stage = Stage {
    id: "ingress",
    title: "core receive",
    explain: "__netif_receive_skb_core() hands copies to packet taps, runs tc and netfilter ingress programs, gives the \
              packet to a bridge or bond if the device belongs to one, and finds the protocol by the EtherType. A \
              frame whose protocol nobody handles (LLDP, spanning tree, IPv6 switched off) is discarded and counted in \
              the device's rx_dropped: that is not a loss.",
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[],
    knobs: &[],
};
