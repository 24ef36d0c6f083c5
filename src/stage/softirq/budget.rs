//! The receive softirq stops before it is done.

use super::knobs::{BUDGET, BUDGET_USECS};
use super::{NET_RX, TIME_SQUEEZE};
use crate::model::{Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::backlog::PROCESSED;
use crate::stage::ring::{RING_DROPPED, RING_FULL, RX_MISSED_ERRORS};

pub static EXHAUSTED: Rule = Rule {
    id: "poll-budget-exhausted",
    title: "The receive softirq stops with its budget used up",
    explain: "net_rx_action() polls at most net.core.netdev_budget packets, for at most net.core.netdev_budget_usecs, then \
              lets others run. Each such stop counts in time_squeeze, also if nothing was left to do. No packet is lost by \
              it, and a few a second are normal under load. It matters if rings overflow at the same time. Which limit it \
              was can be told from the packets: if there were as many as the stops had budget, it was the budget, and \
              twice of it helps; if there were far fewer, the time ran out, because the work for each packet is slow (an \
              XDP or tc program, firewall rules, taps) or the budget of time is too small. Higher budgets make programs on \
              the same CPU wait longer.",
    triggers: &[&TIME_SQUEEZE],
    seen: &[],
    knobs: &[&BUDGET, &BUDGET_USECS],
    thresholds: &[
        Threshold { key: "per_second", default: 10.0, help: "stops/s above which they matter; netdata's alarm" },
        Threshold {
            key: "percent_of_runs",
            default: 1.0,
            help: "share of the receive softirq's runs that stop so, in %; own",
        },
    ],
    fires: exhausted,
    examples: &[
        Example {
            what: "200 stops a second, each after as many packets as the budget allows",
            severity: Some(Severity::Info),
            observed: || squeezed(200, 70_000),
        },
        Example {
            what: "200 stops a second after few packets: time ran out",
            severity: Some(Severity::Info),
            observed: || squeezed(200, 2_000),
        },
        Example {
            what: "rings overflow meanwhile",
            severity: Some(Severity::Warning),
            observed: || squeezed(200, 70_000).with_at(&RX_MISSED_ERRORS, Instance::device("eth0"), 900),
        },
        Example {
            what: "how often the softirq ran is not known",
            severity: None,
            observed: || Observed::quiet().with_at(&TIME_SQUEEZE, cpu(0), 500),
        },
        Example { what: "5 stops a second", severity: None, observed: || squeezed(5, 5_000) },
        Example {
            what: "many stops, and far more runs: small steady growth",
            severity: None,
            observed: || squeezed(50, 20_000).with_at(&NET_RX, cpu(1), 1_000_000),
        },
    ],
};

fn cpu(cpu: u32) -> Instance {
    Instance::Cpu { cpu }
}

fn squeezed(stops: u64, packets: u64) -> Observed {
    Observed::quiet()
        .with_at(&TIME_SQUEEZE, cpu(0), stops)
        .with_at(&NET_RX, cpu(0), 1_000)
        .with_at(&PROCESSED, cpu(0), packets)
        .with_setting("net/core/netdev_budget", "300")
        .with_setting("net/core/netdev_budget_usecs", "8000")
}

/// Further than this, longer softirqs do more harm than good.
const MOST: u64 = 1200;
/// What the kernel begins with: less than that is somebody's mistake.
const DEFAULT: u64 = 300;

fn exhausted(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (many, share) = (seen.threshold(rule, "per_second"), seen.threshold(rule, "percent_of_runs"));
    // Without the runs it can't be told whether these are many.
    let (stops, Some(runs)) = (seen.delta(&TIME_SQUEEZE), seen.changes.delta(&NET_RX)) else { return Vec::new() };
    let often = seen.rate(stops).is_none_or(|rate| rate > many);
    if !often || stops as f64 * 100.0 <= share * runs as f64 {
        return Vec::new();
    }
    let lost = seen.delta(&RX_MISSED_ERRORS).max(seen.delta_of(&[&RING_FULL, &RING_DROPPED]));
    let severity = if lost > 0 { Severity::Warning } else { Severity::Info };
    let (packets, budget) = (packets_of_squeezed(seen), seen.settings.number(&BUDGET.path()));
    let why = if lost > 0 { "while rings overflowed" } else { "and no packet is lost by that" };
    let why = format!("{stops} of {runs} runs stopped with work perhaps left, {why}");
    // What was lost is the ring's: nic-ring-overflow counts it.
    let mut finding = Finding::new(rule, severity, Scope::Machine, 0, why);
    finding.evidence.push(seen.evidence(&TIME_SQUEEZE, Some(many)));
    finding.evidence.push(seen.evidence(&NET_RX, None));
    finding.evidence.push(seen.evidence(&PROCESSED, None));
    let Some(budget) = budget else {
        finding.no_setting_helps = Some(
            "which limit ends the runs is not known: net.core.netdev_budget can't be read here; from inside a container only \
             the host shows it"
                .into(),
        );
        return vec![finding];
    };
    if packets >= stops.saturating_mul(budget) {
        finding.why += "; each after as many packets as the budget allows";
        let to = budget.saturating_mul(2).clamp(DEFAULT * 2, MOST);
        finding.suggest(seen.raise(&BUDGET, to, "twice the present budget: it is what ends the runs", |_| 0));
    } else if lost > 0 {
        finding.why += "; after fewer packets than the budget allows, so it was the time";
        let to = seen.settings.number(&BUDGET_USECS.path()).unwrap_or(0).saturating_mul(2);
        finding.suggest(seen.raise(&BUDGET_USECS, to, "twice the present time: it is what ends the runs", |_| 0));
    } else {
        finding.refuse(
            BUDGET.id,
            "the runs end before they have polled that many packets: it is the time that is used up",
        );
        finding.no_setting_helps = Some(
            "each packet takes long: look at what runs for it (XDP and tc programs, firewall rules, taps); as long as no \
             ring overflows there is nothing to gain"
                .into(),
        );
    }
    vec![finding]
}

/// Packets that the CPUs took which stopped so.
fn packets_of_squeezed(seen: &Observed) -> u64 {
    let cpus = seen.changes.grown(&TIME_SQUEEZE).map(|(cpu, _)| seen.changes.delta_at(&PROCESSED, cpu));
    cpus.fold(0, u64::saturating_add)
}
