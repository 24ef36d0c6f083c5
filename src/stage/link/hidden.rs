//! A device is there, but not everything shows it.

use super::{RX_BYTES, RX_PACKETS};
use crate::model::{Example, Finding, Hidden, Instance, Observed, Rule, Scope, Severity};

pub static HIDDEN: Rule = Rule {
    id: "interfaces-hidden",
    title: "A network device is shown by one part of the kernel and hidden by another",
    explain: "The kernel lists its devices in three ways: /proc/net/dev, netlink (which ip uses) and /sys/class/net. They come \
              from one list and always agree. If they do not at two looks in a row, something stands between: a file that \
              was mounted over another, a sandbox that imitates /proc (gVisor, some container runtimes), or a rootkit that \
              hides a device which it sends by. A /sys that was mounted in another network namespace shows other devices \
              as well; that is no fault, and this program looks into one of its own. Looked for in a window, not since \
              boot.",
    triggers: &[&RX_PACKETS, &RX_BYTES],
    seen: &[],
    knobs: &[],
    thresholds: &[],
    fires: hidden,
    examples: &[
        Example {
            what: "netlink shows a device that /proc/net/dev does not",
            severity: Some(Severity::Warning),
            observed: || {
                let mut seen = received();
                let (shown, hidden) = (vec!["rtnetlink", "/sys/class/net"], vec!["/proc/net/dev"]);
                seen.hidden.push(Hidden { device: "spy0".into(), shown, hidden });
                seen
            },
        },
        Example { what: "all three agree", severity: None, observed: received },
    ],
};

fn received() -> Observed {
    Observed::quiet().with_at(&RX_PACKETS, Instance::device("eth0"), 10)
}

fn hidden(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let finding = |device: &Hidden| {
        let why = format!("{} shows it, {} does not", device.shown.join(" and "), device.hidden.join(" and "));
        let mut finding = Finding::new(rule, Severity::Warning, Scope::Device, 0, why);
        finding.instance = Instance::device(device.device.clone());
        finding.evidence.push(seen.evidence_at(&RX_PACKETS, &finding.instance, None));
        finding.no_setting_helps = Some(
            "find out who hides it: 'findmnt' shows what is mounted over /proc and /sys; outside of a sandbox, take it for \
             a break-in until you know better"
                .into(),
        );
        finding
    };
    seen.hidden.iter().map(finding).collect()
}
