//! Connections that could send more by all that TCP knows, and don't.

use crate::model::{
    Example, Finding, Instance, Observed, Rule, Scope, Sender, Senders, Severity, Threshold, Victim, sender::Counts,
};
use crate::stage::link::knobs::SPEED;

pub static LOW: Rule = Rule {
    id: "tcp-goodput-low",
    title: "This host sends less than TCP would let it",
    explain: "A connection had more to send all the time, and neither the peer's window nor its send buffer nor losses held it \
              back; its congestion window would let out twice as much in each round trip, and the link is not full. Then it \
              is this host that does not get it out: a CPU that has no time, a qdisc that shapes, a device that is slow to \
              say what it has sent (TCP keeps only about a millisecond's worth below). Look at the other rules of both \
              paths: CPUs that are full, qdiscs that drop or wait. An application that has little to send, or that set \
              SO_MAX_PACING_RATE, gets what it wants.",
    triggers: &[],
    seen: &[Senders::BULK],
    knobs: &[&SPEED],
    thresholds: &[
        Threshold { key: "percent", default: 50.0, help: "of what the window and the link allow, in %; own" },
        Threshold { key: "busy_percent", default: 90.0, help: "of the window with something to send, in %; own" },
        Threshold { key: "limited_percent", default: 10.0, help: "of that time held by a window or buffer, in %; own" },
        Threshold { key: "again_percent", default: 1.0, help: "segments sent again, in %; own: above, losses limit" },
    ],
    fires: low,
    examples: &[
        Example {
            what: "1 MB/s, where 7 MB/s would be on their way",
            severity: Some(Severity::Info),
            observed: || bulk(1_000_000, |_| ()),
        },
        Example { what: "6 MB/s, of 7", severity: None, observed: || bulk(6_000_000, |_| ()) },
        Example {
            what: "the application has no more to send",
            severity: None,
            observed: || bulk(1_000_000, |sender| sender.tcp.application_limited = true),
        },
        Example {
            what: "the application set how fast it wants to send",
            severity: None,
            observed: || bulk(1_000_000, |sender| sender.tcp.most_rate = Some(1_000_000)),
        },
        Example {
            what: "its congestion control spreads its packets over time, and keeps a larger window than it uses (bbr)",
            severity: None,
            observed: || bulk(1_000_000, |sender| sender.tcp.pace = Some(1_050_000)),
        },
        Example {
            what: "the peer's window holds it back",
            severity: None,
            observed: || bulk(1_000_000, |sender| counts(sender).limited[1] = 500_000),
        },
        Example {
            what: "its send buffer holds it back",
            severity: None,
            observed: || bulk(1_000_000, |sender| counts(sender).limited[2] = 500_000),
        },
        Example {
            what: "losses hold it back",
            severity: None,
            observed: || bulk(1_000_000, |sender| counts(sender).retransmitted = 50),
        },
        Example {
            what: "it sent for a tenth of the window",
            severity: None,
            observed: || bulk(1_000_000, |sender| counts(sender).limited[0] = 100_000),
        },
        Example {
            what: "the link is full",
            severity: None,
            observed: || bulk(1_100_000, |_| ()).with_setting("ethtool/eth0/linkmodes/speed", "10"),
        },
        Example {
            what: "both ends are on this host: there is no link, and nothing but CPUs to limit it",
            severity: None,
            observed: || bulk(1_000_000, |sender| sender.socket.remote = sender.socket.local),
        },
    ],
};

fn counts(sender: &mut Sender) -> &mut Counts {
    sender.grown.get_or_insert_default()
}

fn bulk(acked: u64, change: impl Fn(&mut Sender)) -> Observed {
    let mut sender = Sender::example();
    sender.tcp.unsent = Some(1_000_000);
    sender.grown = Some(Counts { acked, limited: [1_000_000, 0, 0], sent: 1_000, ..Counts::default() });
    change(&mut sender);
    Observed::quiet().with_senders(Senders { bulk: vec![sender], ..Senders::default() })
}

/// Bytes a second that the fastest link carries, where its speed is known.
fn link(seen: &Observed) -> Option<f64> {
    let speeds = seen.settings.between("ethtool/", "/linkmodes/speed");
    let megabits = speeds.filter_map(|(_, speed)| speed.parse::<u64>().ok()).filter(|speed| *speed > 0).max()?;
    Some(megabits as f64 * 1e6 / 8.0)
}

/// What a sender got through, and what the windows and the link would let it; none if something else explains it.
fn judged(seen: &Observed, rule: &Rule, sender: &Sender) -> Option<[f64; 2]> {
    let (grown, seconds) = (sender.grown?, seen.changes.seconds?);
    let [percent, busy, limited, again] =
        ["percent", "busy_percent", "limited_percent", "again_percent"].map(|key| seen.threshold(rule, key));
    let [with_data, window, buffer] = grown.limited.map(|microseconds| microseconds as f64);
    let own_wish = sender.tcp.application_limited || sender.tcp.most_rate.is_some();
    let here = sender.socket.local.ip() == sender.socket.remote.ip() || sender.socket.remote.ip().is_loopback();
    let free = with_data >= busy / 100.0 * seconds * 1e6 && (window + buffer) * 100.0 < limited * with_data;
    let lossless = f64::from(grown.retransmitted) * 100.0 < again * f64::from(grown.sent.max(1));
    let got = seen.rate(grown.acked)?;
    let allowed = sender.allowed()?.min(link(seen).unwrap_or(f64::INFINITY));
    (!own_wish && !here && free && lossless && got * 100.0 < percent * allowed).then_some([got, allowed])
}

fn low(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let all = seen.senders(|senders| &senders.bulk).iter();
    let slow: Vec<(&Sender, [f64; 2])> = all.filter_map(|one| Some((one, judged(seen, rule, one)?))).collect();
    let Some((worst, [got, allowed])) = slow.first() else { return Vec::new() };
    let why = format!(
        "to {}: {got:.0} bytes/s got through, and a congestion window of {} segments at a round trip of {:.1} ms, or the \
         link, would let {allowed:.0} through",
        worst.socket.remote,
        worst.tcp.window,
        f64::from(worst.tcp.rtt) / 1e3
    );
    let mut finding = Finding::new(rule, Severity::Info, Scope::Socket, 0, why);
    finding.instance = Instance::Socket { socket: worst.socket.local.to_string() };
    finding.victims = slow.iter().map(|(sender, _)| Victim::of_sender(sender, 0)).collect();
    let acked = worst.grown.map_or(0, |grown| grown.acked);
    let threshold = allowed * seen.threshold(rule, "percent") / 100.0;
    finding.evidence.push(seen.sender_evidence("bytes_acked", worst, acked, Some(threshold)));
    finding.no_setting_helps = Some(
        "neither windows nor buffers nor losses explain it: look at what else is found here, at the CPUs ('netstat-deep rx', \
         mpstat -P ALL) and at the queues below ('tc -s qdisc': a shaper, a backlog)"
            .into(),
    );
    finding.refuse("net.ipv4.tcp_wmem", "the send buffer is not what holds it back");
    finding.refuse("net.ipv4.tcp_congestion_control", "its window is not what holds it back");
    vec![finding]
}
