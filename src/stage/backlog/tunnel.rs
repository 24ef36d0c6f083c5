//! A tunnel's own receive queue overflows.

use super::{MAX_BACKLOG, PROCESSED};
use crate::model::{Drop, Example, Finding, Observed, Rule, Scope, Severity, Threshold, power_of_two};

pub static CELLS: Rule = Rule {
    id: "tunnel-cell-overflow",
    title: "A tunnel's receive queue is full and drops packets",
    explain: "vxlan, geneve, gre and ipip put what they unwrap into a queue of their own per CPU, so that GRO can see it. It \
              has the length of net.core.netdev_max_backlog, but what it drops is in the tunnel's rx_dropped alone, never \
              in softnet.dropped. A tunnel also drops what it has no network for (VXLAN_VNI_NOT_FOUND): that is another \
              fault.",
    triggers: &[],
    seen: &[CELL_FULL],
    knobs: &[&MAX_BACKLOG],
    thresholds: &[Threshold { key: "info_below_per_second", default: 1.0, help: "packets/s; own: below, a remark" }],
    fires: cells,
    examples: &[
        Example {
            what: "30 packets lost in a second at gro_cells_receive",
            severity: Some(Severity::Warning),
            observed: || cell(30),
        },
        Example {
            what: "one packet in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = cell(1);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "a tunnel that does not know the network",
            severity: None,
            observed: || Observed::quiet().with_drops(Drop::example("VXLAN_VNI_NOT_FOUND", 30)),
        },
    ],
};

/// The kernel has no reason for it: its place stands for it (net/core/gro_cells.c gro_cells_receive()).
pub const CELL_FULL: &str = "GRO_CELL_FULL";

fn cell(packets: u64) -> Observed {
    let setting = Observed::quiet().with_setting("net/core/netdev_max_backlog", "1000");
    setting.with_drops(Drop { device: Some("vxlan0".into()), ..Drop::example(CELL_FULL, packets) })
}

fn cells(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.dropped(CELL_FULL);
    if lost == 0 {
        return Vec::new();
    }
    let noise = seen.threshold(rule, "info_below_per_second");
    let severity = if seen.rate(lost).is_some_and(|rate| rate < noise) { Severity::Info } else { Severity::Warning };
    let mut devices: Vec<&str> = seen.drops_for(CELL_FULL).filter_map(|drop| drop.device.as_deref()).collect();
    devices.sort_unstable();
    devices.dedup();
    let why = format!("the queue of {} was full", devices.join(", "));
    let mut finding = Finding::new(rule, severity, Scope::Device, lost, why);
    finding.evidence.push(seen.probe_evidence(CELL_FULL, lost, Some(noise)));
    let from = seen.settings.number(&MAX_BACKLOG.path()).unwrap_or(0);
    let cpus = seen.changes.each(&PROCESSED).count().max(1) as u64;
    let longer = power_of_two(from.saturating_mul(2).max(256));
    let why = "the next power of two above twice the present length, which is also that of a tunnel's queue";
    let memory = |more: u64| more.saturating_mul(2304).saturating_mul(cpus);
    finding.suggest(seen.raise(&MAX_BACKLOG, longer, why, memory));
    vec![finding]
}
