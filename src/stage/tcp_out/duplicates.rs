//! Segments that were sent again for nothing.

use super::retransmit::with_data;
use super::{
    DSACK_RECV_SEGS, LOSS_PROBE_RECOVERY, LOSS_PROBES, LOSS_UNDO, RETRANS_SEGS, SACK_REORDER, SPURIOUS_RTOS,
    SYN_RETRANS, TIMEOUTS, TS_REORDER,
};
use crate::model::{Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold, Victim};

pub static SPURIOUS: Rule = Rule {
    id: "tcp-retransmits-spurious",
    title: "TCP sends again what had arrived",
    explain: "A segment counts as lost when later ones are acknowledged before it (reordering), or when no acknowledgement \
              comes in time (a delay that jumps: a queue that fills, a radio link, a virtual machine that does not run). If \
              it had only been late, the peer gets it twice and says so (DSACK), or the acknowledgement of the first comes \
              after all (F-RTO). The connection was slowed down for nothing, and the path carried it twice; the kernel takes \
              the slowing down back. Probes of the last segment (TLP) are sent before anything is known to be lost: that \
              the peer has it already is how they are meant, and they are left out.",
    triggers: &[&DSACK_RECV_SEGS, &LOSS_UNDO],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "percent", default: 30.0, help: "came twice, of the segments sent again, in %; own" },
        Threshold { key: "timeouts_percent", default: 20.0, help: "for nothing, of the timeouts, in %; own" },
        Threshold {
            key: "least_segments",
            default: 20.0,
            help: "segments sent again in the window; own: below, silent",
        },
        Threshold { key: "least_timeouts", default: 5.0, help: "timeouts in the window; own: below, silent" },
    ],
    fires: spurious,
    examples: &[
        Example { what: "80 of 100", severity: Some(Severity::Info), observed: || twice(80, 100) },
        Example {
            what: "9 of 10 timeouts",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&LOSS_UNDO, 9).with(&TIMEOUTS, 10).with(&RETRANS_SEGS, 10),
        },
        Example { what: "10 of 100: losses, and some luck", severity: None, observed: || twice(10, 100) },
        Example { what: "4 of 5: too few to tell", severity: None, observed: || twice(4, 5) },
        Example {
            what: "probes of the last segment, all of which had come",
            severity: None,
            observed: || twice(90, 90).with(&LOSS_PROBES, 90),
        },
        Example {
            what: "connects whose SYN-ACK was late",
            severity: None,
            observed: || {
                let seen = Observed::quiet().with(&DSACK_RECV_SEGS, 8).with(&RETRANS_SEGS, 100);
                seen.with(&SYN_RETRANS, 90)
            },
        },
    ],
};

fn twice(segments: u64, again: u64) -> Observed {
    Observed::quiet().with(&DSACK_RECV_SEGS, segments).with(&RETRANS_SEGS, again)
}

fn spurious(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let [percent, timeouts_percent, least_segments, least_timeouts] =
        ["percent", "timeouts_percent", "least_segments", "least_timeouts"].map(|key| seen.threshold(rule, key));
    let probes = seen.delta(&LOSS_PROBES).saturating_sub(seen.delta(&LOSS_PROBE_RECOVERY));
    let again = with_data(seen).saturating_sub(probes);
    let twice = seen.delta(&DSACK_RECV_SEGS).saturating_sub(probes).min(again);
    let timeouts = seen.delta(&TIMEOUTS).saturating_sub(seen.delta(&SYN_RETRANS));
    // With timestamps a late acknowledgement tells it; without, what it acknowledges (F-RTO), which is counted in both
    // (tcp_try_undo_loss(), net/ipv4/tcp_input.c).
    let hasty = seen.delta(&LOSS_UNDO);
    let exceeds = |part: u64, of: u64, limit: f64| part as f64 * 100.0 > limit * of.max(1) as f64;
    let segments = again as f64 >= least_segments && exceeds(twice, again, percent);
    let timer = timeouts as f64 >= least_timeouts && exceeds(hasty, timeouts, timeouts_percent);
    let mut parts = Vec::new();
    if segments {
        parts.push(format!("{twice} of {again} segments that were sent again had arrived"));
    }
    if timer {
        parts.push(format!("{hasty} of {timeouts} timeouts were for nothing: the acknowledgement was only late"));
    }
    if parts.is_empty() {
        return Vec::new();
    }
    let reordered = seen.delta_of(&[&SACK_REORDER, &TS_REORDER]);
    let (cause, helps) = match reordered {
        0 => (
            "no segments overtook others: the delay of the path jumps",
            "find where it waits: 'tc -s qdisc' of this host shows a queue that fills, 'netstat-deep sockets --by rtt' the \
             connections; a virtual machine that is not let run shows as steal time",
        ),
        _ => (
            "segments overtook others",
            "mend the path: balance by flow, not by packet (see tcp-reordering); the kernel widens its patience on each \
             connection by itself",
        ),
    };
    parts.push(cause.into());
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, parts.join("; "));
    let moved = [
        &DSACK_RECV_SEGS,
        &RETRANS_SEGS,
        &LOSS_UNDO,
        &SPURIOUS_RTOS,
        &TIMEOUTS,
        &LOSS_PROBES,
        &SACK_REORDER,
        &TS_REORDER,
    ];
    let moved = moved.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, None)).collect();
    let senders = seen.senders(|senders| &senders.twice).iter();
    finding.victims = senders.map(|sender| Victim::of_sender(sender, 0)).collect();
    if let Some(worst) = finding.victims.first().and_then(|victim| victim.local.clone()) {
        finding.instance = Instance::Socket { socket: worst };
    }
    finding.no_setting_helps = Some(helps.into());
    finding.refuse("net.ipv4.tcp_retries2", "it decides when a connection is given up, not how soon it sends again");
    finding.refuse("net.ipv4.tcp_dsack", "switching it off makes the peer silent about it, no more");
    finding.refuse(
        "net.ipv4.tcp_reordering",
        "it is where a new connection begins; each finds its own within a round trip",
    );
    vec![finding]
}
