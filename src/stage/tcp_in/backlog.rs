//! Segments that came while a process held their socket, more than the socket's backlog takes.

use super::buffer::{DECIDE, Limit, RMEM, enlarge, limit, restart, victims};
use super::{BACKLOG_DROP, IN_SEGS};
use crate::model::{
    Connection, Connections, Example, Finding, Instance, Observed, Rule, Scope, Severity, Sockets, Suggestion,
    Threshold,
};

pub static DROPS: Rule = Rule {
    id: "tcp-socket-backlog-drops",
    title: "Segments came faster than a process let go of their socket, and were dropped",
    explain: "While a process works on a socket (in recv() or send(), say), what comes for it waits in the socket's own \
              backlog, and is taken in when the process lets go. The backlog may hold twice the receive buffer, half of the \
              send buffer and 64 KiB (since 6.1; the receive buffer once before). What comes besides is dropped, and sent \
              again. This is not the backlog of listen(), and no longer accept queue helps. It takes a process that holds \
              the socket long: reads of many megabytes in one call, memory that must first be fetched from disk, a CPU that \
              somebody else takes; or a receive buffer that is very small.",
    triggers: &[&BACKLOG_DROP],
    seen: &[],
    knobs: DECIDE,
    thresholds: &[Threshold { key: "warning_per_second", default: 1.0, help: "segments/s; own: below, a remark" }],
    fires: drops,
    examples: &[
        Example {
            what: "400 segments dropped in a second, the buffer is as each begins",
            severity: Some(Severity::Warning),
            observed: || dropping(400, 131_072),
        },
        Example {
            what: "the same, the application set a small buffer",
            severity: Some(Severity::Warning),
            observed: || dropping(400, 16_384),
        },
        Example {
            what: "one segment dropped in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = dropping(1, 131_072);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "segments waited in a backlog and were merged there",
            severity: None,
            observed: || Observed::quiet().with(&super::BACKLOG_COALESCE, 500),
        },
    ],
};

fn dropping(lost: u64, buffer: u32) -> Observed {
    let connection = Connection { buffer, drops: lost as u32, ..super::example() };
    let connections = Connections { dropping: vec![(connection, lost)], dropped: lost, ..Connections::default() };
    let sockets = Some(Sockets { connections: Some(connections), ..Sockets::default() });
    let seen = Observed::quiet()
        .with(&BACKLOG_DROP, lost)
        .with(&IN_SEGS, 100_000)
        .with_setting("net/ipv4/tcp_rmem", "4096 131072 6291456");
    Observed { sockets, ..seen }
}

fn drops(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.delta(&BACKLOG_DROP);
    if lost == 0 {
        return Vec::new();
    }
    let warning = seen.threshold(rule, "warning_per_second");
    let many = seen.rate(lost).is_some_and(|rate| rate >= warning);
    let severity = if many { Severity::Warning } else { Severity::Info };
    let victims = victims(seen, lost, |_| true);
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, "");
    finding.evidence.push(seen.evidence(&BACKLOG_DROP, Some(warning)));
    finding.refuse("net.core.somaxconn", "that is the accept queue of listeners; this is another backlog");
    finding.refuse("net.core.netdev_max_backlog", "that is a queue of a CPU; this one is of a single socket");
    let Some((worst, _)) = victims.first() else {
        finding.why = "which connection it was is not known: it is over, or connections can't be read".into();
        finding.no_setting_helps = Some("without the connection it can't be told whether its buffer binds".into());
        return vec![finding];
    };
    finding.why = format!(
        "a process held the connection of {} to {} while more came than its receive buffer of {} bytes lets wait",
        worst.local, worst.remote, worst.buffer
    );
    finding.instance = Instance::Socket { socket: worst.local.to_string() };
    let (worst, count) = (*worst, victims.len() as u64);
    finding.victims = victims.into_iter().map(|(_, victim)| victim).collect();
    match limit(seen, &worst) {
        // Whatever it has grown to since, it began small.
        Limit::Start | Limit::Unknown => {
            let to = |present: &[u64]| vec![0, present.get(1).map_or(0, |start| start.saturating_mul(2))];
            let why =
                "twice what each begins with, unless its application sets SO_RCVBUF: so that twice as much may wait";
            let memory_bytes = u64::from(worst.buffer).saturating_mul(count);
            let suggestion = seen.raise_all(&RMEM, to, why, |_| 0);
            restart(seen, suggestion.map(|suggestion| Suggestion { memory_bytes, ..suggestion }), &mut finding);
        }
        _ => enlarge(seen, &worst, count, &mut finding),
    }
    vec![finding]
}
