//! R6, GRO: segments of one flow are merged before the stack sees them.

use crate::counters;
use crate::model::{Knob, Memory, Place, Risk, Scope, Stage, Unit};
use crate::source::groups::{IP_EXT, IP6};

counters! {
    /// IPv4 packets without ECN, as they were on the wire. With the other three: divided by `Ip.InReceives` this tells
    /// how many wire packets GRO put into one. net/ipv4/ip_input.c ip_rcv_core() counts gso_segs.
    IN_NO_ECT = IP_EXT.total("InNoECTPkts", Unit::WirePackets);
    /// IPv4 packets marked ECT(1), as they were on the wire. net/ipv4/ip_input.c ip_rcv_core().
    IN_ECT1 = IP_EXT.total("InECT1Pkts", Unit::WirePackets);
    /// IPv4 packets marked ECT(0), as they were on the wire. net/ipv4/ip_input.c ip_rcv_core().
    IN_ECT0 = IP_EXT.total("InECT0Pkts", Unit::WirePackets);
    /// IPv4 packets that a router marked instead of dropping them: congestion on the way.
    /// net/ipv4/ip_input.c ip_rcv_core().
    IN_CE = IP_EXT.total("InCEPkts", Unit::WirePackets);
    /// IPv6 packets without ECN, as they were on the wire. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_NO_ECT = IP6.total("InNoECTPkts", Unit::WirePackets);
    /// IPv6 packets marked ECT(1), as they were on the wire. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_ECT1 = IP6.total("InECT1Pkts", Unit::WirePackets);
    /// IPv6 packets marked ECT(0), as they were on the wire. net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_ECT0 = IP6.total("InECT0Pkts", Unit::WirePackets);
    /// IPv6 packets that a router marked instead of dropping them: congestion on the way.
    /// net/ipv6/ip6_input.c ip6_rcv_core().
    IN6_CE = IP6.total("InCEPkts", Unit::WirePackets);
}

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

/// R6.
pub static STAGE: Stage = Stage {
    id: "gro",
    title: "GRO",
    explain: "Segments of one flow that arrive together are merged into one large packet, so that all that follows runs \
              once for many. Nothing is lost here. From here on counters count merged packets: they are smaller than \
              the device's.",
    chapter: include_str!("chapter/gro.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[],
    knobs: &[&FLUSH_TIMEOUT, &DEFER_HARD_IRQS],
};
