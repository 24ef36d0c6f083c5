//! What the kernel was seen to refuse as it evaluated chains (fexit): each is known, with its packets, and none is missing.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::super::words::protocol;
use super::netfilter;
use super::possible::{Entry, Grown, NFPROTO_BRIDGE, Possible, Rules, family, hook_name, legacy, network, tools};
use crate::model::{Layer, Means, Refuser, SourceStatus};
use crate::source::nftables::{ChainId, Rule};
use crate::source::probe::verdicts::{Place, Verdict, VerdictProbe, Verdicts, What};

/// What was refused until the beginning and until the end of a window: each read before the counts of drops, and after.
#[derive(Default)]
pub struct Seen {
    begin: [Verdicts; 2],
    end: [Verdicts; 2],
    /// Chains are seen; else there is nothing here.
    chains: bool,
    /// A drop of a chain that no rule decided on is its policy's.
    policies: bool,
    /// It is not there any more.
    gave_up: bool,
    /// Why it could not be read.
    failed: Option<String>,
}

impl Seen {
    /// Before the counts of drops that begin a window, the first.
    pub fn begin(probe: &VerdictProbe) -> Self {
        let mut seen = Seen { chains: probe.sees_chains(), ..Seen::default() };
        seen.begin[0] = seen.read(probe);
        seen
    }

    /// After them.
    pub fn begun(&mut self, probe: &VerdictProbe) {
        self.begin[1] = self.read(probe);
    }

    /// Before those that end it.
    pub fn ending(&mut self, probe: &VerdictProbe) {
        self.end[0] = self.read(probe);
    }

    /// After them.
    pub fn ended(&mut self, probe: &VerdictProbe) {
        self.end[1] = self.read(probe);
        self.policies = probe.tells_policies();
        self.gave_up = !probe.sees_chains();
        if self.chains && self.gave_up {
            self.failed = Some("it was given up in the window".into());
        }
    }

    /// The end of a window is the beginning of the next.
    pub fn next(&mut self) {
        self.chains &= !self.gave_up;
        self.begin = std::mem::take(&mut self.end);
        self.failed = None;
    }

    fn read(&mut self, probe: &VerdictProbe) -> Verdicts {
        probe.read().unwrap_or_else(|error| {
            self.failed = Some(error.to_string());
            Verdicts::default()
        })
    }

    /// Why counters have to stand in, where fexit was there.
    pub fn trouble(&self) -> Option<SourceStatus> {
        let unkept = self.unkept();
        let full = (unkept > 0).then(|| format!("the table was full: {unkept} packets were not kept apart"));
        let reason = self.failed.clone().or(full).filter(|_| self.chains)?;
        let reason = format!("{reason}; rules' counters are used instead");
        Some(super::super::status("verdicts of the firewall (fexit)", Some(reason), Instant::now()))
    }

    fn unkept(&self) -> u64 {
        self.end[1].unkept.saturating_sub(self.begin[0].unkept)
    }

    /// What was refused in a namespace in the window, in the words of its rules as far as those are known.
    pub fn in_namespace(&self, netns: u32, rules: &Rules) -> netfilter::Verdicts {
        if self.failed.is_some() || self.unkept() > 0 {
            return netfilter::Verdicts::default();
        }
        let four = [&self.begin[0], &self.begin[1], &self.end[0], &self.end[1]];
        let here = |verdict: &&Verdict| verdict.place.netns == netns;
        let all: HashSet<&Verdict> = four.iter().flat_map(|seen| seen.refused.keys()).filter(here).collect();
        let words = Words::of(rules);
        let possible = |verdict: &Verdict| {
            let grown = Grown::of(four.map(|seen| seen.refused.get(verdict).copied().unwrap_or(0)))?;
            (grown.most > 0).then(|| self.possible(verdict, grown, &words))
        };
        let mut possibles: Vec<Possible> = all.into_iter().filter_map(possible).collect();
        possibles.sort_by_key(|possible| possible.refuser.label(Layer::Nftables));
        let (tables, chains) = possibles.into_iter().partition(|possible| possible.xtables);
        netfilter::Verdicts { chains: self.chains.then_some(chains), tables }
    }

    fn possible(&self, verdict: &Verdict, grown: Grown, words: &Words) -> Possible {
        let is_policy = verdict.what == What::Policy && self.policies;
        let xtables = verdict.what == What::Table;
        let hook = hook_name(verdict.family, verdict.hook.into());
        let device = Some(verdict.device.clone());
        // A bridge's packet may be of the port or of the bridge.
        let device = device.filter(|device| !device.is_empty() && verdict.network != NFPROTO_BRIDGE);
        let mut refuser = Refuser {
            family: Some(family(verdict.family)),
            hook: Some(hook.into()),
            priority: Some(verdict.priority),
            handle: Some(verdict.rule).filter(|handle| *handle > 0),
            verdict: match verdict.what {
                What::Rule => Some("drop".into()),
                _ => is_policy.then(|| "policy".into()),
            },
            ..Refuser::default()
        };
        if let Some((table, chain)) = self.names(verdict.place) {
            words.add(&mut refuser, verdict, table, chain);
            (refuser.table, refuser.chain) = (Some(table.clone()), Some(chain.clone()));
        }
        if xtables {
            refuser.tool = Some(legacy(verdict.family).into());
            refuser.chain = Some(hook.to_uppercase());
            refuser.priority = None;
        }
        Possible {
            refuser,
            is_policy,
            xtables,
            grown: Some(grown),
            by: Means::Fexit,
            entries: vec![Entry { name: hook, priority: verdict.priority, device: None }],
            network: network(verdict.network),
            protocol: protocol(verdict.protocol),
            device,
        }
    }

    fn names(&self, place: Place) -> Option<&(String, String)> {
        self.end.iter().rev().find_map(|seen| seen.names.get(&place))
    }
}

/// What the rules say besides: the kernel's programs read only names and handles.
struct Words<'a> {
    rules: HashMap<(&'a ChainId, u64), &'a Rule>,
    tools: HashMap<(u8, &'a String), &'static str>,
}

impl<'a> Words<'a> {
    fn of(rules: &'a Rules) -> Self {
        let all = rules.chains_of_nftables();
        Words {
            rules: all.rules.iter().map(|rule| ((&rule.chain, rule.handle), rule)).collect(),
            tools: tools(all, false),
        }
    }

    fn add(&self, refuser: &mut Refuser, verdict: &Verdict, table: &String, chain: &str) {
        refuser.tool = self.tools.get(&(verdict.family, table)).map(|&tool| tool.to_owned());
        let chain = ChainId { family: verdict.family, table: table.clone(), chain: chain.to_owned() };
        let Some(rule) = self.rules.get(&(&chain, verdict.rule)) else { return };
        refuser.rule = Some(rule.position);
        refuser.comment.clone_from(&rule.comment);
        refuser.verdict = rule.verdict.word().map(str::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Drop;

    fn verdict(what: What, protocol: u8, device: &str) -> Verdict {
        let (family, hook, network) = (1, 1, 2);
        let (place, device) = (Place { table: 1, chain: 2, netns: 7 }, device.to_owned());
        Verdict { what, place, rule: 4, priority: -5, family, hook, network, protocol, device }
    }

    fn seen(begin: &[(Verdict, u64)], end: &[(Verdict, u64)]) -> Seen {
        let names = HashMap::from([(Place { table: 1, chain: 2, netns: 7 }, ("t".to_owned(), "i".to_owned()))]);
        let all = |counts: &[(Verdict, u64)]| Verdicts {
            refused: counts.iter().cloned().collect(),
            names: names.clone(),
            unkept: 0,
        };
        let [begin, end] = [[all(begin), all(begin)], [all(end), all(end)]];
        Seen { begin, end, chains: true, policies: true, ..Seen::default() }
    }

    #[test]
    fn what_was_refused_in_the_window_has_its_names_and_its_packets() {
        let rule = verdict(What::Rule, 17, "eth0");
        let before = verdict(What::Rule, 6, "eth0");
        let seen = seen(&[(rule.clone(), 3), (before.clone(), 9)], &[(rule, 10), (before, 9)]);
        let chains = seen.in_namespace(7, &Rules::default()).chains.unwrap();
        let [only] = &chains[..] else { panic!("{}", chains.len()) };
        assert_eq!(only.refuser.label(Layer::Nftables), "nft inet t i handle 4");
        assert_eq!((only.grown, only.by), (Some(Grown { least: 7, most: 7 }), Means::Fexit));
        assert!(only.fits(&Drop::example("NETFILTER_DROP", 7)));
        let tcp = Drop { protocol: Some("tcp".into()), ..Drop::example("NETFILTER_DROP", 7) };
        let elsewhere = Drop { device: Some("eth1".into()), ..Drop::example("NETFILTER_DROP", 7) };
        assert!(!only.fits(&tcp) && !only.fits(&elsewhere));
        assert!(seen.in_namespace(8, &Rules::default()).chains.unwrap().is_empty());
    }

    #[test]
    fn a_policy_is_blamed_only_if_every_rule_would_be_seen() {
        let mut seen = seen(&[], &[(Verdict { rule: 0, ..verdict(What::Policy, 17, "") }, 5)]);
        let refuser = |seen: &Seen| seen.in_namespace(7, &Rules::default()).chains.unwrap()[0].refuser.clone();
        assert_eq!(refuser(&seen).label(Layer::Nftables), "nft inet t i policy drop");
        seen.policies = false;
        assert_eq!(refuser(&seen).label(Layer::Nftables), "nft inet t i");
    }

    #[test]
    fn a_table_of_the_old_kind_is_told_by_its_own_tool() {
        let table = Verdict { rule: 0, family: 2, ..verdict(What::Table, 17, "eth0") };
        let seen = seen(&[], &[(table, 5)]);
        let verdicts = seen.in_namespace(7, &Rules::default());
        assert!(verdicts.chains.unwrap().is_empty());
        assert_eq!(verdicts.tables[0].refuser.label(Layer::Iptables), "iptables-legacy t INPUT");
    }

    #[test]
    fn what_was_not_all_seen_counts_for_nothing_and_that_is_told() {
        let mut seen = seen(&[], &[(verdict(What::Rule, 17, ""), 5)]);
        assert!(seen.trouble().is_none());
        seen.end[1].unkept = 1;
        assert!(seen.in_namespace(7, &Rules::default()).chains.is_none());
        assert!(seen.trouble().unwrap().reason.unwrap().contains("1 packets"));
        seen.chains = false;
        assert!(seen.trouble().is_none());
    }
}
