//! Did it help? The symptom and the losses elsewhere over equal windows, before and after.

use crate::model::Finding;

/// The symptom is gone for half at least: it helped.
const FELL_TO: f64 = 0.5;
/// The symptom, or the losses elsewhere, grew by this factor: it hurt.
const ROSE_TO: f64 = 1.5;
/// Traffic that changed by more than this factor can't be compared.
const TRAFFIC: f64 = 3.0;
/// Losses below this share of the traffic are noise.
const NOISE: f64 = 0.0005;

/// One window, as far as a verdict needs it.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Length in seconds.
    pub seconds: f64,
    /// Packets that came in.
    pub arrived: u64,
    /// All packets lost.
    pub lost: u64,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Verdict {
    /// True if the change is to be taken back.
    pub fn take_back(self) -> bool {
        matches!(self, Verdict::NoEffect | Verdict::Hurt)
    }
}

impl Measured {
    fn symptom(&self, rules: &[String]) -> u64 {
        self.findings
            .iter()
            .filter(|finding| rules.contains(&finding.id))
            .map(|finding| finding.lost)
            .fold(0, u64::saturating_add)
    }

    fn share(&self, packets: u64) -> f64 {
        packets as f64 / self.arrived.max(1) as f64
    }

    /// The sockets that lose by these rules, by inode.
    fn victims(&self, rules: &[String]) -> impl Iterator<Item = u32> {
        let findings = self.findings.iter().filter(move |finding| rules.contains(&finding.id));
        findings.flat_map(|finding| finding.victims.iter().map(|victim| victim.inode))
    }
}

/// What a change that was asked for by `rules` did, with the numbers. `waits` says that it acts only on new sockets;
/// `alive` tells whether a socket, by its inode, still exists.
pub fn judge(
    rules: &[String],
    before: &Measured,
    after: &Measured,
    waits: bool,
    alive: impl Fn(u32) -> bool,
) -> (Verdict, String) {
    let (was, is) = (before.symptom(rules), after.symptom(rules));
    let numbers = format!(
        "{was} of {} packets lost in {:.1} s before, {is} of {} in {:.1} s after",
        before.arrived, before.seconds, after.arrived, after.seconds
    );
    let old: Vec<u32> = before.victims(rules).filter(|inode| *inode != 0).collect();
    if waits && (old.is_empty() || old.iter().any(|inode| alive(*inode))) {
        return (Verdict::Pending, format!("{numbers}; the losing sockets are still the old ones"));
    }
    let rate = |window: &Measured| window.arrived as f64 / window.seconds.max(0.001);
    let changed = rate(after) / rate(before).max(1.0);
    if !(1.0 / TRAFFIC..=TRAFFIC).contains(&changed) {
        return (Verdict::NotComparable, format!("{numbers}; the traffic is {changed:.2} times what it was"));
    }
    let (share_was, share_is) = (before.share(was), after.share(is));
    let elsewhere = |window: &Measured, symptom| window.share(window.lost.saturating_sub(symptom));
    let (other_was, other_is) = (elsewhere(before, was), elsewhere(after, is));
    if other_is > other_was * ROSE_TO + NOISE {
        let text =
            format!("{numbers}; losses elsewhere rose from {:.2} to {:.2} %", other_was * 100.0, other_is * 100.0);
        return (Verdict::Hurt, text);
    }
    let verdict = if share_is > share_was * ROSE_TO + NOISE {
        Verdict::Hurt
    } else if share_is <= share_was * FELL_TO {
        Verdict::Helped
    } else {
        Verdict::NoEffect
    };
    (verdict, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::rules;

    fn window(arrived: u64, symptom: u64, elsewhere: u64) -> Measured {
        let (_, rule) = rules().find(|(_, rule)| rule.id == "udp-receive-buffer-overflow").unwrap();
        let mut finding = (rule.fires)(&(rule.examples[0].observed)(), rule).remove(0);
        finding.lost = symptom;
        finding.victims[0].inode = 7;
        let findings = if symptom > 0 { vec![finding] } else { Vec::new() };
        Measured { seconds: 1.0, arrived, lost: symptom + elsewhere, findings }
    }

    fn verdict(before: Measured, after: Measured, waits: bool, alive: bool) -> Verdict {
        judge(&["udp-receive-buffer-overflow".into()], &before, &after, waits, |_| alive).0
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
            assert_eq!(verdict(before(), after.clone(), false, true), expected, "{after:?}");
        }
    }

    #[test]
    fn what_acts_on_new_sockets_waits_for_them() {
        assert_eq!(verdict(window(100, 50, 0), window(100, 50, 0), true, true), Verdict::Pending);
        assert_eq!(verdict(window(100, 50, 0), window(100, 0, 0), true, false), Verdict::Helped);
    }
}
