//! R16, the reader: an application takes the data; for ICMP the reader is the kernel itself.

use crate::counters;
use crate::model::flow::APPLICATION;
use crate::model::{Flow, Reason, Stage, Unit};
use crate::source::groups::{ICMP, ICMP6, TCP_EXT};

counters! {
    /// ICMP messages received. net/ipv4/icmp.c icmp_rcv().
    ICMP_IN_MSGS = ICMP.total("InMsgs", Unit::Packets).flow(Flow::Pass { from: "forward", to: APPLICATION });
    /// ICMPv6 messages received, neighbour discovery among them. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_MSGS = ICMP6.total("InMsgs", Unit::Packets).flow(Flow::Pass { from: "forward", to: APPLICATION });
    /// ICMP messages that made no sense, or were about a packet that we never sent. net/ipv4/icmp.c icmp_rcv().
    ICMP_IN_ERRORS = ICMP.total("InErrors", Unit::Packets);
    /// ICMPv6 messages that made no sense. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_ERRORS = ICMP6.total("InErrors", Unit::Packets);
    /// ICMP messages with a wrong checksum; also in `Icmp.InErrors`. net/ipv4/icmp.c icmp_rcv().
    ICMP_IN_CSUM_ERRORS = ICMP.total("InCsumErrors", Unit::Packets);
    /// ICMPv6 messages with a wrong checksum; also in `Icmp6.InErrors`. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_CSUM_ERRORS = ICMP6.total("InCsumErrors", Unit::Packets);
    /// Others told us that something we sent could not be delivered, or was too big. net/ipv4/icmp.c icmp_unreach().
    ICMP_IN_DEST_UNREACHS = ICMP.total("InDestUnreachs", Unit::Packets);
    /// Others told us that something we sent over IPv6 could not be delivered. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_DEST_UNREACHS = ICMP6.total("InDestUnreachs", Unit::Packets);
    /// Others told us that something we sent over IPv6 was too big for their link. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_PKT_TOO_BIGS = ICMP6.total("InPktTooBigs", Unit::Packets);
    /// Others told us that something we sent was too long on its way. net/ipv4/icmp.c icmp_unreach().
    ICMP_IN_TIME_EXCDS = ICMP.total("InTimeExcds", Unit::Packets);
    /// Others told us to use another router. net/ipv4/icmp.c icmp_redirect().
    ICMP_IN_REDIRECTS = ICMP.total("InRedirects", Unit::Packets);
    /// Pings received. net/ipv4/icmp.c icmp_echo().
    ICMP_IN_ECHOS = ICMP.total("InEchos", Unit::Packets);
    /// Answers to our pings received. net/ipv4/icmp.c icmp_rcv().
    ICMP_IN_ECHO_REPS = ICMP.total("InEchoReps", Unit::Packets);
    /// Pings received over IPv6. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_ECHOS = ICMP6.total("InEchos", Unit::Packets);
    /// Answers to our pings received over IPv6. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_ECHO_REPLIES = ICMP6.total("InEchoReplies", Unit::Packets);
    /// Packets that a waiting reader fetched from the device itself (busy polling). net/core/dev.c napi_busy_loop().
    BUSY_POLL_RX_PACKETS = TCP_EXT.total("BusyPollRxPackets", Unit::Packets);
}

static REASONS: &[Reason] = &[
    Reason::harmless(
        "QUEUE_PURGE",
        "What still waited in a queue that was thrown away: a socket was closed, a device taken down. Normal.",
    )
    .in_functions(&[
        "skb_queue_purge",
        "skb_release_all",
        "inet_sock_destruct",
        "__sk_destruct",
        "sk_stream_kill_queues",
        "netlink_",
    ])
    .unnamed_in(&["netlink_"]),
    Reason::watch("SKB_UCOPY_FAULT", "The reader gave a buffer that could not be written to."),
];

/// R16.
pub static STAGE: Stage = Stage {
    id: "read",
    title: "reader",
    explain: "The application is woken and copies the data out of its socket's queue. How long it lets data wait there \
              is in no counter; that it waits too long shows as a full queue one stage before.",
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[],
    knobs: &[],
};
