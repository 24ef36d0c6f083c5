//! What the driver and the device may be told about sending: the ring, when they say that packets are sent, and what the
//! device does in the kernel's place.

use crate::model::{Knob, Memory, Place, Risk, Scope};

const BASE: Knob = Knob {
    id: "",
    place: Place::BOOT,
    scope: Scope::Device,
    unit: Knob::SWITCH,
    range: 0..=1,
    default: "on where the device can",
    help: "",
    formula: "on; off only to find out whether the device or its driver does it wrongly",
    risk: Risk::Medium,
    harm: "CPU time for every packet where it is off",
    takes_effect: "at once; some drivers restart the device",
    waits: false,
    memory: Memory::Kernel,
    keep: "systemd.link: TransmitChecksumOffload=, TCPSegmentationOffload= and their like",
};

pub static RING_TX: Knob = Knob {
    id: "ring.tx",
    place: Place::Ethtool("ethtool/DEV/rings/tx"),
    unit: "buffers",
    range: 1..=65_536,
    default: "the driver's, as ring.rx",
    help: "How many pieces of packets each transmit queue can hold. With BQL the queue is stopped long before the ring is \
           full, unless packets are small.",
    formula: "twice the present value where the driver refuses packets although BQL has room; else leave it, and small \
              without BQL",
    risk: Risk::High,
    harm: "most drivers stop and start the device for it; without BQL a long ring is a long wait",
    takes_effect: "at once, after the device has restarted",
    keep: "systemd.link: TxBufferSize=",
    ..BASE
};

pub static TX_USECS: Knob = Knob {
    id: "coalesce.tx-usecs",
    place: Place::Ethtool("ethtool/DEV/coalesce/tx-usecs"),
    unit: "µs",
    range: 0..=100_000,
    default: "the driver's",
    help: "How long the device may wait before it says that packets are sent. Until then their memory counts as the \
           socket's, and as queued for BQL.",
    formula: "8 to 64",
    harm: "less: more interrupts; more: TCP waits for room in its socket, and BQL's limit grows",
    keep: "systemd.link: TxCoalesceSec=",
    ..BASE
};

pub static TX_FRAMES: Knob = Knob {
    id: "coalesce.tx-frames",
    place: Place::Ethtool("ethtool/DEV/coalesce/tx-frames"),
    unit: "frames",
    range: 0..=32_768,
    default: "the driver's",
    help: "After how many packets the device says that they are sent, however short it has waited.",
    formula: "a quarter of the ring at most",
    harm: "as coalesce.tx-usecs",
    keep: "systemd.link: TxMaxCoalescedFrames=",
    ..BASE
};

pub static ADAPTIVE_TX: Knob = Knob {
    id: "coalesce.adaptive-tx",
    place: Place::Ethtool("ethtool/DEV/coalesce/adaptive-tx"),
    default: "on in some drivers (mlx5, ice), else off or missing",
    help: "Whether the driver finds coalesce.tx-usecs by itself.",
    formula: "on for mixed traffic",
    harm: "times that change by themselves",
    keep: "systemd.link: UseAdaptiveTxCoalesce=",
    ..BASE
};

pub static TCP_SEGMENTATION: Knob = Knob {
    id: "feature.tx-tcp-segmentation",
    place: Place::Ethtool("ethtool/DEV/features/tx-tcp-segmentation"),
    help: "Whether the device cuts large pieces of TCP into segments (TSO).",
    ..BASE
};

pub static SEGMENTATION: Knob = Knob {
    id: "feature.tx-generic-segmentation",
    place: Place::Ethtool("ethtool/DEV/features/tx-generic-segmentation"),
    default: "on",
    help: "Whether packets stay in one piece until the driver takes them, and are cut then if the device can't (GSO).",
    ..BASE
};

pub static UDP_SEGMENTATION: Knob = Knob {
    id: "feature.tx-udp-segmentation",
    place: Place::Ethtool("ethtool/DEV/features/tx-udp-segmentation"),
    default: "on where the device can; since 4.18",
    help: "Whether the device cuts what an application sent at once with UDP_SEGMENT (QUIC) into datagrams.",
    ..BASE
};

pub static CHECKSUM: Knob = Knob {
    id: "feature.tx-checksum-ip-generic",
    place: Place::Ethtool("ethtool/DEV/features/tx-checksum-ip-generic"),
    help: "Whether the device computes the checksums of TCP and UDP; some drivers have it for each IP version by itself \
           (tx-checksum-ipv4). Wrong checksums in a capture on the sending host are normal with it.",
    ..BASE
};
