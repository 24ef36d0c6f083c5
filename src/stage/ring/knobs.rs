//! What can be turned at the receive ring. Whoever sets one of these may lose the device for a moment, and with it the
//! connection that the operator works over.

use super::hash;
use crate::model::{Knob, Memory, Place, Risk, Scope};

/// Why a device's own settings are dangerous.
const RESTARTS: &str = "most drivers stop and start the device for it: a second without a link, lost packets, counters \
                        that start anew; the operator's own connection may go over it";

pub static ALL: &[&Knob] = &[
    &RING_RX,
    &CHANNELS_COMBINED,
    &CHANNELS_RX,
    &RSS_TABLE,
    &hash::UDP4,
    &hash::UDP6,
    &hash::SYMMETRIC,
    &hash::NTUPLE,
    &PCIE_READS,
];

/// Length of the rings.
pub static RING_RX: Knob = Knob {
    id: "ring.rx",
    place: Place::Ethtool("ethtool/DEV/rings/rx"),
    scope: Scope::Device,
    unit: "buffers",
    range: 1..=65_536,
    default: "the driver's: 256 (igb, virtio_net), 512 (ixgbe, i40e), 1024 (mlx5, ena)",
    help: "Buffers that each receive queue of a device has put out: so many frames may arrive before the CPU comes. The \
           most that the driver takes is shown as 'Pre-set maximums' by ethtool -g.",
    formula: "the next power of two above the frames a second of a queue times the longest time until the CPU polls it; \
              begin with twice the present value",
    risk: Risk::High,
    harm: RESTARTS,
    takes_effect: "at once, after the device has restarted",
    waits: false,
    memory: Memory::Kernel,
    keep: "systemd.link: RxBufferSize=",
};

/// Number of queues.
pub static CHANNELS_COMBINED: Knob = Knob {
    id: "channels.combined",
    place: Place::Ethtool("ethtool/DEV/channels/combined"),
    scope: Scope::Device,
    unit: "queues",
    range: 1..=1024,
    default: "the driver's: mostly the smaller of its maximum and the number of CPUs",
    help: "Pairs of a receive and a transmit queue, each with an interrupt: so many CPUs can take packets from the device \
           at the same time.",
    formula: "the smaller of the driver's maximum and the cores of the device's NUMA node; the fewest that do not overflow \
              are the cheapest",
    risk: Risk::High,
    harm: RESTARTS,
    takes_effect: "at once, after the device has restarted; its indirection table and steering rules start anew",
    waits: false,
    memory: Memory::Kernel,
    keep: "systemd.link: CombinedChannels=",
};

static CHANNELS_RX: Knob = Knob {
    id: "channels.rx",
    place: Place::Ethtool("ethtool/DEV/channels/rx"),
    scope: Scope::Device,
    unit: "queues",
    range: 1..=1024,
    default: "the driver's",
    help: "Receive queues of a device that has its transmit queues apart (veth, some network cards).",
    formula: "as channels.combined",
    risk: Risk::High,
    harm: RESTARTS,
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "systemd.link: RxChannels=",
};

static RSS_TABLE: Knob = Knob {
    id: "rss.queues",
    place: Place::Ethtool("ethtool/DEV/rss/queues"),
    scope: Scope::Device,
    unit: "queues",
    range: 1..=1024,
    default: "all receive queues, evenly",
    help: "Over how many of its queues the device spreads flows by their hash: the queues that its indirection table names \
           (ethtool -x).",
    formula: "all of them: ethtool -X DEV equal N, after the number of channels was changed",
    risk: Risk::Medium,
    harm: "packets of a flow may change order at the moment of the change",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static PCIE_READS: Knob = Knob {
    id: "pcie.max_read_request",
    place: Place::Elsewhere("setpci, or the card's own tool; ASPM: pcie_aspm=off on the kernel's command line"),
    scope: Scope::Device,
    unit: "bytes",
    range: 128..=4096,
    default: "512",
    help: "How much the card may ask for at once over PCI Express when it reads descriptors and packets, and whether the \
           link may sleep in between (ASPM). A card that loses frames while the CPUs are idle may wait for its bus: \
           outbound_pci_stalled_rd and its like in ethtool -S tell.",
    formula: "4096 for cards of 25 Gbit/s and more; ASPM off where latency counts",
    risk: Risk::High,
    harm: "a wrong register of a card may hang the machine; without ASPM it needs more power",
    takes_effect: "at once; ASPM at the next boot",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};
