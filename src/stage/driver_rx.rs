//! R5, driver poll: buffers become skbs, XDP programs run.

mod memory;
mod xdp;

use crate::counters;
use crate::model::{Flow, Reason, Stage, Unit};
use crate::source::groups::{NIC, NIC_QUEUE, PAGE_POOL, QSTATS};

counters! {
    /// Frames that the driver itself threw away, and counts in `link.rx_dropped`: 'drv dropped rx total' (vmxnet3),
    /// rxN_drops (virtio_net). What an XDP program dropped on purpose is taken out.
    /// drivers/net/virtio_net.c virtnet_stats().
    DRIVER_DROPS = NIC.total("rx_driver_drops", Unit::WirePackets).flow(Flow::Lost { at: "driver_rx" });
    /// The same for one queue. drivers/net/virtio_net.c virtnet_rq_stats_desc.
    QUEUE_DRIVER_DROPS = NIC_QUEUE.total("rx_driver_drops", Unit::WirePackets);
    /// Times that the driver got no memory for a buffer or an skb, by its own names: alloc_rx_page_failed (ixgbe),
    /// rx_queue_N_alloc_failed (igb), page_alloc_fail (ena), 'rx buf alloc fail' (vmxnet3). It may succeed the next time
    /// without a loss. drivers/net/ethernet/intel/ixgbe/ixgbe_ethtool.c and others.
    ALLOC_FAILED = NIC.total("rx_alloc_failed", Unit::Events);
    /// The same for one queue. drivers/net/ethernet/intel/igb/igb_ethtool.c and others.
    QUEUE_ALLOC_FAILED = NIC_QUEUE.total("rx_alloc_failed", Unit::Events);
    /// Times that no memory was to be had for a receive buffer or an skb; mostly the same as `nic.rx_alloc_failed`.
    /// include/net/netdev_queues.h struct netdev_queue_stats_rx.
    QSTATS_ALLOC_FAIL = QSTATS.total("rx-alloc-fail", Unit::Events);
    /// Frames that an XDP program dropped on purpose (XDP_DROP). Not a loss.
    /// drivers/net/virtio_net.c virtnet_rq_stats_desc and others.
    XDP_DROPS = NIC.total("rx_xdp_drops", Unit::WirePackets);
    /// The same for one queue. drivers/net/virtio_net.c virtnet_rq_stats_desc and others.
    QUEUE_XDP_DROPS = NIC_QUEUE.total("rx_xdp_drops", Unit::WirePackets);
    /// Pages for receive buffers that were taken from the pool's own stock, as it should be.
    /// net/core/page_pool.c __page_pool_get_cached(), since 5.18, if the kernel counts them.
    POOL_FAST = PAGE_POOL.total("alloc-fast", Unit::Events);
    /// Pages for receive buffers that had to be asked of the page allocator. That is slow.
    /// net/core/page_pool.c __page_pool_alloc_netmems_slow().
    POOL_SLOW = PAGE_POOL.total("alloc-slow", Unit::Events);
    /// Times that the pool's ring of returned pages was empty. net/core/page_pool.c page_pool_refill_alloc_cache().
    POOL_EMPTY = PAGE_POOL.total("alloc-empty", Unit::Events);
    /// Pages that came back to a pool that was full, and went to the page allocator.
    /// net/core/page_pool.c page_pool_put_unrefed_netmem().
    POOL_FULL = PAGE_POOL.total("recycle-ring-full", Unit::Events);
}

static REASONS: &[Reason] = &[
    Reason::harmful(
        "XDP",
        "An XDP program told the driver to drop the packet. Normal if that program is a filter (DDoS protection, a \
         load balancer). In native mode a driver drops before there is a packet to count here: see its own statistics \
         (ethtool -S).",
    )
    .in_functions(&["xdp_do_generic", "do_xdp_generic", "bpf_prog_run_generic_xdp"])
    // Neither gives a reason for what the program itself drops (netif_receive_generic_xdp(), net/core/dev.c).
    .unnamed_in(&["do_xdp_generic", "netif_receive_generic_xdp", "veth_xdp_rcv_skb"]),
    Reason::harmful(
        "NOMEM",
        "The kernel had no memory for the packet. Never normal: the host is out of memory, or atomic allocations \
         fail.",
    ),
    Reason::harmful(
        "PFMEMALLOC",
        "The packet lay in the memory reserve for emergencies and its socket may not use that. The host is short of \
         memory.",
    ),
];

/// R5.
pub static STAGE: Stage = Stage {
    id: "driver_rx",
    title: "driver and XDP",
    explain: "The driver takes up to 64 frames from the ring, gives each to the XDP program if there is one (which may \
              drop it on purpose), builds an skb around it and puts a new empty buffer into the ring. If memory is \
              short there is no new buffer, and the loss shows at the ring.",
    chapter: include_str!("chapter/driver_rx.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&memory::FAILS, &xdp::XDP],
    knobs: memory::KNOBS,
};
