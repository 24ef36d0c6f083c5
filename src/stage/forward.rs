//! R11, local delivery or forwarding: the packet is for a socket here, or for another host.

use crate::counters;
use crate::model::flow::{APPLICATION, FORWARDED};
use crate::model::{Counter, Flow, Knob, Memory, Place, Reason, Risk, Scope, Stage, Unit};
use crate::source::groups::{ICMP, ICMP6, IP, IP6, PROTOCOLS, RAW, RAW6, SOCKSTAT, SOCKSTAT6};

counters! {
    /// IPv4 packets given to a protocol here: TCP, UDP, ICMP or another. net/ipv4/ip_input.c ip_protocol_deliver_rcu().
    IN_DELIVERS = IP.total("InDelivers", Unit::Packets).flow(Flow::Pass { from: "ip_in", to: "forward" });
    /// IPv6 packets given to a protocol here. net/ipv6/ip6_input.c ip6_protocol_deliver_rcu().
    IN6_DELIVERS = IP6.total("InDelivers", Unit::Packets).flow(Flow::Pass { from: "ip_in", to: "forward" });
    /// IPv4 packets sent on to another host; since 6.7 also those that the firewall's FORWARD hook drops then, or that are
    /// too big for the next link. net/ipv4/ip_forward.c ip_forward().
    FORW_DATAGRAMS = IP
        .total("ForwDatagrams", Unit::Packets)
        .flow(Flow::Pass { from: "ip_in", to: FORWARDED })
        // Before 6.7, ip_output() counted them among OutRequests.
        .sends(Flow::PassBeside { from: FORWARDED, to: "ip_out", beside: &OUT_TRANSMITS });
    /// IPv6 packets sent on to another host; since 6.7 also those that are dropped then, as for IPv4.
    /// net/ipv6/ip6_output.c ip6_forward().
    OUT6_FORW_DATAGRAMS = IP6
        .total("OutForwDatagrams", Unit::Packets)
        .flow(Flow::Pass { from: "ip_in", to: FORWARDED })
        .sends(Flow::Pass { from: FORWARDED, to: "ip_out" });
    /// IPv4 packets made here and given to the firewall's OUTPUT hook. net/ipv4/ip_output.c __ip_local_out().
    OUT_REQUESTS = IP
        .total("OutRequests", Unit::Packets)
        .flow(Flow::Joins)
        .sends(Flow::Pass { from: APPLICATION, to: "ip_out" });
    /// IPv6 packets made here and given to the firewall's OUTPUT hook. net/ipv6/output_core.c __ip6_local_out().
    OUT6_REQUESTS = IP6
        .total("OutRequests", Unit::Packets)
        .flow(Flow::Joins)
        .sends(Flow::Pass { from: APPLICATION, to: "ip_out" });
    /// IPv4 packets, made here or sent on, that passed the firewall and were given to a device. net/ipv4/ip_output.c
    /// ip_finish_output2(), since 6.7.
    OUT_TRANSMITS = IP
        .total("OutTransmits", Unit::Packets)
        .flow(Flow::Leaves)
        .sends(Flow::Pass { from: "ip_out", to: "neighbour" });
    /// IPv6 packets, made here or sent on, that passed the firewall and were given to a device. net/ipv6/ip6_output.c
    /// ip6_finish_output2(), since 6.7.
    OUT6_TRANSMITS = IP6
        .total("OutTransmits", Unit::Packets)
        .flow(Flow::Leaves)
        .sends(Flow::Pass { from: "ip_out", to: "neighbour" });
    /// IPv4 packets of a protocol that nobody here handles; the sender is told. net/ipv4/ip_input.c
    /// ip_protocol_deliver_rcu().
    IN_UNKNOWN_PROTOS = IP.total("InUnknownProtos", Unit::Packets).flow(Flow::Unwanted { at: "ip_in" });
    /// IPv6 packets of a protocol that nobody here handles; the sender is told. net/ipv6/ip6_input.c
    /// ip6_protocol_deliver_rcu().
    IN6_UNKNOWN_PROTOS = IP6.total("InUnknownProtos", Unit::Packets).flow(Flow::Unwanted { at: "ip_in" });
    /// IPv6 packets to be sent on that are too big for the next link; the sender is told.
    /// net/ipv6/ip6_output.c ip6_forward().
    IN6_TOO_BIG =
        IP6.total("InTooBigErrors", Unit::Packets).flow(Flow::MayExplain { at: "forward", from: "ip_in" });
    /// IPv4 packets too big for the next link that may not be fragmented (DF). Also counts our own packets.
    /// net/ipv4/ip_forward.c ip_forward(), net/ipv4/ip_output.c ip_fragment().
    FRAG_FAILS = IP
        .total("FragFails", Unit::Packets)
        .flow(Flow::MayExplain { at: "forward", from: "ip_in" })
        .sends(Flow::MayExplain { at: "ip_out", from: "ip_out" });
    /// ICMP errors sent because a packet's time to live ran out on its way through us. net/ipv4/icmp.c.
    OUT_TIME_EXCDS = ICMP.total("OutTimeExcds", Unit::Messages);
    /// ICMP errors sent because a destination, port or protocol is not here. net/ipv4/icmp.c.
    OUT_DEST_UNREACHS = ICMP.total("OutDestUnreachs", Unit::Messages);
    /// ICMPv6 errors sent because a packet's hop limit ran out on its way through us. net/ipv6/icmp.c.
    OUT6_TIME_EXCDS = ICMP6.total("OutTimeExcds", Unit::Messages);
    /// ICMPv6 errors sent because a destination or port is not here. net/ipv6/icmp.c.
    OUT6_DEST_UNREACHS = ICMP6.total("OutDestUnreachs", Unit::Messages);
    /// Raw IPv4 sockets open: each sees copies of packets of its protocol. net/ipv4/proc.c sockstat_seq_show().
    RAW_INUSE = SOCKSTAT.gauge("RAW_inuse", Unit::Sockets);
    /// Raw IPv6 sockets open. net/ipv6/proc.c sockstat6_seq_show().
    RAW6_INUSE = SOCKSTAT6.gauge("RAW6_inuse", Unit::Sockets);
    /// Copies that raw IPv4 sockets lost: their buffer was full, or a filter refused them. Of the sockets that there are:
    /// the sum falls when one is closed. net/ipv4/raw.c raw_sock_seq_show().
    RAW_DROPS = RAW.total("drops", Unit::Packets);
    /// The same for raw IPv6 sockets. net/ipv6/datagram.c __ip6_dgram_sock_seq_show().
    RAW6_DROPS = RAW6.total("drops", Unit::Packets);
    /// ICMP sockets open that need no privilege (ping). net/core/sock.c proto_seq_printf().
    PING_SOCKETS = PROTOCOLS.gauge("PING_sockets", Unit::Sockets);
}

/// A limit on the ICMP errors that are sent.
const fn icmp(id: &'static str, unit: &'static str, default: &'static str, help: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        scope: Scope::Netns,
        unit,
        // A time is kept in ticks: at this end, every clock rate gives it back as it was set.
        range: 0..=1_000_000_000,
        default,
        help,
        formula: "five times as many on routers and load balancers whose answers (path MTU, traceroute) are missed",
        risk: Risk::Medium,
        harm: "who forges the sender's address makes this host send more to it",
        takes_effect: "at once",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d",
    }
}

static FORWARDING: Knob = Knob {
    id: "net.ipv4.conf.DEV.forwarding",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "switch",
    range: 0..=1,
    default: "0; container software sets it",
    help: "Whether packets that come in by a device and are for another host are sent on. net.ipv4.ip_forward sets all of them \
           at once.",
    formula: "1 on routers and on hosts of containers, 0 elsewhere",
    risk: Risk::Medium,
    harm: "ip_forward puts other settings of all devices back to what a router or a host has by default",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

static ICMP_RATELIMIT: Knob = icmp(
    "net.ipv4.icmp_ratelimit",
    "ms",
    "1000; 100 for IPv6 since 6.18",
    "Least time between two ICMP errors to one destination, of the kinds in icmp_ratemask; a few may come at once. 0: no \
     limit for each destination.",
);

static ICMP_RATEMASK: Knob = icmp(
    "net.ipv4.icmp_ratemask",
    "mask",
    "6168: destination unreachable, source quench, time exceeded, parameter problem",
    "Which kinds of ICMP messages icmp_ratelimit and icmp_msgs_per_sec hold back: bit N is type N. Echo replies are not \
     among them.",
);

pub(crate) static ICMP_MSGS_PER_SEC: Knob = icmp(
    "net.ipv4.icmp_msgs_per_sec",
    "messages/s",
    "1000; 10000 since 7.2",
    "ICMP errors that are sent in a second, to all destinations together; of each network namespace since 6.12, of the \
     machine before. What is held back counts in Icmp.OutRateLimitGlobal.",
);

static ICMP_MSGS_BURST: Knob = icmp(
    "net.ipv4.icmp_msgs_burst",
    "messages",
    "50; 10000 since 7.2",
    "ICMP errors that may be sent at once, beyond icmp_msgs_per_sec.",
);

/// What was sent on to other hosts.
pub static SENT_ON: [&Counter; 2] = [&FORW_DATAGRAMS, &OUT6_FORW_DATAGRAMS];

static REASONS: &[Reason] = &[Reason::harmful(
    "PKT_TOO_BIG",
    "The packet is longer than the MTU of the way on and may not be fragmented; the sender was told by ICMP. \
         Harmful if a firewall drops that ICMP (path MTU black hole).",
)
.in_functions(&["ip_finish_output2_toobig", "ip6_forward"])];

/// R11.
pub static STAGE: Stage = Stage {
    id: "forward",
    title: "delivery, forwarding",
    explain: "Routing has decided: a packet for one of our addresses passes the firewall's INPUT hook and goes to its \
              protocol; one for another host passes FORWARD, loses one hop of its life, and is sent on if it fits the \
              next link.",
    chapter: include_str!("chapter/forward.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[],
    knobs: &[&FORWARDING, &ICMP_RATELIMIT, &ICMP_RATEMASK, &ICMP_MSGS_PER_SEC, &ICMP_MSGS_BURST],
};
