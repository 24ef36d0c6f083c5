//! R7, backlog: the per-CPU queue of packets that another CPU, or a device without a ring, hands over.

mod costly;
mod elephant;
mod nearly_full;
mod overflow;
mod spread;
mod tunnel;

pub use costly::COSTLY;
pub use spread::with_cpus;

use crate::counters;
use crate::model::{Counter, Flow, Knob, Memory, Place, Reason, Risk, Scope, Stage, Unit};
use crate::source::groups::{LINK, SOFTNET};
use crate::stage::{driver_rx, ring};

counters! {
    /// Packets that a CPU took through the receive path, after GRO. A VLAN or a bond takes a packet through twice.
    /// net/core/dev.c __netif_receive_skb_core(), column 0.
    PROCESSED = SOFTNET.total("processed", Unit::Packets).column(0);
    /// Packets lost because a CPU's backlog queue was full, or its flow limit shed them. The row is the CPU that should
    /// have taken them; of the whole machine. net/core/dev.c enqueue_to_backlog(), column 1.
    DROPPED = SOFTNET.total("dropped", Unit::Packets).column(1).same_loss("backlog");
    /// Times that another CPU woke this one because RPS had given it packets: interrupts, not packets.
    /// net/core/dev.c rps_trigger_softirq(), column 9.
    RECEIVED_RPS = SOFTNET.total("received_rps", Unit::Events).column(9);
    /// Packets of one heavy flow that were dropped so that the others got through (flow limit). The row is the CPU that
    /// handed them over. net/core/dev.c skb_flow_limit(), column 10, since 3.11.
    FLOW_LIMIT_COUNT = SOFTNET.total("flow_limit_count", Unit::Packets).column(10);
    /// Packets now waiting in a CPU's backlog; up to twice netdev_max_backlog is possible.
    /// net/core/net-procfs.c softnet_backlog_len(), column 11, since 5.10.
    BACKLOG_LEN = SOFTNET.gauge("backlog_len", Unit::Packets).column(11);
    /// The part of the backlog that netdev_max_backlog limits. net/core/net-procfs.c softnet_input_pkt_queue_len(),
    /// column 13, since 6.4.
    INPUT_QLEN = SOFTNET.gauge("input_qlen", Unit::Packets).column(13);
    /// The part of the backlog that is being worked on. net/core/net-procfs.c softnet_process_queue_len(), column 14,
    /// since 6.4.
    PROCESS_QLEN = SOFTNET.gauge("process_qlen", Unit::Packets).column(14);
    /// Packets of a device that the kernel threw away between driver and protocol: the backlog was full, or no protocol
    /// wanted them (then it is no loss). Some drivers add losses of their own. Read with `softnet.dropped`, which says how
    /// many the backlog lost. net/core/dev.c dev_core_stats_rx_dropped_inc().
    RX_DROPPED = LINK.total("rx_dropped", Unit::Packets).same_loss("backlog")
        .flow(Flow::LostUpTo { at: "backlog", limit: &DROPPED, rest: "ingress", apart: NIC_DROPS });
}

/// What drivers lose and add to `link.rx_dropped`.
static NIC_DROPS: &[&Counter] = &[&ring::RING_DROPPED, &ring::RING_EMPTY, &driver_rx::DRIVER_DROPS];

pub(crate) static MAX_BACKLOG: Knob = Knob {
    id: "net.core.netdev_max_backlog",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "packets",
    range: 1..=32_768,
    default: "1000",
    help: "Longest backlog queue of each CPU. Used by loopback, veth, most tunnels and RPS; never by a network card \
           without RPS.",
    formula: "twice the present value, in powers of two, up to 32768",
    risk: Risk::Low,
    harm: "packets may wait longer; hides a CPU that is too slow",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

/// CPUs that take the packets of a receive queue.
pub static RPS_CPUS: Knob = Knob {
    id: "rps_cpus",
    place: Place::Sysfs("class/net/DEV/queues/rx-N/rps_cpus"),
    scope: Scope::Queue,
    unit: Knob::CPUS,
    range: 0..=u64::MAX,
    default: "0, that is off",
    help: "CPUs that take the packets of a receive queue (RPS), a bitmap: bit 0 is CPU 0. A packet's flow decides which \
           of them. 0: the CPU that polls the queue takes them itself.",
    formula: "the CPUs of the device's NUMA node that have time left; not where the device has as many queues as there \
              are CPUs",
    risk: Risk::Medium,
    harm: "interrupts between CPUs and cold caches; the queue of netdev_max_backlog then applies; packets of a flow may \
           change order at the moment of the change",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static RPS_FLOW_CNT: Knob = Knob {
    id: "rps_flow_cnt",
    place: Place::Sysfs("class/net/DEV/queues/rx-N/rps_flow_cnt"),
    scope: Scope::Queue,
    unit: "flows",
    range: 0..=16_777_216,
    default: "0, that is off",
    help: "Flows of a receive queue that are sent to the CPU on which their application runs (RFS); acts together with \
           net.core.rps_sock_flow_entries.",
    formula: "net.core.rps_sock_flow_entries divided by the receive queues",
    risk: Risk::Low,
    harm: "8 bytes of memory a flow",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static RPS_SOCK_FLOW_ENTRIES: Knob = Knob {
    id: "net.core.rps_sock_flow_entries",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "flows",
    range: 0..=16_777_216,
    default: "0, that is off",
    help: "Flows for which the machine remembers on which CPU their application last read (RFS). The kernel rounds it up to \
           a power of two. Each queue also needs its rps_flow_cnt.",
    formula: "32768 on a busy server, at least the flows that are active at a time",
    risk: Risk::Low,
    harm: "4 bytes of memory a flow",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

static RPS_DEFAULT_MASK: Knob = Knob {
    id: "net.core.rps_default_mask",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: Knob::CPUS,
    range: 0..=u64::MAX,
    default: "0, that is off; since 6.3",
    help: "The rps_cpus that the queues of a new device begin with. For hosts on which devices of containers come and go.",
    formula: "as rps_cpus",
    risk: Risk::Medium,
    harm: "as rps_cpus, for every device that is made from then on",
    takes_effect: "for new devices only",
    waits: true,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

static REASONS: &[Reason] = &[
    Reason::harmful(
        "CPU_BACKLOG",
        "The backlog queue of a CPU is full (see backlog-overflow), or its flow limit sheds a heavy flow (see \
         elephant-flow-shed).",
    )
    .in_functions(&["enqueue_to_backlog", "netif_rx_internal"]),
    Reason::harmful(tunnel::CELL_FULL, "The receive queue of a tunnel is full. Not normal: see tunnel-cell-overflow.")
        .in_functions(&["gro_cells_receive"])
        .unnamed_in(&["gro_cells_receive"]),
];

/// R7.
pub static STAGE: Stage = Stage {
    id: "backlog",
    title: "CPU backlog",
    explain: "RPS moves packets to the queue of another CPU; loopback, veth, tunnels and old drivers always put theirs \
              into the queue of the present one. The CPU takes them from there like from a ring. A full queue drops \
              what comes.",
    chapter: include_str!("chapter/backlog.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&overflow::OVERFLOW, &elephant::SHED, &nearly_full::NEARLY_FULL, &tunnel::CELLS],
    knobs: &[
        &MAX_BACKLOG,
        &RPS_CPUS,
        &RPS_FLOW_CNT,
        &RPS_SOCK_FLOW_ENTRIES,
        &RPS_DEFAULT_MASK,
        &elephant::FLOW_LIMIT_CPUS,
        &elephant::FLOW_LIMIT_TABLE,
    ],
};
