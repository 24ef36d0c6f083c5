//! Settings from lists that get copied, and that hurt or do nothing.

use crate::model::{Example, Finding, Instance, Knob, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::backlog::MAX_BACKLOG;
use crate::stage::softirq::BUDGET;
use crate::stage::tcp_in::segments::{SACK, TIMESTAMPS, WINDOW_SCALING};
use crate::stage::tcp_in::{MODERATE_RCVBUF, RMEM};
use crate::stage::tcp_listen::{ABORT_ON_OVERFLOW, PASSIVE_OPENS, SOMAXCONN, SYNCOOKIES};
use crate::stage::tcp_out::ACTIVE_OPENS;

pub static CARGO_CULT: Rule = Rule {
    id: "cargo-cult-settings",
    title: "Settings that hurt, or do nothing, from a list that was copied",
    explain: "Lists of 'performance settings' are copied from host to host for decades. Some of what is in them turns off what \
              makes TCP fast (SACK, timestamps, window scaling, buffers that grow by themselves) or safe (SYN cookies), some \
              makes queues so long that packets are late instead of lost. They are looked at when a connection is made, not \
              on a host that does nothing. If there is a reason for one of them here, write it down beside it, and silence \
              the rule with --ignore cargo-cult-settings.",
    triggers: &[&ACTIVE_OPENS, &PASSIVE_OPENS],
    seen: &[],
    knobs: &[
        &TIMESTAMPS,
        &SACK,
        &WINDOW_SCALING,
        &SYNCOOKIES,
        &MODERATE_RCVBUF,
        &ABORT_ON_OVERFLOW,
        &SOMAXCONN,
        &RMEM,
        &BUDGET,
        &MAX_BACKLOG,
    ],
    thresholds: &[
        Threshold { key: "least_somaxconn", default: 1_024.0, help: "connections; below, net.core.somaxconn is small" },
        Threshold { key: "most_budget", default: 5_000.0, help: "packets; above, net.core.netdev_budget is large" },
        Threshold { key: "most_backlog", default: 100_000.0, help: "packets; above, netdev_max_backlog is large" },
    ],
    fires: cargo_cult,
    examples: &[
        Example {
            what: "a list of 2008: no timestamps, no SACK",
            severity: Some(Severity::Info),
            observed: || with(&[("net/ipv4/tcp_timestamps", "0"), ("net/ipv4/tcp_sack", "0")]),
        },
        Example {
            what: "receive buffers that can't grow",
            severity: Some(Severity::Info),
            observed: || with(&[("net/ipv4/tcp_rmem", "16777216 16777216 16777216")]),
        },
        Example {
            what: "queues without end",
            severity: Some(Severity::Info),
            observed: || with(&[("net/core/netdev_budget", "50000"), ("net/core/netdev_max_backlog", "250000")]),
        },
        Example {
            what: "an accept queue as before 5.4",
            severity: Some(Severity::Info),
            observed: || with(&[("net/core/somaxconn", "128")]),
        },
        Example { what: "the defaults", severity: None, observed: || with(&[]) },
        Example {
            what: "values that were thought about",
            severity: None,
            observed: || {
                with(&[
                    ("net/ipv4/tcp_timestamps", "2"),
                    ("net/ipv4/tcp_syncookies", "2"),
                    ("net/ipv4/tcp_rmem", "4096 262144 67108864"),
                    ("net/core/netdev_budget", "600"),
                    ("net/core/netdev_max_backlog", "16384"),
                    ("net/core/somaxconn", "65535"),
                ])
            },
        },
        Example {
            what: "settings that a container does not see",
            severity: None,
            observed: || Observed::quiet().with(&ACTIVE_OPENS, 1),
        },
    ],
};

/// A host that opened a connection, with the defaults but for these.
fn with(others: &[(&str, &str)]) -> Observed {
    let defaults = [
        ("net/ipv4/tcp_timestamps", "1"),
        ("net/ipv4/tcp_sack", "1"),
        ("net/ipv4/tcp_window_scaling", "1"),
        ("net/ipv4/tcp_syncookies", "1"),
        ("net/ipv4/tcp_moderate_rcvbuf", "1"),
        ("net/ipv4/tcp_abort_on_overflow", "0"),
        ("net/ipv4/tcp_rmem", "4096 131072 6291456"),
        ("net/core/netdev_budget", "300"),
        ("net/core/netdev_max_backlog", "1000"),
        ("net/core/somaxconn", "4096"),
    ];
    let seen = Observed::quiet().with(&ACTIVE_OPENS, 1);
    defaults.iter().chain(others).fold(seen, |seen, (path, value)| seen.with_setting(path, value))
}

/// A switch that should be as the kernel has it by default.
struct Switch {
    knob: &'static Knob,
    bad: u64,
    back: &'static str,
    why: &'static str,
}

static SWITCHES: [Switch; 6] = [
    Switch {
        knob: &TIMESTAMPS,
        bad: 0,
        back: "1",
        why: "without them no exact round trips, no protection from old duplicates, and cookies that lose SACK and window \
              scaling; that they tell the uptime is over since 4.10",
    },
    Switch {
        knob: &SACK,
        bad: 0,
        back: "1",
        why: "without it one loss makes a sender repeat what had come; its holes of 2019 are long mended",
    },
    Switch {
        knob: &WINDOW_SCALING,
        bad: 0,
        back: "1",
        why: "without it no connection gets more than 64 KiB through in a round trip",
    },
    Switch {
        knob: &SYNCOOKIES,
        bad: 0,
        back: "1",
        why: "without them a full SYN queue loses connections; they cost nothing until it is full",
    },
    Switch {
        knob: &MODERATE_RCVBUF,
        bad: 0,
        back: "1",
        why: "without it every receive buffer stays as small as it begins",
    },
    Switch {
        knob: &ABORT_ON_OVERFLOW,
        bad: 1,
        back: "0",
        why: "on, a short burst of connects becomes errors at the clients, where they would have waited a second",
    },
];

fn cargo_cult(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let value = |knob: &Knob| seen.settings.get(&knob.path());
    let number = |knob: &Knob| seen.settings.number(&knob.path());
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, "");
    let mut odd = Vec::new();
    for Switch { knob, bad, back, why } in &SWITCHES {
        if number(knob) == Some(*bad) {
            odd.push(*knob);
            let from = value(knob).unwrap_or_default();
            finding.suggestions.push(seen.suggest(knob, Instance::Only, from.into(), (*back).into(), why));
        }
    }
    if number(&SOMAXCONN).is_some_and(|most| (most as f64) < seen.threshold(rule, "least_somaxconn")) {
        odd.push(&SOMAXCONN);
        let why = "the default since 5.4: shorter, it cuts what applications ask for, and a burst of connects is lost";
        finding.suggestions.extend(seen.raise(&SOMAXCONN, 4_096, why, |_| 0));
    }
    if seen.settings.numbers(&RMEM.path()).is_some_and(|sizes| sizes.len() == 3 && sizes[0] == sizes[2]) {
        odd.push(&RMEM);
        finding.refuse(
            RMEM.id,
            "all three alike, no buffer can grow with its path, and none gives way when memory is short: each connection \
             takes what one needs. Default 4096 131072 6291456 (since 6.18 33554432)",
        );
    }
    if number(&BUDGET).is_some_and(|budget| budget as f64 > seen.threshold(rule, "most_budget")) {
        odd.push(&BUDGET);
        let why = "default 300: netdev_budget_usecs ends a run long before, or programs on that CPU wait for it";
        finding.refuse(BUDGET.id, why);
    }
    if number(&MAX_BACKLOG).is_some_and(|backlog| backlog as f64 > seen.threshold(rule, "most_backlog")) {
        odd.push(&MAX_BACKLOG);
        let why = "default 1000: a queue that long makes packets late instead of lost, and a network card without RPS never \
                   uses it";
        finding.refuse(MAX_BACKLOG.id, why);
    }
    if odd.is_empty() {
        return Vec::new();
    }
    let list: Vec<String> =
        odd.iter().map(|knob| format!("{} = {}", knob.id, value(knob).unwrap_or_default())).collect();
    finding.why = list.join(", ");
    let moved = [&ACTIVE_OPENS, &PASSIVE_OPENS].into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, None)).collect();
    if !finding.folklore.is_empty() {
        finding.no_setting_helps = Some(
            "what stands below is not turned down for you: take its lines out of /etc/sysctl.d ('grep -r net. /etc/sysctl*'), \
             and set the defaults by sysctl -w"
                .into(),
        );
    }
    vec![finding]
}
