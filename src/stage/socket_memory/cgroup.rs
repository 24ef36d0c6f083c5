//! Limits of a cgroup's memory. They count all of it, of which packets in queues are a part.

use crate::model::{Knob, Memory, Place, Risk, Scope};

const BASE: Knob = Knob {
    id: "",
    place: Place::APPLICATION,
    scope: Scope::Application,
    unit: "bytes",
    range: 0..=0,
    default: "",
    help: "",
    formula: "",
    risk: Risk::Medium,
    harm: "the machine's other services have that much less",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "the unit or the container's definition",
};

pub static MAX: Knob = Knob {
    id: "memory.max",
    place: Place::Elsewhere(
        "/sys/fs/cgroup/CGROUP/memory.max: systemctl set-property UNIT MemoryMax=, or the container's limit",
    ),
    range: 4096..=u64::MAX,
    default: "max, that is none; container managers set it",
    help: "Most memory that the processes of a service or container may have together, and with it what waits in their \
           sockets (sock in memory.stat). At the limit the kernel first takes back what can be taken back, then refuses \
           packets, then kills. In version 1 of cgroups, sockets have a limit of their own besides: \
           memory.kmem.tcp.limit_in_bytes.",
    formula: "what the processes need (memory.peak) and what their sockets may hold, with a fifth to spare",
    ..BASE
};

pub static HIGH: Knob = Knob {
    id: "memory.high",
    place: Place::Elsewhere(
        "/sys/fs/cgroup/CGROUP/memory.high: systemctl set-property UNIT MemoryHigh=, or the container's request",
    ),
    range: 0..=u64::MAX,
    default: "max, that is none",
    help: "Memory above which the processes of a service or container are slowed down until some was taken back. Their \
           sockets are not pressed by it at once, but a reader that is slowed down reads late.",
    formula: "below memory.max by what a slow-down may take; leave it where there is none",
    ..BASE
};

pub static PCPU_RESERVE: Knob = Knob {
    id: "net.core.mem_pcpu_rsv",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "pages",
    range: 8..=65_536,
    default: "256; since 6.4",
    help: "How much memory each CPU takes or gives back before it tells the sum that net.ipv4.tcp_mem and udp_mem limit: so \
           far off that sum may be, for each CPU.",
    formula: "256; two to four times that where sk_mem functions lead a profile with many CPUs",
    risk: Risk::Low,
    harm: "the limits of all sockets together are kept less exactly",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
