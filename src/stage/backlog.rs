//! R7, backlog: the per-CPU queue of packets that another CPU, or a device without a ring, hands over.

use crate::counters;
use crate::model::{
    Example, Finding, Flow, Instance, Knob, Observed, Place, Reason, Risk, Rule, Scope, Severity, Stage, Threshold,
    Unit, power_of_two,
};
use crate::source::groups::{LINK, SOFTNET};

counters! {
    /// Packets that a CPU took through the receive path, after GRO. A VLAN or a bond takes a packet through twice.
    /// net/core/dev.c __netif_receive_skb_core(), column 0.
    PROCESSED = SOFTNET.total("processed", Unit::Packets).column(0);
    /// Packets lost because a CPU's backlog queue was full, or its flow limit shed them. The row is the CPU that should
    /// have taken them; of the whole machine. net/core/dev.c enqueue_to_backlog(), column 1.
    DROPPED = SOFTNET.total("dropped", Unit::Packets).column(1).same_loss("backlog");
    /// Times that another CPU woke this one because RPS had given it packets: interrupts, not packets.
    /// net/core/dev.c rps_trigger_softirq(), column 9.
    RECEIVED_RPS = SOFTNET.total("received_rps", Unit::Events).column(9);
    /// Packets of one heavy flow that were dropped so that the others got through (flow limit). The row is the CPU that
    /// handed them over. net/core/dev.c skb_flow_limit(), column 10, since 3.11.
    FLOW_LIMIT_COUNT = SOFTNET.total("flow_limit_count", Unit::Packets).column(10);
    /// Packets now waiting in a CPU's backlog; up to twice netdev_max_backlog is possible.
    /// net/core/net-procfs.c softnet_backlog_len(), column 11, since 5.10.
    BACKLOG_LEN = SOFTNET.gauge("backlog_len", Unit::Packets).column(11);
    /// The part of the backlog that netdev_max_backlog limits. net/core/net-procfs.c softnet_input_pkt_queue_len(),
    /// column 13, since 6.4.
    INPUT_QLEN = SOFTNET.gauge("input_qlen", Unit::Packets).column(13);
    /// The part of the backlog that is being worked on. net/core/net-procfs.c softnet_process_queue_len(), column 14,
    /// since 6.4.
    PROCESS_QLEN = SOFTNET.gauge("process_qlen", Unit::Packets).column(14);
    /// Packets of a device that the kernel threw away between driver and protocol: the backlog was full, or no protocol
    /// wanted them (then it is no loss). Some drivers add losses of their own. Read with `softnet.dropped`, which says how
    /// many the backlog lost. net/core/dev.c dev_core_stats_rx_dropped_inc().
    RX_DROPPED = LINK.total("rx_dropped", Unit::Packets).same_loss("backlog")
        .flow(Flow::LostUpTo { at: "backlog", limit: &DROPPED, rest: "ingress" });
}

static OVERFLOW: Rule = Rule {
    id: "backlog-overflow",
    title: "A CPU's receive backlog is full and drops packets",
    explain: "Packets that come through loopback, veth and most tunnels, and all that RPS moves to another CPU, wait in a \
              queue per CPU. When it holds net.core.netdev_max_backlog packets, further ones are dropped. A network card \
              without RPS never uses this queue: its losses show as link.rx_missed_errors. The same loss shows a second \
              time in the receiving device's rx_dropped, and for veth a third time in the sender's tx_dropped. \
              A longer queue helps against bursts. If the CPU is busy all the time it only delays the loss: spread the \
              load over more CPUs (RPS mask, more queues) or make the work per packet cheaper (firewall rules, taps).",
    triggers: &[&DROPPED],
    knobs: &[&MAX_BACKLOG],
    thresholds: &[
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

fn overflow(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.delta(&DROPPED);
    if lost == 0 {
        return Vec::new();
    }
    let shed = seen.delta(&FLOW_LIMIT_COUNT).min(lost);
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
    if shed > lost / 2 {
        finding.evidence.push(seen.evidence(&FLOW_LIMIT_COUNT, None));
        finding.no_setting_helps = Some(
            "the flow limit sheds one heavy flow on purpose, to save the others: find that flow, or steer it to a CPU of \
             its own"
                .into(),
        );
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
            (Instance::Cpu { cpu }, crate::model::Change::Total { delta: Some(lost), .. }) if lost > 0 => {
                Some((*cpu, lost))
            }
            _ => None,
        })
        .collect();
    cpus.sort_by_key(|(cpu, lost)| (std::cmp::Reverse(*lost), *cpu));
    cpus
}

static MAX_BACKLOG: Knob = Knob {
    id: "net.core.netdev_max_backlog",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "packets",
    range: 1..=32_768,
    default: "1000",
    help: "Longest backlog queue of each CPU. Used by loopback, veth, most tunnels and RPS; never by a network card \
           without RPS.",
    formula: "twice the present value, in powers of two, up to 32768",
    risk: Risk::Low,
    harm: "packets may wait longer; hides a CPU that is too slow",
    takes_effect: "at once",
    waits: false,
    keep: "sysctl.d",
};

static REASONS: &[Reason] = &[Reason::harmful(
    "CPU_BACKLOG",
    "The backlog queue of a CPU is full, or its flow limit sheds a heavy flow. Not normal: see backlog-overflow.",
)
.in_functions(&["enqueue_to_backlog", "netif_rx_internal"])];

/// R7.
pub static STAGE: Stage = Stage {
    id: "backlog",
    title: "CPU backlog",
    explain: "RPS moves packets to the queue of another CPU; loopback, veth, tunnels and old drivers always put theirs \
              into the queue of the present one. The CPU takes them from there like from a ring. A full queue drops \
              what comes.",
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&OVERFLOW],
    knobs: &[&MAX_BACKLOG],
};
