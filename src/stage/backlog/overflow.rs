//! A CPU's backlog queue overflows.

use super::spread::{share, spread};
use super::{DROPPED, FLOW_LIMIT_COUNT, MAX_BACKLOG, PROCESSED, RPS_CPUS, RX_DROPPED};
use crate::model::{Change, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold, power_of_two};
use crate::stage::softirq;

pub static OVERFLOW: Rule = Rule {
    id: "backlog-overflow",
    title: "A CPU's receive backlog is full and drops packets",
    explain: "Packets that come through loopback, veth and most tunnels, and all that RPS moves to another CPU, wait in a \
              queue per CPU. When it holds net.core.netdev_max_backlog packets, further ones are dropped. A network card \
              without RPS never uses this queue: its losses show as link.rx_missed_errors. The same loss shows a second \
              time in the receiving device's rx_dropped, and for veth a third time in the sender's tx_dropped. \
              A longer queue helps against bursts. If the CPU is busy all the time it only delays the loss: spread the \
              load over more CPUs (RPS mask, more queues) or make the work per packet cheaper (firewall rules, taps). \
              RPS spreads flows, not packets: one heavy flow stays on one CPU.",
    triggers: &[&DROPPED],
    seen: &[],
    knobs: &[&MAX_BACKLOG, &RPS_CPUS],
    thresholds: &[
        Threshold {
            key: "busy_percent",
            default: 90.0,
            help: "time of a CPU, in %, of which none is left above this; own",
        },
        Threshold {
            key: "softirq_percent",
            default: 50.0,
            help: "softirq time of a CPU, in %: above, packets are what takes its time, below it may take more; own",
        },
        Threshold { key: "warning_per_second", default: 10.0, help: "packets/s lost; netdata's softnet alarm" },
        Threshold { key: "critical_percent", default: 0.1, help: "share of the packets processed that is lost, in %" },
    ],
    fires: overflow,
    examples: &[
        Example { what: "3 packets lost in a second", severity: Some(Severity::Info), observed: || lossy(3, 100_000) },
        Example {
            what: "50 of 100,000 packets lost in a second",
            severity: Some(Severity::Warning),
            observed: || lossy(50, 100_000),
        },
        Example {
            what: "5,000 of 100,000 packets lost in a second",
            severity: Some(Severity::Critical),
            observed: || lossy(5_000, 100_000),
        },
        Example {
            what: "a CPU that is busy all the time loses, its neighbour is idle: RPS helps",
            severity: Some(Severity::Critical),
            observed: || saturated("2", [5, 90]),
        },
        Example { what: "all CPUs are busy", severity: Some(Severity::Critical), observed: || saturated("2", [95, 0]) },
        Example {
            what: "the flow limit shed all of it on purpose",
            severity: None,
            observed: || lossy(50, 100_000).with_at(&FLOW_LIMIT_COUNT, Instance::Cpu { cpu: 0 }, 50),
        },
        Example {
            what: "the device discards an unknown protocol, no backlog overflows",
            severity: None,
            observed: || {
                Observed::quiet().with_at(&RX_DROPPED, Instance::device("eth0"), 40).with_at(
                    &DROPPED,
                    Instance::Cpu { cpu: 0 },
                    0,
                )
            },
        },
    ],
};

fn lossy(lost: u64, processed: u64) -> Observed {
    let cpu = Instance::Cpu { cpu: 1 };
    Observed::quiet()
        .with_at(&DROPPED, cpu.clone(), lost)
        .with_at(&PROCESSED, cpu, processed)
        .with_setting("net/core/netdev_max_backlog", "1000")
}

/// CPU 1 loses what RPS hands it; CPU 0 spends so many % of its time in softirqs, and so many idle.
fn saturated(mask: &str, [softirq, idle]: [u64; 2]) -> Observed {
    let cpu = |cpu| Instance::Cpu { cpu };
    lossy(5_000, 100_000)
        .with_at(&RX_DROPPED, Instance::device("vb"), 5_000)
        .with_at(&softirq::SOFTIRQ, cpu(1), 97)
        .with_at(&softirq::IDLE, cpu(1), 1)
        .with_at(&softirq::SOFTIRQ, cpu(0), softirq)
        .with_at(&softirq::IDLE, cpu(0), idle)
        .with_setting("class/net/vb/queues/rx-0/rps_cpus", mask)
}

fn overflow(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    // What the flow limit shed, elephant-flow-shed tells.
    let lost = seen.delta(&DROPPED).saturating_sub(seen.delta(&FLOW_LIMIT_COUNT));
    if lost == 0 {
        return Vec::new();
    }
    let (warning, critical) = (seen.threshold(rule, "warning_per_second"), seen.threshold(rule, "critical_percent"));
    let arrived = seen.delta(&PROCESSED).saturating_add(lost);
    let many = seen.rate(lost).is_some_and(|rate| rate > warning);
    let severity = match (many, lost as f64 * 100.0 > critical * arrived as f64) {
        (true, true) => Severity::Critical,
        (true, false) => Severity::Warning,
        (false, _) => Severity::Info,
    };
    let cpus: Vec<(u32, u64)> = losing_cpus(seen);
    let names: Vec<String> = cpus.iter().take(8).map(|(cpu, lost)| format!("{cpu} ({lost})")).collect();
    let why = format!(
        "packets that loopback, veth, a tunnel or RPS handed to CPU {} found its queue full",
        if names.is_empty() { "?".into() } else { names.join(", ") }
    );
    let mut finding = Finding::new(rule, severity, Scope::Machine, lost, why);
    let mut evidence = seen.evidence(&DROPPED, Some(warning));
    if let [(cpu, _)] = cpus[..] {
        evidence.instance = Instance::Cpu { cpu };
    }
    finding.evidence.push(evidence);
    finding.evidence.push(seen.evidence(&PROCESSED, None));
    // Programs do not keep a CPU from its packets, as long as softirqs take less than half of it: they go first.
    let (idle, softirqs) = (100.0 - seen.threshold(rule, "busy_percent"), seen.threshold(rule, "softirq_percent"));
    let idles = |cpu: u32| share(seen, &softirq::IDLE, cpu).is_some_and(|share| share > idle);
    let softirqs = |cpu: u32| share(seen, &softirq::SOFTIRQ, cpu).is_some_and(|share| share > softirqs);
    if !cpus.is_empty() && cpus.iter().all(|(cpu, _)| softirqs(*cpu) && !idles(*cpu)) {
        let known = seen.changes.each(&softirq::SOFTIRQ).filter_map(|(instance, _)| match instance {
            Instance::Cpu { cpu } => Some(*cpu),
            _ => None,
        });
        spread(seen, cpus[0].0, known.filter(|cpu| !softirqs(*cpu)).collect(), &mut finding);
        return vec![finding];
    }
    let from = seen.settings.number(&MAX_BACKLOG.path()).unwrap_or(0);
    let cpu_count = seen.changes.each(&PROCESSED).count().max(1) as u64;
    // A packet of 1500 bytes is charged 2304 bytes; each CPU has two such queues.
    let memory = |more: u64| more.saturating_mul(2304 * 2).saturating_mul(cpu_count);
    let longer = power_of_two(from.saturating_mul(2).max(256));
    finding.suggest(seen.raise(
        &MAX_BACKLOG,
        longer,
        "the next power of two above twice the present length: the bursts of this window did not fit",
        memory,
    ));
    vec![finding]
}

/// CPUs that lost packets, the worst first.
fn losing_cpus(seen: &Observed) -> Vec<(u32, u64)> {
    let mut cpus: Vec<(u32, u64)> = seen
        .changes
        .each(&DROPPED)
        .filter_map(|(instance, change)| match (instance, change) {
            (Instance::Cpu { cpu }, Change::Total { delta: Some(lost), .. }) if lost > 0 => Some((*cpu, lost)),
            _ => None,
        })
        .collect();
    cpus.sort_by_key(|(cpu, lost)| (std::cmp::Reverse(*lost), *cpu));
    cpus
}
