//! T7, qdisc: packets wait for the device.

use crate::model::{Knob, Memory, Place, Risk, Scope, Stage};

/// Also the ring of a tun device.
pub static TXQUEUELEN: Knob = Knob {
    id: "txqueuelen",
    place: Place::Sysfs("class/net/DEV/tx_queue_len"),
    scope: Scope::Device,
    unit: "packets",
    range: 0..=2_147_483_647,
    default: "1000 for Ethernet, 500 for tun, 0 or 1000 for other virtual devices",
    help: "Longest queue of pfifo_fast, and of pfifo and bfifo when they are made; the length of a tun's ring. fq, \
           fq_codel, cake and noqueue ignore it.",
    formula: "the packets that the device sends in 20 ms",
    risk: Risk::Medium,
    harm: "everything behind a long queue waits",
    takes_effect: "at once for pfifo_fast and tun, else when the qdisc is made anew",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

/// T7.
pub static STAGE: Stage = Stage {
    id: "qdisc",
    title: "qdisc",
    explain: "The queueing discipline holds packets until the device takes them: in order (pfifo_fast), flow by flow (fq, \
              fq_codel), or shaped (htb, tbf). What exceeds its limit is dropped here, and in no counter of the device. \
              Most virtual devices have none (noqueue).",
    chapter: include_str!("chapter/qdisc.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: &[],
    rules: &[],
    reasons: &[],
    knobs: &[&TXQUEUELEN],
};
