//! From findings to steps: one per setting, conflicts refused with both reasons.

use serde::Serialize;

use schemars::JsonSchema;

use super::owner::Owner;
use crate::model::{Evidence, Finding, Memory, Risk, Scope, SettingFile, Suggestion, Tree, Victim};

/// Of the memory that is available now, a plan may cost this share at worst.
const MEMORY_SHARE: u64 = 4;

/// What the user allows, and the machine.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Also what carries a high risk, and what is no sysctl.
    pub all: bool,
    /// Only these settings, by name. Empty: any.
    pub only: Vec<String>,
    /// Memory that is available now, in bytes; absent if it can't be read.
    pub memory: Option<u64>,
    /// Bytes that all UDP sockets may hold before the kernel gets stingy (udp_mem, the second number); absent if it can't
    /// be read.
    pub udp: Option<u64>,
    /// The same for TCP (tcp_mem).
    pub tcp: Option<u64>,
}

/// One setting to change, and because of what.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Planned {
    /// The rules that ask for it.
    pub findings: Vec<String>,
    /// The numbers that show why.
    pub evidence: Vec<Evidence>,
    /// What to change.
    pub suggestion: Suggestion,
    /// Who sets it now, and may overwrite the change. Empty: nobody that is known.
    pub owners: Vec<Owner>,
    /// Whose loss asks for it.
    #[serde(skip)]
    pub victims: Vec<Victim>,
    /// True if others lose by the same rule for a reason that this setting does not touch.
    #[serde(skip)]
    pub partial: bool,
}

/// What is left as it is, and why.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Refused {
    /// A setting, or a rule for which there is none.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What will be changed, in order, and what will not, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Planned>,
    /// What stays as it is.
    pub refused: Vec<Refused>,
}

impl Plan {
    /// Memory that the whole plan may cost at worst, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        cost(&self.steps, |_| true)
    }

    /// Notes that so many packets were lost of which no counter knows why: no setting is to blame.
    pub fn note_unexplained(&mut self, packets: u64) {
        if packets > 0 {
            let why = "went in, did not come out, and no counter knows of them: mostly a firewall rule drops them \
                       ('nft list ruleset' shows the counters of its rules). No setting changes that; whoever made the \
                       rule can";
            self.refuse(format!("{packets} unexplained packets"), why);
        }
    }

    fn refuse(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let refused = Refused { what: what.into(), why: why.into() };
        // Two sockets that lose for the same reason are one reason.
        if !self.refused.contains(&refused) {
            self.refused.push(refused);
        }
    }
}

/// One finding's wish.
struct Wish<'a> {
    finding: &'a Finding,
    suggestion: &'a Suggestion,
}

/// Makes a plan of what the findings suggest. `owners` tells who sets a setting now.
pub fn plan(findings: &[Finding], allowed: &Allowed, owners: impl Fn(&Suggestion) -> Vec<Owner>) -> Plan {
    let mut plan = Plan::default();
    let mut wanted: Vec<(&SettingFile, Vec<Wish>)> = Vec::new();
    for finding in findings {
        if let Some(reason) = &finding.no_setting_helps {
            plan.refuse(finding.id.as_str(), reason.as_str());
        }
        for suggestion in &finding.suggestions {
            // Without a file it is the application's.
            let Some(file) = &suggestion.file else { continue };
            let wish = Wish { finding, suggestion };
            match wanted.iter_mut().find(|(known, _)| *known == file) {
                Some((_, wishes)) => wishes.push(wish),
                None => wanted.push((file, vec![wish])),
            }
        }
    }
    for (_, wishes) in &wanted {
        match merge(wishes, findings).and_then(|planned| permitted(planned, allowed)) {
            Ok(planned) => plan.steps.push(Planned { owners: owners(&planned.suggestion), ..planned }),
            Err(why) => plan.refuse(wishes[0].suggestion.name(), why),
        }
    }
    // What acts on the whole machine first: a namespace's own settings may be limited by it.
    plan.steps.sort_by_key(|step| step.suggestion.scope != Scope::Machine);
    within(&mut plan, allowed);
    plan
}

/// Several findings want the same setting: the larger need wins. If one wants more than there is and another less, both
/// are refused.
fn merge(wishes: &[Wish], findings: &[Finding]) -> Result<Planned, String> {
    let up =
        |wish: &Wish| wish.suggestion.numbers(&wish.suggestion.to) >= wish.suggestion.numbers(&wish.suggestion.from);
    let (first, rest) = wishes.split_first().ok_or("nothing is wanted")?;
    let against = |against: &Wish| {
        let [a, b] = [first, against].map(|wish| {
            let Suggestion { to, why, .. } = wish.suggestion;
            format!("{} wants {to} ({why})", wish.finding.id)
        });
        Err(format!("{a}, {b}"))
    };
    if let Some(wish) = rest.iter().find(|wish| up(wish) != up(first)) {
        return against(wish);
    }
    let best = wishes.iter().map(|wish| wish.suggestion).max_by_key(|wanted| wanted.numbers(&wanted.to));
    // Of several numbers in one setting, one may want the first larger and another the last.
    let known = |wish: &Wish| wish.suggestion.numbers(&wish.suggestion.to).is_some();
    let short = |wish: &&Wish| up(wish) && known(wish) && !best.is_some_and(|best| best.includes(wish.suggestion));
    if let Some(wish) = wishes.iter().find(short) {
        return against(wish);
    }
    let mut planned = Planned {
        findings: Vec::new(),
        evidence: Vec::new(),
        suggestion: best.unwrap_or(first.suggestion).clone(),
        owners: Vec::new(),
        victims: wishes.iter().flat_map(|wish| &wish.finding.victims).cloned().collect(),
        partial: false,
    };
    for wish in wishes {
        if !planned.findings.contains(&wish.finding.id) {
            planned.findings.push(wish.finding.id.clone());
            planned.evidence.extend(wish.finding.evidence.iter().cloned());
        }
    }
    let asked = |finding: &Finding| wishes.iter().any(|wish| std::ptr::eq(wish.finding, finding));
    planned.partial = findings.iter().any(|finding| planned.findings.contains(&finding.id) && !asked(finding));
    Ok(planned)
}

fn permitted(planned: Planned, allowed: &Allowed) -> Result<Planned, String> {
    let suggestion = &planned.suggestion;
    if !allowed.only.is_empty() && !allowed.only.contains(&suggestion.knob) {
        return Err("left out by --only".into());
    }
    if suggestion.risk == Risk::High && !allowed.all {
        return Err("high risk: --apply=all would change it".into());
    }
    let is_sysctl = suggestion.file.as_ref().is_some_and(|file| file.tree == Tree::Sysctl);
    if !is_sysctl && !allowed.all {
        return Err(format!("no sysctl: --apply=all would set it to {}", suggestion.to));
    }
    Ok(planned)
}

/// Takes out the most expensive steps until the rest fits into what there is.
fn within(plan: &mut Plan, allowed: &Allowed) {
    let quarter = |bytes: u64| bytes / MEMORY_SHARE;
    let any: fn(&Planned) -> bool = |_| true;
    let udp: fn(&Planned) -> bool = |step| step.suggestion.memory == Memory::Udp;
    let tcp: fn(&Planned) -> bool = |step| step.suggestion.memory == Memory::Tcp;
    fit(plan, any, allowed.memory.map(quarter), "a quarter of the memory that is available");
    fit(plan, udp, allowed.udp, "what net.ipv4.udp_mem lets all UDP sockets hold before it presses them");
    fit(plan, tcp, allowed.tcp, "what net.ipv4.tcp_mem lets all TCP sockets hold before it presses them");
}

fn fit(plan: &mut Plan, of: fn(&Planned) -> bool, limit: Option<u64>, what: &str) {
    let Some(limit) = limit else { return };
    while cost(&plan.steps, of) > limit {
        let dear = plan.steps.iter().enumerate().filter(|(_, step)| of(step));
        let Some((at, _)) = dear.max_by_key(|(_, step)| step.suggestion.memory_bytes) else { return };
        let step = plan.steps.remove(at);
        let bytes = step.suggestion.memory_bytes;
        plan.refuse(
            step.suggestion.name(),
            format!("may cost {bytes} bytes, with the rest of the plan more than {what}: {limit} bytes"),
        );
    }
}

fn cost(steps: &[Planned], of: impl Fn(&Planned) -> bool) -> u64 {
    steps.iter().filter(|step| of(step)).map(|step| step.suggestion.memory_bytes).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::rules;

    fn made(findings: &[Finding], allowed: &Allowed) -> Plan {
        plan(findings, allowed, |_| Vec::new())
    }

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
        let plan = made(&[wants("2048", 1), wants("4096", 2)], &Allowed::default());
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].suggestion.to, "4096");
        assert_eq!(plan.steps[0].findings, ["backlog-overflow"]);
    }

    #[test]
    fn what_contradicts_is_refused_with_both_reasons() {
        let plan = made(&[wants("2048", 1), wants("500", 1)], &Allowed::default());
        assert!(plan.steps.is_empty());
        assert!(plan.refused[0].why.contains("2048") && plan.refused[0].why.contains("500"));
    }

    #[test]
    fn several_numbers_are_compared_one_by_one() {
        let triple = |to: &str| {
            let mut finding = wants(to, 1);
            finding.suggestions[0].from = "1 2 3".into();
            finding
        };
        let plan = |wanted: [&str; 2]| made(&wanted.map(triple), &Allowed::default());
        assert_eq!(plan(["1 2 8", "1 4 8"]).steps[0].suggestion.to, "1 4 8");
        assert!(plan(["1 2 8", "1 4 6"]).steps.is_empty());
    }

    #[test]
    fn only_what_was_named_is_changed() {
        let allowed = Allowed { only: vec!["net.core.rmem_max".into()], ..Allowed::default() };
        assert!(made(&[wants("2048", 1)], &allowed).steps.is_empty());
    }

    #[test]
    fn what_is_no_sysctl_is_changed_only_if_all_is_wanted() {
        let mut other = wants("3", 0);
        other.suggestions[0].file = Some(SettingFile { tree: Tree::Sysfs, path: "class/net/lo/x".into() });
        assert!(made(&[other.clone()], &Allowed::default()).steps.is_empty());
        assert_eq!(made(&[other], &Allowed { all: true, ..Allowed::default() }).steps.len(), 1);
    }

    #[test]
    fn the_memory_of_the_whole_plan_is_limited() {
        let mut other = finding("udp-receive-buffer-overflow");
        other.suggestions[0].memory_bytes = 900;
        let allowed = Allowed { memory: Some(4000), ..Allowed::default() };
        let plan = made(&[wants("2048", 500), other], &allowed);
        assert_eq!(plan.steps.len(), 1, "500 + 900 is more than 1000");
        assert_eq!(plan.steps[0].suggestion.memory_bytes, 500);
    }

    #[test]
    fn a_protocol_s_own_limit_binds_too() {
        let mut udp = finding("udp-receive-buffer-overflow");
        udp.suggestions[0].memory_bytes = 900;
        let allowed = Allowed { memory: Some(1 << 30), udp: Some(800), ..Allowed::default() };
        let plan = made(&[wants("2048", 5_000), udp], &allowed);
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].suggestion.memory, Memory::Kernel);
        assert!(plan.refused.iter().any(|refused| refused.why.contains("udp_mem")), "{:?}", plan.refused);
    }

    #[test]
    fn an_application_is_never_changed() {
        let (_, rule) = rules().find(|(_, rule)| rule.id == "accept-queue-overflow").unwrap();
        let findings = (rule.fires)(&(rule.examples[1].observed)(), rule);
        let plan = made(&findings, &Allowed { all: true, ..Allowed::default() });
        assert!(plan.steps.is_empty());
        assert!(plan.refused.iter().any(|refused| refused.why.contains("application")));
    }
}
