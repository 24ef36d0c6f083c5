//! Runs every rule over what was observed.

use std::collections::BTreeMap;

use crate::model::{Change, Changes, Counter, Finding, Knob, Observed, Place, Probed, Rule, Severity, Sockets};
use crate::stage::Rules;

/// The settings that the rules need to look at this time: those of rules whose counters moved. On a quiet host none.
/// Since boot none below /sys: those say which CPU works when, and a sum over days does not tell who was busy then.
pub fn wanted_knobs(
    rules: &[Rules],
    changes: &Changes,
    sockets: Option<&Sockets>,
    probed: Option<&Probed>,
    unexplained: &BTreeMap<&'static str, u64>,
) -> Vec<&'static Knob> {
    let looks = |rule: &&&Rule| triggered(rule, changes, sockets, probed, unexplained);
    let rules = rules.iter().flat_map(|(_, rules)| *rules).filter(looks);
    let knobs = rules.flat_map(|rule| rule.knobs).copied();
    knobs
        .filter(|knob| {
            !changes.since_boot || !matches!(knob.place, Place::Sysfs(_) | Place::Ethtool(_) | Place::Irq(_))
        })
        .collect()
}

/// All findings of these rules, the worst first.
pub fn diagnose(rules: &[Rules], seen: &Observed) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (stage, rules) in rules {
        let (sockets, probed) = (seen.sockets.as_ref(), seen.probed.as_ref());
        let looks = |rule: &&&Rule| triggered(rule, &seen.changes, sockets, probed, &seen.unexplained);
        for rule in rules.iter().filter(looks) {
            for mut finding in (rule.fires)(seen, rule) {
                finding.stage = stage.id.into();
                if seen.changes.since_boot {
                    // A total says that it happened, not that it happens.
                    finding.severity = Severity::Info;
                    finding.title.push_str(" (since boot)");
                }
                findings.push(finding);
            }
        }
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.lost.cmp(&a.lost)));
    findings
}

fn triggered(
    rule: &Rule,
    changes: &Changes,
    sockets: Option<&Sockets>,
    probed: Option<&Probed>,
    unexplained: &BTreeMap<&'static str, u64>,
) -> bool {
    let moved = |counter: &&'static Counter| {
        changes.each(counter).any(|(_, change)| match change {
            Change::Total { delta, .. } => delta.is_some_and(|delta| delta >= counter.quiet_below),
            Change::Gauge { max, .. } => max >= counter.quiet_below,
        })
    };
    let did = |sockets: &Sockets| rule.seen.iter().any(|name| sockets.saw(name));
    let missing = |name: &&str| {
        let stage = name.strip_prefix(Rule::MISSING_AT);
        stage.and_then(|stage| unexplained.get(stage)).is_some_and(|packets| *packets > 0)
    };
    let saw = |probed: &Probed| rule.seen.iter().any(|name| probed.saw(name));
    let moved = rule.triggers.iter().any(moved);
    moved || sockets.is_some_and(did) || rule.seen.iter().any(missing) || probed.is_some_and(saw)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::wanted_knobs;
    use crate::model::{Changes, Finding, Instance, Lasting, Observed, Place, Scope, Severity};
    use crate::stage::{Way, backlog, rules};

    #[test]
    fn settings_below_sys_are_read_for_a_window_only() {
        let lossy = Observed::quiet().with_at(&backlog::DROPPED, Instance::Cpu { cpu: 1 }, 3);
        let mut changes = lossy.changes;
        let below_sys = |changes: &Changes| {
            let knobs = wanted_knobs(&Way::Receive.rules(), changes, None, None, &BTreeMap::new());
            assert!(!knobs.is_empty());
            knobs.iter().any(|knob| matches!(knob.place, Place::Sysfs(_)))
        };
        assert!(below_sys(&changes));
        changes.since_boot = true;
        assert!(!below_sys(&changes));
    }

    #[test]
    fn only_what_is_found_again_lasts() {
        let (_, rule) = rules().next().unwrap();
        let at = |device: &str| Finding {
            instance: Instance::device(device),
            ..Finding::new(rule, Severity::Info, Scope::Device, 0, "")
        };
        let mut lasting = Lasting::default();
        lasting.follow(&[at("a"), at("b")], 1.0);
        lasting.follow(&[at("b")], 2.0);
        assert_eq!(lasting.seconds(rule.id, &Instance::device("a")), 0.0);
        assert_eq!(lasting.seconds(rule.id, &Instance::device("b")), 3.0);
    }
}
