//! New connections that are dropped although neither queue of their listener is full.

use super::accept_queue::listeners;
use super::syn_queue::{MAX_SYN_BACKLOG, SYNCOOKIES};
use super::{LISTEN_DROPS, LISTEN_OVERFLOWS, OUT_NO_ROUTES, OUT6_NO_ROUTES, REQ_Q_FULL_DROP};
use crate::model::{
    Example, Finding, Instance, Observed, Protocol, Rule, Scope, Severity, Socket, SocketChange, Threshold, Victim,
    power_of_two,
};

pub static OTHER: Rule = Rule {
    id: "listen-drops-other",
    title: "New connections are dropped although no accept queue is full",
    explain: "TcpExt.ListenDrops counts all SYNs and final ACKs that a listener dropped. A full accept queue \
              (accept-queue-overflow) and a full SYN queue (syn-queue-drops) are counted apart and not said again here. What \
              is left: the answer has no route back to the client; net.ipv4.tcp_syncookies is 0 and three quarters of \
              net.ipv4.tcp_max_syn_backlog are taken; memory was short; or the SYN went to a multicast or broadcast \
              address. Clients try again after 1, 2, 4 seconds, and each try counts.",
    triggers: &[&LISTEN_DROPS],
    seen: &[],
    knobs: &[&SYNCOOKIES, &MAX_SYN_BACKLOG],
    thresholds: &[Threshold { key: "warning_per_second", default: 1.0, help: "segments/s; own: below, a remark" }],
    fires: other,
    examples: &[
        Example {
            what: "30 SYNs dropped in a second; cookies are off and tcp_max_syn_backlog is small",
            severity: Some(Severity::Warning),
            observed: || dropped(30).with_setting("net/ipv4/tcp_syncookies", "0"),
        },
        Example {
            what: "30 SYNs dropped in a second, as many answers had no route",
            severity: Some(Severity::Warning),
            observed: || dropped(30).with(&OUT_NO_ROUTES, 30),
        },
        Example {
            what: "one SYN dropped in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = dropped(1);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "all were dropped by a full accept queue",
            severity: None,
            observed: || dropped(30).with(&LISTEN_OVERFLOWS, 30),
        },
        Example {
            what: "all were dropped by a full SYN queue",
            severity: None,
            observed: || dropped(30).with(&REQ_Q_FULL_DROP, 30),
        },
    ],
};

fn dropped(lost: u64) -> Observed {
    let local = Socket::address([0; 16], false, 443);
    let drops = lost as u32;
    let socket = Socket { cookie: 1, protocol: Protocol::Listen, local, inode: 0, queue: 0, limit: 128, drops };
    Observed::quiet()
        .with(&LISTEN_DROPS, lost)
        .with_setting("net/ipv4/tcp_syncookies", "1")
        .with_setting("net/ipv4/tcp_max_syn_backlog", "16")
        .with_socket(SocketChange { socket, lost, queue_max: 0, queue_min: 0, looks: 5 })
}

fn other(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let told = seen.delta_of(&[&LISTEN_OVERFLOWS, &REQ_Q_FULL_DROP]);
    let lost = seen.delta(&LISTEN_DROPS).saturating_sub(told);
    if lost == 0 {
        return Vec::new();
    }
    let warning = seen.threshold(rule, "warning_per_second");
    let many = seen.rate(lost).is_some_and(|rate| rate >= warning);
    let severity = if many { Severity::Warning } else { Severity::Info };
    // Of several causes, this is that of a listener whose accept queue was not full.
    let losers = listeners(seen, lost, |change| told == 0 || change.queue_max < change.socket.limit);
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, "");
    finding.evidence.push(seen.evidence(&LISTEN_DROPS, Some(warning)));
    if let [only] = &losers[..] {
        finding.instance = Instance::Socket { socket: only.socket.local.to_string() };
    }
    finding.victims = losers.iter().map(|change| Victim::of(&change.socket, change.lost)).collect();
    let without_route = seen.delta_of(&[&OUT_NO_ROUTES, &OUT6_NO_ROUTES]);
    if without_route >= lost {
        finding.why = "the answers to as many SYNs had no route back to their clients".into();
        finding.evidence.extend(
            [&OUT_NO_ROUTES, &OUT6_NO_ROUTES]
                .into_iter()
                .filter(|counter| seen.delta(counter) > 0)
                .map(|counter| seen.evidence(counter, None)),
        );
        finding.no_setting_helps = Some(
            "the routing table knows no way back ('ip route get CLIENT' shows it): add a route, or keep out who has no \
             business here (rp_filter drops them earlier)"
                .into(),
        );
    } else if seen.settings.number(&SYNCOOKIES.path()) == Some(0) {
        finding.why =
            "net.ipv4.tcp_syncookies is 0, and three quarters of net.ipv4.tcp_max_syn_backlog were taken: the \
                       last quarter is kept for clients that are known"
                .into();
        let backlog = losers.iter().map(|change| u64::from(change.socket.limit)).max().unwrap_or(0);
        let present = seen.settings.number(&MAX_SYN_BACKLOG.path()).unwrap_or(0);
        let to = power_of_two((backlog.saturating_mul(4) / 3 + 1).max(present.saturating_mul(2)));
        // struct tcp_request_sock
        let memory = |more: u64| more.saturating_mul(304);
        let why = "then the listener's own backlog is what limits its handshakes";
        finding.suggest(seen.raise(&MAX_SYN_BACKLOG, to, why, memory));
        finding.refuse("net.core.somaxconn", "neither queue of the listener is full");
    } else {
        finding.why = "neither queue of a listener was full, and the answers had a route".into();
        finding.no_setting_helps = Some(
            "memory was short for new connections, or SYNs came to a multicast address: 'netstat-deep drops' names the \
             function that drops them"
                .into(),
        );
        finding.refuse("net.core.somaxconn", "no accept queue is full");
    }
    vec![finding]
}
