//! The driver does not take what the queue gives it.

use super::{REQUEUES, SENT};
use crate::model::{Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};

pub static BUSY: Rule = Rule {
    id: "driver-busy-requeues",
    title: "The driver is often too busy to take a packet from the queue",
    explain: "The packet goes back to the head of the queue and is offered again: nothing is lost, but each try costs time, \
              and what waits, waits longer. The transmit ring is full when it should have been stopped before (a driver \
              without BQL), or many CPUs send through one queue. A few a second are normal on any busy device.",
    triggers: &[&REQUEUES],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold {
            key: "info_percent",
            default: 1.0,
            help: "packets offered again, in % of those sent; below, silent",
        },
        Threshold { key: "info_per_second", default: 10.0, help: "packets/s offered again; own: below, silent" },
    ],
    fires: busy,
    examples: &[
        Example {
            what: "200 of 1,000 packets in a second",
            severity: Some(Severity::Info),
            observed: || offered_again(200, 1_000),
        },
        Example { what: "200 of 100,000: harmless", severity: None, observed: || offered_again(200, 100_000) },
        Example { what: "3 of 10: too few to tell", severity: None, observed: || offered_again(3, 10) },
    ],
};

fn offered_again(times: u64, sent: u64) -> Observed {
    let at = || Instance::qdisc("eth0", "pfifo_fast 0:");
    Observed::quiet().with_at(&REQUEUES, at(), times).with_at(&SENT, at(), sent)
}

fn busy(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (share, least) = (seen.threshold(rule, "info_percent"), seen.threshold(rule, "info_per_second"));
    let of = |(at, times): (&Instance, u64)| {
        let percent = times as f64 * 100.0 / seen.changes.delta_at(&SENT, at).max(1) as f64;
        if percent <= share || seen.rate(times).is_none_or(|rate| rate < least) {
            return None;
        }
        let why = format!("the driver of {at} did not take {times} packets at once, {percent:.1} % of those sent");
        let mut finding = Finding::new(rule, Severity::Info, Scope::Device, 0, why);
        finding.instance = at.clone();
        finding.evidence = vec![seen.evidence_at(&REQUEUES, at, Some(least)), seen.evidence_at(&SENT, at, None)];
        finding.no_setting_helps = Some(
            "a larger transmit ring (ethtool -G DEV tx) helps some drivers; a newer driver that stops its queue in time, \
             all of them"
                .into(),
        );
        Some(finding)
    };
    seen.grown(&REQUEUES).into_iter().filter_map(of).collect()
}
