//! Segments that do not fit their connection.

use crate::model::{Counter, Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::tcp_in::segments::{INVALID_RATELIMIT, TIMESTAMPS};
use crate::stage::tcp_in::{
    ACK_SKIPPED_CHALLENGE, ACK_SKIPPED_FIN_WAIT2, ACK_SKIPPED_PAWS, ACK_SKIPPED_SEQ, ACK_SKIPPED_TIME_WAIT,
    CHALLENGE_ACK, IN_SEGS, PAWS_ACTIVE, PAWS_ESTAB, TS_ECR_REJECTED,
};
use crate::stage::tcp_listen::OUT_RSTS;

pub static ODD: Rule = Rule {
    id: "tcp-odd-segments",
    title: "Segments come that do not fit their connection",
    explain: "The kernel drops a segment of an established connection that can't be right, and answers with what it expects \
              (an acknowledgement, at most one in tcp_invalid_ratelimit for each connection). Three kinds are told apart. \
              Old timestamps (PAWS): several hosts behind one NAT address whose clocks differ, or a segment that was long \
              under way. A SYN or a reset in the middle (challenge ACK, RFC 5961): the peer lost its memory of the \
              connection (a crash, a NAT that gave its port to another), or somebody tries to cut it off. The same wrong \
              segment over and over (answers held back): two ends, or a device between them, that each answer the other \
              (an ACK loop). A port scan does none of this: what it sends fits no connection at all, and is answered by \
              resets.",
    triggers: &[
        &CHALLENGE_ACK,
        &ACK_SKIPPED_CHALLENGE,
        &PAWS_ESTAB,
        &PAWS_ACTIVE,
        &TS_ECR_REJECTED,
        &ACK_SKIPPED_SEQ,
        &ACK_SKIPPED_FIN_WAIT2,
        &ACK_SKIPPED_TIME_WAIT,
    ],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "least_per_second", default: 5.0, help: "segments/s of one kind; own: below, silent" },
        Threshold { key: "least_percent", default: 0.1, help: "of the segments received, in %; own: below, silent" },
    ],
    fires: odd,
    examples: &[
        Example {
            what: "60 segments in a second with an old timestamp",
            severity: Some(Severity::Info),
            observed: || received(10_000).with(&PAWS_ESTAB, 60).with(&ACK_SKIPPED_PAWS, 55),
        },
        Example {
            what: "60 SYNs in a second within connections",
            severity: Some(Severity::Info),
            observed: || received(10_000).with(&CHALLENGE_ACK, 2).with(&ACK_SKIPPED_CHALLENGE, 58),
        },
        Example {
            what: "two ends that answer each other",
            severity: Some(Severity::Info),
            observed: || received(1_000).with(&ACK_SKIPPED_SEQ, 400),
        },
        Example { what: "a port scan", severity: None, observed: || received(500).with(&OUT_RSTS, 500) },
        Example {
            what: "a peer came back after a crash",
            severity: None,
            observed: || received(100).with(&CHALLENGE_ACK, 2),
        },
        Example {
            what: "a few among very many",
            severity: None,
            observed: || received(1_000_000).with(&CHALLENGE_ACK, 20),
        },
    ],
};

fn received(segments: u64) -> Observed {
    Observed::quiet().with(&IN_SEGS, segments)
}

/// What is odd in one way. What answers were held back for old timestamps is in PAWSEstab already.
struct Kind {
    counters: &'static [&'static Counter],
    what: &'static str,
    who: &'static str,
}

static KINDS: [Kind; 3] = [
    Kind {
        counters: &[&PAWS_ESTAB, &PAWS_ACTIVE, &TS_ECR_REJECTED],
        what: "had a timestamp from the past, or echoed one that was never sent",
        who: "mostly several hosts share one NAT address: let the NAT give each connection its own port, or take timestamps \
              out there",
    },
    Kind {
        counters: &[&CHALLENGE_ACK, &ACK_SKIPPED_CHALLENGE],
        what: "were SYNs or resets in the middle of a connection, or acknowledged what was never sent",
        who: "find the peer ('netstat-deep drops --each', 'tcpdump tcp[tcpflags] & (tcp-syn|tcp-rst) != 0'): it forgot the \
              connection, or somebody else speaks in its name",
    },
    Kind {
        counters: &[&ACK_SKIPPED_SEQ, &ACK_SKIPPED_FIN_WAIT2, &ACK_SKIPPED_TIME_WAIT],
        what: "lay outside of the window again and again, and were not answered each time",
        who: "a device on the way changes sequence numbers, or two ends answer each other without end: capture both ends of \
              one such connection",
    },
];

fn odd(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let limit = seen.threshold(rule, "least_per_second");
    let share = seen.threshold(rule, "least_percent") / 100.0;
    let many = |count: u64| {
        let enough = seen.rate(count).is_some_and(|rate| rate >= limit);
        count > 0 && enough && count as f64 >= seen.delta(&IN_SEGS) as f64 * share
    };
    let mut found: Vec<(u64, &Kind)> = KINDS.iter().map(|kind| (seen.delta_of(kind.counters), kind)).collect();
    found.retain(|(count, _)| many(*count));
    found.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let Some((_, worst)) = found.first() else { return Vec::new() };
    let why: Vec<String> = found.iter().map(|(count, kind)| format!("{count} {}", kind.what)).collect();
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, why.join("; "));
    let counters = found.iter().flat_map(|(_, kind)| kind.counters.iter().copied()).chain([&ACK_SKIPPED_PAWS]);
    let moved = counters.filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, Some(limit))).collect();
    finding.no_setting_helps = Some(worst.who.into());
    finding.refuse(INVALID_RATELIMIT.id, "it only says how often such segments are answered; more answers feed a loop");
    finding.refuse(TIMESTAMPS.id, "off, every connection loses its exact round trips, and old duplicates come through");
    vec![finding]
}
