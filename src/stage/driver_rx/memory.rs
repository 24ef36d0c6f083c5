//! No memory for receive buffers.

use super::{ALLOC_FAILED, POOL_EMPTY, QSTATS_ALLOC_FAIL};
use crate::model::{Example, Finding, Instance, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold};
use crate::stage::link::devices;
use crate::stage::ring::{RX_MISSED_ERRORS, lost_at};

pub static FAILS: Rule = Rule {
    id: "rx-buffer-allocation-fails",
    title: "A driver gets no memory for receive buffers",
    explain: "A driver replaces each buffer that it hands to the stack by a new one, in the softirq, where it may not wait \
              for memory to be freed. If there is none at that moment, the ring runs short, and in the end overflows; if \
              the next try succeeds in time nothing is lost. The host is out of memory, or what is free is in pieces too \
              small, or a burst needs more at once than the kernel keeps in reserve: vm.min_free_kbytes is that reserve. \
              A page pool that finds its own stock empty (alloc-empty) asks the page allocator: that is slow, no failure.",
    triggers: &[&ALLOC_FAILED, &QSTATS_ALLOC_FAIL],
    seen: &[],
    knobs: &[&MIN_FREE],
    thresholds: &[Threshold {
        key: "warning_per_second",
        default: 1.0,
        help: "failures/s from which on it is more than a moment's want; own",
    }],
    fires: fails,
    examples: &[
        Example { what: "40 failures in a second", severity: Some(Severity::Warning), observed: || failed(40, 1.0) },
        Example { what: "one failure in ten seconds", severity: Some(Severity::Info), observed: || failed(1, 10.0) },
        Example {
            what: "one failure in ten seconds, and the ring overflows",
            severity: Some(Severity::Warning),
            observed: || failed(1, 10.0).with_at(&RX_MISSED_ERRORS, Instance::device("eth0"), 70),
        },
        Example {
            what: "a page pool asks the page allocator, and gets its page",
            severity: None,
            observed: || Observed::quiet().with_at(&POOL_EMPTY, Instance::device("eth0"), 5_000),
        },
    ],
};

fn failed(times: u64, seconds: f64) -> Observed {
    let mut seen = Observed::quiet()
        .with_at(&ALLOC_FAILED, Instance::device("eth0"), times)
        .with_setting("vm/min_free_kbytes", "45056");
    seen.changes.seconds = Some(seconds);
    seen
}

/// In KiB.
const LEAST: u64 = 64 << 10;

fn fails(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let warning = seen.threshold(rule, "warning_per_second");
    let finding = |device: &Instance| {
        let at = |counter| seen.changes.delta_at(counter, device);
        // Both count the same.
        let times = at(&ALLOC_FAILED).max(at(&QSTATS_ALLOC_FAIL));
        let lost = lost_at(seen, device);
        let often = seen.rate(times).is_some_and(|rate| rate >= warning);
        let severity = if often || lost > 0 { Severity::Warning } else { Severity::Info };
        let so =
            if lost > 0 { "and its ring overflowed meanwhile" } else { "and got it in time, as far as counters tell" };
        let why = format!("the driver of {device} got no memory {times} times, {so}");
        // What the ring lost is told by nic-ring-overflow.
        let mut finding = Finding::new(rule, severity, Scope::Device, 0, why);
        finding.instance = device.clone();
        let moved = rule.triggers.iter().filter(|counter| at(counter) > 0);
        finding.evidence.extend(moved.map(|counter| seen.evidence_at(counter, device, Some(warning))));
        let to = seen.settings.number(&MIN_FREE.path()).unwrap_or(0).saturating_mul(2).max(LEAST);
        let why = "twice the present reserve, and at least 64 MiB: what is allocated in the softirq may take from it";
        finding.suggest(seen.raise(&MIN_FREE, to, why, |more| more.saturating_mul(1024)));
        finding
    };
    devices(seen, rule).into_iter().map(finding).collect()
}

pub static KNOBS: &[&Knob] = &[&MIN_FREE, &HIGH_ORDER];

static MIN_FREE: Knob = Knob {
    id: "vm.min_free_kbytes",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "KiB",
    range: 1024..=4_194_304,
    default: "by the machine's memory: four times the square root of its KiB",
    help: "Memory that the kernel keeps free for those who can't wait, drivers that refill their rings among them.",
    formula: "twice the present value, at least 64 MiB for each NUMA node, at most a twentieth of the memory",
    risk: Risk::Medium,
    harm: "programs are left with less memory, and reclaim begins earlier",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

static HIGH_ORDER: Knob = Knob {
    id: "net.core.high_order_alloc_disable",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "0/1",
    range: 0..=1,
    default: "0",
    help: "Whether sockets' buffers are made of single pages only (1). Since 5.14.",
    formula: "0; 1 where memory is so fragmented that asking for larger pieces stalls",
    risk: Risk::Low,
    harm: "copying takes longer",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
