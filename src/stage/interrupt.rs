//! R3, hard interrupt: the device says that frames are waiting.

mod conflicts;
mod knobs;

pub use conflicts::CONFLICTS;
pub use knobs::AFFINITY;

use crate::counters;
use crate::model::{Stage, Unit};
use crate::source::groups::{CPU, INTERRUPTS, STAT};

counters! {
    /// Interrupts of all kinds since boot, on all CPUs. fs/proc/stat.c show_stat().
    INTR = STAT.total("intr", Unit::Events);
    /// Time that a CPU spent in hard interrupts. fs/proc/stat.c show_stat(), 6th time of the line; in 1/USER_HZ s.
    IRQ = CPU.total("irq", Unit::Ticks).column(5);
    /// Interrupts of one vector of a network card, on all CPUs. Mostly each queue has a vector of its own; far fewer
    /// interrupts than frames is how it should be. kernel/irq/proc.c show_interrupts().
    VECTOR = INTERRUPTS.total("count", Unit::Events);
}

/// R3.
pub static STAGE: Stage = Stage {
    id: "interrupt",
    title: "hard interrupt",
    explain: "The device raises an interrupt; its handler only masks further ones and asks for the receive softirq on \
              the same CPU. Nothing is lost here, but frames wait in the ring as long as the device holds the interrupt \
              back to gather more (coalescing).",
    chapter: include_str!("chapter/interrupt.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[],
    knobs: knobs::ALL,
};
