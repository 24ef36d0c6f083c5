//! Limits of a single socket's memory.

use crate::model::{Knob, Memory, Risk, Scope};
use crate::stage::tcp_in::NETNS;

pub static WMEM: Knob = Knob {
    id: "net.ipv4.tcp_wmem",
    unit: "bytes: least, start, most",
    range: 1..=2_147_483_647,
    default: "4096 16384 4194304, the last less with little memory",
    help: "Send buffer of a TCP connection: what it keeps when memory is short, what it begins with, and what the \
           kernel lets it grow to by need. Counted as memory.",
    formula: "most = 2 x bytes per second x round trip in seconds",
    risk: Risk::Medium,
    harm: "memory, and data that waits here instead of in the application: TCP_NOTSENT_LOWAT",
    takes_effect: "the most at once; the start for new sockets",
    memory: Memory::Tcp,
    ..NETNS
};

pub static WMEM_MAX: Knob = Knob {
    id: "net.core.wmem_max",
    scope: Scope::Machine,
    unit: "bytes",
    range: 4_608..=1_073_741_823,
    default: "4194304 since 6.18, 212992 before",
    help: "Most that an application may ask for with SO_SNDBUF; the kernel then allows twice that. Changes nothing \
           for a socket that does not ask.",
    formula: "half of the memory needed",
    risk: Risk::Medium,
    harm: "every application may take that much for each socket",
    takes_effect: "when the application next sets SO_SNDBUF: restart it",
    waits: true,
    ..NETNS
};

pub static WMEM_DEFAULT: Knob = Knob {
    id: "net.core.wmem_default",
    scope: Scope::Machine,
    unit: "bytes",
    range: 4_608..=1_073_741_823,
    default: "212992",
    help: "Send buffer of a socket that does not ask for a size. TCP has its own (tcp_wmem).",
    formula: "leave it",
    risk: Risk::Medium,
    harm: "every UDP and raw socket may hold that much",
    takes_effect: "for new sockets only: restart the application",
    waits: true,
    ..NETNS
};

pub static OPTMEM_MAX: Knob = Knob {
    id: "net.core.optmem_max",
    unit: "bytes",
    range: 0..=2_147_483_647,
    default: "131072 since 6.7, one for each namespace; 20480 before",
    help: "Memory of a socket besides its packets: options, control messages, filters, and notes on MSG_ZEROCOPY.",
    formula: "1048576 for MSG_ZEROCOPY at 100 Gbit/s",
    risk: Risk::Low,
    harm: "kernel memory for each socket that uses it",
    takes_effect: "at once",
    ..NETNS
};
