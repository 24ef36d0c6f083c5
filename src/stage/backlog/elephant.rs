//! The flow limit: one heavy flow is dropped so that the others get through.

use super::spread::with_cpus;
use super::{DROPPED, FLOW_LIMIT_COUNT};
use crate::model::{Example, Finding, Instance, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold};

pub static SHED: Rule = Rule {
    id: "elephant-flow-shed",
    title: "Packets of a heavy flow are dropped so that others get through",
    explain: "Where net.core.flow_limit_cpu_bitmap names a CPU, the kernel looks at the flows that this CPU hands over to \
              backlog queues. Once a queue is more than half full, packets are dropped of a flow that made more than half \
              of the last 256: the one that fills the queue loses, instead of everybody. The counter stands at the CPU \
              that handed the packets over, softnet.dropped at the one that should have taken them. It works as it was \
              meant to, and somebody switched it on. Find the flow ('netstat-deep drops --by flow'): it can be slowed at \
              its sender, or steered to a queue and a CPU of its own (ethtool -N). Without the limit the same flow fills \
              the queue to its end, and then all lose.",
    triggers: &[&FLOW_LIMIT_COUNT],
    seen: &[],
    knobs: &[&FLOW_LIMIT_CPUS],
    thresholds: &[Threshold {
        key: "info_above_per_second",
        default: 0.0,
        help: "packets/s shed; own: it is meant to do that, so it is a remark",
    }],
    fires: shed,
    examples: &[
        Example {
            what: "CPU 0 handed over 400 packets too many of one flow",
            severity: Some(Severity::Info),
            observed: || limited(400, "3"),
        },
        Example {
            what: "the mask can't be read from inside a container",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with_at(&FLOW_LIMIT_COUNT, Instance::Cpu { cpu: 0 }, 9),
        },
        Example {
            what: "the backlog overflows without a flow limit",
            severity: None,
            observed: || Observed::quiet().with_at(&DROPPED, Instance::Cpu { cpu: 1 }, 400),
        },
    ],
};

fn limited(packets: u64, mask: &str) -> Observed {
    Observed::quiet()
        .with_at(&DROPPED, Instance::Cpu { cpu: 1 }, packets)
        .with_at(&FLOW_LIMIT_COUNT, Instance::Cpu { cpu: 0 }, packets)
        .with_setting("net/core/flow_limit_cpu_bitmap", mask)
}

fn shed(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let sources: Vec<(u32, u64)> = seen
        .grown(&FLOW_LIMIT_COUNT)
        .into_iter()
        .filter_map(|(instance, count)| match instance {
            Instance::Cpu { cpu } => Some((*cpu, count)),
            _ => None,
        })
        .collect();
    let lost = sources.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
    if lost == 0 || seen.rate(lost).is_some_and(|rate| rate <= seen.threshold(rule, "info_above_per_second")) {
        return Vec::new();
    }
    let named: Vec<String> = sources.iter().take(8).map(|(cpu, count)| format!("{cpu} ({count})")).collect();
    let why = format!(
        "CPU {} handed over a flow that made more than half of its packets, to a queue that was half full",
        named.join(", ")
    );
    let mut finding = Finding::new(rule, Severity::Info, Scope::Machine, lost, why);
    let mut evidence = seen.evidence(&FLOW_LIMIT_COUNT, None);
    if let [(cpu, _)] = sources[..] {
        evidence.instance = Instance::Cpu { cpu };
    }
    finding.evidence = vec![evidence, seen.evidence(&DROPPED, None)];
    finding.no_setting_helps = Some(
        "it is shed on purpose, to save the other flows: slow that flow down where it comes from, or steer it to a CPU of \
         its own"
            .into(),
    );
    let cpus: Vec<u32> = sources.iter().map(|(cpu, _)| *cpu).collect();
    let from = seen.settings.get(&FLOW_LIMIT_CPUS.path());
    if let Some((from, to)) = from.and_then(|from| Some((from, with_cpus(from, &cpus, false)?)))
        && to != from
    {
        let why = "no flow limit for what these CPUs hand over: if that flow matters more than the others";
        finding.suggestions.push(seen.suggest(&FLOW_LIMIT_CPUS, Instance::Only, from.into(), to, why));
    }
    vec![finding]
}

pub static FLOW_LIMIT_CPUS: Knob = Knob {
    id: "net.core.flow_limit_cpu_bitmap",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: Knob::CPUS,
    range: 0..=u64::MAX,
    default: "0, that is off",
    help: "CPUs that heed the flow limit when they hand packets to a backlog queue, a bitmap: bit 0 is CPU 0. On a kernel \
           without CONFIG_NET_FLOW_LIMIT there is no such file.",
    formula: "the CPUs that take the network card's interrupts, where one flow drowns the others; 0 where that flow matters \
              most",
    risk: Risk::High,
    harm: "without it, one heavy flow may fill the queue and all others lose with it; with it, that flow loses earlier",
    takes_effect: "at once; a CPU that is added begins with an empty table of flows",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

pub static FLOW_LIMIT_TABLE: Knob = Knob {
    id: "net.core.flow_limit_table_len",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "buckets",
    range: 1..=1_048_576,
    default: "4096",
    help: "Buckets in which the flow limit counts, a power of two. Flows that share one are taken for one flow.",
    formula: "8192 if small flows are shed together with a heavy one",
    risk: Risk::Low,
    harm: "2 bytes a bucket and CPU",
    takes_effect: "when a CPU is next added to net.core.flow_limit_cpu_bitmap: take it out and put it back",
    waits: true,
    memory: Memory::Kernel,
    keep: "sysctl.d, before flow_limit_cpu_bitmap",
};
