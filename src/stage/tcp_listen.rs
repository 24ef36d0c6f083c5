//! R13, TCP handshake: new connections.

use crate::counters;
use crate::model::{
    Example, Finding, Flow, Knob, Memory, Observed, Place, Protocol, Reason, Risk, Rule, Scope, Severity, Socket,
    SocketChange, Stage, Threshold, Unit, power_of_two,
};
use crate::source::groups::{TCP, TCP_EXT};

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
}

static OVERFLOW: Rule = Rule {
    id: "accept-queue-overflow",
    title: "A listening socket's accept queue is full: new connections are dropped",
    explain: "A finished handshake waits in the accept queue until the application calls accept(). The queue holds as \
              many as the application asked for in listen(), but not more than net.core.somaxconn (when listen() was \
              called). When it is full the kernel drops SYNs and final ACKs; clients try again after 1, 2, 4 seconds, \
              so users see slow connections rather than errors, and every try counts again. Whether the application's \
              number or somaxconn is the smaller decides which to raise; raising the other does nothing. A process that \
              accepts nothing at all needs no longer queue but a cure: a blocked loop, a full disk, too few threads. \
              TcpExt.TCPBacklogDrop is something else.",
    triggers: &[&LISTEN_OVERFLOWS],
    seen: &[],
    knobs: &[&SOMAXCONN, &LISTEN_BACKLOG],
    thresholds: &[
        Threshold { key: "warning_per_second", default: 1.0, help: "segments/s dropped; netdata's tcp_listen alarm" },
        Threshold { key: "critical_per_second", default: 5.0, help: "segments/s dropped; netdata's tcp_listen alarm" },
    ],
    fires: overflow,
    examples: &[
        Example {
            what: "30 SYNs dropped in a second, the queue is as long as somaxconn allows",
            severity: Some(Severity::Critical),
            observed: || overflowing(30, 128, 40),
        },
        Example {
            what: "2 SYNs dropped in a second, the application asked for a queue of 16",
            severity: Some(Severity::Warning),
            observed: || overflowing(2, 16, 5),
        },
        Example {
            what: "one SYN dropped in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = overflowing(1, 128, 5);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "listen drops of another cause",
            severity: None,
            observed: || Observed::quiet().with(&LISTEN_DROPS, 30),
        },
    ],
};

fn overflowing(lost: u64, backlog: u32, accepted: u64) -> Observed {
    let local = Socket::address([0; 16], false, 443);
    let socket =
        Socket { cookie: 1, protocol: Protocol::Listen, local, inode: 0, queue: 0, limit: backlog, drops: lost as u32 };
    Observed::quiet()
        .with(&LISTEN_OVERFLOWS, lost)
        .with(&PASSIVE_OPENS, accepted)
        .with_setting("net/core/somaxconn", "128")
        .with_socket(SocketChange { socket, lost, queue_max: backlog + 1, queue_min: 0, looks: 5 })
}

fn overflow(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.delta(&LISTEN_OVERFLOWS);
    if lost == 0 {
        return Vec::new();
    }
    let (warning, critical) = (seen.threshold(rule, "warning_per_second"), seen.threshold(rule, "critical_per_second"));
    let found = |lost: u64| {
        let severity = match seen.rate(lost) {
            Some(rate) if rate >= critical => Severity::Critical,
            Some(rate) if rate >= warning => Severity::Warning,
            _ => Severity::Info,
        };
        let mut finding = Finding::new(rule, severity, Scope::Netns, lost, "");
        finding.evidence.push(seen.evidence(&LISTEN_OVERFLOWS, Some(warning)));
        finding
    };
    seen.by_cause(
        Protocol::Listen,
        lost,
        found,
        |socket| Cause::of(seen, socket),
        |cause, worst, finding| cause.explain(seen, worst, finding),
        "whether the application's backlog or somaxconn binds can't be told",
    )
}

/// Looks at a queue before it is called one that nobody empties, if no connection was opened in the window either.
const ENOUGH_LOOKS: u32 = 3;

/// Why an accept queue overflows: what binds.
#[derive(PartialEq)]
enum Cause {
    /// Nobody accepts.
    Stalled,
    /// The application asked for as many as somaxconn, or more.
    Somaxconn,
    /// The application asked for less.
    Own,
}

impl Cause {
    fn of(seen: &Observed, change: &SocketChange) -> Self {
        let backlog = u64::from(change.socket.limit);
        if seen.delta(&PASSIVE_OPENS) == 0 && change.never_drained(ENOUGH_LOOKS) {
            Cause::Stalled
        } else if seen.settings.number(&SOMAXCONN.path()).is_none_or(|somaxconn| backlog >= somaxconn) {
            Cause::Somaxconn
        } else {
            Cause::Own
        }
    }

    /// Says why, and what binds.
    fn explain(&self, seen: &Observed, worst: &SocketChange, finding: &mut Finding) {
        let backlog = u64::from(worst.socket.limit);
        // A waiting connection is a whole socket: about 2.5 KiB with its buffers empty.
        let memory = |more: u64| more.saturating_mul(2560);
        let longer = power_of_two((2 * backlog).max(backlog + worst.lost)).clamp(128, *SOMAXCONN.range.end());
        let why = "room for the present queue and all that was turned away in this window";
        finding.why = format!(
            "the accept queue of {} may hold {backlog} connections; up to {} were seen in it",
            worst.socket.local, worst.queue_max
        );
        match self {
            Cause::Stalled => {
                finding.no_setting_helps = Some(
                    "the application accepted no connection in this window: its accept loop is blocked or dead. A longer \
                     queue would only fill as well; restart or mend the application"
                        .into(),
                );
                finding.refuse("net.core.somaxconn", "a longer queue that nobody empties fills as well");
            }
            Cause::Somaxconn => {
                finding.why += ". That is net.core.somaxconn, so the application asked for as many or more";
                finding.suggest(seen.raise(&SOMAXCONN, longer, why, memory));
            }
            Cause::Own => {
                let somaxconn = seen.settings.number(&SOMAXCONN.path()).unwrap_or(longer);
                finding.why +=
                    &format!(". The application asked for that number; net.core.somaxconn would allow {somaxconn}");
                let longer = longer.min(somaxconn).max(backlog + 1);
                let instance = finding.instance.clone();
                let mut suggestion =
                    seen.suggest(&LISTEN_BACKLOG, instance, backlog.to_string(), longer.to_string(), why);
                suggestion.memory_bytes = memory(longer - backlog);
                finding.suggestions.push(suggestion);
                finding.no_setting_helps =
                    Some("the length of this queue is the application's own: only its configuration changes it".into());
                finding
                    .refuse("net.core.somaxconn", "it is larger than what the application asks for: it does not bind");
            }
        }
        let other = "it has no effect while tcp_syncookies is 1, and is not this queue";
        finding.refuse("net.ipv4.tcp_max_syn_backlog", other);
    }
}

static SOMAXCONN: Knob = Knob {
    id: "net.core.somaxconn",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "connections",
    range: 1..=65_535,
    default: "4096 since 5.4, 128 before",
    help: "Longest accept queue that an application may ask for in listen(). A larger number there is cut to this.",
    formula: "new connections per second times the longest pause of the accept loop in seconds, times two",
    risk: Risk::Low,
    harm: "memory for connections that nobody serves yet; hides a slow application",
    takes_effect: "at the next listen(): restart the application",
    waits: true,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

static LISTEN_BACKLOG: Knob = Knob {
    id: "listen.backlog",
    place: Place::Application,
    scope: Scope::Application,
    unit: "connections",
    range: 1..=65_535,
    default: "511 in nginx and redis; somaxconn in Go",
    help: "The number that an application gives to listen(): how many finished handshakes may wait to be accepted.",
    formula: "as large as net.core.somaxconn",
    risk: Risk::Low,
    harm: "memory for connections that nobody serves yet",
    takes_effect: "at the next listen(): restart the application",
    waits: true,
    memory: Memory::Kernel,
    keep: "the application's configuration",
};

static REASONS: &[Reason] = &[
    Reason::harmful(
        "TCP_LISTEN_OVERFLOW",
        "The listener's accept queue is full: the application accepts too slowly. See accept-queue-overflow.",
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
    rules: &[&OVERFLOW],
    knobs: &[&SOMAXCONN, &LISTEN_BACKLOG],
};
