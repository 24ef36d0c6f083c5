//! R5, driver poll: buffers become skbs, XDP programs run.

use crate::model::{Reason, Stage};

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

/// R5. What is counted here is each driver's own business and comes by ethtool.
pub static STAGE: Stage = Stage {
    id: "driver_rx",
    title: "driver and XDP",
    explain: "The driver takes up to 64 frames from the ring, gives each to the XDP program if there is one (which may \
              drop it on purpose), builds an skb around it and puts a new empty buffer into the ring. If memory is \
              short there is no new buffer, and the loss shows at the ring.",
    fed_by: None,
    queues_in_sockets: false,
    counters: &[],
    reasons: REASONS,
    rules: &[],
    knobs: &[],
};
