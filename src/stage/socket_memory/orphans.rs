//! Connections that no process holds any more, but that still have data to send.

use super::{TCP_ABORT_ON_MEMORY, TCP_ORPHAN};
use crate::model::{
    Example, Finding, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold, power_of_two,
};

pub static ORPHANS: Rule = Rule {
    id: "tcp-orphans",
    title: "Many connections that no process holds any more still have data to send",
    explain: "A process that closes a connection does not wait until its last data has arrived: the kernel goes on sending, \
              and the connection is an orphan until the peer has acknowledged all. Peers that are slow or gone let orphans \
              pile up. The kernel allows net.ipv4.tcp_max_orphans of them on the machine; further ones are reset when they \
              are closed, and what they had to send is lost ('too many orphaned sockets' in the kernel's log). A connection \
              that gets nowhere may be cut off at a quarter of that already. Fewer of them: answer and wait for the end \
              (shutdown(), read to the end, then close()), a shorter net.ipv4.tcp_orphan_retries for peers that are gone, \
              SO_LINGER with a short time where the data need not arrive.",
    triggers: &[&TCP_ORPHAN, &TCP_ABORT_ON_MEMORY],
    seen: &[],
    knobs: &[&MAX_ORPHANS],
    thresholds: &[
        Threshold { key: "warning_percent", default: 25.0, help: "of tcp_max_orphans, in %; netdata" },
        Threshold { key: "critical_percent", default: 50.0, help: "of tcp_max_orphans, in %; netdata" },
    ],
    fires: many,
    examples: &[
        Example { what: "6,000 of 10,000", severity: Some(Severity::Critical), observed: || orphans(6_000) },
        Example { what: "3,000 of 10,000", severity: Some(Severity::Warning), observed: || orphans(3_000) },
        Example {
            what: "3,000 of 10,000, and 8 connections were reset",
            severity: Some(Severity::Critical),
            observed: || orphans(3_000).with(&TCP_ABORT_ON_MEMORY, 8),
        },
        Example { what: "2,000 of 10,000", severity: None, observed: || orphans(2_000) },
        Example {
            what: "connections were cut off for another reason",
            severity: None,
            observed: || orphans(20).with(&TCP_ABORT_ON_MEMORY, 8),
        },
    ],
};

fn orphans(count: u64) -> Observed {
    Observed::quiet().with(&TCP_ORPHAN, count).with_setting("net/ipv4/tcp_max_orphans", "10000")
}

/// A connection that gets nowhere is cut off from this share on (net/ipv4/tcp_timer.c tcp_out_of_resources()).
const CUT_OFF: u64 = 4;

/// What is usual on a machine with little memory.
const USUAL: u64 = 8_192;

/// There are so many that connections are cut off for it.
pub fn too_many(seen: &Observed) -> bool {
    let most = seen.changes.gauge(&TCP_ORPHAN).map_or(0, |(most, _)| most);
    let limit = seen.settings.number(&MAX_ORPHANS.path());
    limit.is_some_and(|limit| most > 0 && most.saturating_mul(CUT_OFF) >= limit)
}

fn many(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let most = seen.changes.gauge(&TCP_ORPHAN).map_or(0, |(most, _)| most);
    // Inside a container the limit is not shown; without it, nothing can be said.
    let Some(limit) = seen.settings.number(&MAX_ORPHANS.path()) else { return Vec::new() };
    let (warning, critical) = (seen.threshold(rule, "warning_percent"), seen.threshold(rule, "critical_percent"));
    let share = most as f64 * 100.0 / limit.max(1) as f64;
    let cut_off = if too_many(seen) { seen.delta(&TCP_ABORT_ON_MEMORY) } else { 0 };
    let severity = if share > critical || cut_off > 0 {
        Severity::Critical
    } else if share > warning {
        Severity::Warning
    } else {
        return Vec::new();
    };
    let mut why = format!("at most, there were {most} of them on the machine, of {limit} that may be");
    let connections = seen.sockets.iter().find_map(|sockets| sockets.connections.as_ref());
    if let Some(connections) = connections {
        why += &format!("; {} of this namespace now", connections.orphans);
    }
    if cut_off > 0 {
        why += &format!("; {cut_off} connections were reset, and what they had to send is lost");
    }
    let mut finding = Finding::new(rule, severity, Scope::Machine, 0, why);
    finding.evidence.push(seen.evidence(&TCP_ORPHAN, Some(limit as f64 * warning / 100.0)));
    if cut_off > 0 {
        finding.evidence.push(seen.evidence(&TCP_ABORT_ON_MEMORY, None));
    }
    // Those that were reset would be orphans, too. Memory for many times the usual limit is not to be had.
    let wanted = most.saturating_add(cut_off).saturating_mul(CUT_OFF).saturating_add(1);
    let to = power_of_two(wanted.max(limit.saturating_add(1))).min(limit.saturating_mul(2).max(USUAL));
    let why = "so many that the present ones and those that were reset are less than a quarter, at most twice the present \
               number; better that there are fewer of them";
    // An orphan's queue may hold as much as tcp_orphan_retries lets it; the kernel's own estimate is 64 KiB.
    finding.suggest(seen.raise(&MAX_ORPHANS, to, why, |more| more.saturating_mul(64 << 10)));
    let elsewhere = "up to 60 s, what waits for the peer's FIN is no orphan but an entry of TIME_WAIT";
    finding.refuse("net.ipv4.tcp_fin_timeout", elsewhere);
    finding.refuse("net.ipv4.tcp_tw_recycle", "it is about TIME_WAIT, and gone since 4.12");
    finding.refuse("net.ipv4.tcp_max_tw_buckets", "orphans are not in TIME_WAIT");
    vec![finding]
}

pub static MAX_ORPHANS: Knob = Knob {
    id: "net.ipv4.tcp_max_orphans",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "connections",
    range: 1..=2_147_483_647,
    default: "half of the places for connections (tcp_established hash): 131072 with much memory",
    help: "Connections without a process that the machine keeps until all they have to send has arrived. Further ones are \
           reset. One for all containers; only the host shows and changes it.",
    formula: "more than four times the peak",
    risk: Risk::Medium,
    harm: "64 KiB of memory each, which can't be swapped out",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
