//! What can be turned at the interrupt.

use crate::model::{Knob, Memory, Place, Risk, Scope};

pub static ALL: &[&Knob] = &[&RX_USECS, &RX_FRAMES, &ADAPTIVE_RX, &AFFINITY];

const fn coalesce(
    id: &'static str,
    place: &'static str,
    unit: &'static str,
    most: u64,
    [default, help, formula, harm]: [&'static str; 4],
) -> Knob {
    Knob {
        id,
        place: Place::Ethtool(place),
        scope: Scope::Device,
        unit,
        range: 0..=most,
        default,
        help,
        formula,
        risk: Risk::Medium,
        harm,
        takes_effect: "at once; some drivers forget it when the device is reset",
        waits: false,
        memory: Memory::Kernel,
        keep: "systemd.link: RxCoalesceSec=, RxMaxCoalescedFrames=, UseAdaptiveRxCoalesce=",
    }
}

static RX_USECS: Knob = coalesce(
    "coalesce.rx-usecs",
    "ethtool/DEV/coalesce/rx-usecs",
    "µs",
    100_000,
    [
        "the driver's: 3 (igb), 1 (ixgbe), 8 (mlx5), 0 (virtio_net)",
        "How long the device may hold an interrupt back to gather frames.",
        "50 to 100 where CPUs are busy with interrupts, 0 to 10 where latency counts; frames that come meanwhile must \
         fill less than half of the ring",
        "each packet may be that much later",
    ],
);

static RX_FRAMES: Knob = coalesce(
    "coalesce.rx-frames",
    "ethtool/DEV/coalesce/rx-frames",
    "frames",
    32_768,
    [
        "the driver's; 0 or 1 where only the time counts",
        "Frames after which the device raises its interrupt, however short it has waited.",
        "less than half of the ring",
        "packets wait until that many have come, or the time has passed",
    ],
);

static ADAPTIVE_RX: Knob = coalesce(
    "coalesce.adaptive-rx",
    "ethtool/DEV/coalesce/adaptive-rx",
    Knob::SWITCH,
    1,
    [
        "on for mlx5, ice, ena; off for most others",
        "Whether the driver finds the time by itself, by how much traffic there is.",
        "on for mixed traffic",
        "latency is harder to foretell",
    ],
);

/// CPUs that may take an interrupt.
pub static AFFINITY: Knob = Knob {
    id: "irq.affinity",
    place: Place::Irq("irq/IRQ/smp_affinity_list"),
    scope: Scope::Machine,
    unit: Knob::CPU_LIST,
    range: 0..=u64::MAX,
    default: "the driver's hint, or what irqbalance makes of it",
    help: "CPUs that may take an interrupt. The receive softirq runs where the interrupt came.",
    formula: "the interrupt of queue i on core i of the device's NUMA node (its number: class/net/DEV/device/numa_node below \
              /sys); and irqbalance told to leave it alone",
    risk: Risk::Medium,
    harm: "irqbalance sets it again; interrupts that the kernel manages itself can't be moved",
    takes_effect: "with the next interrupt",
    waits: false,
    memory: Memory::Kernel,
    keep: "a unit of one's own, and IRQBALANCE_BANNED_CPUS or --banirq",
};
