//! What sockets may hold besides their queues.

use crate::model::{Knob, Memory, Place, Risk, Scope};

pub static OPTMEM_MAX: Knob = Knob {
    place: Place::Sysctl,
    scope: Scope::Netns,
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
    id: "net.core.optmem_max",
    unit: "bytes",
    range: 0..=2_147_483_647,
    default: "131072 since 6.7, one for each namespace; 20480 before",
    help: "Memory of a socket besides its packets: options, control messages, filters, and notes on MSG_ZEROCOPY.",
    formula: "1048576 for MSG_ZEROCOPY at 100 Gbit/s",
    risk: Risk::Low,
    harm: "kernel memory for each socket that uses it",
    takes_effect: "at once",
};
