//! T12, virtual devices: what is sent by a device that is software alone is received by another one, or by a program.

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::VIRTUAL;

counters! {
    /// Packets that the other end of a veth or netkit did not take: it is down, its ring of 256 packets was full, a CPU's backlog
    /// was, or its XDP program threw them away. The same packets as `link.tx_dropped` of this device.
    /// drivers/net/veth.c veth_xmit().
    PAIR_REFUSED = VIRTUAL.total("pair_tx_dropped", Unit::Packets).same_loss("tx_dropped");
    /// Packets that the program behind a tun or tap device did not fetch in time: its ring, as long as txqueuelen, was full. The
    /// same packets as `link.tx_dropped` of this device. drivers/net/tun.c tun_net_xmit().
    TUN_REFUSED = VIRTUAL.total("tun_tx_dropped", Unit::Packets).same_loss("tx_dropped");
    /// Packets that another kind of device (VLAN, macvlan, bridge, tunnel) could not pass on. What the device below it did not
    /// take, its queueing discipline included, is counted once more here. The same packets as `link.tx_dropped` of this device.
    /// net/8021q/vlan_dev.c vlan_dev_hard_start_xmit(), include/net/ip_tunnels.h iptunnel_xmit_stats().
    OTHERS_REFUSED = VIRTUAL
        .total("other_tx_dropped", Unit::Packets)
        .same_loss("tx_dropped")
        .sends(Flow::MayExplain { at: "virtual_devices", from: "neighbour" });
}

/// T12.
pub static STAGE: Stage = Stage {
    id: "virtual_devices",
    title: "virtual devices",
    explain: "Behind a veth there is another device of this machine, behind a tun device a program, behind a VLAN or tunnel a \
              device that sends on. There is no ring of a card to wait in: what the other side has no room for is mostly \
              thrown away at once, counted by the sender. The sender's loss is the receiver's fault.",
    chapter: include_str!("chapter/virtual_devices.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[],
    reasons: &[],
    knobs: &[],
};
