//! Did it help? The symptom and the guards (losses elsewhere, softirq time, memory) over equal windows, before and after.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::journal::Step;
use crate::model::Finding;

/// The symptom is gone for half at least: it helped.
const FELL_TO: f64 = 0.5;
/// The symptom, or the losses elsewhere, grew by this factor: it hurt.
const ROSE_TO: f64 = 1.5;
/// Traffic that changed by more than this factor can't be compared.
const TRAFFIC: f64 = 3.0;
/// Packets a second that come and go on a host that does nothing.
const FEW: f64 = 10.0;
/// Losses below this share of the traffic are noise.
const NOISE: f64 = 0.0005;
/// A CPU that spends more than this share of its time in softirqs has no room left,
const BUSY: f64 = 0.9;
/// and did have some if it was this much less before.
const BUSIER: f64 = 0.2;
/// Available memory that fell to less than this share of what it was: the change, or something else, takes it all.
const MEMORY: f64 = 0.5;

/// One window, as far as a verdict needs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Length in seconds.
    pub seconds: f64,
    /// Packets that came in.
    pub arrived: u64,
    /// All packets lost.
    pub lost: u64,
    /// What each rule found, by its id.
    pub symptoms: BTreeMap<String, Symptom>,
    /// Share of its time that the busiest CPU spent in softirqs, from 0 to 1; absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub softirq: Option<f64>,
    /// Memory that was available at the end, in bytes (MemAvailable); absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// What was lost by one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Symptom {
    /// In all.
    pub lost: u64,
    /// How often its first sign was counted, for what loses nothing; 0 if that is a state and no event.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub counted: u64,
    /// By sockets, by the address they are bound to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_address: BTreeMap<String, u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The symptom fell.
    Helped,
    /// The symptom is as before.
    NoEffect,
    /// The symptom, or losses elsewhere, rose.
    Hurt,
    /// The traffic changed, so the windows can't be compared.
    NotComparable,
    /// It acts only on what is made new, and nothing was since.
    Pending,
}

/// A verdict, and the numbers that it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers.
    pub why: String,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::Helped => "helped",
            Verdict::NoEffect => "no effect",
            Verdict::Hurt => "hurt",
            Verdict::NotComparable => "not comparable",
            Verdict::Pending => "pending",
        })
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.verdict, self.why)
    }
}

impl Verdict {
    /// True if the change is to be taken back.
    pub fn take_back(self) -> bool {
        matches!(self, Verdict::NoEffect | Verdict::Hurt)
    }

    /// True if a later look may tell more.
    pub fn undecided(self) -> bool {
        matches!(self, Verdict::Pending | Verdict::NotComparable)
    }
}

impl Measured {
    /// Takes in what was found.
    pub fn add(&mut self, finding: &Finding) {
        let symptom = self.symptoms.entry(finding.id.clone()).or_default();
        symptom.lost = symptom.lost.saturating_add(finding.lost);
        let sign = finding.evidence.first().filter(|sign| finding.lost == 0 && sign.per_second.is_some());
        symptom.counted = symptom.counted.saturating_add(sign.map_or(0, |sign| sign.delta));
        for victim in &finding.victims {
            let local = victim.local.clone().unwrap_or_default();
            let lost = symptom.by_address.entry(local).or_default();
            *lost = lost.saturating_add(victim.lost);
        }
    }

    /// Packets lost by what the step was made for. Where the rule's losses have several causes, only those sockets count
    /// that its own cause has hurt.
    fn symptom(&self, step: &Step) -> u64 {
        let of = |symptom: &Symptom| match step.partial {
            false => symptom.lost,
            true => {
                let ours = |local: &&String| step.victims.iter().any(|victim| victim.local == **local);
                let lost = symptom.by_address.iter().filter(|(local, _)| ours(local)).map(|(_, lost)| *lost);
                lost.fold(0, u64::saturating_add)
            }
        };
        step.findings.iter().filter_map(|rule| self.symptoms.get(rule)).map(of).fold(0, u64::saturating_add)
    }

    /// How often per second the sign of what the step was made for was counted, where nothing is lost.
    fn counted(&self, step: &Step) -> f64 {
        let symptoms = step.findings.iter().filter_map(|rule| self.symptoms.get(rule));
        symptoms.map(|symptom| symptom.counted as f64).sum::<f64>() / self.seconds.max(0.001)
    }

    fn share(&self, packets: u64) -> f64 {
        packets as f64 / self.arrived.max(1) as f64
    }
}

/// What `step` did, with the numbers. `alive` tells whether a socket, by its cookie, still exists.
pub fn judge(step: &Step, before: &Measured, after: &Measured, alive: impl Fn(u64) -> bool) -> Judgement {
    let (was, is) = (before.symptom(step), after.symptom(step));
    let numbers = format!(
        "{was} of {} packets lost in {:.1} s before, {is} of {} in {:.1} s after",
        before.arrived, before.seconds, after.arrived, after.seconds
    );
    let judged = |verdict, more: &str| Judgement { verdict, why: format!("{numbers}{more}") };
    if let Some(old) = still_old(step, alive) {
        return judged(Verdict::Pending, &format!("; {old}"));
    }
    let rate = |window: &Measured| window.arrived as f64 / window.seconds.max(0.001);
    let changed = (rate(after) + FEW) / (rate(before) + FEW);
    let still = step.findings.iter().any(|rule| after.symptoms.contains_key(rule));
    // More traffic without the symptom that less of it had: what held it back is gone.
    let freed = was == 0 && is == 0 && !still && changed > TRAFFIC;
    if !freed && !(1.0 / TRAFFIC..=TRAFFIC).contains(&changed) {
        return judged(Verdict::NotComparable, &format!("; the traffic is {changed:.2} times what it was"));
    }
    if let Some(harm) = harm(before, was, after, is) {
        return judged(Verdict::Hurt, &format!("; {harm}"));
    }
    let (share_was, share_is) = (before.share(was), after.share(is));
    // A warning before anything is lost: what counts is whether it is still given, and for as many events.
    if was == 0 && is == 0 {
        let (often, now) = (before.counted(step), after.counted(step));
        let verdict = if !still || now < often * FELL_TO { Verdict::Helped } else { Verdict::NoEffect };
        let counted = format!("; its sign was counted {often:.1} times a second before, {now:.1} times after");
        return judged(verdict, if often > 0.0 { &counted } else { "" });
    }
    let verdict = if share_is > share_was * ROSE_TO + NOISE {
        Verdict::Hurt
    } else if share_is <= share_was * FELL_TO {
        Verdict::Helped
    } else {
        Verdict::NoEffect
    };
    judged(verdict, "")
}

/// Why a step that acts on new sockets only can't have acted yet.
fn still_old(step: &Step, alive: impl Fn(u64) -> bool) -> Option<String> {
    if !step.waits {
        return None;
    }
    let old: Vec<_> = step.victims.iter().filter(|victim| alive(victim.cookie)).collect();
    let mut who: Vec<&str> = old.iter().map(|victim| victim.who.as_str()).filter(|who| !who.is_empty()).collect();
    who.sort_unstable();
    who.dedup();
    match (step.victims.is_empty(), old.is_empty()) {
        (false, true) => None,
        (true, _) => Some("it acts on new sockets only, and which sockets lost is not known".into()),
        (false, false) if who.is_empty() => Some("the sockets that lost are still the old ones".into()),
        (false, false) => Some(format!("the sockets that lost are still the old ones: restart {}", who.join(", "))),
    }
}

/// What got worse elsewhere.
fn harm(before: &Measured, was: u64, after: &Measured, is: u64) -> Option<String> {
    let elsewhere = |window: &Measured, symptom| window.share(window.lost.saturating_sub(symptom));
    let (other_was, other_is) = (elsewhere(before, was), elsewhere(after, is));
    if other_is > other_was * ROSE_TO + NOISE {
        let (was, is) = (other_was * 100.0, other_is * 100.0);
        return Some(format!("losses elsewhere rose from {was:.2} to {is:.2} %"));
    }
    if let (Some(was), Some(is)) = (before.softirq, after.softirq)
        && is > BUSY
        && is > was + BUSIER
    {
        let (was, is) = (was * 100.0, is * 100.0);
        return Some(format!("the busiest CPU's share of softirq time rose from {was:.0} to {is:.0} %"));
    }
    if let (Some(was), Some(is)) = (before.memory, after.memory)
        && (is as f64) < was as f64 * MEMORY
    {
        return Some(format!("available memory fell from {was} to {is} bytes"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::apply::tests::change;
    use super::super::journal::Loser;
    use super::*;

    const RULE: &str = "udp-receive-buffer-overflow";

    fn window(arrived: u64, symptom: u64, elsewhere: u64) -> Measured {
        let by_address = BTreeMap::from([("0.0.0.0:53".into(), symptom)]);
        let symptoms = BTreeMap::from([(RULE.into(), Symptom { lost: symptom, by_address, counted: 0 })]);
        Measured { seconds: 1.0, arrived, lost: symptom + elsewhere, symptoms, ..Measured::default() }
    }

    fn step(waits: bool) -> Step {
        let mut step = change(&["a.a"]).0.steps.remove(0);
        step.findings = vec![RULE.into()];
        step.victims = vec![Loser { cookie: 7, local: "0.0.0.0:53".into(), who: "dnsd[1]".into() }];
        step.waits = waits;
        step
    }

    fn verdict(before: Measured, after: Measured) -> Verdict {
        judge(&step(false), &before, &after, |_| true).verdict
    }

    #[test]
    fn verdicts_are_what_the_numbers_say() {
        let before = || window(10_000, 1_000, 0);
        for (after, expected) in [
            (window(10_000, 0, 0), Verdict::Helped),
            (window(12_000, 300, 0), Verdict::Helped),
            (window(10_000, 900, 0), Verdict::NoEffect),
            (window(10_000, 2_000, 0), Verdict::Hurt),
            (window(10_000, 0, 500), Verdict::Hurt),
            (window(1_000, 0, 0), Verdict::NotComparable),
            (window(90_000, 0, 0), Verdict::NotComparable),
        ] {
            assert_eq!(verdict(before(), after.clone()), expected, "{after:?}");
        }
    }

    #[test]
    fn what_acts_on_new_sockets_waits_for_them() {
        let (before, still) = (window(100, 50, 0), window(100, 50, 0));
        let judged = judge(&step(true), &before, &still, |cookie| cookie == 7);
        assert!(judged.verdict == Verdict::Pending && judged.why.contains("restart dnsd[1]"), "{judged}");
        assert_eq!(judge(&step(true), &before, &window(100, 0, 0), |_| false).verdict, Verdict::Helped);
    }

    #[test]
    fn losses_of_another_cause_do_not_count() {
        let mut after = window(10_000, 0, 0);
        after
            .symptoms
            .insert(RULE.into(), Symptom { lost: 900, by_address: [("[::]:514".into(), 900)].into(), counted: 0 });
        after.lost = 900;
        let mut before = after.clone();
        before.symptoms.get_mut(RULE).unwrap().by_address.insert("0.0.0.0:53".into(), 1_000);
        before.symptoms.get_mut(RULE).unwrap().lost = 1_900;
        before.lost = 1_900;
        assert_eq!(verdict(before.clone(), after.clone()), Verdict::Helped);
        let partial = Step { partial: true, ..step(false) };
        assert_eq!(judge(&partial, &before, &after, |_| true).verdict, Verdict::Helped);
        after.symptoms.get_mut(RULE).unwrap().by_address.insert("0.0.0.0:53".into(), 990);
        assert_eq!(judge(&partial, &before, &after, |_| true).verdict, Verdict::NoEffect);
    }

    #[test]
    fn a_warning_without_a_loss_must_be_gone() {
        let before = window(10_000, 0, 0);
        assert_eq!(verdict(before.clone(), before.clone()), Verdict::NoEffect);
        assert_eq!(verdict(before, Measured { symptoms: BTreeMap::new(), ..window(10_000, 0, 0) }), Verdict::Helped);
    }

    #[test]
    fn fewer_signs_of_what_loses_nothing_are_a_help() {
        let signs = |counted| {
            let mut window = window(10_000, 0, 0);
            window.symptoms.get_mut(RULE).unwrap().counted = counted;
            window
        };
        assert_eq!(verdict(signs(30), signs(2)), Verdict::Helped);
        assert_eq!(verdict(signs(30), signs(29)), Verdict::NoEffect);
    }

    #[test]
    fn guards_are_heeded() {
        let with = |softirq, memory| Measured { softirq: Some(softirq), memory: Some(memory), ..window(10_000, 0, 0) };
        let before = Measured { softirq: Some(0.5), memory: Some(1 << 30), ..window(10_000, 1_000, 0) };
        assert_eq!(verdict(before.clone(), with(0.6, 1 << 30)), Verdict::Helped);
        assert_eq!(verdict(before.clone(), with(0.95, 1 << 30)), Verdict::Hurt);
        assert_eq!(verdict(before, with(0.5, 1 << 28)), Verdict::Hurt);
    }
}
