//! T11, watchdog: a transmit queue that stands still is noticed, and the device is reset.

use crate::counters;
use crate::model::{Change, Example, Finding, Instance, Observed, Rule, Scope, Severity, Stage, Unit};
use crate::source::groups::TX_QUEUE;
use crate::stage::driver_tx::{BQL_INFLIGHT, BQL_LIMIT};
use crate::stage::link::{CARRIER_DOWN, NIC_RX_PAUSE, RX_PAUSE};

counters! {
    /// Times that a transmit queue stood still for longer than its driver allows (mostly 5 s) and the kernel let the driver reset
    /// the device: "NETDEV WATCHDOG: transmit queue timed out" in its log. net/sched/sch_generic.c dev_watchdog().
    TX_TIMEOUT = TX_QUEUE.total("tx_timeout", Unit::Events);
}

static TIMEOUT: Rule = Rule {
    id: "tx-queue-timeout",
    title: "A network card stopped sending, and was reset",
    explain: "The driver had stopped a transmit queue because its ring was full, and the device did not say for seconds that it \
              had sent any of it. The kernel logs 'NETDEV WATCHDOG' and has the driver reset the device, which loses what was in \
              its rings. The causes are below the kernel's settings: firmware, driver, a hypervisor that does not take packets, \
              power saving (EEE, PCIe), or a switch that asks the device to wait for good (pause frames).",
    triggers: &[&TX_TIMEOUT],
    seen: &[],
    knobs: &[],
    thresholds: &[],
    fires: timeout,
    examples: &[
        Example { what: "one queue, once", severity: Some(Severity::Critical), observed: || hung(1) },
        Example {
            what: "the switch asks the device to wait all the time",
            severity: Some(Severity::Critical),
            observed: || hung(2).with_at(&RX_PAUSE, Instance::device("eth0"), 90_000),
        },
        Example {
            what: "a link that goes down: a queue without a carrier is not watched",
            severity: None,
            observed: || Observed::quiet().with_at(&CARRIER_DOWN, Instance::device("eth0"), 1),
        },
        Example {
            what: "a full queue that goes on in time",
            severity: None,
            observed: || Observed::quiet().with_at(&BQL_INFLIGHT, queue(), 90_000).with_at(&BQL_LIMIT, queue(), 90_000),
        },
    ],
};

fn queue() -> Instance {
    Instance::queue("eth0", "tx-3")
}

fn hung(times: u64) -> Observed {
    Observed::quiet().with_at(&TX_TIMEOUT, queue(), times)
}

fn timeout(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    seen.changes.grown(&TX_TIMEOUT).map(|(queue, times)| of(seen, rule, queue, times)).collect()
}

fn of(seen: &Observed, rule: &Rule, queue: &Instance, times: u64) -> Finding {
    let (device, name) = match queue {
        Instance::Queue { device, queue } => (device.as_str(), queue.as_str()),
        _ => ("", ""),
    };
    let why = format!("{name} of {device} stood still for longer than its driver allows, {times} times");
    // How many packets were in its ring is not known.
    let mut finding = Finding::new(rule, Severity::Critical, Scope::Queue, 0, why);
    finding.instance = queue.clone();
    finding.evidence.push(seen.evidence_at(&TX_TIMEOUT, queue, None));
    for gauge in [&BQL_INFLIGHT, &BQL_LIMIT] {
        if let Some((_, Change::Gauge { max, .. })) = seen.changes.each(gauge).find(|(other, _)| *other == queue) {
            finding.evidence.push(crate::model::Evidence {
                delta: max,
                per_second: None,
                ..seen.evidence_at(gauge, queue, None)
            });
        }
    }
    let card = Instance::device(device);
    let pauses = seen.changes.delta_at(&RX_PAUSE, &card).max(seen.changes.delta_at(&NIC_RX_PAUSE, &card));
    let cure = if pauses > 0 {
        finding.why += &format!("; meanwhile the switch asked it {pauses} times to wait");
        format!(
            "look at the switch first: who makes it ask, and whether {device} need listen ('ethtool -A {device} rx off')"
        )
    } else {
        format!(
            "no setting mends a device that hangs: another driver or firmware may ('ethtool -i {device}'), or its hypervisor; \
             to find out, turn off what it does by itself: 'ethtool --set-eee {device} eee off', 'ethtool -K {device} tso off'"
        )
    };
    finding.no_setting_helps = Some(cure);
    finding.refuse("txqueuelen", "a longer queue only waits longer for a device that does not send");
    finding
}

/// T11.
pub static STAGE: Stage = Stage {
    id: "watchdog",
    title: "TX watchdog",
    explain: "The kernel watches every transmit queue that its driver has stopped: if nothing is sent for some seconds (5 with \
              most drivers), the device hangs, and its driver is told to reset it. Queues of a device without a carrier are not \
              watched.",
    chapter: include_str!("chapter/watchdog.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[&TIMEOUT],
    reasons: &[],
    knobs: &[],
};
