//! R13, TCP handshake: new connections.

mod accept_queue;
mod drops;
mod syn_queue;

pub(crate) use accept_queue::{ABORT_ON_OVERFLOW, SOMAXCONN};
pub(crate) use syn_queue::SYNCOOKIES;

use crate::counters;
use crate::model::{Flow, Reason, Stage, Unit};
use crate::source::groups::{IP, IP6, SOCKETS, TCP, TCP_EXT};

counters! {
    /// Connections that were opened to us. net/ipv4/tcp_minisocks.c tcp_create_openreq_child().
    PASSIVE_OPENS = TCP.total("PassiveOpens", Unit::Connections);
    /// Handshakes that were broken off. net/ipv4/tcp.c tcp_set_state().
    ATTEMPT_FAILS = TCP.total("AttemptFails", Unit::Connections);
    /// Resets sent: to closed ports, and to what belongs to no connection. net/ipv4/tcp_ipv4.c tcp_v4_send_reset().
    OUT_RSTS = TCP.total("OutRsts", Unit::Segments);
    /// SYNs and final ACKs of a handshake that were dropped, for whatever reason. Clients try again after 1, 2, 4... s,
    /// and each try counts. net/ipv4/tcp_ipv4.c tcp_v4_syn_recv_sock(), net/ipv4/tcp_input.c tcp_conn_request().
    LISTEN_DROPS =
        TCP_EXT.total("ListenDrops", Unit::Segments).same_loss("listen").flow(Flow::Lost { at: "tcp_listen" });
    /// SYNs and final ACKs that were dropped because the accept queue of their socket was full; also in
    /// `TcpExt.ListenDrops`. net/ipv4/tcp_input.c tcp_conn_request(), net/ipv4/tcp_ipv4.c tcp_v4_syn_recv_sock().
    LISTEN_OVERFLOWS = TCP_EXT.total("ListenOverflows", Unit::Segments).same_loss("listen");
    /// SYNs answered with a cookie because too many handshakes were under way. net/ipv4/tcp_input.c tcp_conn_request().
    REQ_Q_FULL_DO_COOKIES = TCP_EXT.total("TCPReqQFullDoCookies", Unit::Segments);
    /// SYNs dropped because too many handshakes were under way and cookies are off; also in `TcpExt.ListenDrops`.
    /// net/ipv4/tcp_input.c tcp_conn_request().
    REQ_Q_FULL_DROP = TCP_EXT.total("TCPReqQFullDrop", Unit::Segments).same_loss("listen");
    /// Cookies sent. net/ipv4/syncookies.c cookie_init_sequence().
    SYNCOOKIES_SENT = TCP_EXT.total("SyncookiesSent", Unit::Segments);
    /// Right cookies that came back. net/ipv4/syncookies.c cookie_v4_check().
    SYNCOOKIES_RECV = TCP_EXT.total("SyncookiesRecv", Unit::Segments);
    /// Wrong cookies that came back. net/ipv4/syncookies.c cookie_v4_check().
    SYNCOOKIES_FAILED = TCP_EXT.total("SyncookiesFailed", Unit::Segments);
    /// Handshakes that the client reset. net/ipv4/tcp_minisocks.c tcp_check_req().
    EMBRYONIC_RSTS = TCP_EXT.total("EmbryonicRsts", Unit::Connections);
    /// Final ACKs set aside because the socket waits for data first (TCP_DEFER_ACCEPT). Not a loss.
    /// net/ipv4/tcp_minisocks.c tcp_check_req().
    DEFER_ACCEPT_DROP = TCP_EXT.total("TCPDeferAcceptDrop", Unit::Segments);
    /// Connections with data in their SYN that found the queue for such full: they go on without it.
    /// net/ipv4/tcp_fastopen.c tcp_fastopen_queue_check().
    FASTOPEN_LISTEN_OVERFLOW = TCP_EXT.total("TCPFastOpenListenOverflow", Unit::Connections);
    /// Connections with data in their SYN that were taken. net/ipv4/tcp_fastopen.c tcp_try_fastopen().
    FASTOPEN_PASSIVE = TCP_EXT.total("TCPFastOpenPassive", Unit::Connections);
    /// Connections with data in their SYN whose cookie was wrong. net/ipv4/tcp_fastopen.c tcp_try_fastopen().
    FASTOPEN_PASSIVE_FAIL = TCP_EXT.total("TCPFastOpenPassiveFail", Unit::Connections);
    /// Handshakes moved to another socket when theirs was closed. net/ipv4/inet_connection_sock.c, since 5.14.
    MIGRATE_REQ_SUCCESS = TCP_EXT.total("TCPMigrateReqSuccess", Unit::Connections);
    /// Handshakes lost because their socket was closed and no other took them. net/ipv4/inet_connection_sock.c, since
    /// 5.14.
    MIGRATE_REQ_FAILURE = TCP_EXT.total("TCPMigrateReqFailure", Unit::Connections);
    /// Connections with data in their SYN that used the spare key, since 5.3. net/ipv4/tcp_fastopen.c
    /// tcp_try_fastopen().
    FASTOPEN_PASSIVE_ALT_KEY = TCP_EXT.total("TCPFastOpenPassiveAltKey", Unit::Connections);
    /// SYNs that asked for a cookie to send data with the next one. net/ipv4/tcp_fastopen.c tcp_try_fastopen().
    FASTOPEN_COOKIE_REQD = TCP_EXT.total("TCPFastOpenCookieReqd", Unit::Segments);
    /// Answers to a repeated SYN that were held back, because one was sent a moment ago. net/ipv4/tcp_minisocks.c
    /// tcp_check_req().
    ACK_SKIPPED_SYN_RECV = TCP_EXT.total("TCPACKSkippedSynRecv", Unit::Segments);
    /// SYNs with an old timestamp for a connection in TIME_WAIT, since 6.14. net/ipv4/tcp_minisocks.c
    /// tcp_timewait_state_process().
    PAWS_TIMEWAIT = TCP_EXT.total("PAWSTimewait", Unit::Segments);
    /// Packets of our own, answers to SYNs too, for which there was no route. net/ipv4/inet_connection_sock.c
    /// inet_csk_route_req(), net/ipv4/route.c ip_route_output_flow().
    OUT_NO_ROUTES = IP.total("OutNoRoutes", Unit::Packets);
    /// The same over IPv6. net/ipv6/ip6_output.c ip6_dst_lookup_tail().
    OUT6_NO_ROUTES = IP6.total("OutNoRoutes", Unit::Packets);
    /// Connections that wait to be accepted, in all accept queues. net/ipv4/tcp_diag.c tcp_diag_get_info().
    ACCEPT_QUEUED = SOCKETS.gauge("accept_queued", Unit::Connections);
    /// Listening sockets whose accept queue is at least half full. net/ipv4/tcp_diag.c tcp_diag_get_info().
    ACCEPT_HALF_FULL = SOCKETS.gauge("accept_half_full", Unit::Sockets);
}

static REASONS: &[Reason] = &[
    Reason::harmful(
        "TCP_LISTEN_OVERFLOW",
        "The listener's accept queue is full: the application accepts too slowly. Of that only final ACKs are drops; a SYN \
         that is refused shows in TcpExt.ListenOverflows alone. See accept-queue-overflow.",
    )
    .in_functions(&["tcp_conn_request", "tcp_v4_syn_recv_sock", "tcp_v6_syn_recv_sock"]),
    Reason::watch("TCP_INVALID_SYN", "A SYN where none may be: a confused or hostile peer."),
    Reason::harmless("TCP_FASTOPEN", "A Fast Open packet that brought nothing new. Normal."),
    Reason::watch("TCP_MINTTL", "The packet's TTL is below what the socket demands (IP_MINTTL, BGP security)."),
];

/// R13.
pub static STAGE: Stage = Stage {
    id: "tcp_listen",
    title: "TCP handshake",
    explain: "A SYN to a listening socket makes a request and is answered; the client's ACK turns it into a connection, \
              which waits in the accept queue until the application takes it. Both queues are limited by the listener's \
              backlog: the smaller of the number given to listen() and net.core.somaxconn.",
    chapter: include_str!("chapter/tcp_listen.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[
        &accept_queue::OVERFLOW,
        &accept_queue::NEARLY_FULL,
        &syn_queue::COOKIES,
        &syn_queue::DROPS,
        &drops::OTHER,
    ],
    knobs: &[
        &accept_queue::SOMAXCONN,
        &accept_queue::LISTEN_BACKLOG,
        &accept_queue::ABORT_ON_OVERFLOW,
        &syn_queue::SYNCOOKIES,
        &syn_queue::MAX_SYN_BACKLOG,
        &syn_queue::SYNACK_RETRIES,
        &syn_queue::FASTOPEN,
    ],
};
