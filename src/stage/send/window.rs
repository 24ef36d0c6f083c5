//! A connection could send more, but the peer does not take more.

use super::buffer::is_held;
use crate::model::{
    Example, Finding, Instance, Observed, Rule, Scope, Sender, Senders, Severity, Threshold, Victim, sender::Counts,
};

pub static LIMITED: Rule = Rule {
    id: "tcp-limited-by-peer-window",
    title: "The peer's receive window holds a connection back",
    explain: "A sender may have no more on its way than the peer offers room for. Time in which that held it back the kernel \
              counts (rwnd_limited in 'ss -ti'). Either the peer's application reads too slowly (the window is closed, or \
              closes again and again), or it does read and the window is smaller than what the path can have on its way: \
              bytes per second times the round trip. Both are the peer's to mend: 'netstat-deep rx' there tells which \
              (tcp-zero-window-advertised). A sender whose application has nothing to send is not held by anything.",
    triggers: &[],
    seen: &[Senders::WINDOW],
    knobs: &[],
    thresholds: &[
        Threshold { key: "warning_percent", default: 20.0, help: "of the time with something to send, in %; own" },
        Threshold { key: "least_percent", default: 10.0, help: "of the window, in %; own: below, silent" },
    ],
    fires: limited,
    examples: &[
        Example {
            what: "half of the time, by a window that is small for its path",
            severity: Some(Severity::Info),
            observed: || held(500_000, 65_535, false),
        },
        Example {
            what: "all the time, by a window that is closed",
            severity: Some(Severity::Info),
            observed: || held(1_000_000, 0, false),
        },
        Example { what: "10 % of the time", severity: None, observed: || held(100_000, 65_535, false) },
        Example {
            what: "the application had little to send: what was measured is itself",
            severity: None,
            observed: || held(500_000, 65_535, true),
        },
        Example {
            what: "all of a hundredth of the window: a short answer",
            severity: None,
            observed: || observed(10_000, 10_000, 65_535, false),
        },
    ],
};

fn observed(busy: u64, held: u64, window: u32, application_limited: bool) -> Observed {
    let mut sender = Sender::example();
    sender.tcp.peer_window = Some(window);
    sender.tcp.unsent = Some(if application_limited { 0 } else { 100_000 });
    sender.tcp.application_limited = application_limited;
    sender.grown = Some(Counts { limited: [busy, held, 0], acked: 1_000_000, ..Counts::default() });
    if window == 0 {
        (sender.socket.timer, sender.socket.unanswered) = (4, 3);
    }
    Observed::quiet().with_senders(Senders { window: vec![sender], ..Senders::default() })
}

fn held(held: u64, window: u32, application_limited: bool) -> Observed {
    observed(1_000_000, held, window, application_limited)
}

/// It has nothing to send now, and had nothing more when its rate was measured.
fn is_idle(sender: &Sender) -> bool {
    sender.tcp.application_limited && sender.tcp.unsent == Some(0)
}

fn limited(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let all = seen.senders(|senders| &senders.window).iter();
    let held: Vec<&Sender> = all.filter(|one| is_held(seen, rule, one, 1) && !is_idle(one)).collect();
    let Some((worst, grown)) = held.first().and_then(|worst| Some((*worst, worst.grown?))) else { return Vec::new() };
    let (window, rtt) = (worst.tcp.peer_window.map(f64::from), f64::from(worst.tcp.rtt) / 1e6);
    let share = grown.limited[1] as f64 * 100.0 / grown.limited[0].max(1) as f64;
    let (more, helps) = match window {
        Some(window) if !worst.is_shut_out() && rtt > 0.0 => (
            format!(
                "; its window of {window} bytes allows {:.0} bytes/s at a round trip of {:.1} ms",
                window / rtt,
                rtt * 1e3
            ),
            "the window is the peer's receive buffer: net.ipv4.tcp_rmem there, or the SO_RCVBUF of its application, or a \
             reader that pauses; 'netstat-deep rx' there tells which",
        ),
        _ => (
            "; its window is closed: its application does not read".into(),
            "the peer's application reads too slowly: more readers there, or less work between two reads",
        ),
    };
    let remote = worst.socket.remote;
    let why = format!("{remote} held it back {share:.0} % of the time with something to send{more}");
    let mut finding = Finding::new(rule, Severity::Info, Scope::Socket, 0, why);
    finding.instance = Instance::Socket { socket: worst.socket.local.to_string() };
    finding.victims = held.iter().map(|sender| Victim::of_sender(sender, 0)).collect();
    let threshold = seen.rate(grown.limited[0]).map(|busy| busy * seen.threshold(rule, "warning_percent") / 100.0);
    finding.evidence.push(seen.sender_evidence("rwnd_limited", worst, grown.limited[1], threshold));
    finding.evidence.push(seen.sender_evidence("busy_time", worst, grown.limited[0], None));
    finding.no_setting_helps = Some(helps.into());
    finding.refuse("net.ipv4.tcp_wmem", "the send buffer of this host is not what holds it back");
    finding.refuse("net.ipv4.tcp_rmem", "that is the buffer for what comes in here; the peer's counts");
    vec![finding]
}
