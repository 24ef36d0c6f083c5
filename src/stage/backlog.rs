//! R7, backlog: the per-CPU queue of packets that another CPU, or a device without a ring, hands over.

use crate::counters;
use crate::model::{
    Change, Counter, Drop, Example, Finding, Flow, Instance, Knob, Memory, Observed, Place, Reason, Risk, Rule, Scope,
    Severity, Stage, Suggestion, Threshold, Unit, power_of_two,
};
use crate::source::groups::{LINK, SOFTNET};
use crate::stage::softirq;

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
            key: "idle_percent",
            default: 25.0,
            help: "idle time of a CPU, in %, above which it may take more; own",
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

static CELLS: Rule = Rule {
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
const CELL_FULL: &str = "GRO_CELL_FULL";

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
    let (busy, idle) = (100.0 - seen.threshold(rule, "busy_percent"), seen.threshold(rule, "idle_percent"));
    let is_busy = |(cpu, _): &(u32, u64)| share(seen, &softirq::IDLE, *cpu).is_some_and(|idle| idle <= busy);
    if !cpus.is_empty() && cpus.iter().all(is_busy) {
        let others = seen.changes.each(&softirq::IDLE).filter_map(|(instance, _)| match instance {
            Instance::Cpu { cpu } => Some(*cpu),
            _ => None,
        });
        let idle = others.filter(|cpu| share(seen, &softirq::IDLE, *cpu).is_some_and(|share| share >= idle)).collect();
        spread(seen, cpus[0].0, idle, &mut finding);
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

/// The CPU is busy all the time: a longer queue would fill as well. What helps is to let others take part.
fn spread(seen: &Observed, worst: u32, idle: Vec<u32>, finding: &mut Finding) {
    let softirqs = share(seen, &softirq::SOFTIRQ, worst).unwrap_or(0.0);
    finding.why += &format!(", and it has no time left: {softirqs:.0} % of it go to softirqs");
    finding.refuse(MAX_BACKLOG.id, "a queue that never drains loses the same, only later");
    if idle.is_empty() {
        finding.no_setting_helps = Some(
            "no CPU has time left: make the work per packet cheaper (firewall rules, taps), or let less traffic come"
                .into(),
        );
        return;
    }
    finding.suggestions = masks(seen, &idle);
    if finding.suggestions.is_empty() {
        finding.no_setting_helps = Some(
            "other CPUs have time left, but no device that lost packets here could give them any: RPS spreads flows, \
             and one flow stays on one CPU; or the device is in another network namespace"
                .into(),
        );
    }
}

/// RPS masks that let the `idle` CPUs take part, for every queue of the devices that lost packets.
fn masks(seen: &Observed, idle: &[u32]) -> Vec<Suggestion> {
    let lost = |instance: &Instance| {
        let mut devices = seen.changes.each(&RX_DROPPED);
        devices.any(|(device, change)| {
            device == instance && matches!(change, Change::Total { delta: Some(lost), .. } if lost > 0)
        })
    };
    let why = "lets the CPUs that have time left take part; flows are spread by their hash";
    let all = || seen.settings.between("class/net/", "/rps_cpus");
    let queues =
        |device: &str| all().filter(|(middle, _)| middle.split_once('/').is_some_and(|d| d.0 == device)).count();
    let cpus = seen.changes.each(&PROCESSED).count();
    let mask = |(middle, from): (&str, &str)| {
        let (device, queue) = middle.split_once("/queues/")?;
        let to = with_cpus(from, idle)?;
        // A device with a queue for each CPU spreads by itself.
        let spreads = queues(device) > 1 && queues(device) >= cpus;
        let wanted = to != from && !spreads && lost(&Instance::device(device));
        wanted.then(|| seen.suggest(&RPS_CPUS, Instance::queue(device, queue), from.into(), to, why))
    };
    all().filter_map(mask).collect()
}

/// A bitmap of CPUs as the kernel prints it (groups of 32 bits, the highest first; `%*pb` in lib/vsprintf.c), with these
/// CPUs in it, too. Absent if it is none, or has no place for them.
fn with_cpus(mask: &str, cpus: &[u32]) -> Option<String> {
    let groups: Vec<&str> = mask.split(',').collect();
    let mut words: Vec<u32> = groups.iter().map(|group| u32::from_str_radix(group, 16).ok()).collect::<Option<_>>()?;
    for cpu in cpus {
        let at = words.len().checked_sub(1 + *cpu as usize / 32)?;
        words[at] |= 1 << (cpu % 32);
    }
    let print = |(word, group): (&u32, &&str)| format!("{word:0width$x}", width = group.len());
    let printed: Vec<String> = words.iter().zip(&groups).map(print).collect();
    // The kernel prints as many digits as there can be CPUs.
    printed.iter().zip(&groups).all(|(new, old)| new.len() == old.len()).then(|| printed.join(","))
}

/// How much of its time in the window a CPU spent in what `counter` counts in ticks of 10 ms, in %.
fn share(seen: &Observed, counter: &'static Counter, cpu: u32) -> Option<f64> {
    let is_it = |(instance, change): (&Instance, Change)| match (instance, change) {
        (Instance::Cpu { cpu: other }, Change::Total { delta, .. }) if *other == cpu => delta,
        _ => None,
    };
    let ticks = seen.changes.each(counter).find_map(is_it)?;
    // 100 ticks a second: so many of them are so many % of a second.
    // The kernel books a tick as a whole, so a busy CPU may show a few more than there were.
    Some((ticks as f64 / seen.changes.seconds.filter(|seconds| *seconds > 0.0)?).min(100.0))
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
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

static RPS_CPUS: Knob = Knob {
    id: "rps_cpus",
    place: Place::Sysfs("class/net/DEV/queues/rx-N/rps_cpus"),
    scope: Scope::Queue,
    unit: Knob::CPUS,
    range: 0..=u64::MAX,
    default: "0, that is off",
    help: "CPUs that take the packets of a receive queue (RPS), a bitmap: bit 0 is CPU 0. A packet's flow decides which \
           of them. 0: the CPU that polls the queue takes them itself.",
    formula: "the CPUs of the device's NUMA node that have time left; not where the device has as many queues as there \
              are CPUs",
    risk: Risk::Medium,
    harm: "interrupts between CPUs and cold caches; the queue of netdev_max_backlog then applies; packets of a flow may \
           change order at the moment of the change",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static RPS_FLOW_CNT: Knob = Knob {
    id: "rps_flow_cnt",
    place: Place::Sysfs("class/net/DEV/queues/rx-N/rps_flow_cnt"),
    scope: Scope::Queue,
    unit: "flows",
    range: 0..=536_870_912,
    default: "0, that is off",
    help: "Flows of a receive queue that are sent to the CPU on which their application runs (RFS); acts together with \
           net.core.rps_sock_flow_entries.",
    formula: "net.core.rps_sock_flow_entries divided by the receive queues",
    risk: Risk::Low,
    harm: "8 bytes of memory a flow",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "a udev rule",
};

static REASONS: &[Reason] = &[
    Reason::harmful(
        "CPU_BACKLOG",
        "The backlog queue of a CPU is full, or its flow limit sheds a heavy flow. Not normal: see backlog-overflow.",
    )
    .in_functions(&["enqueue_to_backlog", "netif_rx_internal"]),
    Reason::harmful(CELL_FULL, "The receive queue of a tunnel is full. Not normal: see tunnel-cell-overflow.")
        .in_functions(&["gro_cells_receive"])
        .unnamed_in(&["gro_cells_receive"]),
];

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
    rules: &[&OVERFLOW, &CELLS],
    knobs: &[&MAX_BACKLOG, &RPS_CPUS, &RPS_FLOW_CNT],
};

#[cfg(test)]
mod tests {
    use super::with_cpus;

    #[test]
    fn masks_are_printed_as_the_kernel_prints_them() {
        assert_eq!(with_cpus("2", &[0]).as_deref(), Some("3"));
        assert_eq!(with_cpus("00", &[7]).as_deref(), Some("80"));
        assert_eq!(with_cpus("ff,00000000", &[0, 33]).as_deref(), Some("ff,00000001"));
        assert_eq!(with_cpus("0,00000000", &[31, 32]).as_deref(), Some("1,80000000"));
    }

    #[test]
    fn a_mask_without_a_place_for_a_cpu_is_left_alone() {
        assert_eq!(with_cpus("2", &[4]), None);
        assert_eq!(with_cpus("f", &[32]), None);
        assert_eq!(with_cpus("", &[0]), None);
        assert_eq!(with_cpus("many", &[0]), None);
    }
}
