//! A CPU's backlog stays more than half full: the next burst overflows it.

use super::{BACKLOG_LEN, DROPPED, INPUT_QLEN, MAX_BACKLOG, PROCESSED};
use crate::model::{Counter, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold, power_of_two};

pub static NEARLY_FULL: Rule = Rule {
    id: "backlog-nearly-full",
    title: "A CPU's receive backlog stays more than half full",
    explain: "Nothing is lost yet, but a queue that is found long at two looks in a row (100 ms apart) drains slower than \
              it fills, and what waits in it is late. Only the part that net.core.netdev_max_backlog limits counts \
              (softnet.input_qlen, since 6.4); before 6.4 the kernel shows it together with what is being worked on, \
              which may rightly be twice the limit. Needs a window: totals since boot say nothing of it.",
    triggers: &[&BACKLOG_LEN, &INPUT_QLEN],
    seen: &[],
    knobs: &[&MAX_BACKLOG],
    thresholds: &[Threshold {
        key: "info_percent",
        default: 50.0,
        help: "fill of the queue at two looks in a row, in % of netdev_max_backlog; own",
    }],
    fires: nearly_full,
    examples: &[
        Example {
            what: "700 of 1000 packets wait, at two looks in a row",
            severity: Some(Severity::Info),
            observed: || waiting(&INPUT_QLEN, 700),
        },
        Example {
            what: "the same on a kernel that shows only the sum",
            severity: Some(Severity::Info),
            observed: || waiting(&BACKLOG_LEN, 700),
        },
        Example {
            what: "a burst that one look saw",
            severity: None,
            observed: || {
                let cpu = Instance::Cpu { cpu: 1 };
                Observed::quiet().with_at(&INPUT_QLEN, cpu, 900).with_setting("net/core/netdev_max_backlog", "1000")
            },
        },
        Example {
            what: "the sum is above the limit, but what the limit counts is short",
            severity: None,
            observed: || waiting(&INPUT_QLEN, 100).with_held(&BACKLOG_LEN, Instance::Cpu { cpu: 1 }, 900),
        },
        Example {
            what: "it overflows already: another rule tells",
            severity: None,
            observed: || waiting(&INPUT_QLEN, 990).with_at(&DROPPED, Instance::Cpu { cpu: 1 }, 40),
        },
    ],
};

fn waiting(gauge: &'static Counter, packets: u64) -> Observed {
    Observed::quiet()
        .with_held(gauge, Instance::Cpu { cpu: 1 }, packets)
        .with_setting("net/core/netdev_max_backlog", "1000")
}

fn nearly_full(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let Some(limit) = seen.settings.number(&MAX_BACKLOG.path()) else { return Vec::new() };
    let gauge = if seen.changes.held(&INPUT_QLEN).is_some() { &INPUT_QLEN } else { &BACKLOG_LEN };
    let Some((cpu, waiting)) = seen.changes.held(gauge) else { return Vec::new() };
    let line = limit as f64 * seen.threshold(rule, "info_percent") / 100.0;
    if waiting as f64 <= line || seen.delta(&DROPPED) > 0 {
        return Vec::new();
    }
    let why =
        format!("at two looks in a row, {waiting} packets or more waited in the queue of {cpu}, which holds {limit}");
    let mut finding = Finding::new(rule, Severity::Info, Scope::Cpu, 0, why);
    finding.instance = cpu.clone();
    let mut evidence = seen.evidence(gauge, Some(line));
    evidence.instance = cpu.clone();
    finding.evidence.push(evidence);
    let cpus = seen.changes.each(&PROCESSED).count().max(1) as u64;
    // A packet of 1500 bytes is charged 2304 bytes; each CPU has two such queues.
    let memory = |more: u64| more.saturating_mul(2304 * 2).saturating_mul(cpus);
    let why = "the next power of two above twice the present length, before a burst no longer fits";
    finding.suggest(seen.raise(&MAX_BACKLOG, power_of_two(limit.saturating_mul(2)), why, memory));
    vec![finding]
}
