//! We tell senders to stop, because an application does not read.

use super::buffer::{DECIDE, enlarge};
use super::{CURR_ESTAB, FROM_ZERO_WINDOW_ADV, TO_ZERO_WINDOW_ADV};
use crate::model::{
    Connection, Connections, Example, Finding, Instance, Observed, Rule, Scope, Severity, Sockets, Threshold, Victim,
};

pub static ZERO: Rule = Rule {
    id: "tcp-zero-window-advertised",
    title: "Senders are told to stop: receive buffers are full",
    explain: "What an application has not read yet waits in the receive buffer of its connection. When that is full the \
              kernel offers a window of 0, and the sender stops until the application reads: nothing is lost, it only takes \
              longer. That is how TCP slows a sender down to its reader's pace, and normal for a reader that is meant to be \
              slow. A buffer that the kernel grew as far as net.ipv4.tcp_rmem lets it is short for a reader that pauses now \
              and then; below that, or with a size of the application's own, that setting does not bind.",
    triggers: &[&TO_ZERO_WINDOW_ADV],
    seen: &[],
    knobs: DECIDE,
    thresholds: &[Threshold {
        key: "warning_per_second_per_100",
        default: 1.0,
        help: "windows closed/s for each 100 established connections, if one is still closed at the end; own",
    }],
    fires: zero,
    examples: &[
        Example {
            what: "90 windows closed in a second, of 200 connections; the buffer grew as far as it may",
            severity: Some(Severity::Warning),
            observed: || stopped(90, 6_291_456).with(&CURR_ESTAB, 200),
        },
        Example {
            what: "the same, the buffer is as each begins: the application does not read",
            severity: Some(Severity::Warning),
            observed: || stopped(90, 131_072).with(&CURR_ESTAB, 200),
        },
        Example {
            what: "one window closed in a second, of 5,000 connections",
            severity: Some(Severity::Info),
            observed: || stopped(1, 131_072).with(&CURR_ESTAB, 5_000),
        },
        Example {
            what: "a fast transfer closed its window for a moment, and its reader caught up",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&TO_ZERO_WINDOW_ADV, 1).with(&CURR_ESTAB, 1),
        },
        Example {
            what: "windows that were closed before opened again",
            severity: None,
            observed: || Observed::quiet().with(&FROM_ZERO_WINDOW_ADV, 90).with(&CURR_ESTAB, 200),
        },
        Example {
            what: "a few windows closed since boot",
            severity: None,
            observed: || {
                let mut seen = stopped(20, 131_072).with(&CURR_ESTAB, 200);
                seen.changes.seconds = Some(100_000.0);
                seen.changes.since_boot = true;
                seen
            },
        },
    ],
};

fn stopped(count: u64, buffer: u32) -> Observed {
    let connection = Connection { buffer, received: buffer, unread: buffer / 2, ..super::example() };
    let connections = Connections { full: vec![connection], ..Connections::default() };
    let sockets = Some(Sockets { connections: Some(connections), ..Sockets::default() });
    let seen =
        Observed::quiet().with(&TO_ZERO_WINDOW_ADV, count).with_setting("net/ipv4/tcp_rmem", "4096 131072 6291456");
    Observed { sockets, ..seen }
}

fn zero(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let count = seen.delta(&TO_ZERO_WINDOW_ADV);
    let connections = seen.changes.gauge(&CURR_ESTAB).map_or(0, |(most, _)| most).max(1);
    let warning = seen.threshold(rule, "warning_per_second_per_100");
    let many = seen.rate(count).is_some_and(|rate| rate * 100.0 / connections as f64 > warning);
    // Over days, each application is slow once.
    if count == 0 || (seen.changes.since_boot && !many) {
        return Vec::new();
    }
    let full = seen.sockets.iter().filter_map(|sockets| sockets.connections.as_ref()).flat_map(|all| &all.full);
    let full: Vec<&Connection> = full.collect();
    // A reader that has caught up was in time: a fast transfer closes its window for a moment now and then.
    let severity = if many && !full.is_empty() { Severity::Warning } else { Severity::Info };
    let why = format!("{count} times a window was closed, with {connections} connections; nothing was lost by that");
    let mut finding = Finding::new(rule, severity, Scope::Netns, 0, why);
    finding.evidence.push(seen.evidence(&TO_ZERO_WINDOW_ADV, Some(warning * connections as f64 / 100.0)));
    finding.victims = full.iter().map(|one| Victim::of_connection(one, 0)).collect();
    match full.first() {
        Some(worst) => {
            finding.instance = Instance::Socket { socket: worst.local.to_string() };
            finding.why += &format!(
                ". {} has {} bytes from {} to read, in a buffer of {}",
                worst.local, worst.unread, worst.remote, worst.buffer
            );
            enlarge(seen, worst, full.len() as u64, &mut finding);
        }
        None => {
            finding.no_setting_helps = Some(
                "no connection is full any more: their readers paused and caught up, which costs time and no data"
                    .into(),
            );
            finding.refuse("net.core.rmem_max", "it only caps SO_RCVBUF, and raises nothing by itself");
        }
    }
    vec![finding]
}
