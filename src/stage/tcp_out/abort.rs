//! Connections that end before their time.

use super::{ABORT_ON_CLOSE, ABORT_ON_LINGER, ABORT_ON_TIMEOUT};
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::socket_memory::TCP_ABORT_ON_MEMORY;
use crate::stage::tcp_in::timers::RETRIES2;
use crate::stage::tcp_in::{ABORT_ON_DATA, ESTAB_RESETS};

pub static ABORT: Rule = Rule {
    id: "connections-abort",
    title: "Connections are cut off",
    explain: "Connections ended because the peer did not answer any more (TCPAbortOnTimeout: retransmissions, keep-alives or \
              TCP_USER_TIMEOUT ran out), or because it sent a reset. Peers die, NAT and firewalls on the way forget idle \
              connections, load balancers cut them off. The kernel counts connections that an application here cuts off \
              itself (closed with unread data, SO_LINGER 0) among those that were reset; they are taken out.",
    triggers: &[&ABORT_ON_TIMEOUT, &ESTAB_RESETS],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold {
            key: "timeouts_per_second",
            default: 1.0,
            help: "connections/s without an answer; own: below, silent",
        },
        Threshold { key: "resets_per_second", default: 10.0, help: "connections/s reset by peers; own: below, silent" },
    ],
    fires: abort,
    examples: &[
        Example {
            what: "10 connections in a second whose peer does not answer",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&ABORT_ON_TIMEOUT, 10).with(&ESTAB_RESETS, 10),
        },
        Example {
            what: "50 connections in a second reset by their peers",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&ESTAB_RESETS, 50),
        },
        Example {
            what: "an application closes its connections with data unread",
            severity: None,
            observed: || Observed::quiet().with(&ESTAB_RESETS, 50).with(&ABORT_ON_CLOSE, 50),
        },
        Example {
            what: "a few browsers go away",
            severity: None,
            observed: || Observed::quiet().with(&ESTAB_RESETS, 5),
        },
    ],
};

fn abort(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let timeouts = seen.delta(&ABORT_ON_TIMEOUT);
    let own = [&ABORT_ON_CLOSE, &ABORT_ON_LINGER, &ABORT_ON_DATA, &TCP_ABORT_ON_MEMORY, &ABORT_ON_TIMEOUT];
    let by_peers = seen.delta(&ESTAB_RESETS).saturating_sub(seen.delta_of(&own));
    let reaches = |count: u64, key| {
        let limit = seen.threshold(rule, key);
        (count > 0 && seen.rate(count).is_some_and(|rate| rate >= limit)).then_some(limit)
    };
    let unanswered = reaches(timeouts, "timeouts_per_second");
    let reset = reaches(by_peers, "resets_per_second");
    let mut parts = Vec::new();
    if unanswered.is_some() {
        parts.push(format!("{timeouts} connections ended because the peer did not answer any more"));
    }
    if reset.is_some() {
        parts.push(format!("{by_peers} were reset by their peers"));
    }
    if parts.is_empty() {
        return Vec::new();
    }
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, parts.join("; "));
    if unanswered.is_some() {
        finding.evidence.push(seen.evidence(&ABORT_ON_TIMEOUT, unanswered));
    }
    if reset.is_some() {
        finding.evidence.push(seen.evidence(&ESTAB_RESETS, reset));
    }
    finding.no_setting_helps = Some(
        "the other end, or what lies between, ended them. Where idle connections are forgotten on the way, let the \
         application send keep-alives more often than that (SO_KEEPALIVE, TCP_KEEPIDLE)"
            .into(),
    );
    finding.refuse(RETRIES2.id, "a larger one only lets the application wait longer");
    vec![finding]
}
