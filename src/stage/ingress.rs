//! R8, core receive: taps, tc, and the choice of the protocol.

mod unwanted;

use crate::counters;
use crate::model::{Drop, Example, Finding, Flow, Observed, Reason, Rule, Scope, Severity, Stage, Threshold, Unit};
use crate::source::groups::LINK;

counters! {
    /// Frames that reached a standby member of a bond or team, or found no handler for their device: not for us.
    /// net/core/dev.c __netif_receive_skb_core(), since 4.6.
    RX_NOHANDLER = LINK.total("rx_nohandler", Unit::Packets).flow(Flow::Unwanted { at: "ingress" });
    /// Frames for another host's MAC address that a device in promiscuous mode, or a flooding switch, brought in.
    /// net/ipv4/ip_input.c ip_rcv_core(), since 5.19.
    RX_OTHERHOST_DROPPED = LINK.total("rx_otherhost_dropped", Unit::Packets).flow(Flow::Unwanted { at: "ingress" });
}

static FILTERED: Rule = Rule {
    id: "ingress-filter-drops",
    title: "A tc or tcx program drops packets on their way in",
    explain: "A filter of tc (clsact, ingress) or a program attached by tcx may drop what comes in, before netfilter and IP \
              see it. Container networks (Cilium and others) enforce their policies so. tcx counts nothing, clsact only in \
              its qdisc. Mostly it is meant; it is a fault if somebody misses these packets.",
    triggers: &[],
    seen: &[TC_INGRESS],
    knobs: &[],
    thresholds: &[Threshold { key: "warning_per_second", default: 100.0, help: "packets/s; own: below, a remark" }],
    fires: filtered,
    examples: &[
        Example { what: "5 packets in a second", severity: Some(Severity::Info), observed: || tc(5) },
        Example { what: "4,000 packets in a second", severity: Some(Severity::Warning), observed: || tc(4_000) },
        Example {
            what: "frames of a protocol that nobody speaks",
            severity: None,
            observed: || Observed::quiet().with_drops(Drop::example("UNHANDLED_PROTO", 500)),
        },
    ],
};

const TC_INGRESS: &str = "TC_INGRESS";

fn tc(packets: u64) -> Observed {
    Observed::quiet().with_drops(Drop::example(TC_INGRESS, packets))
}

fn filtered(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.dropped(TC_INGRESS);
    if lost == 0 {
        return Vec::new();
    }
    let limit = seen.threshold(rule, "warning_per_second");
    let severity = if seen.rate(lost).is_some_and(|rate| rate > limit) { Severity::Warning } else { Severity::Info };
    let mut devices: Vec<&str> = seen.drops_for(TC_INGRESS).filter_map(|drop| drop.device.as_deref()).collect();
    devices.sort_unstable();
    devices.dedup();
    let why = format!("a program on {} refused them", devices.join(", "));
    let mut finding = Finding::new(rule, severity, Scope::Device, lost, why);
    finding.evidence.push(seen.probe_evidence(TC_INGRESS, lost, Some(limit)));
    let who =
        "whoever attached the program can change it: 'tc filter show dev DEVICE ingress' and 'bpftool net' show it";
    finding.no_setting_helps = Some(who.into());
    vec![finding]
}

static REASONS: &[Reason] = &[
    Reason::harmless(
        "UNHANDLED_PROTO",
        "No protocol here wants frames of this type (LLDP, STP, an unused VLAN or IPv6 switched off). Normal on most \
         networks.",
    )
    .in_functions(&["__netif_receive_skb_core"]),
    Reason::harmless(
        "OTHERHOST",
        "The frame has the address of another host: the device is promiscuous, or a switch floods. Normal while \
         sniffing.",
    )
    .in_functions(&["ip_rcv_core"]),
    Reason::watch(
        TC_INGRESS,
        "A tc filter or tcx program on the way in dropped the packet. Normal if it is meant to filter; no other \
         counter shows it.",
    )
    .in_functions(&["sch_handle_ingress", "tcf_classify_ingress"]),
    Reason::watch(
        "TC_COOKIE_ERROR",
        "A tc chain could not be resumed where the hardware had left off: an offload fault.",
    ),
    Reason::watch("TC_CHAIN_NOTFOUND", "A tc filter jumps to a chain that does not exist: a mistake in the filters."),
    Reason::watch("TC_RECLASSIFY_LOOP", "Filters of tc send the packet round in a circle: a mistake in the filters."),
    Reason::watch(
        "PACKET_SOCK_ERROR",
        "A packet socket (tcpdump, a DHCP client) could not take its copy. The packet itself goes on; only the copy \
         is lost.",
    )
    .in_functions(&["packet_rcv", "tpacket_rcv"]),
    Reason::harmless(
        "MAC_INVALID_SOURCE",
        "The frame's source address is none that a host may have (multicast, zero). A broken or hostile sender.",
    ),
    Reason::harmless(
        "LOCAL_MAC",
        "The frame comes from outside with the address of one of our own devices: a loop or a copied address, if \
         there are many.",
    ),
    Reason::harmless(
        "MAC_IEEE_MAC_CONTROL",
        "A control frame for the link (pause) reached the stack. Normal; nobody needs it there.",
    ),
    Reason::harmless(
        "BRIDGE_INGRESS_STP_STATE",
        "The bridge port is not forwarding: spanning tree blocks it. Normal on the blocked side of a loop.",
    ),
    Reason::harmless("CAN_RX_INVALID_FRAME", "A CAN frame with a broken header. A broken sender or driver."),
    Reason::harmless("CANFD_RX_INVALID_FRAME", "A CAN FD frame with a broken header. A broken sender or driver."),
    Reason::harmless("CANXL_RX_INVALID_FRAME", "A CAN XL frame with a broken header. A broken sender or driver."),
];

/// R8.
pub static STAGE: Stage = Stage {
    id: "ingress",
    title: "core receive",
    explain: "__netif_receive_skb_core() hands copies to packet taps, runs tc and netfilter ingress programs, gives the \
              packet to a bridge or bond if the device belongs to one, and finds the protocol by the EtherType. A \
              frame whose protocol nobody handles (LLDP, spanning tree, IPv6 switched off) is discarded and counted in \
              the device's rx_dropped: that is not a loss.",
    chapter: include_str!("chapter/ingress.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&FILTERED, &unwanted::UNKNOWN_PROTOCOL, &unwanted::STANDBY, &unwanted::OTHER_HOSTS],
    knobs: &[],
};
