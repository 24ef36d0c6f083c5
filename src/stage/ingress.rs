//! R8, core receive: taps, tc, and the choice of the protocol.

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::LINK;

counters! {
    /// Frames that reached a standby member of a bond or team, or found no handler for their device: not for us.
    /// net/core/dev.c __netif_receive_skb_core(), since 4.6.
    RX_NOHANDLER = LINK.total("rx_nohandler", Unit::Packets).flow(Flow::Unwanted { at: "ingress" });
    /// Frames for another host's MAC address that a device in promiscuous mode, or a flooding switch, brought in.
    /// net/ipv4/ip_input.c ip_rcv_core(), since 5.19.
    RX_OTHERHOST_DROPPED = LINK.total("rx_otherhost_dropped", Unit::Packets).flow(Flow::Unwanted { at: "ingress" });
}

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
    rules: &[],
    knobs: &[],
};
