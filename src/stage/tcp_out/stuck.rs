//! Segments that never leave this host, of connections that wait for room that they have.

use crate::model::{Example, Finding, Instance, Observed, Rule, Scope, Sender, Senders, Severity, Threshold, Victim};
use crate::stage::forward::{OUT_REQUESTS, OUT_TRANSMITS, OUT6_REQUESTS, OUT6_TRANSMITS};

pub static REFUSED: Rule = Rule {
    id: "tcp-segments-refused-locally",
    title: "This host does not let a connection's segments out",
    explain: "A connection has data to send, the peer's window is open and nothing is on its way; yet it only tries again now \
              and then, later each time, as if the window were closed. Something of this host drops its segments before they \
              are sent: a firewall rule (OUTPUT, POSTROUTING), a BPF program of its cgroup, a filter or full queue of the \
              device, or there is no memory. The kernel takes such a segment for one that it has not sent yet, so it counts \
              neither a retransmission nor a timeout, and the application only sees that nothing happens. A window that is \
              really closed is tcp-limited-by-peer-window. An application that gathers small writes (TCP_CORK) waits for \
              the same timer, and sends when it runs out.",
    triggers: &[],
    seen: &[Senders::REFUSED],
    knobs: &[],
    thresholds: &[Threshold {
        key: "least_probes",
        default: 1.0,
        help: "attempts in a row that had no effect; own: below, silent",
    }],
    fires: refused,
    examples: &[
        Example {
            what: "a connection tried three times, and the peer's window is open",
            severity: Some(Severity::Warning),
            observed: || stuck(3, 65_535, 0),
        },
        Example { what: "the peer's window is closed", severity: None, observed: || stuck(3, 0, 0) },
        Example {
            what: "the peer's window holds less than a segment",
            severity: None,
            observed: || stuck(3, 1_000, 0),
        },
        Example {
            what: "an application gathers small writes: the timer has not run out yet",
            severity: None,
            observed: || stuck(0, 65_535, 0),
        },
        Example {
            what: "something is on its way: that is a loss, or a slow path",
            severity: None,
            observed: || stuck(3, 65_535, 2),
        },
    ],
};

fn stuck(unanswered: u8, window: u32, unacked: u32) -> Observed {
    let mut sender = Sender::example();
    (sender.socket.timer, sender.socket.unanswered, sender.socket.send_queue) = (4, unanswered, 4_000);
    (sender.tcp.unsent, sender.tcp.peer_window, sender.tcp.unacked) = (Some(4_000), Some(window), unacked);
    Observed::quiet().with_senders(Senders { refused: vec![sender], ..Senders::default() })
}

fn refused(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let least = seen.threshold(rule, "least_probes");
    let all = seen.senders(|senders| &senders.refused).iter();
    let stuck: Vec<&Sender> =
        all.filter(|sender| sender.is_refused() && f64::from(sender.socket.unanswered) >= least).collect();
    let Some(worst) = stuck.first() else { return Vec::new() };
    let many = if stuck.len() > 1 { format!("; {} connections in all", stuck.len()) } else { String::new() };
    let why = format!(
        "{} bytes wait for {}, whose window of {} bytes is open; {} attempts in a row did not leave this host{many}",
        worst.tcp.unsent.unwrap_or(0),
        worst.socket.remote,
        worst.tcp.peer_window.unwrap_or(0),
        worst.socket.unanswered,
    );
    let mut finding = Finding::new(rule, Severity::Warning, Scope::Socket, 0, why);
    finding.instance = Instance::Socket { socket: worst.socket.local.to_string() };
    finding.victims = stuck.iter().map(|sender| Victim::of_sender(sender, 0)).collect();
    // A state and no event: without a rate.
    let mut evidence = seen.sender_evidence("probes", worst, worst.socket.unanswered.into(), Some(least));
    evidence.per_second = None;
    finding.evidence.push(evidence);
    let moved = [&OUT_REQUESTS, &OUT_TRANSMITS, &OUT6_REQUESTS, &OUT6_TRANSMITS]
        .into_iter()
        .filter(|counter| seen.delta(counter) > 0);
    finding.evidence.extend(moved.map(|counter| seen.evidence(counter, None)));
    finding.no_setting_helps = Some(
        "something of this host drops them: 'netstat-deep drops' names the rule or program; else look at 'nft list ruleset' \
         (OUTPUT and POSTROUTING), 'bpftool cgroup tree', 'tc filter show dev DEV egress', 'tc -s qdisc'"
            .into(),
    );
    finding.refuse("net.ipv4.tcp_retries2", "it decides when the connection is given up, not whether it may send");
    finding.refuse("net.ipv4.tcp_wmem", "the send buffer is not what holds it back");
    vec![finding]
}
