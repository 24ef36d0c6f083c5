//! R14, TCP input: segments of established connections.

use crate::counters;
use crate::model::{Flow, Stage, Unit};
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
    /// Segments that end beyond the window that we offered, since 6.16. net/ipv4/tcp_input.c tcp_sequence().
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
    /// Segments taken by the fast path: in order, with data. net/ipv4/tcp_input.c tcp_rcv_established().
    HP_HITS = TCP_EXT.total("TCPHPHits", Unit::Segments);
    /// Acknowledgements without data. net/ipv4/tcp_input.c tcp_ack().
    PURE_ACKS = TCP_EXT.total("TCPPureAcks", Unit::Segments);
    /// Acknowledgements taken by the fast path. net/ipv4/tcp_input.c tcp_ack().
    HP_ACKS = TCP_EXT.total("TCPHPAcks", Unit::Segments);
}

/// R14.
pub static STAGE: Stage = Stage {
    id: "tcp_in",
    title: "TCP input",
    explain: "TCP finds the connection, checks sequence and timestamps, and appends the data to the receive queue, or to \
              the out-of-order queue if something before it is missing. While a process works on the socket, segments \
              wait in the socket's own backlog. Lost segments are sent again, so a loss here costs time, not data.",
    fed_by: Some("tcp_listen"),
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[],
    knobs: &[],
};
