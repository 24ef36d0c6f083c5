//! Handshakes under way wait in the SYN queue of their listener: it is full, so cookies are sent, or SYNs dropped.

use super::accept_queue::{LISTEN_BACKLOG, SOMAXCONN, lengthen, listeners};
use super::{LISTEN_DROPS, REQ_Q_FULL_DO_COOKIES, REQ_Q_FULL_DROP, SYNCOOKIES_RECV, SYNCOOKIES_SENT};
use crate::model::{
    Connections, Example, Finding, Instance, Knob, Memory, Observed, Place, Protocol, Risk, Rule, Scope, Severity,
    Socket, SocketChange, Sockets, Threshold, Victim,
};

pub static COOKIES: Rule = Rule {
    id: "syn-queue-cookies",
    title: "More handshakes are under way than a listener may have: SYNs are answered with cookies",
    explain: "A SYN waits in its listener's SYN queue until the client's ACK comes. The queue holds as many as the backlog \
              of listen(), cut to net.core.somaxconn. Further SYNs are answered with a cookie: the connection comes about \
              all the same, but without window scaling and SACK where the client sends no timestamps. Nothing is lost. If \
              most cookies come back, the clients are real and the queue is short for a burst (after a restart, say); if \
              hardly any do, the SYNs are forged: a flood, which a firewall must keep out. The kernel's log line \
              'Possible SYN flooding' is printed once per listener, says no more than this, and mostly means a small \
              backlog. net.ipv4.tcp_max_syn_backlog has no say as long as net.ipv4.tcp_syncookies is on.",
    triggers: &[&REQ_Q_FULL_DO_COOKIES],
    seen: &[],
    knobs: &[&SOMAXCONN, &LISTEN_BACKLOG, &SYNCOOKIES],
    thresholds: &[
        Threshold { key: "warning_per_second", default: 1.0, help: "cookies/s; netdata's tcp_listen alarm" },
        Threshold {
            key: "real_percent",
            default: 50.0,
            help: "share of the cookies that come back, in %, above which the clients are real; own",
        },
        Threshold { key: "forged_percent", default: 10.0, help: "the same, below which they are not; own" },
    ],
    fires: cookies,
    examples: &[
        Example {
            what: "40 cookies in a second, and 38 came back",
            severity: Some(Severity::Warning),
            observed: || answered(40, 38),
        },
        Example {
            what: "4,000 cookies in a second, and none came back",
            severity: Some(Severity::Warning),
            observed: || answered(4000, 0),
        },
        Example {
            what: "1 cookie in a second, and it came back",
            severity: Some(Severity::Info),
            observed: || answered(1, 1),
        },
        Example {
            what: "all SYNs are answered with cookies, as the setting says",
            severity: Some(Severity::Info),
            observed: || answered(40, 38).with_setting("net/ipv4/tcp_syncookies", "2"),
        },
        Example {
            what: "cookies came back that were sent before",
            severity: None,
            observed: || Observed::quiet().with(&SYNCOOKIES_RECV, 30),
        },
    ],
};

fn answered(sent: u64, came_back: u64) -> Observed {
    let seen = Observed::quiet()
        .with(&REQ_Q_FULL_DO_COOKIES, sent)
        .with(&SYNCOOKIES_SENT, sent)
        .with(&SYNCOOKIES_RECV, came_back)
        .with_setting("net/core/somaxconn", "4096");
    half_open(seen.with_setting("net/ipv4/tcp_syncookies", "1"), 9)
}

/// So many handshakes wait at a listener with a backlog of 8.
fn half_open(mut seen: Observed, count: u64) -> Observed {
    let local = Socket::address([0; 16], false, 443);
    let socket = Socket { cookie: 1, protocol: Protocol::Listen, local, inode: 0, queue: 0, limit: 8, drops: 0 };
    let connections = Connections { half_open: [(443, count)].into(), ..Connections::default() };
    let (by_port, connections) = ([(443, socket)].into(), Some(connections));
    seen.sockets = Some(Sockets { by_port, connections, ..seen.sockets.unwrap_or_default() });
    seen
}

fn cookies(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let count = seen.delta(&REQ_Q_FULL_DO_COOKIES);
    if count == 0 {
        return Vec::new();
    }
    let always = seen.settings.number(&SYNCOOKIES.path()) == Some(2);
    let warning = seen.threshold(rule, "warning_per_second");
    let many = seen.rate(count).is_some_and(|rate| rate > warning);
    let severity = if many && !always { Severity::Warning } else { Severity::Info };
    let (sent, back) = (seen.delta(&SYNCOOKIES_SENT), seen.delta(&SYNCOOKIES_RECV));
    let why = format!("{sent} cookies were sent, and {back} came back");
    let mut finding = Finding::new(rule, severity, Scope::Netns, 0, why);
    finding.evidence = [&REQ_Q_FULL_DO_COOKIES, &SYNCOOKIES_SENT, &SYNCOOKIES_RECV]
        .map(|counter| seen.evidence(counter, (counter == &REQ_Q_FULL_DO_COOKIES).then_some(warning)))
        .into();
    if always {
        finding.no_setting_helps = Some(
            "net.ipv4.tcp_syncookies is 2, which answers every SYN so, however short the queue: meant for tests; 1 does \
             it only when needed"
                .into(),
        );
        return vec![finding];
    }
    let full = full_listeners(seen);
    let names: Vec<String> = full.iter().take(3).map(|(socket, count)| count_of(socket, *count)).collect();
    if !names.is_empty() {
        finding.why += &format!("; now under way: {}", names.join(", "));
    }
    finding.victims = full.iter().map(|(socket, _)| Victim::of(socket, 0)).collect();
    let share = back as f64 * 100.0 / sent.max(1) as f64;
    if share < seen.threshold(rule, "forged_percent") {
        finding.no_setting_helps = Some(
            "hardly any cookie came back, so most SYNs are forged: keep them out by a firewall, or a SYN proxy before \
             this host. The cookies do their work, real clients get through"
                .into(),
        );
        finding.refuse("net.core.somaxconn", "a longer queue is filled by forged SYNs as well");
    } else if share < seen.threshold(rule, "real_percent") {
        finding.no_setting_helps = Some(
            "some cookies came back and many did not: a flood among real clients, or clients that gave up. Look at where \
             the SYNs come from before the queue is made longer"
                .into(),
        );
    } else if let [(socket, count), ..] = full[..] {
        finding.instance = Instance::Socket { socket: socket.local.to_string() };
        let needed = count.saturating_mul(2);
        lengthen(seen, socket, needed, "the SYN queue is as long as the accept queue may be", &mut finding);
    } else {
        finding.no_setting_helps = Some(
            "the clients are real, so the listener's backlog is short for them; which listener it is can't be told any \
             more. Its application sets it in listen(), up to net.core.somaxconn"
                .into(),
        );
    }
    refuse_max_syn_backlog(&mut finding);
    vec![finding]
}

/// Listeners at whose port as many handshakes are under way as their backlog allows, the most first.
fn full_listeners(seen: &Observed) -> Vec<(&Socket, u64)> {
    let Some(sockets) = &seen.sockets else { return Vec::new() };
    let half_open = sockets.connections.iter().flat_map(|connections| &connections.half_open);
    let listener = |(port, count): (&u16, &u64)| Some((sockets.by_port.get(port)?, *count));
    let mut full: Vec<_> =
        half_open.filter_map(listener).filter(|(socket, count)| *count >= socket.limit.into()).collect();
    full.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    full.truncate(10);
    full
}

fn count_of(socket: &Socket, count: u64) -> String {
    format!("{count} at {}, whose backlog is {}", socket.local, socket.limit)
}

fn refuse_max_syn_backlog(finding: &mut Finding) {
    let why = "it has no effect while tcp_syncookies is on: the listener's backlog is what limits the queue";
    finding.refuse("net.ipv4.tcp_max_syn_backlog", why);
}

pub static DROPS: Rule = Rule {
    id: "syn-queue-drops",
    title: "More handshakes are under way than a listener may have, and cookies are off: SYNs are dropped",
    explain: "A SYN waits in its listener's SYN queue until the client's ACK comes. The queue holds as many as the backlog \
              of listen(), cut to net.core.somaxconn. With net.ipv4.tcp_syncookies at 0, further SYNs are dropped; clients \
              try again after 1, 2, 4 seconds, and every try counts. A few forged SYNs a second are enough to keep \
              everybody out. With cookies on nobody is: they cost nothing as long as the queue has room. The same drops \
              are in TcpExt.ListenDrops.",
    triggers: &[&REQ_Q_FULL_DROP],
    seen: &[],
    knobs: &[&SYNCOOKIES],
    thresholds: &[Threshold {
        key: "critical_per_second",
        default: 1.0,
        help: "SYNs/s dropped; own: below, a warning",
    }],
    fires: drops,
    examples: &[
        Example {
            what: "40 SYNs dropped in a second",
            severity: Some(Severity::Critical),
            observed: || turned_away(40),
        },
        Example {
            what: "one SYN dropped in ten seconds",
            severity: Some(Severity::Warning),
            observed: || {
                let mut seen = turned_away(1);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "the queue is full, but cookies are on",
            severity: None,
            observed: || Observed::quiet().with(&REQ_Q_FULL_DO_COOKIES, 40),
        },
    ],
};

fn turned_away(lost: u64) -> Observed {
    let local = Socket::address([0; 16], false, 443);
    let drops = lost as u32;
    let socket = Socket { cookie: 1, protocol: Protocol::Listen, local, inode: 0, queue: 0, limit: 8, drops };
    Observed::quiet()
        .with(&REQ_Q_FULL_DROP, lost)
        .with(&LISTEN_DROPS, lost)
        .with_setting("net/ipv4/tcp_syncookies", "0")
        .with_socket(SocketChange { socket, lost, queue_max: 0, queue_min: 0, looks: 5 })
}

fn drops(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.delta(&REQ_Q_FULL_DROP);
    if lost == 0 {
        return Vec::new();
    }
    let critical = seen.threshold(rule, "critical_per_second");
    let many = seen.rate(lost).is_some_and(|rate| rate >= critical);
    let severity = if many { Severity::Critical } else { Severity::Warning };
    let other = seen.delta(&LISTEN_DROPS) > lost;
    // Of several causes, this is that of a listener whose accept queue was not full.
    let losers = listeners(seen, lost, |change| !other || change.queue_max < change.socket.limit);
    let why = match losers.first() {
        Some(worst) => format!(
            "{} may have {} handshakes under way; the SYNs of further clients were dropped",
            worst.socket.local, worst.socket.limit
        ),
        None => "the SYNs of further clients were dropped; at which listener is not known".into(),
    };
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, why);
    finding.evidence.push(seen.evidence(&REQ_Q_FULL_DROP, Some(critical)));
    if let [only] = &losers[..] {
        finding.instance = Instance::Socket { socket: only.socket.local.to_string() };
    }
    finding.victims = losers.iter().map(|change| Victim::of(&change.socket, change.lost)).collect();
    finding.suggest(seen.raise(&SYNCOOKIES, 1, "with cookies a full queue turns nobody away", |_| 0));
    let why = "the listener's backlog is the smaller of the two limits, and binds";
    finding.refuse("net.ipv4.tcp_max_syn_backlog", why);
    vec![finding]
}

pub static SYNCOOKIES: Knob = Knob {
    id: "net.ipv4.tcp_syncookies",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "switch",
    range: 0..=2,
    default: "1",
    help: "What happens to a SYN when its listener's SYN queue is full: 1, it is answered with a cookie; 0, it is dropped. 2 \
           answers all SYNs so, for tests.",
    formula: "1",
    risk: Risk::Low,
    harm: "connections made by a cookie lack window scaling and SACK if the client sends no timestamps",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

pub static MAX_SYN_BACKLOG: Knob = Knob {
    id: "net.ipv4.tcp_max_syn_backlog",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "handshakes",
    range: 1..=1_048_576,
    default: "a 128th of the places for connections (tcp_established hash), 128 at least; a 256th before 5.0",
    help: "With tcp_syncookies at 0 only: a listener takes SYNs of unknown clients up to three quarters of this, and keeps \
           the last quarter for clients that are known. With cookies on nothing asks for it; the length of a SYN queue is \
           the listener's own backlog.",
    formula: "more than four thirds of the longest backlog; or SYNs per second times the time a handshake takes",
    risk: Risk::Low,
    harm: "304 bytes of memory a handshake; without cookies a flood fills any length",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

pub static SYNACK_RETRIES: Knob = Knob {
    id: "net.ipv4.tcp_synack_retries",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "times",
    range: 0..=255,
    default: "5, that is half a minute; a place in the SYN queue is held for a minute",
    help: "How often the answer to a SYN is sent again before the handshake is given up.",
    formula: "3 where half-open handshakes pile up; else leave it",
    risk: Risk::Low,
    harm: "clients on bad links fail to connect",
    takes_effect: "for new handshakes",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

pub static FASTOPEN: Knob = Knob {
    id: "net.ipv4.tcp_fastopen",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "bits",
    range: 0..=1_539,
    default: "1: for clients only",
    help: "Data in the SYN: bit 0 for connections that we open, bit 1 for listeners that ask for it.",
    formula: "3 where applications ask for it and many short connections wait for a round trip",
    risk: Risk::Medium,
    harm: "some middleboxes drop SYNs with data; the kernel then stops using it for a while",
    takes_effect: "for new connections and at the next listen()",
    waits: true,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
