//! What can be turned at the receive softirq, but not by a running program's write: at boot, by whoever runs the machine's
//! power, or by the application that polls.

use crate::model::{Knob, Memory, Place, Risk, Scope};

const BASE: Knob = Knob {
    id: "",
    place: Place::BOOT,
    scope: Scope::Machine,
    unit: Knob::SWITCH,
    range: 0..=1,
    default: "off",
    help: "",
    formula: "",
    risk: Risk::Medium,
    harm: "",
    takes_effect: "at the next boot",
    waits: false,
    memory: Memory::Kernel,
    keep: "the boot loader's configuration",
};

pub static IRQ_SUSPEND: Knob = Knob {
    id: "irq-suspend-timeout",
    place: Place::Elsewhere("netdev netlink, for one NAPI: ynl --family netdev --do napi-set; set by whoever polls"),
    scope: Scope::Queue,
    unit: "ns",
    range: 0..=1_000_000_000,
    default: "0; since 6.13",
    help: "How long the interrupt of a NAPI stays off while an application with epoll's busy polling works on what it got. \
           It is a safety net: the interrupt comes back when the application finds nothing, or after this time.",
    formula: "longer than the application takes for a batch, and much longer than gro_flush_timeout",
    harm: "an application that hangs keeps its queue waiting for that long",
    takes_effect: "at once",
    keep: "the application",
    ..BASE
};

pub static THREADIRQS: Knob = Knob {
    id: "threadirqs",
    help: "Whether interrupts, and with them the softirq, run in threads that the scheduler sees; thread_backlog_napi (since \
           6.10) does the same for the backlog of each CPU alone.",
    formula: "leave it, but for machines that must answer in real time",
    harm: "every packet waits for the scheduler",
    ..BASE
};

pub static ISOLATED: Knob = Knob {
    id: "isolcpus",
    place: Place::BOOT,
    unit: Knob::CPUS,
    range: 0..=u64::MAX,
    default: "none",
    help: "CPUs that the scheduler gives no work by itself, with nohz_full= also without its tick. Interrupts and RPS must \
           then stay away from them, too: they don't by themselves.",
    formula: "only with pinned work; irq affinity and rps_cpus on the other CPUs",
    harm: "the remaining CPUs do everything else",
    ..BASE
};

pub static POWER: Knob = Knob {
    id: "cpu.power",
    place: Place::Elsewhere("tuned-adm profile latency-performance; or cpupower frequency-set -g performance"),
    unit: "profile",
    range: 0..=0,
    default: "the distribution's, mostly one that saves power",
    help: "How deep CPUs sleep and how slowly they run when there is little to do. A ring that overflows while the CPUs are \
           idle may wait for one of them to wake up.",
    formula: "performance, and C-states up to C1, where bursts are lost or latency counts",
    risk: Risk::Low,
    harm: "power and heat",
    takes_effect: "at once",
    keep: "tuned",
    ..BASE
};
