//! What can be turned on how the device chooses the receive queue of a frame.

use crate::model::{Knob, Memory, Place, Risk, Scope};

const fn fields(id: &'static str, place: &'static str, default: &'static str, help: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Ethtool(place),
        scope: Scope::Device,
        unit: "fields",
        range: 0..=0,
        default,
        help,
        formula: "sdfn for many flows between few addresses (DNS, QUIC, VXLAN), if fragments are rare",
        risk: Risk::Medium,
        harm: "fragments have no ports: those of one datagram may go to another queue than its beginning, and change order",
        takes_effect: "at once; packets of a flow may change order at that moment",
        waits: false,
        memory: Memory::Kernel,
        keep: "a udev rule",
    }
}

pub static UDP4: Knob = fields(
    "rss.hash.udp4",
    "ethtool/DEV/rss-hash/udp4",
    "the driver's: sdfn (mlx5, ice, ena) or sd (igb, ixgbe, i40e)",
    "Which fields of a UDP datagram over IPv4 decide its receive queue, one letter each: s and d the addresses, f and n \
     the ports (ethtool -n DEV rx-flow-hash udp4). With addresses alone, all that comes from one peer goes to one queue.",
);

pub static UDP6: Knob = fields(
    "rss.hash.udp6",
    "ethtool/DEV/rss-hash/udp6",
    "as rss.hash.udp4",
    "The same for UDP over IPv6 (ethtool -n DEV rx-flow-hash udp6).",
);

pub static SYMMETRIC: Knob = Knob {
    id: "rss.symmetric",
    place: Place::Elsewhere("ethtool -X DEV xfrm symmetric-xor, where the driver can (since 6.8)"),
    scope: Scope::Device,
    unit: Knob::SWITCH,
    range: 0..=1,
    default: "off, and a random key",
    help: "Whether both directions of a connection get the same hash, and so the same queue.",
    formula: "on for programs that watch both directions (intrusion detection); else leave it",
    risk: Risk::Medium,
    harm: "less of the fields counts: flows are spread less evenly",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

pub static NTUPLE: Knob = Knob {
    id: "feature.rx-ntuple-filter",
    place: Place::Ethtool("ethtool/DEV/features/rx-ntuple-filter"),
    scope: Scope::Device,
    unit: Knob::SWITCH,
    range: 0..=1,
    default: "off in most drivers",
    help: "Whether the device sorts frames by rules: a port to a queue, a flood to nowhere (ethtool -N DEV flow-type udp4 \
           dst-port 53 action 2; action -1 drops), and whether accelerated RFS may make such rules by itself.",
    formula: "on where one service must have queues of its own, or a flood must not reach the CPU",
    risk: Risk::Medium,
    harm: "the table of rules is small, and lost when the device is reset; in some drivers it takes the place of their own \
           steering of flows",
    takes_effect: "at once; some drivers restart the device",
    waits: false,
    memory: Memory::Kernel,
    keep: "systemd.link: NTupleFilter=",
};
