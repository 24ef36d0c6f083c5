//! Finished handshakes wait in the accept queue of their listener: it overflows, or will soon.

use super::{ACCEPT_HALF_FULL, LISTEN_DROPS, LISTEN_OVERFLOWS, PASSIVE_OPENS};
use crate::model::{
    Example, Finding, FullListener, Instance, Knob, Memory, Observed, Place, Protocol, Risk, Rule, Scope, Severity,
    Socket, SocketChange, Sockets, Threshold, Victim, power_of_two,
};

pub static OVERFLOW: Rule = Rule {
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
    // A listener drops for other causes too: of several, it is one whose queue was full.
    let other = seen.delta(&LISTEN_DROPS) > lost;
    seen.by_cause_of(
        &listeners(seen, lost, |change| !other || change.queue_max >= change.socket.limit),
        lost,
        found,
        |socket| Cause::of(seen, socket),
        |cause, worst, finding| cause.explain(seen, worst, finding),
        "whether the application's backlog or somaxconn binds can't be told",
    )
}

/// The listeners that lost something and `fit`: no more than so much in all.
pub fn listeners(seen: &Observed, lost: u64, fit: impl Fn(&SocketChange) -> bool) -> Vec<SocketChange> {
    let mut left = lost;
    let all = seen.sockets.iter().flat_map(|sockets| sockets.worst_of(Protocol::Listen)).filter(|change| fit(change));
    let capped = all.map(|change| {
        let lost = change.lost.min(left);
        left -= lost;
        SocketChange { lost, ..change.clone() }
    });
    capped.filter(|change| change.lost > 0).collect()
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
                lengthen(seen, &worst.socket, backlog + worst.lost, why, finding);
            }
            Cause::Own => {
                if let Some(somaxconn) = seen.settings.number(&SOMAXCONN.path()) {
                    finding.why +=
                        &format!(". The application asked for that number; net.core.somaxconn would allow {somaxconn}");
                }
                lengthen(seen, &worst.socket, backlog + worst.lost, why, finding);
            }
        }
        let other = "it has no effect while tcp_syncookies is 1, and is not this queue";
        finding.refuse("net.ipv4.tcp_max_syn_backlog", other);
    }
}

/// Suggests a longer queue for `listener`, by the number that binds: somaxconn, or the application's own.
pub fn lengthen(seen: &Observed, listener: &Socket, needed: u64, why: &str, finding: &mut Finding) {
    // A waiting connection is a whole socket: about 2.5 KiB with its buffers empty.
    let memory = |more: u64| more.saturating_mul(2560);
    let backlog = u64::from(listener.limit);
    let longer = power_of_two((2 * backlog).max(needed)).clamp(128, *SOMAXCONN.range.end());
    let somaxconn = seen.settings.number(&SOMAXCONN.path());
    if somaxconn.is_none_or(|somaxconn| backlog >= somaxconn) {
        finding.suggest(seen.raise(&SOMAXCONN, longer, why, memory));
        return;
    }
    let longer = longer.min(somaxconn.unwrap_or(longer)).max(backlog + 1);
    let instance = Instance::Socket { socket: listener.local.to_string() };
    let mut suggestion = seen.suggest(&LISTEN_BACKLOG, instance, backlog.to_string(), longer.to_string(), why);
    suggestion.memory_bytes = memory(longer - backlog);
    finding.suggestions.push(suggestion);
    finding.no_setting_helps =
        Some("the length of this queue is the application's own: only its configuration changes it".into());
    finding.refuse("net.core.somaxconn", "it is larger than what the application asks for: it does not bind");
}

pub static NEARLY_FULL: Rule = Rule {
    id: "accept-queue-nearly-full",
    title: "A listening socket's accept queue is nearly full",
    explain: "Connections whose handshake is done wait until the application calls accept(). When the queue is full, new \
              ones are dropped (accept-queue-overflow); this is the warning before. A queue that is long at several looks \
              is no burst that is just being taken: the accept loop is slower than what comes, or stands still. A longer \
              queue gives it time; it does not make it faster. Connections in the queue are established for the client, \
              which may have sent its request already: its users wait. Only queues that are at least half full are kept \
              track of, so limits below that act as 50.",
    triggers: &[&ACCEPT_HALF_FULL],
    seen: &[],
    knobs: &[&SOMAXCONN, &LISTEN_BACKLOG],
    thresholds: &[
        Threshold { key: "info_percent", default: 80.0, help: "fill of the queue in %, at two looks; own" },
        Threshold { key: "warning_percent", default: 100.0, help: "fill of the queue in %, at two looks; own" },
    ],
    fires: nearly_full,
    examples: &[
        Example {
            what: "110 of 128 places taken, at two looks",
            severity: Some(Severity::Info),
            observed: || waiting([112, 110]),
        },
        Example { what: "full at two looks", severity: Some(Severity::Warning), observed: || waiting([128, 128]) },
        Example { what: "full at one look: a burst", severity: None, observed: || waiting([128, 70]) },
        Example {
            what: "full, and it overflows: that is accept-queue-overflow",
            severity: None,
            observed: || waiting([129, 129]).with(&LISTEN_OVERFLOWS, 7),
        },
    ],
};

fn waiting(longest: [u32; 2]) -> Observed {
    let local = Socket::address([0; 16], false, 443);
    let socket =
        Socket { cookie: 1, protocol: Protocol::Listen, local, inode: 0, queue: longest[1], limit: 128, drops: 0 };
    let full_listeners = vec![FullListener { socket, longest }];
    let sockets = Some(Sockets { full_listeners, ..Sockets::default() });
    Observed { sockets, ..Observed::quiet().with(&ACCEPT_HALF_FULL, 1).with_setting("net/core/somaxconn", "128") }
}

fn nearly_full(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    if seen.delta(&LISTEN_OVERFLOWS) > 0 {
        return Vec::new();
    }
    let (info, warning) = (seen.threshold(rule, "info_percent"), seen.threshold(rule, "warning_percent"));
    let listeners = seen.sockets.iter().flat_map(|sockets| &sockets.full_listeners);
    let found = listeners.filter_map(|FullListener { socket, longest: [most, second] }| {
        let fill = f64::from(*second) * 100.0 / f64::from(socket.limit.max(1));
        let severity = match fill {
            fill if fill >= warning => Severity::Warning,
            fill if fill >= info => Severity::Info,
            _ => return None,
        };
        let why = format!("{most}, and at another look {second}, of {} places were taken", socket.limit);
        let mut finding = Finding::new(rule, severity, Scope::Socket, 0, why);
        finding.instance = Instance::Socket { socket: socket.local.to_string() };
        finding.evidence.push(seen.evidence(&ACCEPT_HALF_FULL, None));
        finding.victims.push(Victim::of(socket, 0));
        if seen.delta(&PASSIVE_OPENS) == 0 {
            finding.no_setting_helps = Some(
                "no new connection came in this window, and those that wait were not taken: the application's accept \
                 loop is blocked or dead"
                    .into(),
            );
        } else {
            lengthen(seen, socket, u64::from(*most) * 2, "twice the longest that it was", &mut finding);
        }
        Some(finding)
    });
    found.collect()
}

pub static SOMAXCONN: Knob = Knob {
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

pub static LISTEN_BACKLOG: Knob = Knob {
    id: "listen.backlog",
    place: Place::APPLICATION,
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

pub static ABORT_ON_OVERFLOW: Knob = Knob {
    id: "net.ipv4.tcp_abort_on_overflow",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "switch",
    range: 0..=1,
    default: "0",
    help: "Whether a client whose handshake finds the accept queue full is reset at once (1), or left to try again (0).",
    formula: "0; 1 only if a load balancer before it should see at once that the server is full",
    risk: Risk::Medium,
    harm: "a short burst becomes errors at the clients, where they would have waited a second",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
