//! Segments that found no memory although their connection's buffer has room, or that came into a closed window.

use super::buffer::victims;
use super::{BEYOND_WINDOW, OFO_DROP, RCV_PRUNED, RCV_Q_DROP, ZERO_WINDOW_DROP, prune};
use crate::model::{
    Connection, Connections, Counter, Example, Finding, Instance, Observed, Rule, Scope, Severity, Sockets, Threshold,
};
use crate::stage::socket_memory::{TCP_MEM, pressure};

pub static DROPS: Rule = Rule {
    id: "tcp-receive-queue-drops",
    title: "TCP segments found no place in the receive queue",
    explain: "Two causes. Memory: all TCP sockets of the machine together hold what net.ipv4.tcp_mem allows, or the sockets of \
              a container what its memory limit allows; segments are then dropped although the connection's own buffer has \
              room (TCPRcvQDrop, TCPOFODrop), and sent again. What was dropped because the buffer itself was full is \
              tcp-receive-pruned and not said again here. The peer: it sent into a window that we had closed \
              (TCPZeroWindowDrop; where BeyondWindow is counted, since 6.18, it takes its place, also for what exceeds a \
              window that is open). A byte now and then is how some systems ask whether the window is open again: normal \
              as long as the application here does not read.",
    triggers: &[&RCV_Q_DROP, &OFO_DROP, &ZERO_WINDOW_DROP, &BEYOND_WINDOW],
    seen: &[],
    knobs: &[&pressure::TCP_MEM_LIMIT],
    thresholds: &[Threshold { key: "warning_per_second", default: 1.0, help: "segments/s; own: below, a remark" }],
    fires: drops,
    examples: &[
        Example {
            what: "60 segments dropped in a second, all TCP sockets are at their limit",
            severity: Some(Severity::Warning),
            observed: || dropping(60).with(&RCV_Q_DROP, 60).with(&TCP_MEM, 1_000),
        },
        Example {
            what: "60 segments dropped in a second, and TCP as a whole has room",
            severity: Some(Severity::Warning),
            observed: || dropping(60).with(&RCV_Q_DROP, 40).with(&OFO_DROP, 20).with(&TCP_MEM, 10),
        },
        Example {
            what: "90 segments came into a closed window in a second",
            severity: Some(Severity::Warning),
            observed: || dropping(90).with(&ZERO_WINDOW_DROP, 90),
        },
        Example {
            what: "a peer asks once in ten seconds whether the window is open again",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = dropping(1).with(&ZERO_WINDOW_DROP, 1);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "90 segments ended beyond the window: how many of them were kept is not counted",
            severity: Some(Severity::Info),
            observed: || dropping(90).with(&BEYOND_WINDOW, 90),
        },
        Example {
            what: "all were dropped because the connection's own buffer was full",
            severity: None,
            observed: || dropping(50).with(&RCV_Q_DROP, 50).with(&RCV_PRUNED, 50),
        },
    ],
};

fn dropping(lost: u64) -> Observed {
    let connection = Connection { drops: lost as u32, ..super::example() };
    let connections = Connections { dropping: vec![(connection, lost)], dropped: lost, ..Connections::default() };
    let sockets = Some(Sockets { connections: Some(connections), ..Sockets::default() });
    Observed { sockets, ..Observed::quiet().with_setting("net/ipv4/tcp_mem", "500 700 1000") }
}

const NOT_READ: &str = "the application does not read, and its peers do not wait, or ask whether they may go on: the \
                        application's reader is what must be mended";

fn drops(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let memory = seen.delta_of(&[&RCV_Q_DROP, &OFO_DROP]).saturating_sub(prune::dropped(seen));
    let closed = seen.delta(&ZERO_WINDOW_DROP);
    let found = |lost: u64, counters: &[&'static Counter]| {
        let warning = seen.threshold(rule, "warning_per_second");
        let many = seen.rate(lost).is_some_and(|rate| rate >= warning);
        let severity = if many { Severity::Warning } else { Severity::Info };
        let mut finding = Finding::new(rule, severity, Scope::Netns, lost, "");
        let moved = counters.iter().filter(|counter| seen.delta(counter) > 0);
        finding.evidence = moved.map(|counter| seen.evidence(counter, Some(warning))).collect();
        let victims = victims(seen, lost, |_| true);
        if let [(only, _)] = &victims[..] {
            finding.instance = Instance::Socket { socket: only.local.to_string() };
        }
        finding.victims = victims.into_iter().map(|(_, victim)| victim).collect();
        finding
    };
    let mut findings = Vec::new();
    if memory > 0 {
        let mut finding = found(memory, &[&RCV_Q_DROP, &OFO_DROP]);
        if pressure::at_limit(seen) {
            finding.why =
                "all TCP sockets of the machine together hold as much memory as net.ipv4.tcp_mem allows".into();
            finding.suggest(pressure::raise(seen));
        } else {
            finding.why = "the connections' own buffers had room".into();
            finding.no_setting_helps = Some(
                "memory was refused, and net.ipv4.tcp_mem is not what refuses it: most likely the memory limit of the \
                 container or service (memory.max). 'rx --probes on' names whose limit it is"
                    .into(),
            );
            finding.refuse("net.ipv4.tcp_rmem", "the buffers of the connections had room");
        }
        findings.push(finding);
    }
    if closed > 0 {
        let mut finding = found(closed, &[&ZERO_WINDOW_DROP]);
        finding.why = "senders went on although the window that we offered was closed".into();
        finding.no_setting_helps = Some(NOT_READ.into());
        findings.push(finding);
    }
    let beyond = seen.delta(&BEYOND_WINDOW);
    if beyond > 0 {
        // Kept if nothing waits to be read, else dropped (net/ipv4/tcp_input.c tcp_sequence()).
        let mut finding = found(beyond, &[&BEYOND_WINDOW]);
        (finding.lost, finding.severity) = (0, Severity::Info);
        finding.why =
            format!("{beyond} segments ended beyond the window that was offered, or came while it was closed");
        finding.no_setting_helps = Some(NOT_READ.into());
        findings.push(finding);
    }
    findings
}
