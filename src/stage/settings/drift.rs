//! What this program set, and what is not so any more.

use crate::model::{Drift, Example, Finding, Observed, Rule, Scope, Severity};
use crate::stage::link::{RX_BYTES, RX_PACKETS};

pub static DRIFT: Rule = Rule {
    id: "setting-drift",
    title: "A setting that this program made is not in force any more",
    explain: "A change that was applied, and not taken back, is not what the kernel has now: somebody else set it since. Mostly \
              that is a file below /etc/sysctl.d that was applied again, a configuration management, a container runtime, a \
              driver that was loaded anew, or a person. What the change had mended may be broken again. A value that went \
              with a reboot is no drift unless it was to be kept (--persist), and one of another network namespace is told \
              of there. Only what stands in this program's own journal is looked at (--state-dir).",
    triggers: &[&RX_PACKETS, &RX_BYTES],
    seen: &[],
    knobs: &[],
    thresholds: &[],
    fires: drifted,
    examples: &[
        Example { what: "somebody set it back", severity: Some(Severity::Info), observed: || drift("128") },
        Example {
            what: "somebody set it to something else",
            severity: Some(Severity::Info),
            observed: || drift("65535"),
        },
        Example { what: "all is as it was set", severity: None, observed: received },
    ],
};

fn received() -> Observed {
    Observed::quiet().with(&RX_PACKETS, 10)
}

fn drift(now: &str) -> Observed {
    let mut seen = received();
    seen.drifted.push(Drift {
        setting: "net.core.somaxconn".into(),
        from: "128".into(),
        to: "4096".into(),
        now: now.into(),
        change: 3,
        at: "2026-01-02T03:04:05.000Z".into(),
        kept: false,
    });
    seen
}

fn drifted(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let finding = |drift: &Drift| {
        let Drift { setting, from, to, now, change, at, kept } = drift;
        let who = if now == from { "as before that change" } else { "as somebody else set it" };
        let keep = if *kept { ", to be kept over a reboot" } else { "" };
        let why = format!("{setting} was set to {to} by change {change} ({at}){keep}, and is {now} now, {who}");
        let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, why);
        finding.evidence.push(seen.evidence(&RX_PACKETS, None));
        finding.no_setting_helps = Some(format!(
            "find who set it: 'grep -r {setting} /etc/sysctl* /usr/lib/sysctl.d /run/sysctl.d', configuration management, \
             container runtime. To have it again: another --apply, once its fault shows. To forget it: 'netstat-deep revert \
             {change}', which leaves a value of somebody else alone"
        ));
        finding
    };
    seen.drifted.iter().map(finding).collect()
}
