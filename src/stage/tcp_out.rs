//! T2, TCP output: segments are sent, and sent again.

mod abort;
mod connect;
mod refused;
mod retransmit;
mod time_wait;
mod timeouts;

use crate::counters;
use crate::model::{Stage, Unit};
use crate::source::groups::{TCP, TCP_EXT};

counters! {
    /// Connections that this host began to open. net/ipv4/tcp_output.c tcp_connect().
    ACTIVE_OPENS = TCP.total("ActiveOpens", Unit::Connections);
    /// Segments sent, as they go on the wire, without those that are sent again. net/ipv4/tcp_output.c
    /// __tcp_transmit_skb().
    OUT_SEGS = TCP.total("OutSegs", Unit::Segments);
    /// Segments sent again, SYNs and SYN-ACKs too. net/ipv4/tcp_output.c __tcp_retransmit_skb().
    RETRANS_SEGS = TCP.total("RetransSegs", Unit::Segments);
    /// Segments with data sent for the first time. net/ipv4/tcp_output.c tcp_event_new_data_sent().
    ORIG_DATA_SENT = TCP_EXT.total("TCPOrigDataSent", Unit::Segments);
    /// SYNs, and SYN-ACKs, sent again; also in `Tcp.RetransSegs`. net/ipv4/tcp_output.c __tcp_retransmit_skb(),
    /// tcp_rtx_synack().
    SYN_RETRANS = TCP_EXT.total("TCPSynRetrans", Unit::Segments);
    /// Times that no acknowledgement came until the retransmission timer ran out, SYNs too. net/ipv4/tcp_timer.c
    /// tcp_retransmit_timer().
    TIMEOUTS = TCP_EXT.total("TCPTimeouts", Unit::Events);
    /// Segments sent again because acknowledgements told that they were lost. net/ipv4/tcp_output.c
    /// tcp_xmit_retransmit_queue().
    FAST_RETRANS = TCP_EXT.total("TCPFastRetrans", Unit::Segments);
    /// Segments sent again after a timeout, beyond the first. net/ipv4/tcp_output.c tcp_xmit_retransmit_queue().
    SLOW_START_RETRANS = TCP_EXT.total("TCPSlowStartRetrans", Unit::Segments);
    /// Segments that were lost once more after they had been sent again. net/ipv4/tcp_input.c tcp_mark_skb_lost().
    LOST_RETRANSMIT = TCP_EXT.total("TCPLostRetransmit", Unit::Segments);
    /// Times that a segment could not be sent again: no memory, no route, or refused by a firewall or program of this
    /// host. net/ipv4/tcp_output.c __tcp_retransmit_skb().
    RETRANS_FAIL = TCP_EXT.total("TCPRetransFail", Unit::Events);
    /// Times that a segment was to be sent again that had not left this host yet. net/ipv4/tcp_output.c
    /// skb_still_in_host_queue().
    SPURIOUS_RTX_HOST_QUEUES = TCP_EXT.total("TCPSpuriousRtxHostQueues", Unit::Events);
    /// Probes sent in place of waiting for a timeout, where the last segments of a burst were not acknowledged (TLP).
    /// net/ipv4/tcp_output.c tcp_send_loss_probe().
    LOSS_PROBES = TCP_EXT.total("TCPLossProbes", Unit::Segments);
    /// Times that such a probe repaired a loss. net/ipv4/tcp_input.c tcp_process_tlp_ack().
    LOSS_PROBE_RECOVERY = TCP_EXT.total("TCPLossProbeRecovery", Unit::Events);
    /// Times that a connection began to repair losses that SACKs told of. net/ipv4/tcp_input.c tcp_enter_recovery().
    SACK_RECOVERY = TCP_EXT.total("TCPSackRecovery", Unit::Events);
    /// The same, told by repeated acknowledgements of a peer without SACK. net/ipv4/tcp_input.c tcp_enter_recovery().
    RENO_RECOVERY = TCP_EXT.total("TCPRenoRecovery", Unit::Events);
    /// Times that a timeout came while a connection repaired losses that SACKs told of. net/ipv4/tcp_timer.c
    /// tcp_retransmit_timer().
    SACK_RECOVERY_FAIL = TCP_EXT.total("TCPSackRecoveryFail", Unit::Events);
    /// The same for a peer without SACK. net/ipv4/tcp_timer.c tcp_retransmit_timer().
    RENO_RECOVERY_FAIL = TCP_EXT.total("TCPRenoRecoveryFail", Unit::Events);
    /// Times that a timeout came while a connection recovered from another. net/ipv4/tcp_timer.c
    /// tcp_retransmit_timer().
    LOSS_FAILURES = TCP_EXT.total("TCPLossFailures", Unit::Events);
    /// Times that a timeout came after SACKs, before losses were repaired. net/ipv4/tcp_timer.c tcp_retransmit_timer().
    SACK_FAILURES = TCP_EXT.total("TCPSackFailures", Unit::Events);
    /// The same for a peer without SACK. net/ipv4/tcp_timer.c tcp_retransmit_timer().
    RENO_FAILURES = TCP_EXT.total("TCPRenoFailures", Unit::Events);
    /// Timeouts that turned out to be wrong: the acknowledgement only came late (F-RTO). net/ipv4/tcp_input.c
    /// tcp_try_undo_loss().
    SPURIOUS_RTOS = TCP_EXT.total("TCPSpuriousRTOs", Unit::Events);
    /// Times that a slow-down was taken back: nothing had been lost. net/ipv4/tcp_input.c tcp_try_undo_recovery().
    FULL_UNDO = TCP_EXT.total("TCPFullUndo", Unit::Events);
    /// Times that it was taken back in part. net/ipv4/tcp_input.c tcp_try_undo_partial().
    PARTIAL_UNDO = TCP_EXT.total("TCPPartialUndo", Unit::Events);
    /// Times that it was taken back because the peer had got all segments twice. net/ipv4/tcp_input.c
    /// tcp_try_undo_dsack().
    DSACK_UNDO = TCP_EXT.total("TCPDSACKUndo", Unit::Events);
    /// Times that the slow-down of a timeout was taken back. net/ipv4/tcp_input.c tcp_try_undo_loss().
    LOSS_UNDO = TCP_EXT.total("TCPLossUndo", Unit::Events);
    /// Acknowledgements that told of data which had come twice (DSACK). net/ipv4/tcp_input.c tcp_check_dsack().
    DSACK_RECV = TCP_EXT.total("TCPDSACKRecv", Unit::Segments);
    /// The same for data out of order. net/ipv4/tcp_input.c tcp_check_dsack().
    DSACK_OFO_RECV = TCP_EXT.total("TCPDSACKOfoRecv", Unit::Segments);
    /// Segments that came twice, as those acknowledgements told, since 5.15. net/ipv4/tcp_input.c tcp_dsack_seen().
    DSACK_RECV_SEGS = TCP_EXT.total("TCPDSACKRecvSegs", Unit::Segments);
    /// DSACKs that were not believed, since 5.13. net/ipv4/tcp_input.c tcp_check_dsack().
    DSACK_IGNORED_DUBIOUS = TCP_EXT.total("TCPDSACKIgnoredDubious", Unit::Segments);
    /// DSACKs about a part of the connection that is long past. net/ipv4/tcp_input.c tcp_sacktag_write_queue().
    DSACK_IGNORED_OLD = TCP_EXT.total("TCPDSACKIgnoredOld", Unit::Segments);
    /// DSACKs that came when there was nothing to take back. net/ipv4/tcp_input.c tcp_sacktag_write_queue().
    DSACK_IGNORED_NO_UNDO = TCP_EXT.total("TCPDSACKIgnoredNoUndo", Unit::Segments);
    /// SACKs that made no sense. net/ipv4/tcp_input.c tcp_sacktag_write_queue().
    SACK_DISCARD = TCP_EXT.total("TCPSACKDiscard", Unit::Segments);
    /// Segments that overtook others, as SACKs told. net/ipv4/tcp_input.c tcp_check_sack_reordering().
    SACK_REORDER = TCP_EXT.total("TCPSACKReorder", Unit::Events);
    /// The same, as timestamps told. net/ipv4/tcp_input.c tcp_check_sack_reordering().
    TS_REORDER = TCP_EXT.total("TCPTSReorder", Unit::Events);
    /// The same, guessed for a peer without SACK. net/ipv4/tcp_input.c tcp_check_reno_reordering().
    RENO_REORDER = TCP_EXT.total("TCPRenoReorder", Unit::Events);
    /// Times that a peer threw away what it had acknowledged by SACK. net/ipv4/tcp_input.c tcp_check_sack_reneging().
    SACK_RENEGING = TCP_EXT.total("TCPSACKReneging", Unit::Events);
    /// Segments that the peer has, by acknowledgement or SACK, since 4.18. net/ipv4/tcp_input.c tcp_count_delivered().
    DELIVERED = TCP_EXT.total("TCPDelivered", Unit::Segments);
    /// Those of them that met a congested link (ECN), since 4.18. net/ipv4/tcp_input.c tcp_count_delivered_ce().
    DELIVERED_CE = TCP_EXT.total("TCPDeliveredCE", Unit::Segments);
    /// Probes sent into a closed window, or after this host refused a segment. net/ipv4/tcp_output.c
    /// tcp_xmit_probe_skb().
    WIN_PROBE = TCP_EXT.total("TCPWinProbe", Unit::Segments);
    /// Keep-alive probes sent. net/ipv4/tcp_timer.c tcp_keepalive_timer().
    KEEP_ALIVE = TCP_EXT.total("TCPKeepAlive", Unit::Segments);
    /// Segments larger than before that did not come through. net/ipv4/tcp_input.c tcp_mtup_probe_failed().
    MTUP_FAIL = TCP_EXT.total("TCPMTUPFail", Unit::Segments);
    /// Segments larger than before that came through. net/ipv4/tcp_input.c tcp_mtup_probe_success().
    MTUP_SUCCESS = TCP_EXT.total("TCPMTUPSuccess", Unit::Segments);
    /// Connections ended because the peer did not answer. net/ipv4/tcp_timer.c tcp_write_err().
    ABORT_ON_TIMEOUT = TCP_EXT.total("TCPAbortOnTimeout", Unit::Connections);
    /// Connections reset because the application closed them with unread data. net/ipv4/tcp.c __tcp_close().
    ABORT_ON_CLOSE = TCP_EXT.total("TCPAbortOnClose", Unit::Connections);
    /// Connections reset because the application did not want to wait for their end (SO_LINGER, TCP_LINGER2).
    /// net/ipv4/tcp.c __tcp_close().
    ABORT_ON_LINGER = TCP_EXT.total("TCPAbortOnLinger", Unit::Connections);
    /// Resets that could not be sent for want of memory. net/ipv4/tcp_output.c tcp_send_active_reset().
    ABORT_FAILED = TCP_EXT.total("TCPAbortFailed", Unit::Connections);
    /// Connections whose TIME_WAIT came to its end. net/ipv4/inet_timewait_sock.c tw_timer_handler().
    TW = TCP_EXT.total("TW", Unit::Connections);
    /// Connections in TIME_WAIT that ended early, since 4.9 only without timestamps. net/ipv4/inet_timewait_sock.c
    /// tw_timer_handler().
    TW_KILLED = TCP_EXT.total("TWKilled", Unit::Connections);
    /// Connections in TIME_WAIT whose port a new connection took. net/ipv4/inet_hashtables.c
    /// __inet_check_established().
    TW_RECYCLED = TCP_EXT.total("TWRecycled", Unit::Connections);
    /// Connections that were forgotten at once instead of waiting in TIME_WAIT: there were as many as may be.
    /// net/ipv4/tcp_minisocks.c tcp_time_wait().
    TIME_WAIT_OVERFLOW = TCP_EXT.total("TCPTimeWaitOverflow", Unit::Connections);
}

/// T2.
pub static STAGE: Stage = Stage {
    id: "tcp_out",
    title: "TCP output",
    explain: "TCP sends what the peer's window and its own congestion window allow, keeps it until it is acknowledged, and \
              sends it again if it is not. Retransmissions repair losses of the network and of the peer's host: they are how \
              a sender learns of them.",
    chapter: include_str!("chapter/tcp_out.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[
        &connect::RETRANSMIT,
        &retransmit::RETRANSMITS,
        &timeouts::DOMINATE,
        &refused::STILL_QUEUED,
        &refused::FAILS,
        &time_wait::FULL,
        &abort::ABORT,
    ],
    reasons: &[],
    knobs: &[],
};
