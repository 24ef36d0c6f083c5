//! What can be turned at the wire.

use crate::model::{Knob, Memory, Place, Risk, Scope};

pub static ALL: &[&Knob] = &[&PAUSE_RX, &PAUSE_TX, &PAUSE_AUTONEG, &SPEED, &MTU];

const RENEGOTIATES: &str = "the link goes down and comes back while both ends agree anew; with it, the operator's own \
                            connection";

const fn pause(id: &'static str, place: &'static str, help: &'static str, formula: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Ethtool(place),
        scope: Scope::Device,
        unit: Knob::SWITCH,
        range: 0..=1,
        default: "what both ends agree on",
        help,
        formula,
        risk: Risk::High,
        harm: RENEGOTIATES,
        takes_effect: "at once, or after the link has come back",
        waits: false,
        memory: Memory::Kernel,
        keep: "systemd.link: RxFlowControl=, TxFlowControl=, AutoNegotiationFlowControl=",
    }
}

static PAUSE_RX: Knob =
    pause("pause.rx", "ethtool/DEV/pause/rx", "Whether the device stops sending when the switch asks it to.", "on");

static PAUSE_TX: Knob = pause(
    "pause.tx",
    "ethtool/DEV/pause/tx",
    "Whether the device asks the switch to stop when its own memory fills up. Then the switch drops, not this host.",
    "as the network is planned; off where one slow receiver must not hold up the others",
);

static PAUSE_AUTONEG: Knob = pause(
    "pause.autoneg",
    "ethtool/DEV/pause/autoneg",
    "Whether both ends agree on the use of pause frames by themselves.",
    "on, unless the switch can't",
);

pub static SPEED: Knob = Knob {
    id: "link.speed",
    place: Place::Ethtool("ethtool/DEV/linkmodes/speed"),
    scope: Scope::Device,
    unit: "Mbit/s",
    range: 10..=800_000,
    default: "what both ends agree on",
    help: "Speed of the link. Virtual devices show a made-up one, or none.",
    formula: "leave it to autonegotiation; one end alone with a fixed speed makes the other fall back to half duplex",
    risk: Risk::High,
    harm: RENEGOTIATES,
    takes_effect: "after the link has come back",
    waits: false,
    memory: Memory::Kernel,
    keep: "systemd.link: BitsPerSecond=",
};

static MTU: Knob = Knob {
    id: "mtu",
    place: Place::Sysfs("class/net/DEV/mtu"),
    scope: Scope::Device,
    unit: "bytes",
    range: 68..=65_535,
    default: "1500; in clouds up to 9001",
    help: "Longest packet that the device sends; most also take none that is longer.",
    formula: "what the whole path carries; inside a tunnel 50 less (VXLAN over IPv4) or 70 less (over IPv6)",
    risk: Risk::High,
    harm: "packets that are too long for a hop of the path vanish; bridges, veth pairs and tunnels must match",
    takes_effect: "at once; some drivers restart the device",
    waits: false,
    memory: Memory::Kernel,
    keep: "systemd.network: MTUBytes=",
};
