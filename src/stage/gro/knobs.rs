//! What can be turned at GRO.

use crate::model::{Knob, Memory, Place, Risk, Scope};

pub static ALL: &[&Knob] =
    &[&FLUSH_TIMEOUT, &DEFER_HARD_IRQS, &NORMAL_BATCH, &GRO, &LRO, &GRO_HW, &GRO_LIST, &UDP_FORWARDING];

static FLUSH_TIMEOUT: Knob = Knob {
    id: "gro_flush_timeout",
    place: Place::Sysfs("class/net/DEV/gro_flush_timeout"),
    scope: Scope::Device,
    unit: "ns",
    range: 0..=1_000_000_000,
    default: "0",
    help: "How long merged segments may wait for more of their flow, and, with napi_defer_hard_irqs, how long the \
           device's interrupt stays off after a poll.",
    formula: "20000 to 50000, with napi_defer_hard_irqs at 1 or 2",
    risk: Risk::Medium,
    harm: "every packet may be that much later",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static DEFER_HARD_IRQS: Knob = Knob {
    id: "napi_defer_hard_irqs",
    place: Place::Sysfs("class/net/DEV/napi_defer_hard_irqs"),
    scope: Scope::Device,
    unit: "polls",
    range: 0..=2_147_483_647,
    default: "0",
    help: "How many polls that found nothing, gro_flush_timeout apart, before the device's interrupt is switched on again.",
    formula: "1 or 2",
    risk: Risk::Medium,
    harm: "without gro_flush_timeout nothing; with it, more latency and more polling",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static NORMAL_BATCH: Knob = Knob {
    id: "net.core.gro_normal_batch",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "segments",
    range: 1..=1024,
    default: "8; since 5.4",
    help: "Packets that GRO gathers before it hands them to the stack together.",
    formula: "16 to 64 where very many packets are sent on, after a test",
    risk: Risk::Low,
    harm: "more latency",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

const fn feature(
    id: &'static str,
    place: &'static str,
    [default, help, formula, harm]: [&'static str; 4],
    keep: &'static str,
) -> Knob {
    Knob {
        id,
        place: Place::Ethtool(place),
        scope: Scope::Device,
        unit: Knob::SWITCH,
        range: 0..=1,
        default,
        help,
        formula,
        risk: Risk::Medium,
        harm,
        takes_effect: "at once; some drivers restart the device for hardware features",
        waits: false,
        memory: Memory::Kernel,
        keep,
    }
}

static GRO: Knob = feature(
    "feature.rx-gro",
    "ethtool/DEV/features/rx-gro",
    [
        "on",
        "Whether the kernel merges segments of a flow that arrive together (GRO). On veth it also makes the pair poll in \
         batches, without the CPU's backlog.",
        "on",
        "UDP that is merged and split again may be later; off costs CPU for every packet",
    ],
    "systemd.link: GenericReceiveOffload=",
);

static LRO: Knob = feature(
    "feature.rx-lro",
    "ethtool/DEV/features/rx-lro",
    [
        "off; on in some drivers (vmxnet3, bnx2x)",
        "Whether the device merges segments in a way that can't be undone (LRO).",
        "off where packets are sent on or bridged, else either",
        "breaks routing and bridging: merged packets are too long to be sent on",
    ],
    "systemd.link: LargeReceiveOffload=",
);

static GRO_HW: Knob = feature(
    "feature.rx-gro-hw",
    "ethtool/DEV/features/rx-gro-hw",
    [
        "on where the device can (virtio_net, bnxt)",
        "Whether the device itself merges segments, in a way that can be undone.",
        "on",
        "the driver's or device's faults, if it has any",
    ],
    "systemd.link: GenericReceiveOffloadHardware=",
);

static GRO_LIST: Knob = feature(
    "feature.rx-gro-list",
    "ethtool/DEV/features/rx-gro-list",
    [
        "off; since 5.6",
        "Whether merged packets keep their own headers: for hosts that send on.",
        "on for routers that forward much TCP or UDP; off where packets end here",
        "costs CPU where packets end here",
    ],
    "a udev rule",
);

static UDP_FORWARDING: Knob = feature(
    "feature.rx-udp-gro-forwarding",
    "ethtool/DEV/features/rx-udp-gro-forwarding",
    [
        "off; since 5.12",
        "Whether UDP that is sent on is merged, too.",
        "on for routers and tunnels with bulk UDP (QUIC, WireGuard)",
        "UDP may be later",
    ],
    "a udev rule",
);
