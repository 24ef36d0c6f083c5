//! An XDP program fails.

use crate::model::{Example, Finding, Incident, Observed, Rule, Scope, Severity, Threshold};

pub static XDP: Rule = Rule {
    id: "xdp-exceptions",
    title: "An XDP program failed, and the frames it was to judge are lost",
    explain: "An XDP program may drop a frame on purpose (XDP_DROP): that is no exception. It is one if the program aborts \
              (XDP_ABORTED), gives a verdict that does not exist, or sends the frame on to a device, CPU or socket that can't \
              take it. The frame is lost before the stack sees it, so no counter of IP knows of it; some drivers count it \
              as xdp_drops or xdp_err.",
    triggers: &[],
    seen: &[EXCEPTION, REDIRECT],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_below_per_second",
        default: 1.0,
        help: "frames/s below which it is noise; own",
    }],
    fires: exceptions,
    examples: &[
        Example {
            what: "40 frames in a second",
            severity: Some(Severity::Warning),
            observed: || failed(EXCEPTION, 40),
        },
        Example {
            what: "one frame in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = failed(REDIRECT, 1);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "the program drops frames on purpose",
            severity: None,
            observed: || Observed::quiet().with_drops(crate::model::Drop::example("XDP", 100)),
        },
    ],
};

/// The hooks that see it (include/trace/events/xdp.h).
const EXCEPTION: &str = "xdp_exception";
const REDIRECT: &str = "xdp_redirect_err";

fn failed(hook: &str, count: u64) -> Observed {
    Observed::quiet().with_incident(Incident::example(hook, count))
}

fn exceptions(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let incidents = || seen.probed.iter().flat_map(|probed| &probed.incidents);
    let ours = || incidents().filter(|incident| [EXCEPTION, REDIRECT].contains(&incident.hook.as_str()));
    let lost = ours().map(|incident| incident.count).fold(0, u64::saturating_add);
    if lost == 0 {
        return Vec::new();
    }
    let noise = seen.threshold(rule, "info_below_per_second");
    let severity = if seen.rate(lost).is_some_and(|rate| rate < noise) { Severity::Info } else { Severity::Warning };
    let mut devices: Vec<&str> = ours().filter_map(|incident| incident.device.as_deref()).collect();
    devices.sort_unstable();
    devices.dedup();
    let on = if devices.is_empty() { String::new() } else { format!(" on {}", devices.join(", ")) };
    let mut finding = Finding::new(rule, severity, Scope::Device, lost, format!("the XDP program{on} failed"));
    for hook in [EXCEPTION, REDIRECT] {
        let count = ours().filter(|incident| incident.hook == hook).map(|incident| incident.count).sum();
        if count > 0 {
            finding.evidence.push(seen.probe_evidence(hook, count, Some(noise)));
        }
    }
    finding.no_setting_helps = Some(
        "the program, or where it sends frames, is at fault: 'bpftool net' shows which it is, and only its author can \
         mend it"
            .into(),
    );
    vec![finding]
}
