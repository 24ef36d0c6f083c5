//! R12, UDP input: datagrams are put into the queue of their socket.

use crate::counters;
use crate::model::flow::APPLICATION;
use crate::model::{
    Example, Finding, Flow, Knob, Memory, Observed, Place, Protocol, Reason, Risk, Rule, Scope, Severity, Socket,
    SocketChange, Stage, Threshold, Unit, power_of_two,
};
use crate::source::groups::{SOCKSTAT, SOCKSTAT6, UDP, UDP_LITE, UDP_LITE6, UDP6};

counters! {
    /// Datagrams that an application has read (or that a tunnel took). net/ipv4/udp.c udp_recvmsg().
    IN_DATAGRAMS = UDP.total("InDatagrams", Unit::Packets).flow(Flow::Pass { from: "udp_in", to: APPLICATION });
    /// Datagrams to a port on which nobody listens; the sender is told. net/ipv4/udp.c __udp4_lib_rcv().
    NO_PORTS = UDP.total("NoPorts", Unit::Packets).flow(Flow::Unwanted { at: "udp_in" });
    /// Datagrams that were lost: no room, wrong checksum, refused by the socket's filter. Holds the three below.
    /// net/ipv4/udp.c udp_queue_rcv_one_skb().
    IN_ERRORS = UDP.total("InErrors", Unit::Packets).same_loss("udp").flow(Flow::Lost { at: "udp_in" });
    /// Datagrams that were lost because the receive buffer of their socket was full; also in `Udp.InErrors`.
    /// net/ipv4/udp.c __udp_queue_rcv_skb().
    RCVBUF_ERRORS = UDP.total("RcvbufErrors", Unit::Packets).same_loss("udp");
    /// Datagrams with a wrong checksum; also in `Udp.InErrors`. net/ipv4/udp.c udp_csum_pull_header().
    IN_CSUM_ERRORS = UDP.total("InCsumErrors", Unit::Packets).same_loss("udp");
    /// Datagrams that were lost because UDP as a whole, or the memory cgroup, was over its limit; also in `Udp.InErrors`.
    /// 6.18 does not count these here, only in the socket. net/ipv4/udp.c __udp_queue_rcv_skb(), since 5.11.
    MEM_ERRORS = UDP.total("MemErrors", Unit::Packets).same_loss("udp");
    /// Multicast datagrams that no socket wanted. net/ipv4/udp.c __udp4_lib_mcast_deliver().
    IGNORED_MULTI = UDP.total("IgnoredMulti", Unit::Packets).flow(Flow::Unwanted { at: "udp_in" });
    /// Datagrams over IPv6 that an application has read. net/ipv6/udp.c udpv6_recvmsg().
    IN6_DATAGRAMS = UDP6.total("InDatagrams", Unit::Packets).flow(Flow::Pass { from: "udp_in", to: APPLICATION });
    /// Datagrams over IPv6 to a port on which nobody listens. net/ipv6/udp.c __udp6_lib_rcv().
    NO_PORTS6 = UDP6.total("NoPorts", Unit::Packets).flow(Flow::Unwanted { at: "udp_in" });
    /// Datagrams over IPv6 that were lost: no room, wrong checksum, refused by the socket's filter.
    /// net/ipv6/udp.c udpv6_queue_rcv_one_skb().
    IN6_ERRORS = UDP6.total("InErrors", Unit::Packets).same_loss("udp6").flow(Flow::Lost { at: "udp_in" });
    /// Datagrams over IPv6 that were lost because the receive buffer of their socket was full; also in `Udp6.InErrors`.
    /// net/ipv6/udp.c __udpv6_queue_rcv_skb().
    RCVBUF6_ERRORS = UDP6.total("RcvbufErrors", Unit::Packets).same_loss("udp6");
    /// Datagrams over IPv6 with a wrong checksum; also in `Udp6.InErrors`. net/ipv6/udp.c udp6_csum_init().
    IN6_CSUM_ERRORS = UDP6.total("InCsumErrors", Unit::Packets).same_loss("udp6");
    /// Datagrams over IPv6 that were lost because UDP as a whole was over its limit; also in `Udp6.InErrors`.
    /// net/ipv6/udp.c __udpv6_queue_rcv_skb(), since 5.11.
    MEM6_ERRORS = UDP6.total("MemErrors", Unit::Packets).same_loss("udp6");
    /// Multicast datagrams over IPv6 that no socket wanted. net/ipv6/udp.c __udp6_lib_mcast_deliver().
    IGNORED6_MULTI = UDP6.total("IgnoredMulti", Unit::Packets).flow(Flow::Unwanted { at: "udp_in" });
    /// UDP-Lite datagrams that an application has read. net/ipv4/udplite.c, until 7.0.
    LITE_IN_DATAGRAMS =
        UDP_LITE.total("InDatagrams", Unit::Packets).flow(Flow::Pass { from: "udp_in", to: APPLICATION });
    /// UDP-Lite datagrams that were lost. net/ipv4/udplite.c, until 7.0.
    LITE_IN_ERRORS = UDP_LITE.total("InErrors", Unit::Packets).flow(Flow::Lost { at: "udp_in" });
    /// UDP-Lite datagrams over IPv6 that an application has read. net/ipv6/udplite.c, until 7.0.
    LITE6_IN_DATAGRAMS =
        UDP_LITE6.total("InDatagrams", Unit::Packets).flow(Flow::Pass { from: "udp_in", to: APPLICATION });
    /// UDP-Lite datagrams over IPv6 that were lost. net/ipv6/udplite.c, until 7.0.
    LITE6_IN_ERRORS = UDP_LITE6.total("InErrors", Unit::Packets).flow(Flow::Lost { at: "udp_in" });
    /// UDP sockets over IPv4. net/ipv4/proc.c sockstat_seq_show().
    UDP_INUSE = SOCKSTAT.gauge("UDP_inuse", Unit::Sockets);
    /// UDP sockets over IPv6. net/ipv6/proc.c sockstat6_seq_show().
    UDP6_INUSE = SOCKSTAT6.gauge("UDP6_inuse", Unit::Sockets);
}

static OVERFLOW: Rule = Rule {
    id: "udp-receive-buffer-overflow",
    title: "Datagrams are lost because the receive buffer of their socket is full",
    explain: "A datagram waits in its socket's queue until the application reads it. The queue holds as many bytes as the \
              socket's receive buffer (counted as memory, several times the payload for small datagrams). What comes \
              when it is full is lost. Three cases ask for three cures. The application never asked for a size: then \
              net.core.rmem_default is what it got. It asked for more than net.core.rmem_max: then it was cut to that. \
              It set a size of its own below that: then only its configuration helps. And if the queue never drains the \
              reader is too slow for what arrives, and any buffer would fill: more readers (SO_REUSEPORT), recvmmsg(), \
              less work per datagram. Raising rmem_max does nothing for an application that does not call setsockopt.",
    triggers: &[&RCVBUF_ERRORS, &RCVBUF6_ERRORS],
    seen: &[],
    knobs: &[&RMEM_DEFAULT, &RMEM_MAX, &SO_RCVBUF],
    thresholds: &[
        Threshold { key: "warning_per_second", default: 10.0, help: "datagrams/s lost; netdata's udp alarm" },
        Threshold { key: "critical_percent", default: 0.1, help: "share of the datagrams that is lost, in %; own" },
    ],
    fires: overflow,
    examples: &[
        Example {
            what: "41,241 of 812,431 datagrams lost in a second, the buffer is the default",
            severity: Some(Severity::Critical),
            observed: || full(41_241, 771_190, 212_992, 0),
        },
        Example {
            what: "20 of 500,000 lost, the application's buffer was cut to rmem_max",
            severity: Some(Severity::Warning),
            observed: || full(20, 500_000, 8_388_608, 0),
        },
        Example { what: "one datagram lost", severity: Some(Severity::Info), observed: || full(1, 500_000, 8192, 0) },
        Example {
            what: "the reader is too slow: the queue never drains",
            severity: Some(Severity::Critical),
            observed: || full(9_000, 1_000, 212_992, 212_992),
        },
        Example {
            what: "datagrams lost to wrong checksums only",
            severity: None,
            observed: || Observed::quiet().with(&IN_ERRORS, 50).with(&IN_CSUM_ERRORS, 50),
        },
    ],
};

fn full(lost: u64, read: u64, buffer: u32, least: u32) -> Observed {
    let local = Socket::address([0; 16], false, 53);
    let socket =
        Socket { cookie: 1, protocol: Protocol::Udp, local, inode: 0, queue: least, limit: buffer, drops: lost as u32 };
    Observed::quiet()
        .with(&RCVBUF_ERRORS, lost)
        .with(&IN_DATAGRAMS, read)
        .with_setting("net/core/rmem_default", "212992")
        .with_setting("net/core/rmem_max", "4194304")
        .with_socket(SocketChange { socket, lost, queue_max: buffer, queue_min: least, looks: 50 })
}

fn overflow(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.delta_of(&[&RCVBUF_ERRORS, &RCVBUF6_ERRORS]);
    if lost == 0 {
        return Vec::new();
    }
    let arrived = lost.saturating_add(seen.delta_of(&[&IN_DATAGRAMS, &IN6_DATAGRAMS]));
    let (warning, critical) = (seen.threshold(rule, "warning_per_second"), seen.threshold(rule, "critical_percent"));
    let found = |lost: u64| {
        let many = seen.rate(lost).is_some_and(|rate| rate > warning);
        let severity = match (many, lost as f64 * 100.0 > critical * arrived as f64) {
            (true, true) => Severity::Critical,
            (true, false) => Severity::Warning,
            (false, _) => Severity::Info,
        };
        let mut finding = Finding::new(rule, severity, Scope::Netns, lost, "");
        let moved = [&RCVBUF_ERRORS, &RCVBUF6_ERRORS].into_iter().filter(|counter| seen.delta(counter) > 0);
        finding.evidence = moved.map(|counter| seen.evidence(counter, Some(warning))).collect();
        finding
    };
    seen.by_cause(
        Protocol::Udp,
        lost,
        found,
        |socket| Cause::of(seen, socket),
        |cause, worst, finding| cause.explain(seen, worst, finding),
        "without the socket it can't be told which setting binds",
    )
}

/// Looks at a queue after its first loss before it is called one that never drains. A reader that pauses and catches up
/// leaves it less than half full for some share of the time: of 2 % of the time, this many looks miss all with 37 %, of
/// 10 % with less than 1 %.
const ENOUGH_LOOKS: u32 = 50;

/// Why a socket's buffer overflows: what binds.
#[derive(PartialEq)]
enum Cause {
    /// It never drains: no size would do.
    SlowReader,
    /// The application never asked for a size.
    Default,
    /// It asked for more than rmem_max, and got that.
    Capped,
    /// It set a size of its own.
    Own,
}

impl Cause {
    fn of(seen: &Observed, change: &SocketChange) -> Self {
        let buffer = u64::from(change.socket.limit);
        if change.never_drained(ENOUGH_LOOKS) {
            Cause::SlowReader
        } else if seen.settings.number(&RMEM_DEFAULT.path()) == Some(buffer) {
            Cause::Default
        // setsockopt() stores twice what it is asked for (net/core/sock.c __sock_set_rcvbuf()).
        } else if seen.settings.number(&RMEM_MAX.path()).is_some_and(|max| max.checked_mul(2) == Some(buffer)) {
            Cause::Capped
        } else {
            Cause::Own
        }
    }

    /// Says why, and what binds.
    fn explain(&self, seen: &Observed, worst: &SocketChange, finding: &mut Finding) {
        let buffer = u64::from(worst.socket.limit);
        finding.why = format!("the buffer of {} holds {buffer} bytes, ", worst.socket.local);
        // What was lost would have fitted if it had come in one burst: a small datagram is charged 768 bytes or more.
        let needed = buffer + worst.lost * 768;
        let larger = power_of_two(needed.clamp(2 * buffer, 8 * buffer));
        let why = "room for what was lost, at most eight times the present size";
        match self {
            Cause::SlowReader => {
                let fill = u64::from(worst.queue_min) * 100 / buffer.max(1);
                finding.why +=
                    &format!("and all {} times that it was looked at it was at least {fill} % full", worst.looks);
                finding.no_setting_helps = Some(
                    "the reader does not keep up with what arrives, so a larger buffer would fill as well: more readers \
                     (SO_REUSEPORT), recvmmsg(), or less work per datagram in the application"
                        .into(),
                );
                finding.refuse("net.core.rmem_default", "a larger buffer that never drains loses the same, only later");
            }
            Cause::Default => {
                finding.why += "the kernel's default: the application does not set SO_RCVBUF";
                let sizes = seen.sockets.as_ref().map(|sockets| &sockets.udp_buffers);
                let alike = sizes.and_then(|sizes| sizes.get(&worst.socket.limit).copied()).unwrap_or(1);
                finding.suggest(seen.raise(&RMEM_DEFAULT, larger, why, |more| more.saturating_mul(alike)));
                let unused = "it only caps setsockopt(SO_RCVBUF), which this application does not use";
                finding.refuse("net.core.rmem_max", unused);
            }
            Cause::Capped => {
                finding.why += "twice net.core.rmem_max: the application asked for as much or more";
                finding.suggest(seen.raise(&RMEM_MAX, larger / 2, why, |more| 2 * more));
                finding.refuse("net.core.rmem_default", "this application sets a size of its own");
            }
            Cause::Own => {
                finding.why += "the application's own choice";
                let (from, to) = (buffer / 2, larger / 2);
                let instance = finding.instance.clone();
                let mut suggestion = seen.suggest(&SO_RCVBUF, instance, from.to_string(), to.to_string(), why);
                suggestion.memory_bytes = larger - buffer;
                finding.suggestions.push(suggestion);
                finding.no_setting_helps =
                    Some("the application sets this size itself: only its configuration or its code changes it".into());
                finding.refuse("net.core.rmem_default", "this application sets a size of its own");
                if seen.settings.number(&RMEM_MAX.path()).is_some_and(|max| to <= max) {
                    finding.refuse("net.core.rmem_max", "it allows what is needed already");
                }
            }
        }
        if *self != Cause::SlowReader && !worst.drained() {
            finding.why += "; how the queue behaved in between is not known: if the reader is too slow rather than \
                            pausing, a larger buffer fills as well";
        }
    }
}

static RMEM_DEFAULT: Knob = Knob {
    id: "net.core.rmem_default",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "bytes",
    range: 2304..=268_435_456,
    default: "212992",
    help: "Receive buffer of a socket that does not ask for a size (SO_RCVBUF). TCP has its own (tcp_rmem). Counted as \
           memory: a small datagram takes several times its payload.",
    formula: "bytes per second times the longest pause of the reader, times memory per payload; in powers of two",
    risk: Risk::Medium,
    harm: "every UDP and raw socket on the machine may hold that much",
    takes_effect: "for new sockets only: restart the application",
    waits: true,
    memory: Memory::Udp,
    keep: "sysctl.d",
};

pub(super) static RMEM_MAX: Knob = Knob {
    id: "net.core.rmem_max",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "bytes",
    range: 2304..=1_073_741_823,
    default: "4194304 since 6.18, 212992 before",
    help: "Most that an application may ask for with SO_RCVBUF; the kernel then allows twice that. Changes nothing for \
           a socket that does not ask.",
    formula: "half of the memory needed, in powers of two",
    risk: Risk::Medium,
    harm: "every application may take that much for each socket",
    takes_effect: "when the application next sets SO_RCVBUF: restart it",
    waits: true,
    memory: Memory::Udp,
    keep: "sysctl.d",
};

pub(super) static SO_RCVBUF: Knob = Knob {
    id: "SO_RCVBUF",
    place: Place::Application,
    scope: Scope::Application,
    unit: "bytes",
    range: 1..=1_073_741_823,
    default: "net.core.rmem_default",
    help: "The size that an application asks for; the kernel allows twice that, up to twice net.core.rmem_max. \
           SO_RCVBUFFORCE, with CAP_NET_ADMIN, goes beyond.",
    formula: "half of the memory needed",
    risk: Risk::Low,
    harm: "memory of this socket",
    takes_effect: "when the application sets it",
    waits: true,
    memory: Memory::Udp,
    keep: "the application's configuration",
};

static REASONS: &[Reason] = &[
    Reason::harmless(
        "NO_SOCKET",
        "No process listens on this port; the sender was told by ICMP. Normal: scans and late answers. Many from one \
         known client mean a service that is down.",
    )
    .in_functions(&["__udp4_lib_rcv", "__udp6_lib_rcv", "udp_rcv", "udpv6_rcv", "udp_err"]),
    Reason::watch("UDP_CSUM", "A wrong UDP checksum: bad memory, cable or sender, or a card whose offload lies."),
    Reason::harmful(
        "SOCKET_RCVBUFF",
        "The socket's receive buffer is full: its reader is slower than its traffic, or the buffer is small for the \
         bursts. See udp-receive-buffer-overflow.",
    )
    .in_functions(&[
        "udp_queue_rcv_one_skb",
        "udpv6_queue_rcv_one_skb",
        "__udp_queue_rcv_skb",
        "__udp_enqueue_schedule_skb",
        "sock_queue_rcv_skb",
        "__sock_queue_rcv_skb",
    ]),
    Reason::harmful(
        "PROTO_MEM",
        "All UDP sockets together use more than net.ipv4.udp_mem allows. Never normal; the protocol's own counters \
         may not show it.",
    ),
];

/// R12.
pub static STAGE: Stage = Stage {
    id: "udp_in",
    title: "UDP input",
    explain: "UDP finds the socket by address and port, checks the checksum and the socket's filter, and appends the \
              datagram to the socket's receive queue if the buffer has room. Nothing slows the sender down: what does not \
              fit is lost. A datagram counts as received only when the application has read it.",
    chapter: include_str!("chapter/udp_in.md"),
    fed_by: Some("forward"),
    queues_in_sockets: true,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&OVERFLOW],
    knobs: &[&RMEM_DEFAULT, &RMEM_MAX, &SO_RCVBUF],
};
