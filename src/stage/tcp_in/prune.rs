//! A connection holds more memory than its receive buffer allows: its queues are tidied up, and data thrown away.

use super::buffer::{DECIDE, enlarge, victims};
use super::{OFO_DROP, OFO_PRUNED, PRUNE_CALLED, RCV_COALESCE, RCV_COLLAPSED, RCV_PRUNED, RCV_Q_DROP};
use crate::model::{
    Connection, Connections, Example, Finding, Instance, Observed, Rule, Scope, Severity, Sockets, Threshold,
};

pub static PRUNED: Rule = Rule {
    id: "tcp-receive-pruned",
    title: "A connection's receive buffer overflowed: its queues were tidied up",
    explain: "The window that is offered to a sender leaves room in the receive buffer for what it may send, as long as \
              segments are of the usual size. Very small segments take many times their payload in memory, and a buffer \
              that the application made smaller later has no room for what was promised before. The kernel then merges \
              segments (PruneCalled, TCPRcvCollapsed): that costs CPU time, much of it with large buffers, and loses \
              nothing. If that does not help it throws away what came out of order (OfoPruned), which the sender takes for \
              received and must send again; and in the end what comes (RcvPruned; each is in TCPRcvQDrop or TCPOFODrop, too).",
    triggers: &[&PRUNE_CALLED, &RCV_PRUNED, &OFO_PRUNED],
    seen: &[],
    knobs: DECIDE,
    thresholds: &[
        Threshold { key: "critical_per_second", default: 1.0, help: "times/s that data was thrown away; own" },
        Threshold {
            key: "warning_collapsed_per_second",
            default: 10_000.0,
            help: "segments/s merged, above which the CPU time counts; own",
        },
    ],
    fires: pruned,
    examples: &[
        Example {
            what: "50 segments thrown away in a second",
            severity: Some(Severity::Critical),
            observed: || full(131_072).with(&PRUNE_CALLED, 50).with(&RCV_PRUNED, 50).with(&RCV_Q_DROP, 50),
        },
        Example {
            what: "data out of order thrown away, three times",
            severity: Some(Severity::Warning),
            observed: || full(6_291_456).with(&PRUNE_CALLED, 3).with(&OFO_PRUNED, 3),
        },
        Example {
            what: "30,000 segments merged in a second",
            severity: Some(Severity::Warning),
            observed: || full(6_291_456).with(&PRUNE_CALLED, 40).with(&RCV_COLLAPSED, 30_000),
        },
        Example {
            what: "segments merged now and then, nothing lost",
            severity: Some(Severity::Info),
            observed: || full(16_384).with(&PRUNE_CALLED, 1).with(&RCV_COLLAPSED, 43),
        },
        Example {
            what: "the connection's buffer had room, and was refused memory",
            severity: None,
            observed: || full(131_072).with(&PRUNE_CALLED, 9).with(&RCV_COLLAPSED, 4).with(&RCV_Q_DROP, 9),
        },
        Example {
            what: "segments merged as they came, with room in the buffer",
            severity: None,
            observed: || Observed::quiet().with(&RCV_COALESCE, 40_000),
        },
    ],
};

fn full(buffer: u32) -> Observed {
    let connection = Connection { buffer, received: buffer, drops: 3, ..super::example() };
    let (dropping, full) = (vec![(connection, 3)], vec![connection]);
    let connections = Connections { dropping, dropped: 3, full, ..Connections::default() };
    let sockets = Some(Sockets { connections: Some(connections), ..Sockets::default() });
    Observed { sockets, ..Observed::quiet().with_setting("net/ipv4/tcp_rmem", "4096 131072 6291456") }
}

/// Segments that were dropped because the buffer of their own connection was full. Where nothing waited to be read, the
/// segment was kept all the same (net/ipv4/tcp_input.c tcp_data_queue()).
pub fn dropped(seen: &Observed) -> u64 {
    let pruned = seen.delta(&RCV_PRUNED);
    match seen.changes.delta(&RCV_Q_DROP) {
        Some(in_order) => pruned.min(in_order.saturating_add(seen.delta(&OFO_DROP))),
        None => pruned,
    }
}

fn pruned(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (called, collapsed) = (seen.delta(&PRUNE_CALLED), seen.delta(&RCV_COLLAPSED));
    let (pruned, out_of_order) = (seen.delta(&RCV_PRUNED), seen.delta(&OFO_PRUNED));
    // Room is made also where memory is refused to a buffer that has room: tcp-receive-queue-drops tells of that.
    let refused = pruned == 0 && seen.delta_of(&[&RCV_Q_DROP, &OFO_DROP]) > 0;
    if out_of_order == 0 && (refused || called == 0 && pruned == 0) {
        return Vec::new();
    }
    let critical = seen.threshold(rule, "critical_per_second");
    let costly = seen.threshold(rule, "warning_collapsed_per_second");
    let severity = if seen.rate(pruned).is_some_and(|rate| rate >= critical) {
        Severity::Critical
    } else if pruned > 0 || out_of_order > 0 || seen.rate(collapsed).is_some_and(|rate| rate >= costly) {
        Severity::Warning
    } else {
        Severity::Info
    };
    let lost = dropped(seen);
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, "");
    finding.why = match (pruned, out_of_order) {
        (0, 0) => format!("{collapsed} segments were merged to make room, {called} times; nothing was lost"),
        (0, _) => format!("{out_of_order} times what had come out of order was thrown away; it must be sent again"),
        _ => format!("{pruned} times there was no room even after tidying up"),
    };
    let moved = [&RCV_PRUNED, &OFO_PRUNED, &PRUNE_CALLED, &RCV_COLLAPSED];
    let threshold = |counter| if counter == &RCV_PRUNED { Some(critical) } else { None };
    let moved = moved.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, threshold(counter))).collect();
    let losers = if lost > 0 { victims(seen, lost, |_| true) } else { Vec::new() };
    let connections = seen.sockets.as_ref().and_then(|sockets| sockets.connections.as_ref());
    let full = || connections.and_then(|connections| connections.full.first()).copied();
    let (worst, count) = (losers.first().map(|(worst, _)| *worst).or_else(full), losers.len().max(1) as u64);
    finding.victims = losers.into_iter().map(|(_, victim)| victim).collect();
    match worst {
        Some(worst) => {
            finding.why += &format!("; the buffer of {} to {} holds {} bytes", worst.local, worst.remote, worst.buffer);
            finding.instance = Instance::Socket { socket: worst.local.to_string() };
            enlarge(seen, &worst, count, &mut finding);
        }
        None => {
            finding.no_setting_helps = Some(
                "which connection it was can't be told any more: none is full now. Applications that send many tiny \
                 segments, or set a small SO_RCVBUF, do this"
                    .into(),
            );
        }
    }
    vec![finding]
}
