//! What can be turned at a device's queue.

use crate::model::{Knob, Memory, Place, Risk, Scope};

pub static LIMIT: Knob = Knob {
    id: "qdisc.limit",
    place: Place::Qdisc("qdisc/DEV/HANDLE/limit"),
    scope: Scope::Device,
    unit: "packets, of tbf and bfifo bytes",
    range: 0..=4_294_967_295,
    default: "10000 packets for fq, 10240 for fq_codel, txqueuelen for pfifo; tbf has none and wants one",
    help: "Most that a qdisc holds. Only of one that somebody made: what the kernel made by itself has handle 0 and can be \
           replaced, not changed.",
    formula: "what arrives in the longest burst less what leaves meanwhile; for a shaper, its rate times the longest wait \
              that is bearable",
    risk: Risk::Medium,
    harm: "everything behind a long queue waits",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "where the qdisc is made",
};

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

pub static DEFAULT_QDISC: Knob = Knob {
    id: "net.core.default_qdisc",
    // A name, not a number: no rule sets it.
    place: Place::Elsewhere("/proc/sys/net/core/default_qdisc"),
    scope: Scope::Machine,
    unit: "name of a qdisc",
    range: 0..=0,
    default: "pfifo_fast, or what the kernel was built with; systemd's files set fq_codel",
    help: "The qdisc that a device with hardware gets when it goes up, one for each of its queues. Virtual devices get none.",
    formula: "fq on servers whose TCP is paced, fq_codel or cake where many share an uplink",
    risk: Risk::Medium,
    harm: "none to devices that are up: they keep theirs",
    takes_effect: "for devices that go up, or whose root qdisc is deleted, after the change",
    waits: true,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
