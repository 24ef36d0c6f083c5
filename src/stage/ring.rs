//! R2, receive ring: the device writes frames into buffers that the kernel has put out for it.

mod hash;
mod knobs;
mod overflow;
mod policy;
mod uneven;

pub use knobs::{CHANNELS_COMBINED, RING_RX};
pub use overflow::{lost_at, relieve};
pub use uneven::{Heap, UNEVEN, counter};

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::{LINK, NIC, NIC_QUEUE, QSTATS, QSTATS_QUEUE};
use crate::stage::backlog::RX_DROPPED;
use crate::stage::driver_rx::XDP_DROPS;

counters! {
    /// Frames that the device threw away because the kernel had put out no empty buffer. The CPU came too late, or the
    /// ring is too short for the bursts. No trace of them reaches the kernel's own drop tracing.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_MISSED_ERRORS =
        LINK.total("rx_missed_errors", Unit::WirePackets).same_loss("ring").flow(Flow::Lost { at: "ring" });
    /// Frames lost in the device's own memory. Drivers differ in what they count here; often the same frames as
    /// `link.rx_missed_errors` or `link.rx_errors`. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_FIFO_ERRORS = LINK.total("rx_fifo_errors", Unit::WirePackets).same_loss("ring");
    /// An old name for frames that found no room; drivers differ. Often the same frames as `link.rx_missed_errors`.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_OVER_ERRORS = LINK.total("rx_over_errors", Unit::WirePackets).same_loss("ring");
    /// Frames lost for want of a buffer, by the driver's own counters: rx_missed_errors, rx_no_dma_resources,
    /// rx_queue_N_drops (igb, ixgbe), rx_out_of_buffer (mlx5), 'pkts rx OOB' (vmxnet3), rx_queue_drop_cnt (gve). Most
    /// drivers also add them to `link.rx_missed_errors`. drivers/net/ethernet/intel/igb/igb_ethtool.c and others.
    RING_FULL = NIC.total("rx_ring_full", Unit::WirePackets).same_loss("ring")
        .flow(Flow::LostBeyond { at: "ring", known: &RX_MISSED_ERRORS, with: None });
    /// Frames lost for want of a buffer or of memory in the device, of drivers that add them to `link.rx_dropped`:
    /// port.rx_discards (i40e), rx_dropped.nic (ice), rx_discards_phy (mlx5).
    /// drivers/net/ethernet/mellanox/mlx5/core/en_main.c mlx5e_get_stats() and others.
    RING_DROPPED = NIC.total("rx_ring_dropped", Unit::WirePackets).same_loss("ring")
        .flow(Flow::LostBeyond { at: "ring", known: &RX_MISSED_ERRORS, with: Some(&RING_FULL) });
    /// Times that the driver found a ring without an empty buffer: rx_empty_rx_ring (ena). Frames that came meanwhile are
    /// lost, and only `link.rx_dropped` counts them. drivers/net/ethernet/amazon/ena/ena_netdev.c
    /// check_for_empty_rx_ring().
    RING_EMPTY = NIC.total("rx_ring_empty", Unit::Events)
        .flow(Flow::LostAsIn { at: "ring", counted: &RX_DROPPED, less: &XDP_DROPS });
    /// Frames that a cloud's network dropped or held back because this machine exceeded what its size may use: bandwidth,
    /// packets a second, tracked connections (*_allowance_exceeded of ena).
    /// drivers/net/ethernet/amazon/ena/ena_ethtool.c ena_stats_eni_strings.
    RATE_LIMITED = NIC.total("rate_limited", Unit::WirePackets).same_loss("allowance");
    /// What a driver that is not known here may have lost, by the sound of its counters' names. Never added to anything.
    /// net/ethtool/ioctl.c ethtool_get_stats().
    GUESSED = NIC.total("rx_guessed_drops", Unit::WirePackets);
    /// The same as `nic.rx_ring_full`, for one queue. drivers/net/ethernet/intel/igb/igb_ethtool.c and others.
    QUEUE_RING_FULL = NIC_QUEUE.total("rx_ring_full", Unit::WirePackets).same_loss("ring");
    /// The same as `nic.rx_ring_empty`, for one queue. drivers/net/ethernet/amazon/ena/ena_netdev.c
    /// check_for_empty_rx_ring().
    QUEUE_RING_EMPTY = NIC_QUEUE.total("rx_ring_empty", Unit::Events);
    /// Frames that reached the device and never left it, for whatever reason: no buffer, a filter, a rate limit. Few drivers
    /// tell. include/net/netdev_queues.h struct netdev_queue_stats_rx.
    HW_DROPS = QSTATS.total("rx-hw-drops", Unit::WirePackets).same_loss("ring");
    /// Of `qstats.rx-hw-drops`, those that found no buffer. include/net/netdev_queues.h struct netdev_queue_stats_rx.
    HW_OVERRUNS = QSTATS.total("rx-hw-drop-overruns", Unit::WirePackets).same_loss("ring");
    /// Of `qstats.rx-hw-drops`, those that exceeded a rate limit that the device was given.
    /// include/net/netdev_queues.h struct netdev_queue_stats_rx.
    HW_RATELIMITS = QSTATS.total("rx-hw-drop-ratelimits", Unit::WirePackets).same_loss("ring");
    /// Frames that a receive queue took in: whether the device spreads them evenly.
    /// include/net/netdev_queues.h struct netdev_queue_stats_rx.
    QUEUE_PACKETS = QSTATS_QUEUE.total("rx-packets", Unit::WirePackets);
    /// The same as `qstats_queue.rx-packets`, by the driver's own names: rx_queue_N_packets (igb, ixgbe, ice), rxN_packets
    /// (mlx5, virtio_net), queue_N_rx_cnt (ena). drivers/net/ethernet/intel/ixgbe/ixgbe_ethtool.c and others.
    QUEUE_TOOK = NIC_QUEUE.total("rx_packets", Unit::WirePackets);
    /// The same as `qstats.rx-hw-drop-overruns`, for one queue. include/net/netdev_queues.h struct netdev_queue_stats_rx.
    QUEUE_OVERRUNS = QSTATS_QUEUE.total("rx-hw-drop-overruns", Unit::WirePackets).same_loss("ring");
}

/// R2.
pub static STAGE: Stage = Stage {
    id: "ring",
    title: "receive ring",
    explain: "The device picks a queue for the frame and writes it into the next empty buffer of that queue's ring. If \
              the kernel has not emptied the ring in time there is no buffer, and the frame is gone before any software \
              saw it. Short bursts ask for a longer ring; a ring that is always full asks for more CPU.",
    chapter: include_str!("chapter/ring.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[&overflow::OVERFLOW, &policy::POLICY],
    knobs: knobs::ALL,
};
