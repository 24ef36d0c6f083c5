//! One network namespace among all of a host.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Netns, Report, StageCounters};
use crate::ledger::{Line, Totals};
use crate::model::{Evidence, Finding, Kind, Severity, SourceStatus};
use crate::source::namespaces::Namespace;

/// What one network namespace did in the window.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct NetnsReport {
    /// How it is called in a word: its name, container, systemd unit or process. No two of a report are called alike.
    pub label: String,
    /// Which one.
    pub netns: Netns,
    /// The oldest process in it. Absent if there is none, or none that can be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// That process's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// The systemd unit that it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The id of the container that it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Why nothing is known of it: it can't be entered, it went away, or it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// Length of its window in seconds; since boot, if that is the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<f64>,
    /// Its path as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// What each stage did with its packets, in the order of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Vec<Line>>,
    /// The counters of each stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageCounters>,
    /// What is wrong in it, the worst first.
    pub findings: Vec<Finding>,
    /// The sources that gave nothing, or not all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStatus>,
}

impl NetnsReport {
    /// One of which nothing is known, and why.
    pub fn unseen(namespace: &Namespace, why: String) -> Self {
        let id = Some(format!("net:[{}]", namespace.id.1));
        let netns = Netns { id, cookie: None, name: namespace.name.clone() };
        NetnsReport { netns, unseen: Some(why), ..Self::of(namespace) }
    }

    /// One of which `report` tells. What that says of the whole machine is taken out of it, and handed back.
    pub fn take(namespace: &Namespace, report: Report) -> (Self, Report) {
        let (stages, of_machine) = report.stages.into_iter().partition(|stage| !stage.scope.is_of_machine());
        let (findings, shared) = report.findings.into_iter().partition(|finding| !of_all(finding));
        let gave_nothing = |source: &&SourceStatus| !source.ok || source.reason.is_some();
        let netns = report.netns.unwrap_or_default();
        let one = NetnsReport {
            netns: Netns { name: namespace.name.clone(), ..netns },
            window_seconds: report.window_seconds,
            totals: report.totals,
            ledger: report.ledger,
            stages,
            findings,
            sources: report.sources.iter().filter(gave_nothing).cloned().collect(),
            ..Self::of(namespace)
        };
        (one, Report { netns: None, totals: None, ledger: None, stages: of_machine, findings: shared, ..report })
    }

    fn of(namespace: &Namespace) -> Self {
        let Namespace { label, pid, comm, unit, container, .. } = namespace.clone();
        NetnsReport { label, pid, comm, unit, container, ..NetnsReport::default() }
    }

    /// Packets that it lost, and those of which nobody knows.
    pub fn missing(&self) -> (u64, u64) {
        self.totals.map_or((0, 0), |totals| (totals.lost, totals.unexplained))
    }

    /// The worst that was found in it.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Nothing came in, and nothing is wrong.
    pub fn is_quiet(&self) -> bool {
        let nothing = |totals: Totals| totals.taken == 0 && totals.lost == 0 && totals.unexplained == 0;
        self.unseen.is_none() && self.findings.is_empty() && self.totals.is_none_or(nothing)
    }
}

/// Those that lose most first, then those with findings, then those that take in most.
pub fn rank(all: &mut [NetnsReport]) {
    let taken = |one: &NetnsReport| one.totals.map_or(0, |totals| totals.taken);
    let key = |one: &NetnsReport| (one.missing(), one.worst(), taken(one));
    all.sort_by(|a, b| key(b).cmp(&key(a)).then_with(|| a.label.cmp(&b.label)));
}

/// True if only the machine's counters show it, or levels that are the same everywhere: then it is no namespace's own. A
/// counter that grew in a namespace, and a victim there, make it that one's.
fn of_all(finding: &Finding) -> bool {
    let shared = |evidence: &Evidence| {
        let mut counters = crate::stage::counters().map(|(_, counter)| counter);
        let counter = counters.find(|counter| counter.id() == evidence.counter);
        counter.is_some_and(|counter| counter.group.scope.is_of_machine() || counter.kind == Kind::Gauge)
    };
    finding.scope.is_of_machine() && finding.victims.is_empty() && finding.evidence.iter().all(shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Finding, Observed, Scope, Victim};
    use crate::stage::{backlog, rules, udp_in};

    fn finding(scope: Scope, evidence: Vec<Evidence>) -> Finding {
        let (_, rule) = rules().next().unwrap();
        Finding { evidence, ..Finding::new(rule, Severity::Info, scope, 0, "") }
    }

    #[test]
    fn what_a_namespace_s_own_counter_shows_is_its_own() {
        let seen = Observed::quiet();
        let softnet = || vec![seen.evidence(&backlog::DROPPED, None)];
        let udp = vec![seen.evidence(&udp_in::RCVBUF_ERRORS, None)];
        assert!(of_all(&finding(Scope::Machine, softnet())));
        assert!(!of_all(&finding(Scope::Netns, softnet())));
        assert!(!of_all(&finding(Scope::Machine, udp)));
        assert!(!of_all(&Finding { victims: vec![Victim::default()], ..finding(Scope::Machine, softnet()) }));
    }

    #[test]
    fn those_that_lose_stand_first() {
        let one = |label: &str, lost, taken| NetnsReport {
            label: label.into(),
            totals: Some(Totals { lost, taken, ..Totals::default() }),
            ..NetnsReport::default()
        };
        let mut all = [one("busy", 0, 900), one("b", 0, 0), one("lossy", 3, 10), one("a", 0, 0)];
        rank(&mut all);
        assert_eq!(all.each_ref().map(|one| one.label.as_str()), ["lossy", "busy", "a", "b"]);
        assert_eq!(all.map(|one| one.is_quiet()), [false, false, true, true]);
    }
}
