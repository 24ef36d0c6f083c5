//! T9, driver and transmit ring: packets are handed to the device.

use crate::counters;
use crate::model::{Knob, Memory, Place, Risk, Scope, Stage, Unit};
use crate::source::groups::QSTATS_QUEUE;

counters! {
    /// Packets that were sent through a transmit queue. include/net/netdev_queues.h struct netdev_queue_stats_tx.
    QUEUE_SENT = QSTATS_QUEUE.total("tx-packets", Unit::WirePackets);
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
    knobs: &[&BQL_LIMIT_MAX, &BQL_LIMIT_MIN],
};
