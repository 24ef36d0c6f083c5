//! T9, driver and transmit ring: packets are handed to the device.

mod allowance;
mod offload;
mod refused;
mod saturated;

use crate::counters;
use crate::model::{Flow, Knob, Memory, Place, Risk, Scope, Stage, Unit};
use crate::source::groups::{BQL, LINK, NIC, NIC_QUEUE, QSTATS, QSTATS_QUEUE};
use crate::stage::qdisc;
use crate::stage::virtual_devices::OTHERS_REFUSED;

counters! {
    /// Packets that a device took, after large ones were cut by the kernel and before the device cuts any itself: what it was
    /// given, not what reached the other end. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_PACKETS = LINK.total("tx_packets", Unit::WirePackets).sends(Flow::Reaches {
        past: "neighbour",
        at: "driver_tx",
        or: &qdisc::SENT,
    });
    /// Packets that were given to a device and not sent: its driver refused them, or the kernel did on the driver's behalf (no
    /// carrier, no way to cut or check them). What a queueing discipline drops is not in it; but VLANs, macvlans and tunnels
    /// count here what the device below them did not take, its queueing discipline included.
    /// net/core/dev.c dev_get_stats(), dev_core_stats_tx_dropped_inc().
    TX_DROPPED = LINK
        .total("tx_dropped", Unit::Packets)
        .same_loss("tx_dropped")
        .sends(Flow::LostBeyond { at: "driver_tx", known: &OTHERS_REFUSED, with: None });
    /// Packets that a device took and could not send. Holds the more special `tx_*_errors` for most drivers.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_ERRORS = LINK
        .total("tx_errors", Unit::Packets)
        .same_loss("tx_errors")
        .sends(Flow::Lost { at: "driver_tx" });
    /// Packets given up after too many collisions, which only half duplex has; tunnels count here what could not be sent at
    /// all. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_ABORTED = LINK.total("tx_aborted_errors", Unit::Packets).same_loss("tx_errors");
    /// Packets lost because the carrier went away while they were sent: cable, plug or a wrong duplex; tunnels count here what
    /// has no route. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_CARRIER = LINK.total("tx_carrier_errors", Unit::Packets).same_loss("tx_errors");
    /// Packets that the device began to send before it had all of them from memory: the bus or the memory is too slow.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_FIFO = LINK.total("tx_fifo_errors", Unit::Packets).same_loss("tx_errors");
    /// Packets after which an old Ethernet transceiver gave no sign of life. include/uapi/linux/if_link.h
    /// struct rtnl_link_stats64.
    TX_HEARTBEAT = LINK.total("tx_heartbeat_errors", Unit::Packets).same_loss("tx_errors");
    /// Packets that collided late, which a network of a right length and duplex never has.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_WINDOW = LINK.total("tx_window_errors", Unit::Packets).same_loss("tx_errors");
    /// Whether a device that is up lacks a carrier (1): without a cable, or a veth whose other end is down. What is sent
    /// nevertheless is thrown away. net/core/rtnetlink.c rtnl_fill_ifinfo(), IFLA_CARRIER.
    NO_CARRIER = LINK.gauge("no_carrier", Unit::Flag);
    /// Packets that reached the device and never left it, for whatever reason: those of the next two, and policies of its own.
    /// include/net/netdev_queues.h struct netdev_queue_stats_tx, since 6.10.
    HW_DROPS = QSTATS.total("tx-hw-drops", Unit::Packets).same_loss("tx-hw-drops");
    /// Packets that the device found malformed. Part of `qstats.tx-hw-drops`.
    /// include/net/netdev_queues.h struct netdev_queue_stats_tx.
    HW_DROP_ERRORS = QSTATS.total("tx-hw-drop-errors", Unit::Packets).same_loss("tx-hw-drops");
    /// Packets that the device dropped to keep a rate, mostly one that a cloud sells. Part of `qstats.tx-hw-drops`.
    /// include/net/netdev_queues.h struct netdev_queue_stats_tx.
    HW_RATE_LIMITED = QSTATS.total("tx-hw-drop-ratelimits", Unit::Packets).same_loss("tx-hw-drops");
    /// Times that the driver stopped a queue because its ring was full. Normal under full load.
    /// include/net/netdev_queues.h struct netdev_queue_stats_tx.
    STOPPED = QSTATS.total("tx-stop", Unit::Events);
    /// Times that it let a stopped queue go on. include/net/netdev_queues.h struct netdev_queue_stats_tx.
    WOKEN = QSTATS.total("tx-wake", Unit::Events);
    /// Times that the driver stopped this queue because its ring was full.
    /// include/net/netdev_queues.h struct netdev_queue_stats_tx.
    QUEUE_STOPPED = QSTATS_QUEUE.total("tx-stop", Unit::Events);
    /// Times that it let this queue go on. include/net/netdev_queues.h struct netdev_queue_stats_tx.
    QUEUE_WOKEN = QSTATS_QUEUE.total("tx-wake", Unit::Events);
    /// Bytes that BQL now lets wait in a transmit ring; it finds the value by itself. 0: the driver does not use BQL, or has
    /// sent nothing yet. lib/dynamic_queue_limits.c dql_completed(), since 3.3.
    BQL_LIMIT = BQL.gauge("limit", Unit::Bytes);
    /// Bytes in a transmit ring of which the device has not yet said that they are sent.
    /// net/core/net-sysfs.c bql_show_inflight().
    BQL_INFLIGHT = BQL.gauge("inflight", Unit::Bytes);
    /// Packets that came in and were queued or dropped because the machine's bandwidth was used up
    /// (bw_in_allowance_exceeded of ena). Part of `nic.rate_limited`.
    /// drivers/net/ethernet/amazon/ena/ena_ethtool.c ena_stats_eni_strings.
    LIMITED_IN = NIC.total("limited_bandwidth_in", Unit::WirePackets).same_loss("allowance");
    /// The same for packets that were sent (bw_out_allowance_exceeded). Part of `nic.rate_limited`.
    /// drivers/net/ethernet/amazon/ena/ena_ethtool.c ena_stats_eni_strings.
    LIMITED_OUT = NIC.total("limited_bandwidth_out", Unit::WirePackets).same_loss("allowance");
    /// Packets, both ways, queued or dropped because there were more in a second than the machine may have
    /// (pps_allowance_exceeded). Part of `nic.rate_limited`.
    /// drivers/net/ethernet/amazon/ena/ena_ethtool.c ena_stats_eni_strings.
    LIMITED_PACKETS = NIC.total("limited_packets", Unit::WirePackets).same_loss("allowance");
    /// Packets dropped because the cloud's firewall tracked as many connections as the machine may have
    /// (conntrack_allowance_exceeded): no new connection comes up. Part of `nic.rate_limited`.
    /// drivers/net/ethernet/amazon/ena/ena_ethtool.c ena_stats_eni_strings.
    LIMITED_CONNECTIONS = NIC.total("limited_connections", Unit::WirePackets).same_loss("allowance");
    /// Packets dropped because there were too many in a second to the cloud's own services: its DNS, metadata, time
    /// (linklocal_allowance_exceeded). Part of `nic.rate_limited`.
    /// drivers/net/ethernet/amazon/ena/ena_ethtool.c ena_stats_eni_strings.
    LIMITED_LOCAL = NIC.total("limited_local_services", Unit::WirePackets).same_loss("allowance");
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

static BQL_HOLD: Knob = Knob {
    id: "bql.hold_time",
    place: Place::Sysfs("class/net/DEV/queues/tx-N/byte_queue_limits/hold_time"),
    scope: Scope::Queue,
    unit: "ms",
    // net/core/net-sysfs.c bql_set_hold_time(): 32 bits, and ticks.
    range: 0..=86_400_000,
    default: "1000",
    help: "For how long BQL watches how much of its limit was not needed before it lowers the limit by that much \
           (lib/dynamic_queue_limits.c dql_completed(), slack_hold_time).",
    formula: "leave it; less where loads change quickly and delay matters",
    risk: Risk::Low,
    harm: "too short a time lets the limit swing, and the device runs dry now and then; lost when the device is reset",
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
    &BQL_HOLD,
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
    rules: &[&refused::REFUSED, &allowance::EXCEEDED, &saturated::SATURATED],
    reasons: &[],
    knobs: KNOBS,
};
