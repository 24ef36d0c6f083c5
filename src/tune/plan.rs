//! From findings to steps: one per setting, conflicts refused with both reasons.

use std::collections::BTreeMap;

use crate::model::{Finding, Risk, Scope, Suggestion};

/// Of the memory that is available now, a plan may cost this share at worst.
const MEMORY_SHARE: u64 = 4;

/// What the user allows.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Also what carries a high risk.
    pub all: bool,
    /// Only these settings, by name. Empty: any.
    pub only: Vec<String>,
    /// Memory that is available now, in bytes; absent if it can't be read.
    pub memory: Option<u64>,
}

/// One setting to change, and because of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The rules that ask for it.
    pub findings: Vec<String>,
    /// What to change.
    pub suggestion: Suggestion,
}

/// What will be changed, in order, and what will not, and why.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Planned>,
    /// Settings that stay as they are: name and reason.
    pub refused: Vec<(String, String)>,
}

impl Plan {
    /// Memory that the whole plan may cost at worst, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.suggestion.memory_bytes).fold(0, u64::saturating_add)
    }
}

/// Makes a plan of what the findings suggest.
pub fn plan(findings: &[Finding], allowed: &Allowed) -> Plan {
    let mut plan = Plan::default();
    let mut wanted: BTreeMap<String, Vec<(String, &Suggestion)>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for finding in findings {
        if let Some(reason) = &finding.no_setting_helps {
            plan.refused.push((finding.id.clone(), reason.clone()));
        }
        for suggestion in &finding.suggestions {
            if !suggestion.appliable {
                continue;
            }
            if !order.contains(&suggestion.knob) {
                order.push(suggestion.knob.clone());
            }
            wanted.entry(suggestion.knob.clone()).or_default().push((finding.id.clone(), suggestion));
        }
    }
    for knob in order {
        match merge(&knob, &wanted[&knob]).and_then(|planned| permitted(planned, allowed)) {
            Ok(planned) => plan.steps.push(planned),
            Err(reason) => plan.refused.push((knob, reason)),
        }
    }
    // What acts on the whole machine first: a namespace's own settings may be limited by it.
    plan.steps.sort_by_key(|step| step.suggestion.scope != Scope::Machine);
    within_memory(&mut plan, allowed.memory);
    plan
}

/// Several findings want the same setting: the larger need wins. If one wants more than there is and another less, both
/// are refused.
fn merge(knob: &str, wanted: &[(String, &Suggestion)]) -> Result<Planned, String> {
    let number = |text: &str| text.parse::<u64>().ok();
    let up = |suggestion: &Suggestion| number(&suggestion.to) >= number(&suggestion.from);
    let (first, rest) = wanted.split_first().ok_or("nothing is wanted")?;
    if let Some((other, against)) = rest.iter().find(|(_, suggestion)| up(suggestion) != up(first.1)) {
        return Err(format!(
            "{} wants {knob} = {} ({}), {other} wants {} ({})",
            first.0, first.1.to, first.1.why, against.to, against.why
        ));
    }
    let best = wanted.iter().max_by_key(|(_, suggestion)| number(&suggestion.to)).map_or(first.1, |(_, best)| *best);
    let mut findings: Vec<String> = wanted.iter().map(|(id, _)| id.clone()).collect();
    findings.dedup();
    Ok(Planned { findings, suggestion: best.clone() })
}

fn permitted(planned: Planned, allowed: &Allowed) -> Result<Planned, String> {
    let suggestion = &planned.suggestion;
    if !allowed.only.is_empty() && !allowed.only.contains(&suggestion.knob) {
        return Err("left out by --only".into());
    }
    if suggestion.risk == Risk::High && !allowed.all {
        return Err("high risk: --apply=all would change it".into());
    }
    Ok(planned)
}

/// Takes out the most expensive steps until the rest fits.
fn within_memory(plan: &mut Plan, available: Option<u64>) {
    let Some(limit) = available.map(|bytes| bytes / MEMORY_SHARE) else { return };
    while plan.memory_bytes() > limit {
        let most = plan.steps.iter().enumerate().max_by_key(|(_, step)| step.suggestion.memory_bytes);
        let Some((at, _)) = most else { return };
        let step = plan.steps.remove(at);
        let reason = format!(
            "may cost {} bytes, with the rest more than a quarter of the {} available",
            step.suggestion.memory_bytes,
            limit * MEMORY_SHARE
        );
        plan.refused.push((step.suggestion.knob, reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::rules;

    fn finding(rule: &str) -> Finding {
        let (_, rule) = rules().find(|(_, found)| found.id == rule).unwrap();
        let seen = (rule.examples[0].observed)();
        (rule.fires)(&seen, rule).remove(0)
    }

    fn wants(to: &str, memory: u64) -> Finding {
        let mut finding = finding("backlog-overflow");
        finding.suggestions[0].to = to.into();
        finding.suggestions[0].memory_bytes = memory;
        finding
    }

    #[test]
    fn the_larger_need_wins() {
        let plan = plan(&[wants("2048", 1), wants("4096", 2)], &Allowed::default());
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].suggestion.to, "4096");
    }

    #[test]
    fn what_contradicts_is_refused_with_both_reasons() {
        let plan = plan(&[wants("2048", 1), wants("500", 1)], &Allowed::default());
        assert!(plan.steps.is_empty());
        assert!(plan.refused[0].1.contains("2048") && plan.refused[0].1.contains("500"));
    }

    #[test]
    fn only_what_was_named_is_changed() {
        let allowed = Allowed { only: vec!["net.core.rmem_max".into()], ..Allowed::default() };
        assert!(plan(&[wants("2048", 1)], &allowed).steps.is_empty());
    }

    #[test]
    fn the_memory_of_the_whole_plan_is_limited() {
        let mut other = finding("udp-receive-buffer-overflow");
        other.suggestions[0].memory_bytes = 900;
        let allowed = Allowed { memory: Some(4000), ..Allowed::default() };
        let plan = plan(&[wants("2048", 500), other], &allowed);
        assert_eq!(plan.steps.len(), 1, "500 + 900 is more than 1000");
        assert_eq!(plan.steps[0].suggestion.memory_bytes, 500);
    }

    #[test]
    fn an_application_is_never_changed() {
        let (_, rule) = rules().find(|(_, rule)| rule.id == "accept-queue-overflow").unwrap();
        let findings = (rule.fires)(&(rule.examples[1].observed)(), rule);
        let plan = plan(&findings, &Allowed::default());
        assert!(plan.steps.is_empty());
        assert!(plan.refused.iter().any(|(_, reason)| reason.contains("application")));
    }
}
