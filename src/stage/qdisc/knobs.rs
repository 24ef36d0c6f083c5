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

/// An option that is set where the qdisc is made, or by `tc qdisc change` of one that somebody made.
const fn option(id: &'static str, unit: &'static str, default: &'static str, help: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Elsewhere("tc qdisc change dev DEV ... KIND OPTION VALUE"),
        scope: Scope::Device,
        unit,
        range: 0..=4_294_967_295,
        default,
        help,
        formula: "leave it",
        risk: Risk::Medium,
        harm: "more waits, or what waits is dropped earlier",
        takes_effect: "at once",
        waits: false,
        memory: Memory::Kernel,
        keep: "where the qdisc is made",
    }
}

pub static FLOW_LIMIT: Knob = Knob {
    formula: "200 to 1000 for few heavy UDP flows whose sender can't pace itself",
    ..option("fq.flow_limit", "packets", "100", "Most packets of one flow that fq holds; what exceeds it is dropped.")
};

pub static HORIZON: Knob = option(
    "fq.horizon",
    "s",
    "10",
    "How far ahead the time of a packet may lie (SO_TXTIME); beyond it fq drops the packet, or with horizon_cap sends it then.",
);

static QUANTUM: Knob =
    option("fq.quantum", "bytes", "two full frames", "Bytes that a flow may send until it is the next one's turn.");

static MAXRATE: Knob = option("fq.maxrate", "bit/s", "none", "Most that any one flow may send.");

pub static MEMORY_LIMIT: Knob = Knob {
    formula: "64 to 128 MB at 25 Gbit/s and more",
    ..option("fq_codel.memory_limit", "bytes", "33554432", "Most memory that what waits in fq_codel may take.")
};

static TARGET: Knob =
    option("fq_codel.target", "us", "5000", "How long packets may wait before fq_codel begins to drop, or to mark.");

static INTERVAL: Knob = option(
    "fq_codel.interval",
    "us",
    "100000",
    "For how long they must have waited so long: about the longest round trip of the traffic.",
);

static FLOWS: Knob =
    option("fq_codel.flows", "queues", "1024", "How many queues flows are hashed into, at its making.");

static ECN: Knob =
    option("fq_codel.ecn", Knob::SWITCH, "on", "Whether packets that ask for it are marked instead of dropped.");

/// All of them.
pub static ALL: &[&Knob] = &[
    &LIMIT,
    &TXQUEUELEN,
    &DEFAULT_QDISC,
    &FLOW_LIMIT,
    &HORIZON,
    &QUANTUM,
    &MAXRATE,
    &MEMORY_LIMIT,
    &TARGET,
    &INTERVAL,
    &FLOWS,
    &ECN,
];

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
