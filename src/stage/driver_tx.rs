//! T9, driver and transmit ring: packets are handed to the device.

mod offload;

use crate::counters;
use crate::model::{Flow, Knob, Memory, Place, Risk, Scope, Stage, Unit};
use crate::source::groups::{LINK, NIC_QUEUE, QSTATS_QUEUE};
use crate::stage::qdisc;

counters! {
    /// Packets that a device took. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_PACKETS = LINK.total("tx_packets", Unit::WirePackets).sends(Flow::Reaches {
        past: "neighbour",
        at: "driver_tx",
        or: &qdisc::SENT,
    });
    /// Packets that were given to a device and not sent. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_DROPPED = LINK.total("tx_dropped", Unit::Packets).sends(Flow::Lost { at: "driver_tx" });
    /// Packets that a device took and could not send. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_ERRORS = LINK.total("tx_errors", Unit::Packets).sends(Flow::Lost { at: "driver_tx" });
    /// Packets that were sent through a transmit queue. include/net/netdev_queues.h struct netdev_queue_stats_tx.
    QUEUE_SENT = QSTATS_QUEUE.total("tx-packets", Unit::WirePackets);
    /// The same as `qstats_queue.tx-packets`, by the driver's own names: tx_queue_N_packets (igb, ixgbe, ice), txN_packets
    /// (mlx5, virtio_net), queue_N_tx_cnt (ena). drivers/net/ethernet/intel/ixgbe/ixgbe_ethtool.c and others.
    QUEUE_PUT = NIC_QUEUE.total("tx_packets", Unit::WirePackets);
}

static BQL_LIMIT_MAX: Knob = Knob {
    id: "bql.limit_max",
    place: Place::Sysfs("class/net/DEV/queues/tx-N/byte_queue_limits/limit_max"),
    scope: Scope::Queue,
    unit: "bytes",
    range: 0..=1_879_048_192,
    default: "1879048192",
    help: "Most bytes that a transmit ring may hold (BQL); what waits beyond them waits in the qdisc, where it can still be \
           sorted.",
    formula: "what the device sends in 1 to 2 ms, and at least 128 KiB",
    risk: Risk::Medium,
    harm: "too small a value lets the device run dry; lost when the device is reset",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static BQL_LIMIT_MIN: Knob = Knob {
    id: "bql.limit_min",
    place: Place::Sysfs("class/net/DEV/queues/tx-N/byte_queue_limits/limit_min"),
    scope: Scope::Queue,
    unit: "bytes",
    range: 0..=1_879_048_192,
    default: "0",
    help: "Bytes that a transmit ring may always hold, however little BQL thinks that it needs.",
    formula: "what the device sends between two of its interrupts",
    risk: Risk::Medium,
    harm: "more waits in the ring, where nothing is sorted; lost when the device is reset",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static BQL_STALL: Knob = Knob {
    id: "bql.stall_thrs",
    place: Place::Sysfs("class/net/DEV/queues/tx-N/byte_queue_limits/stall_thrs"),
    scope: Scope::Queue,
    unit: "ms",
    // net/core/net-sysfs.c bql_set_stall_thrs(): as many ticks as two words have bits.
    range: 0..=128,
    default: "0, that is off; since 6.9",
    help: "After how long without a word that packets were sent a queue counts as stalled, in stall_cnt and stall_max beside \
           it (lib/dynamic_queue_limits.c dql_check_stall()).",
    formula: "8 to 50, to watch a device that is suspected",
    risk: Risk::Low,
    harm: "a little time for each packet",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static MAX_RATE: Knob = Knob {
    id: "tx_maxrate",
    place: Place::Sysfs("class/net/DEV/queues/tx-N/tx_maxrate"),
    scope: Scope::Queue,
    unit: "Mbit/s",
    range: 0..=4_294_967_295,
    default: "0, that is none",
    help: "Rate above which the device itself holds back a queue. Few drivers can.",
    formula: "leave it",
    risk: Risk::High,
    harm: "whoever is hashed to the queue is held back",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static KNOBS: &[&Knob] = &[
    &BQL_LIMIT_MAX,
    &BQL_LIMIT_MIN,
    &BQL_STALL,
    &MAX_RATE,
    &offload::RING_TX,
    &offload::TX_USECS,
    &offload::TX_FRAMES,
    &offload::ADAPTIVE_TX,
    &offload::TCP_SEGMENTATION,
    &offload::SEGMENTATION,
    &offload::UDP_SEGMENTATION,
    &offload::CHECKSUM,
];

/// T9.
pub static STAGE: Stage = Stage {
    id: "driver_tx",
    title: "driver, TX ring",
    explain: "The driver puts the packet into the device's transmit ring. When the ring, or the limit that BQL has found \
              for it, is full, the queue is stopped and packets wait in the qdisc until the device has sent some.",
    chapter: include_str!("chapter/driver_tx.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[],
    reasons: &[],
    knobs: KNOBS,
};
