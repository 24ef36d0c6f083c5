//! R14, TCP input: segments of established connections.

mod backlog;
mod buffer;
mod leave;
mod prune;
mod queue_drops;
mod segments;
pub(crate) mod timers;
mod window;

use crate::counters;
use crate::model::{Connection, Flow, Knob, Memory, Place, Reason, Risk, Scope, Socket, Stage, Unit};
use crate::source::groups::{SOCKSTAT, SOCKSTAT6, TCP, TCP_EXT};

counters! {
    /// Segments received, after GRO, over IPv4 and IPv6, damaged ones too. net/ipv4/tcp_ipv4.c tcp_v4_rcv().
    IN_SEGS = TCP.total("InSegs", Unit::Segments).flow(Flow::Pass { from: "forward", to: "tcp_listen" });
    /// Segments with a broken header or a wrong checksum. net/ipv4/tcp_ipv4.c tcp_v4_rcv().
    IN_ERRS = TCP.total("InErrs", Unit::Segments).same_loss("tcp-header").flow(Flow::Lost { at: "tcp_in" });
    /// Segments with a wrong checksum; also in `Tcp.InErrs`. net/ipv4/tcp_ipv4.c tcp_v4_rcv().
    IN_CSUM_ERRORS = TCP.total("InCsumErrors", Unit::Segments).same_loss("tcp-header");
    /// Connections that are established or waiting to be closed by us. net/ipv4/proc.c snmp_seq_show().
    CURR_ESTAB = TCP.gauge("CurrEstab", Unit::Connections);
    /// Established connections that were reset. net/ipv4/tcp.c tcp_set_state().
    ESTAB_RESETS = TCP.total("EstabResets", Unit::Connections);
    /// TCP sockets over IPv4 that are not in TIME_WAIT. net/ipv4/proc.c sockstat_seq_show().
    TCP_INUSE = SOCKSTAT.gauge("TCP_inuse", Unit::Sockets);
    /// TCP sockets over IPv6. net/ipv6/proc.c sockstat6_seq_show().
    TCP6_INUSE = SOCKSTAT6.gauge("TCP6_inuse", Unit::Sockets);
    /// Connections in TIME_WAIT. net/ipv4/proc.c sockstat_seq_show().
    TCP_TW = SOCKSTAT.gauge("TCP_tw", Unit::Connections);
    /// Segments dropped because their socket's backlog was full: a process held the socket while they poured in. Not the
    /// backlog of listen(). net/ipv4/tcp_ipv4.c tcp_add_backlog().
    BACKLOG_DROP = TCP_EXT.total("TCPBacklogDrop", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments merged with the last one in their socket's backlog. net/ipv4/tcp_ipv4.c tcp_add_backlog(), since 5.4.
    BACKLOG_COALESCE = TCP_EXT.total("TCPBacklogCoalesce", Unit::Segments);
    /// Segments dropped because no memory was left for their receive queue. net/ipv4/tcp_input.c tcp_data_queue(), since
    /// 4.19.
    RCV_Q_DROP = TCP_EXT.total("TCPRcvQDrop", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments dropped because we had said that our window is closed. net/ipv4/tcp_input.c tcp_data_queue(), since 4.19.
    ZERO_WINDOW_DROP = TCP_EXT.total("TCPZeroWindowDrop", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments that came out of order and found no memory. net/ipv4/tcp_input.c tcp_data_queue_ofo().
    OFO_DROP = TCP_EXT.total("TCPOFODrop", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments dropped because their time to live was below what the socket asks for (IP_MINTTL).
    /// net/ipv4/tcp_ipv4.c tcp_v4_rcv().
    MIN_TTL_DROP = TCP_EXT.total("TCPMinTTLDrop", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Packets dropped because they were made from the memory reserve and their socket is not what the reserve is for.
    /// net/core/filter.c sk_filter_trim_cap().
    PFMEMALLOC_DROP = TCP_EXT.total("PFMemallocDrop", Unit::Packets);
    /// Times that a socket over its memory limit tidied up its queues. net/ipv4/tcp_input.c tcp_prune_queue().
    PRUNE_CALLED = TCP_EXT.total("PruneCalled", Unit::Events);
    /// Times that tidying up did not help and received data had to be thrown away. net/ipv4/tcp_input.c
    /// tcp_prune_queue().
    RCV_PRUNED = TCP_EXT.total("RcvPruned", Unit::Events);
    /// Times that segments out of order had to be thrown away to save memory. net/ipv4/tcp_input.c
    /// tcp_prune_ofo_queue().
    OFO_PRUNED = TCP_EXT.total("OfoPruned", Unit::Events);
    /// Segments merged to save memory while tidying up: costs CPU, loses nothing. net/ipv4/tcp_input.c tcp_collapse().
    RCV_COLLAPSED = TCP_EXT.total("TCPRcvCollapsed", Unit::Segments);
    /// Segments merged with the one before them in the receive queue. net/ipv4/tcp_input.c tcp_try_coalesce().
    RCV_COALESCE = TCP_EXT.total("TCPRcvCoalesce", Unit::Segments);
    /// Segments that came out of order: something before them was lost or overtaken on the way. net/ipv4/tcp_input.c
    /// tcp_data_queue_ofo().
    OFO_QUEUE = TCP_EXT.total("TCPOFOQueue", Unit::Segments);
    /// Segments out of order that held what we already had. net/ipv4/tcp_input.c tcp_ofo_queue().
    OFO_MERGE = TCP_EXT.total("TCPOFOMerge", Unit::Segments);
    /// Times that we told a sender to stop because the reader does not read (window 0). net/ipv4/tcp_output.c
    /// tcp_select_window().
    TO_ZERO_WINDOW_ADV = TCP_EXT.total("TCPToZeroWindowAdv", Unit::Events);
    /// Times that we told a sender to go on after a stop. net/ipv4/tcp_output.c tcp_select_window().
    FROM_ZERO_WINDOW_ADV = TCP_EXT.total("TCPFromZeroWindowAdv", Unit::Events);
    /// Times that we would have told a sender to stop if that were allowed. net/ipv4/tcp_output.c tcp_select_window().
    WANT_ZERO_WINDOW_ADV = TCP_EXT.total("TCPWantZeroWindowAdv", Unit::Events);
    /// Segments older than what their connection has seen, by timestamp. net/ipv4/tcp_input.c tcp_validate_incoming().
    PAWS_ESTAB = TCP_EXT.total("PAWSEstab", Unit::Segments);
    /// Old pure ACKs, by timestamp, since 6.14. net/ipv4/tcp_input.c tcp_validate_incoming().
    PAWS_OLD_ACK = TCP_EXT.total("PAWSOldAck", Unit::Segments);
    /// Segments that end beyond the window that we offered, since 6.18: kept if nothing waits to be read, else dropped.
    /// net/ipv4/tcp_input.c tcp_sequence().
    BEYOND_WINDOW = TCP_EXT.total("BeyondWindow", Unit::Segments);
    /// Acknowledgements of what was acknowledged before. net/ipv4/tcp_input.c tcp_send_dupack().
    DELAYED_ACK_LOST = TCP_EXT.total("DelayedACKLost", Unit::Events);
    /// ICMP errors about a part of a connection that is long past. net/ipv4/tcp_ipv4.c tcp_v4_err().
    OUT_OF_WINDOW_ICMPS = TCP_EXT.total("OutOfWindowIcmps", Unit::Packets);
    /// ICMP errors that could not be looked at because a process held the socket. net/ipv4/tcp_ipv4.c tcp_v4_err().
    LOCK_DROPPED_ICMPS = TCP_EXT.total("LockDroppedIcmps", Unit::Packets);
    /// Acknowledgements sent to verify a suspicious segment. net/ipv4/tcp_input.c tcp_send_challenge_ack().
    CHALLENGE_ACK = TCP_EXT.total("TCPChallengeACK", Unit::Segments);
    /// The same, for a SYN within a connection. net/ipv4/tcp_input.c tcp_validate_incoming().
    SYN_CHALLENGE = TCP_EXT.total("TCPSYNChallenge", Unit::Segments);
    /// Connections reset because data came after the process had closed them. net/ipv4/tcp_input.c
    /// tcp_rcv_state_process().
    ABORT_ON_DATA = TCP_EXT.total("TCPAbortOnData", Unit::Connections);
    /// Segments without the MD5 signature that their connection asks for. net/ipv4/tcp.c tcp_inbound_md5_hash().
    MD5_NOT_FOUND = TCP_EXT.total("TCPMD5NotFound", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments with an MD5 signature that nobody asked for. net/ipv4/tcp.c tcp_inbound_md5_hash().
    MD5_UNEXPECTED = TCP_EXT.total("TCPMD5Unexpected", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments with a wrong MD5 signature. net/ipv4/tcp.c tcp_inbound_md5_hash().
    MD5_FAILURE = TCP_EXT.total("TCPMD5Failure", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments with a wrong TCP-AO signature, since 6.7. net/ipv4/tcp_ao.c tcp_inbound_ao_hash().
    AO_BAD = TCP_EXT.total("TCPAOBad", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments whose TCP-AO key is not known, since 6.7. net/ipv4/tcp_ao.c tcp_inbound_ao_hash().
    AO_KEY_NOT_FOUND = TCP_EXT.total("TCPAOKeyNotFound", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// Segments without the TCP-AO signature that their connection asks for, since 6.7. net/ipv4/tcp.c.
    AO_REQUIRED = TCP_EXT.total("TCPAORequired", Unit::Segments).flow(Flow::Lost { at: "tcp_in" });
    /// SYN-ACKs with an old timestamp, for a connection that we open. net/ipv4/tcp_input.c
    /// tcp_rcv_synsent_state_process().
    PAWS_ACTIVE = TCP_EXT.total("PAWSActive", Unit::Segments);
    /// Segments that echo a timestamp which was never sent, since 6.15. net/ipv4/tcp_input.c tcp_ack().
    TS_ECR_REJECTED = TCP_EXT.total("TSEcrRejected", Unit::Segments);
    /// Segments with a right TCP-AO signature, since 6.7. net/ipv4/tcp_ao.c tcp_ao_verify_hash().
    AO_GOOD = TCP_EXT.total("TCPAOGood", Unit::Segments);
    /// ICMP errors that were not believed because their connection is signed by TCP-AO, since 6.7. net/ipv4/tcp_ao.c
    /// tcp_ao_ignore_icmp().
    AO_DROPPED_ICMPS = TCP_EXT.total("TCPAODroppedIcmps", Unit::Packets);
    /// Answers to segments with an old timestamp that were held back, because one was sent a moment ago.
    /// net/ipv4/tcp_input.c tcp_oow_rate_limited().
    ACK_SKIPPED_PAWS = TCP_EXT.total("TCPACKSkippedPAWS", Unit::Segments);
    /// The same for segments outside of the window. net/ipv4/tcp_input.c tcp_oow_rate_limited().
    ACK_SKIPPED_SEQ = TCP_EXT.total("TCPACKSkippedSeq", Unit::Segments);
    /// The same in the state FIN_WAIT2. net/ipv4/tcp_minisocks.c tcp_timewait_check_oow_rate_limit().
    ACK_SKIPPED_FIN_WAIT2 = TCP_EXT.total("TCPACKSkippedFinWait2", Unit::Segments);
    /// The same in the state TIME_WAIT. net/ipv4/tcp_minisocks.c tcp_timewait_check_oow_rate_limit().
    ACK_SKIPPED_TIME_WAIT = TCP_EXT.total("TCPACKSkippedTimeWait", Unit::Segments);
    /// The same for challenge acknowledgements. net/ipv4/tcp_input.c tcp_send_challenge_ack().
    ACK_SKIPPED_CHALLENGE = TCP_EXT.total("TCPACKSkippedChallenge", Unit::Segments);
    /// Acknowledgements that waited for data to go with, and were sent by the timer. net/ipv4/tcp_timer.c
    /// tcp_delack_timer_handler().
    DELAYED_ACKS = TCP_EXT.total("DelayedACKs", Unit::Segments);
    /// Times that such an acknowledgement waited longer because a process held the socket. net/ipv4/tcp_timer.c
    /// tcp_delack_timer().
    DELAYED_ACK_LOCKED = TCP_EXT.total("DelayedACKLocked", Unit::Events);
    /// Acknowledgements of segments out of order that were saved by sending one for several, since 4.18.
    /// net/ipv4/tcp_timer.c tcp_compressed_ack_kick().
    ACK_COMPRESSED = TCP_EXT.total("TCPAckCompressed", Unit::Segments);
    /// Times that we told a sender that what it sent had come already. net/ipv4/tcp_input.c tcp_dsack_set().
    DSACK_OLD_SENT = TCP_EXT.total("TCPDSACKOldSent", Unit::Segments);
    /// The same for data out of order. net/ipv4/tcp_input.c tcp_dsack_set().
    DSACK_OFO_SENT = TCP_EXT.total("TCPDSACKOfoSent", Unit::Segments);
    /// Segments taken by the fast path: in order, with data. net/ipv4/tcp_input.c tcp_rcv_established().
    HP_HITS = TCP_EXT.total("TCPHPHits", Unit::Segments);
    /// Acknowledgements without data. net/ipv4/tcp_input.c tcp_ack().
    PURE_ACKS = TCP_EXT.total("TCPPureAcks", Unit::Segments);
    /// Acknowledgements taken by the fast path. net/ipv4/tcp_input.c tcp_ack().
    HP_ACKS = TCP_EXT.total("TCPHPAcks", Unit::Segments);
}

/// What most settings of TCP have in common: one for each namespace, at once, with no memory worth counting.
pub const NETNS: Knob = Knob {
    id: "",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "",
    range: 0..=0,
    default: "",
    help: "",
    formula: "",
    risk: Risk::Low,
    harm: "",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

/// A connection as the examples of rules have it.
pub fn example() -> Connection {
    let end = |port| Socket::address([10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false, port);
    Connection {
        cookie: 1,
        local: end(443),
        remote: end(50_000),
        inode: 0,
        unread: 0,
        received: 0,
        buffer: 131_072,
        backlog: 0,
        sending: 4_096,
        drops: 0,
    }
}

static REASONS: &[Reason] = &[
    Reason::harmless(
        "NO_SOCKET",
        "No process listens on this port, or the connection is gone; the sender got a reset. Normal: scans and late \
         segments.",
    )
    .in_functions(&["tcp_v4_rcv", "tcp_v6_rcv"]),
    Reason::harmless("SOCKET_CLOSE", "The socket was closed while packets were on their way. Normal."),
    Reason::watch("TCP_CSUM", "A wrong TCP checksum: bad memory, cable or sender, or a card whose offload lies."),
    Reason::harmful(
        "PROTO_MEM",
        "All TCP sockets together use more than net.ipv4.tcp_mem allows, or the cgroup more than its memory limit. \
         Never normal.",
    ),
    Reason::watch("TCP_AUTH_HDR", "Both or malformed TCP authentication options in a segment."),
    Reason::harmful(
        "TCP_MD5NOTFOUND",
        "A peer that must sign its segments (TCP MD5, mostly BGP) did not: its key is missing.",
    ),
    Reason::watch("TCP_MD5UNEXPECTED", "A peer signs its segments (TCP MD5) and nobody here asked for it."),
    Reason::harmful("TCP_MD5FAILURE", "A TCP MD5 signature is wrong: the keys of the two ends differ."),
    Reason::harmful("TCP_AONOTFOUND", "A peer that must sign its segments (TCP-AO) did not."),
    Reason::watch("TCP_AOUNEXPECTED", "A peer signs its segments (TCP-AO) and nobody here asked for it."),
    Reason::harmful("TCP_AOKEYNOTFOUND", "A TCP-AO key that the peer uses is not known here."),
    Reason::harmful("TCP_AOFAILURE", "A TCP-AO signature is wrong: the keys of the two ends differ."),
    Reason::harmful(
        "SOCKET_BACKLOG",
        "The application held the socket while more came in than its buffer takes: a busy reader. TCP sends it again.",
    )
    .in_functions(&["tcp_add_backlog"]),
    Reason::watch("TCP_FLAGS", "Flags that make no sense in this state of the connection: a confused peer or a scan."),
    Reason::harmless(
        "TCP_ABORT_ON_DATA",
        "Data came for a connection that the application has closed already; the peer got a reset.",
    ),
    Reason::watch(
        "TCP_ZEROWINDOW",
        "The peer sent into a closed window: this application does not read. Also the peer's probes, which are normal \
         then.",
    ),
    Reason::harmless(
        "TCP_OLD_DATA",
        "Data that had come already: a duplicate after a retransmission. Normal; many mean that acknowledgements get \
         lost.",
    )
    .in_functions(&["tcp_data_queue"]),
    Reason::watch(
        "TCP_OVERWINDOW",
        "Data beyond the window that was offered. A peer that is faster than allowed, or a middlebox.",
    ),
    Reason::harmless("TCP_OFOMERGE", "Data out of order that had come already. Normal with retransmissions.")
        .in_functions(&["tcp_data_queue_ofo"]),
    Reason::watch(
        "TCP_RFC7323_PAWS",
        "An old timestamp: a duplicate from the past. Many mean NAT over hosts whose timestamps differ.",
    ),
    Reason::harmless(
        "TCP_RFC7323_PAWS_ACK",
        "A pure acknowledgement with an old timestamp. Normal when packets overtake each other.",
    ),
    Reason::watch(
        "TCP_RFC7323_TW_PAWS",
        "A SYN with an old timestamp for a connection in TIME_WAIT: hosts behind one NAT address.",
    ),
    Reason::watch(
        "TCP_RFC7323_TSECR",
        "The timestamp that the peer echoes was never sent: a confused or hostile peer.",
    ),
    Reason::harmless("TCP_OLD_SEQUENCE", "A segment wholly before the window: a duplicate. Normal."),
    Reason::watch(
        "TCP_INVALID_SEQUENCE",
        "A sequence number outside of the window: a confused or hostile peer, or a middlebox.",
    )
    .in_functions(&["tcp_validate_incoming"]),
    Reason::watch(
        "TCP_INVALID_END_SEQUENCE",
        "A segment that ends beyond the window: a peer that sends more than was offered.",
    ),
    Reason::watch("TCP_INVALID_ACK_SEQUENCE", "An acknowledgement outside of the window: a confused or hostile peer."),
    // Not the kernel's: it gives no reason for these.
    Reason::harmless("TCP_TIME_WAIT", "A late segment of a connection that has ended. Normal at the end of each.")
        .unnamed_in(&["tcp_v4_rcv", "tcp_v6_rcv"]),
    Reason::harmless("TCP_RESET", "A reset came and ended the connection. Normal."),
    Reason::harmless("TCP_CLOSE", "A segment for a connection that is closed. Normal at its end.")
        .in_functions(&["tcp_rcv_state_process"]),
    Reason::harmless("TCP_OLD_ACK", "An acknowledgement that brought nothing new. Normal."),
    Reason::harmless(
        "TCP_TOO_OLD_ACK",
        "An acknowledgement of data from long ago. Normal when packets overtake each other.",
    )
    .in_functions(&["tcp_ack"]),
    Reason::watch("TCP_ACK_UNSENT_DATA", "An acknowledgement of data that was never sent: a confused or hostile peer."),
    Reason::harmful(
        "TCP_OFO_QUEUE_PRUNE",
        "Data out of order was thrown away because the receive buffer is full. TCP sends it again.",
    )
    .in_functions(&["tcp_prune_ofo_queue"]),
    Reason::harmful("TCP_OFO_DROP", "Data out of order found no room in the receive buffer. TCP sends it again."),
    Reason::harmless("UNIX_DISCONNECT", "A datagram for a Unix socket whose peer was changed. No network is involved.")
        .in_functions(&["unix_"])
        .unnamed_in(&["unix_"]),
    Reason::harmless("UNIX_SKIP_OOB", "An urgent byte in a Unix socket was skipped. No network is involved."),
];

/// R14.
pub static STAGE: Stage = Stage {
    id: "tcp_in",
    title: "TCP input",
    explain: "TCP finds the connection, checks sequence and timestamps, and appends the data to the receive queue, or to \
              the out-of-order queue if something before it is missing. While a process works on the socket, segments \
              wait in the socket's own backlog. Lost segments are sent again, so a loss here costs time, not data.",
    chapter: include_str!("chapter/tcp_in.md"),
    fed_by: Some("tcp_listen"),
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&backlog::DROPS, &prune::PRUNED, &queue_drops::DROPS, &window::ZERO],
    knobs: &[
        &buffer::RMEM,
        &buffer::MODERATE_RCVBUF,
        &segments::WINDOW_SCALING,
        &segments::TIMESTAMPS,
        &segments::SACK,
        &segments::DSACK,
        &segments::ADV_WIN_SCALE,
        &segments::APP_WIN,
        &segments::SHRINK_WINDOW,
        &segments::WINDOW_CLAMP,
        &segments::INVALID_RATELIMIT,
        &segments::CHALLENGE_ACK_LIMIT,
        &segments::COMP_SACK_DELAY,
        &segments::COMP_SACK_NR,
        &segments::COMP_SACK_SLACK,
        &segments::BACKLOG_ACK_DEFER,
        &segments::EARLY_DEMUX,
        &segments::TCP_EARLY_DEMUX,
        &timers::FIN_TIMEOUT,
        &timers::ORPHAN_RETRIES,
        &timers::KEEPALIVE_TIME,
        &timers::KEEPALIVE_INTVL,
        &timers::KEEPALIVE_PROBES,
        &timers::RETRIES1,
        &timers::RETRIES2,
        &timers::SYN_RETRIES,
        &timers::SYN_LINEAR_TIMEOUTS,
        &timers::MAX_TW_BUCKETS,
        &timers::TW_REUSE,
        &timers::TW_REUSE_DELAY,
        &timers::LOCAL_PORT_RANGE,
        &timers::RTO_MIN,
        &timers::RTO_MAX,
        &timers::MTU_PROBING,
        &timers::BASE_MSS,
        &leave::EARLY_RETRANS,
        &leave::RECOVERY,
        &leave::FRTO,
        &leave::REORDERING,
        &leave::MAX_REORDERING,
        &leave::AUTOCORKING,
        &leave::THIN_LINEAR,
        &leave::PLB,
        &leave::TXREHASH,
        &leave::BLACKHOLE,
    ],
};
