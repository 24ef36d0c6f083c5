//! T6, egress: the transmit queue of the device is chosen.

mod uneven;

pub use uneven::{COUNTED, UNEVEN};

use crate::counters;
use crate::model::{Flow, Knob, Memory, Place, Risk, Scope, Stage, Unit};
use crate::source::groups::{CLSACT, MQ};

counters! {
    /// Packets that filters or programs at a device's tc hooks dropped, both ways together. Those of tcx are not counted
    /// anywhere. include/net/sch_generic.h mini_qdisc_qstats_cpu_drop().
    TC_DROPS =
        CLSACT.total("drops", Unit::Packets).sends(Flow::MayExplain { at: "egress", from: "neighbour" });
    /// Packets that left through a transmit queue, where the queues have disciplines of their own (mq). A packet that the
    /// device cuts counts as its pieces. net/sched/sch_generic.c qdisc_bstats_cpu_update().
    MQ_SENT = MQ.total("packets", Unit::WirePackets);
}

static XPS_CPUS: Knob = Knob {
    id: "xps_cpus",
    place: Place::Sysfs("class/net/DEV/queues/tx-N/xps_cpus"),
    scope: Scope::Queue,
    unit: Knob::CPUS,
    range: 0..=u64::MAX,
    default: "set by many drivers, else 0, that is off",
    help: "CPUs that send through a transmit queue (XPS), a bitmap: bit 0 is CPU 0. A CPU that is in no queue's map uses \
           the flow's hash. Only devices with several queues have it.",
    formula: "one queue for each CPU, or for the CPUs that share a cache",
    risk: Risk::Medium,
    harm: "packets of a flow may change order at the moment of the change",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static XPS_RXQS: Knob = Knob {
    id: "xps_rxqs",
    place: Place::Sysfs("class/net/DEV/queues/tx-N/xps_rxqs"),
    scope: Scope::Queue,
    unit: "receive queues, a bitmap",
    range: 0..=u64::MAX,
    default: "0, that is off",
    help: "Receive queues whose connections send through this transmit queue, a bitmap: bit 0 is rx-0. It takes precedence \
           over xps_cpus.",
    formula: "leave it; rx-N for tx-N where each queue is polled by an application of its own",
    risk: Risk::Medium,
    harm: "packets of a flow may change order at the moment of the change",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

/// T6.
pub static STAGE: Stage = Stage {
    id: "egress",
    title: "egress",
    explain: "tc's egress programs and netfilter's egress hook see the packet, then one of the device's transmit queues \
              is chosen for it: by the sending CPU (XPS), else by the flow's hash; a flow keeps its queue as long as \
              packets of it are on their way.",
    chapter: include_str!("chapter/egress.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[],
    reasons: &[],
    knobs: &[&XPS_CPUS, &XPS_RXQS],
};
