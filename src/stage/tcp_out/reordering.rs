//! Segments that overtake each other on the way.

use super::{RENO_REORDER, SACK_RECOVERY, SACK_REORDER, TS_REORDER};
use crate::model::{
    Example, Finding, Instance, Observed, Rule, Scope, Sender, Senders, Severity, Threshold, Victim, sender::Counts,
};
use crate::stage::tcp_in::leave::MAX_REORDERING;

pub static REORDERING: Rule = Rule {
    id: "tcp-reordering",
    title: "Segments overtake each other on the way",
    explain: "The peer got segments in another order than they were sent in: a path that spreads the packets of one connection \
              over several links (balancing by packet, a bond in mode balance-rr), a card or CPU that takes over a flow \
              while packets of it wait elsewhere, or a radio link that repeats. TCP can't tell at first whether a segment is \
              late or lost, sends it again and slows down. It then takes on how far out of order the path is, up to \
              net.ipv4.tcp_max_reordering; what is farther still counts as lost each time. A lost segment that was sent \
              again also comes late: where losses dominate, that is tcp-retransmits.",
    triggers: &[&SACK_REORDER, &TS_REORDER, &RENO_REORDER],
    seen: &[],
    knobs: &[&MAX_REORDERING],
    thresholds: &[
        Threshold { key: "info_per_second", default: 5.0, help: "times/s that segments overtook others; own" },
        Threshold {
            key: "percent_of_recoveries",
            default: 50.0,
            help: "of the times that a connection began to repair losses, in %; own: below, losses dominate",
        },
    ],
    fires: reordering,
    examples: &[
        Example {
            what: "200 times in a second, with 100 recoveries",
            severity: Some(Severity::Info),
            observed: || overtaken(200, 100, 12),
        },
        Example {
            what: "the same, on a connection that takes it to be as far as it may",
            severity: Some(Severity::Info),
            observed: || overtaken(200, 100, 300),
        },
        Example { what: "three times in a second", severity: None, observed: || overtaken(3, 1, 12) },
        Example { what: "losses, of which a few only came late", severity: None, observed: || overtaken(20, 500, 12) },
    ],
};

fn overtaken(times: u64, recoveries: u64, reordering: u32) -> Observed {
    let mut sender = Sender::example();
    sender.tcp.reordering = reordering;
    sender.grown = Some(Counts { overtaken: times as u32, sent: 10_000, ..Counts::default() });
    Observed::quiet()
        .with(&SACK_REORDER, times)
        .with(&SACK_RECOVERY, recoveries)
        .with_senders(Senders { overtaken: vec![sender], ..Senders::default() })
        .with_setting("net/ipv4/tcp_max_reordering", "300")
}

fn reordering(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let times = seen.delta_of(&[&SACK_REORDER, &TS_REORDER, &RENO_REORDER]);
    let recoveries = seen.delta(&SACK_RECOVERY);
    let limit = seen.threshold(rule, "info_per_second");
    let share = seen.threshold(rule, "percent_of_recoveries");
    let often = seen.rate(times).is_some_and(|rate| rate >= limit);
    if !often || times as f64 * 100.0 < share * recoveries as f64 {
        return Vec::new();
    }
    let mut why = format!("{times} times segments overtook others");
    if recoveries > 0 {
        why += &format!("; {recoveries} times a connection began to repair losses");
    }
    let senders = seen.senders(|senders| &senders.overtaken);
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, why);
    let moved = [&SACK_REORDER, &TS_REORDER, &RENO_REORDER, &SACK_RECOVERY];
    let moved = moved.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence =
        moved.map(|counter| seen.evidence(counter, (counter != &SACK_RECOVERY).then_some(limit))).collect();
    finding.victims = senders.iter().map(|sender| Victim::of_sender(sender, 0)).collect();
    let helps = "mend the path: let it balance by flow and not by packet; of this host: bonds (balance-rr), RPS masks and \
                 interrupts that are moved while traffic flows";
    if let Some(worst) = senders.first() {
        finding.instance = Instance::Socket { socket: worst.socket.local.to_string() };
        finding.why += &format!(", most of them to {}", worst.socket.remote);
    }
    let most = seen.settings.number(&MAX_REORDERING.path());
    let farthest = senders.iter().map(|sender| u64::from(sender.tcp.reordering)).max();
    if let (Some(most), Some(farthest)) = (most, farthest)
        && farthest >= most
    {
        finding.why +=
            &format!("; {farthest} segments out of order is as far as net.ipv4.tcp_max_reordering lets it be");
        let to = most.saturating_mul(2).max(1000);
        finding.suggest(seen.raise(
            &MAX_REORDERING,
            to,
            "what is farther out of order then no longer counts as lost",
            |_| 0,
        ));
        finding.no_setting_helps.get_or_insert_with(|| format!("it takes the harm away, not the cause: {helps}"));
    } else {
        finding.no_setting_helps = Some(helps.into());
        finding.refuse("net.ipv4.tcp_max_reordering", "no connection is at that limit");
    }
    finding.refuse(
        "net.ipv4.tcp_reordering",
        "it is where a new connection begins; each finds its own within a round trip",
    );
    vec![finding]
}
