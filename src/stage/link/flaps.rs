//! The link goes down and comes back.

use super::errors::{PHYSICAL, devices};
use super::{CARRIER_DOWN, CARRIER_UP, EXT_DOWN};
use crate::model::{Changes, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};

pub static FLAPS: Rule = Rule {
    id: "link-flaps",
    title: "A network device loses its link",
    explain: "While the link is down every frame is lost, on both ends, and connections wait for their retransmissions. It \
              is the cable, an optic, the other end, or power saving; or somebody set the device down, or changed its \
              rings or channels: most drivers restart the device for that (if it was this program, it says so). \
              The kernel counts the carrier; some drivers also count what the physical link did below it.",
    triggers: &[&CARRIER_DOWN, &EXT_DOWN],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "warning_per_hour",
        default: 1.0,
        help: "losses of the link in an hour from which on it is no accident; own",
    }],
    fires: flaps,
    examples: &[
        Example { what: "down once within ten seconds", severity: Some(Severity::Warning), observed: || down(1, 10.0) },
        Example { what: "down once in a day", severity: Some(Severity::Info), observed: || down(1, 86_400.0) },
        Example {
            what: "down once, when this program set the length of the ring",
            severity: Some(Severity::Info),
            observed: || {
                let restarted = [("eth0".into(), "ring.rx".into())].into();
                Observed { restarted, ..down(1, 10.0) }
            },
        },
        Example {
            what: "down once since a boot five hours ago",
            severity: None,
            observed: || {
                let seen = down(1, 18_000.0);
                Observed { changes: Changes { since_boot: true, ..seen.changes }, ..seen }
            },
        },
        Example {
            what: "a device came up for the first time",
            severity: None,
            observed: || Observed::quiet().with_at(&CARRIER_UP, Instance::device("eth0"), 1),
        },
    ],
};

fn down(times: u64, seconds: f64) -> Observed {
    let seen = Observed::quiet().with_at(&CARRIER_DOWN, Instance::device("eth0"), times);
    Observed { changes: Changes { seconds: Some(seconds), ..seen.changes }, ..seen }
}

fn flaps(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let often = seen.threshold(rule, "warning_per_hour");
    let finding = |device: &Instance| {
        let at = |counter| seen.changes.delta_at(counter, device);
        // The carrier follows the physical link: mostly both count the same.
        let times = at(&CARRIER_DOWN).max(at(&EXT_DOWN));
        let rare = seen.rate(times).is_some_and(|rate| rate * 3600.0 < often);
        // Many devices lose it once as the machine boots and sets them up.
        if rare && seen.changes.since_boot {
            return None;
        }
        let ours = seen.restarted.get(&device.to_string());
        let severity = if rare || ours.is_some() { Severity::Info } else { Severity::Warning };
        let words = |count| if count == 1 { "once".into() } else { format!("{count} times") };
        let mut why =
            format!("the link of {device} went down {}, and came up {}", words(times), words(at(&CARRIER_UP)));
        if let Some(setting) = ours {
            why += &format!("; this program set {setting} meanwhile, for which most drivers restart the device");
        }
        let mut finding = Finding::new(rule, severity, Scope::Device, 0, why);
        finding.instance = device.clone();
        for counter in [&CARRIER_DOWN, &EXT_DOWN] {
            if at(counter) > 0 {
                finding.evidence.push(seen.evidence_at(counter, device, Some(often / 3600.0)));
            }
        }
        finding.no_setting_helps = Some(PHYSICAL.replace("DEV", &device.to_string()));
        Some(finding)
    };
    devices(seen, rule).into_iter().filter_map(finding).collect()
}
