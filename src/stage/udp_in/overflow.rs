//! The receive buffer of a socket is full.

use super::{IN_CSUM_ERRORS, IN_DATAGRAMS, IN_ERRORS, IN6_DATAGRAMS, RCVBUF_ERRORS, RCVBUF6_ERRORS};
use crate::model::{
    Example, Finding, Knob, Memory, Observed, Place, Protocol, Risk, Rule, Scope, Severity, Socket, SocketChange,
    Threshold, power_of_two,
};

pub static OVERFLOW: Rule = Rule {
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

pub static RMEM_DEFAULT: Knob = Knob {
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

pub static RMEM_MAX: Knob = Knob {
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

pub static SO_RCVBUF: Knob = Knob {
    id: "SO_RCVBUF",
    place: Place::APPLICATION,
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
