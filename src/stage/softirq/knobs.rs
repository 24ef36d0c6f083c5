//! What can be turned at the receive softirq.

use std::ops::RangeInclusive;

use super::elsewhere;
use crate::model::{Knob, Memory, Place, Risk, Scope};

pub static ALL: &[&Knob] = &[
    &BUDGET,
    &BUDGET_USECS,
    &DEV_WEIGHT,
    &RX_BIAS,
    &TX_BIAS,
    &THREADED,
    &TSTAMP_PREQUEUE,
    &BUSY_POLL,
    &BUSY_READ,
    &SKB_DEFER_MAX,
    &elsewhere::IRQ_SUSPEND,
    &elsewhere::THREADIRQS,
    &elsewhere::ISOLATED,
    &elsewhere::POWER,
];

/// One for the machine, from its own namespace only.
const fn sysctl(
    id: &'static str,
    unit: &'static str,
    range: RangeInclusive<u64>,
    [default, help, formula, harm]: [&'static str; 4],
) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        scope: Scope::Machine,
        unit,
        range,
        default,
        help,
        formula,
        risk: Risk::Low,
        harm,
        takes_effect: "at once",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d",
    }
}

pub static BUDGET: Knob = sysctl(
    "net.core.netdev_budget",
    "packets",
    1..=1200,
    [
        "300",
        "Packets that the receive softirq polls before it lets others run, over all devices of a CPU.",
        "twice the present value, up to 1200, and only where it is what ends the runs",
        "programs on the same CPU wait longer",
    ],
);

pub static BUDGET_USECS: Knob = sysctl(
    "net.core.netdev_budget_usecs",
    "µs",
    1..=40_000,
    [
        "two ticks of the kernel's clock: 8000 where HZ is 250, 2000 where it is 1000; 2000 everywhere in 4.12 to 5.6",
        "Time that the receive softirq polls before it lets others run. Since 6.18 less than two ticks are refused.",
        "in the same proportion as net.core.netdev_budget, up to twice the default",
        "programs on the same CPU wait longer",
    ],
);

static DEV_WEIGHT: Knob = sysctl(
    "net.core.dev_weight",
    "packets",
    1..=1000,
    [
        "64",
        "Packets that one poll takes from a CPU's backlog, and that a qdisc sends in one go. Not what a network card's \
         poll takes: drivers have 64 for that, unchangeable.",
        "leave it; 128 to 300 where a CPU's backlog was seen to be what limits",
        "one source keeps the others of its CPU waiting",
    ],
);

static RX_BIAS: Knob = sysctl(
    "net.core.dev_weight_rx_bias",
    "times",
    1..=16,
    [
        "1",
        "Factor on net.core.dev_weight for the backlog alone.",
        "2 to 4 where the backlog gets too little next to a card",
        "the backlog keeps the cards of its CPU waiting",
    ],
);

static TX_BIAS: Knob = sysctl(
    "net.core.dev_weight_tx_bias",
    "times",
    1..=16,
    [
        "1",
        "Factor on net.core.dev_weight for qdiscs alone.",
        "2 to 4 where qdiscs are left too early",
        "sending keeps receiving waiting",
    ],
);

static TSTAMP_PREQUEUE: Knob = sysctl(
    "net.core.netdev_tstamp_prequeue",
    "0/1",
    0..=1,
    [
        "1",
        "Whether packets get their time before RPS moves them (1), or on the CPU that takes them (0).",
        "0 where the CPU that polls is the one without time",
        "times of a capture are later by what packets waited",
    ],
);

static BUSY_POLL: Knob = sysctl(
    "net.core.busy_poll",
    "µs",
    0..=1000,
    [
        "0, that is off",
        "How long poll() and select() poll the device themselves before they sleep.",
        "50; 100 for hundreds of sockets; better SO_BUSY_POLL in the one application that needs it",
        "burns CPU and power while nothing comes",
    ],
);

static BUSY_READ: Knob = sysctl(
    "net.core.busy_read",
    "µs",
    0..=1000,
    [
        "0, that is off",
        "How long a read polls the device itself before it sleeps. Sockets made afterwards begin with it.",
        "50, where latency counts more than CPU; better SO_BUSY_POLL in the one application that needs it",
        "burns CPU and power while nothing comes",
    ],
);

static THREADED: Knob = Knob {
    id: "threaded",
    place: Place::Sysfs("class/net/DEV/threaded"),
    scope: Scope::Device,
    unit: "0/1",
    range: 0..=1,
    default: "0",
    help: "Whether the device is polled by threads (napi/DEV-N), which can be pinned and given a priority, instead of the \
           softirq. Since 5.12.",
    formula: "1 where softirqs keep programs from their CPUs, or the other way round; then pin each thread to the CPU of \
              its interrupt",
    risk: Risk::Medium,
    harm: "packets wait until the scheduler lets the thread run",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static SKB_DEFER_MAX: Knob = sysctl(
    "net.core.skb_defer_max",
    "packets",
    0..=65_536,
    [
        "64; since 6.0",
        "How many packets that an application has read are kept to be freed by the CPU that received them, so that the \
         allocator's locks are not fought over.",
        "64; 128 to 256 where readers run on other CPUs than the softirq and kfree or slab functions lead a profile",
        "memory: so many packets for each CPU",
    ],
);
