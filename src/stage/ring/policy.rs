//! The device throws frames away on purpose.

use super::{HW_DROPS, HW_OVERRUNS, HW_RATELIMITS, RATE_LIMITED};
use crate::model::{Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::link::devices;

pub static POLICY: Rule = Rule {
    id: "nic-policy-drops",
    title: "A network device, or the cloud behind it, drops frames on purpose",
    explain: "The device had buffers and yet did not hand the frames over: a filter (ntuple rule, MAC or VLAN filter), a \
              rate limit that it was given, or a limit of the cloud on what a machine of this size may use. Frames lost \
              for want of a buffer are taken out of the number: see nic-ring-overflow. Not every driver tells, so silence \
              proves nothing. Frames that a cloud holds back may only be late.",
    triggers: &[&HW_DROPS, &HW_RATELIMITS, &RATE_LIMITED],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_below_per_second",
        default: 1.0,
        help: "frames/s below which it is noise; own",
    }],
    fires: policy,
    examples: &[
        Example {
            what: "300 frames dropped by a filter in a second",
            severity: Some(Severity::Warning),
            observed: || dropped(300, 0),
        },
        Example {
            what: "the cloud's limit on packets a second",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with_at(&RATE_LIMITED, Instance::device("eth0"), 70),
        },
        Example {
            what: "one frame in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = dropped(1, 0);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example { what: "all of them found no buffer", severity: None, observed: || dropped(300, 300) },
    ],
};

fn dropped(all: u64, overruns: u64) -> Observed {
    let eth0 = || Instance::device("eth0");
    Observed::quiet().with_at(&HW_DROPS, eth0(), all).with_at(&HW_OVERRUNS, eth0(), overruns)
}

fn policy(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    devices(seen, rule).into_iter().filter_map(|device| of(seen, rule, device)).collect()
}

fn of(seen: &Observed, rule: &Rule, device: &Instance) -> Option<Finding> {
    let at = |counter| seen.changes.delta_at(counter, device);
    let on_purpose = at(&HW_DROPS).saturating_sub(at(&HW_OVERRUNS)).max(at(&HW_RATELIMITS));
    let lost = on_purpose.saturating_add(at(&RATE_LIMITED));
    if lost == 0 {
        return None;
    }
    let noise = seen.threshold(rule, "info_below_per_second");
    let severity = if seen.rate(lost).is_some_and(|rate| rate < noise) { Severity::Info } else { Severity::Warning };
    let why = if at(&RATE_LIMITED) > 0 {
        format!("the machine behind {device} exceeds what the cloud allows one of its size")
    } else if at(&HW_RATELIMITS) > 0 {
        format!("{device} was given a rate limit, and it is exceeded")
    } else {
        format!("{device} had buffers, and a filter or policy in it dropped the frames")
    };
    let mut finding = Finding::new(rule, severity, Scope::Device, lost, why);
    finding.instance = device.clone();
    for counter in [&HW_DROPS, &HW_OVERRUNS, &HW_RATELIMITS, &RATE_LIMITED] {
        if at(counter) > 0 {
            finding.evidence.push(seen.evidence_at(counter, device, Some(noise)));
        }
    }
    finding.no_setting_helps = Some(if at(&RATE_LIMITED) > 0 {
        format!(
            "only the cloud lifts the limit: a larger machine, or less traffic; 'ethtool -S {device}' shows which limit it is"
        )
    } else {
        format!(
            "it is what the device was told to do: 'ethtool -n {device}' shows its filters, 'devlink trap' and the \
             hypervisor's configuration the rest"
        )
    });
    Some(finding)
}
