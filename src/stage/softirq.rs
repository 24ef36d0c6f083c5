//! R4, receive softirq: the kernel polls the rings that have something.

mod budget;
mod elsewhere;
mod knobs;
mod one_cpu;

pub use one_cpu::{ONE_CPU, shares};

pub(crate) use knobs::BUDGET;

use crate::counters;
use crate::model::{Stage, Unit};
use crate::source::groups::{CPU, PRESSURE_CPU, PRESSURE_IRQ, SOFTIRQS, SOFTNET};

counters! {
    /// Times that a CPU stopped polling because its budget of packets or time was used up. No packet is lost by that; a
    /// few a second are normal under load. net/core/dev.c net_rx_action(), column 3.
    TIME_SQUEEZE = SOFTNET.total("time_squeeze", Unit::Events).column(2);
    /// Runs of the receive softirq on a CPU. It also frees sent packets, so this is no count of received ones.
    /// fs/proc/softirqs.c show_softirqs().
    NET_RX = SOFTIRQS.total("NET_RX", Unit::Runs);
    /// Runs of the transmit softirq on a CPU. fs/proc/softirqs.c show_softirqs().
    NET_TX = SOFTIRQS.total("NET_TX", Unit::Runs);
    /// Time that a CPU spent in softirqs of all kinds. fs/proc/stat.c show_stat(), 7th time of the line; in 1/USER_HZ s.
    SOFTIRQ = CPU.total("softirq", Unit::Ticks).column(6);
    /// Time that a CPU had nothing to do. fs/proc/stat.c show_stat(), 4th time of the line; in 1/USER_HZ s.
    IDLE = CPU.total("idle", Unit::Ticks).column(3);
    /// Time in which a virtual CPU wanted to run and the hypervisor let others run. fs/proc/stat.c show_stat(), 8th time of
    /// the line; in 1/USER_HZ s.
    STEAL = CPU.total("steal", Unit::Ticks).column(7);
    /// Time in which some task waited for a CPU, of the whole machine. kernel/sched/psi.c psi_show(), since 4.20.
    CPU_PRESSURE = PRESSURE_CPU.total("some", Unit::Microseconds);
    /// Time in which interrupts and softirqs kept the tasks of a CPU waiting, of the whole machine; only on kernels that
    /// account for it. kernel/sched/psi.c psi_account_irqtime(), since 6.1.
    IRQ_PRESSURE = PRESSURE_IRQ.total("full", Unit::Microseconds);
}

/// R4.
pub static STAGE: Stage = Stage {
    id: "softirq",
    title: "receive softirq",
    explain: "net_rx_action() polls one ring after the other, at most netdev_budget packets or netdev_budget_usecs of \
              time, then lets others run and comes back. Nothing is lost here; but while a CPU is busy elsewhere its \
              rings fill up, and the loss shows at the ring.",
    chapter: include_str!("chapter/softirq.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[&budget::EXHAUSTED],
    knobs: knobs::ALL,
};
