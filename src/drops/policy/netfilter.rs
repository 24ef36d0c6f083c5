//! Which rule or chain of nftables or iptables dropped a packet: as the kernel was seen to evaluate them, else by their
//! counters before and after the window.

use std::collections::{BTreeMap, HashMap};

use super::possible::{Grown, Possible, Twice, of_nftables, of_xtables};
use super::site::{Site, tell};
use super::solve::{Row, Solved, solve};
use super::tables;
use crate::model::{Drop, Layer, Means, Policy, Share};

/// Candidates named, at most.
const CANDIDATES: usize = 10;

/// What was found out about this kernel.
#[derive(Default)]
pub struct Sites {
    /// Whether a place in nft_do_chain() is that of the policies.
    policies: HashMap<String, bool>,
    /// nftables frees what it drops itself (since 6.7): what the hook frees then was dropped by others.
    frees_itself: bool,
}

impl Sites {
    /// Whether this can have dropped the packets, as they are and by where they were freed.
    fn allow(&self, possible: &Possible, drop: &Drop) -> bool {
        let in_chain = is_in_chain(drop);
        let other = if possible.xtables { in_chain } else { !in_chain && self.frees_itself };
        let of_policies = drop.location.as_ref().and_then(|place| self.policies.get(place));
        !other && possible.fits(drop) && of_policies.is_none_or(|&of_policies| possible.is_policy == of_policies)
    }

    /// What may have dropped a single packet. Counters don't tell: others may have been counted at the same time.
    pub fn candidates(&self, drop: &Drop, rules: &Twice) -> Policy {
        let layer = if is_in_chain(drop) { Layer::Nftables } else { Layer::Netfilter };
        let possibles = of_nftables(rules, rules).into_iter().chain(of_xtables(rules, rules));
        let possibles = possibles.filter(|possible| self.allow(possible, drop));
        let candidates = possibles.take(CANDIDATES).map(|possible| possible.refuser).collect();
        Policy { candidates, ..Policy::of(layer, Means::Reason) }
    }
}

/// What was seen as the kernel decided.
#[derive(Default)]
pub struct Verdicts {
    /// All that chains of nftables dropped; nothing if that was not seen.
    pub chains: Option<Vec<Possible>>,
    /// What tables of iptables of the old kind dropped, as far as it was seen.
    pub tables: Vec<Possible>,
}

/// Names what dropped the packets of these rows, all of one namespace, by its rules at the beginning and at the end, and
/// by what its chains were seen to drop, where that was seen.
pub fn attribute(
    drops: &mut [&mut Drop],
    (begin, end): (&Twice, &Twice),
    Verdicts { chains, tables }: Verdicts,
    sites: &mut Sites,
) {
    let mut possibles = chains.unwrap_or_else(|| of_nftables(begin, end));
    possibles.extend(of_xtables(begin, end));
    let mut grown: Vec<Grown> = possibles.iter().map(|possible| possible.grown.unwrap_or_default()).collect();
    let unsure = end.early.unsure() || end.late.unsure();
    sites.frees_itself |= drops.iter().any(|drop| is_in_chain(drop));
    // A chain of which it is not known whether it was a rule or the policy teaches nothing.
    let known = possibles.iter().all(|possible| possible.refuser.verdict.is_some());
    if !unsure && known {
        learn(&mut sites.policies, drops, &possibles);
    }
    // Where the place says that nftables dropped it there is less to choose from: those come first.
    for in_chain in [true, false] {
        let mut rows: Vec<&mut &mut Drop> = drops.iter_mut().filter(|drop| is_in_chain(drop) == in_chain).collect();
        let asked: Vec<Row> = rows
            .iter()
            .map(|drop| {
                let fits: Vec<usize> = (0..possibles.len()).filter(|&at| sites.allow(&possibles[at], drop)).collect();
                // What the hook frees others than rules may have dropped.
                let open = !in_chain || fits.iter().any(|&at| possibles[at].grown.is_none());
                Row { count: drop.count, fits, open }
            })
            .collect();
        let mut solved = solve(&asked, &mut grown);
        let of_tables = if in_chain { &[][..] } else { &tables };
        let of_tables = tables::tell(&rows, &mut solved, &possibles, of_tables);
        for (((drop, row), solved), of_tables) in rows.iter_mut().zip(&asked).zip(solved).zip(of_tables) {
            let fits: Vec<&Possible> = row.fits.iter().map(|&at| &possibles[at]).collect();
            let shares = solved.shares.iter().map(|&(at, count)| Share {
                count,
                by: possibles[at].by,
                refuser: possibles[at].refuser.clone(),
            });
            let layer = match solved.shares.iter().all(|&(at, _)| possibles[at].xtables) {
                _ if in_chain => Layer::Nftables,
                _ if solved.shares.is_empty() && of_tables.is_empty() => Layer::Netfilter,
                true => Layer::Iptables,
                false => Layer::Nftables,
            };
            let shares = shares.chain(of_tables).collect();
            drop.policy = Some(policy(layer, shares, &solved, &fits, in_chain && !unsure));
        }
    }
}

/// Finds out which place in nft_do_chain() is that of the policies, if the counters allow one answer only.
fn learn(sites: &mut HashMap<String, bool>, drops: &[&mut Drop], possibles: &[Possible]) {
    if !sites.is_empty() {
        return;
    }
    let mut seen: BTreeMap<String, Site> = BTreeMap::new();
    // A rule that fits several rows of a place counted once.
    let mut counted: BTreeMap<(&str, usize), Grown> = BTreeMap::new();
    for drop in drops.iter().filter(|drop| is_in_chain(drop)) {
        let Some(place) = &drop.location else { continue };
        let site = seen.entry(place.clone()).or_default();
        site.dropped += drop.count;
        let (mut rules, mut policies) = (0, 0);
        for (at, possible) in
            possibles.iter().enumerate().filter(|(_, possible)| !possible.xtables && possible.fits(drop))
        {
            let (cause, number) =
                if possible.is_policy { (&mut site.policies, &mut policies) } else { (&mut site.rules, &mut rules) };
            *number += 1;
            match possible.grown {
                Some(grown) => {
                    counted.insert((place, at), grown);
                }
                None => cause.uncounted = true,
            }
        }
        site.rules.none |= rules == 0;
        site.policies.none |= policies == 0;
    }
    for ((place, at), grown) in counted {
        let Some(site) = seen.get_mut(place) else { continue };
        let cause = if possibles[at].is_policy { &mut site.policies } else { &mut site.rules };
        cause.counted.least += grown.least;
        cause.counted.most += grown.most;
    }
    sites.extend(tell(&seen).into_iter().flatten());
}

/// Since 6.7 nftables frees what it drops itself; before, the hook does so for all of netfilter.
fn is_in_chain(drop: &Drop) -> bool {
    drop.location.as_ref().is_some_and(|place| place.starts_with("nft_do_chain"))
}

/// `sure`: nothing else than these can have dropped them.
fn policy(layer: Layer, mut shares: Vec<Share>, solved: &Solved, fits: &[&Possible], sure: bool) -> Policy {
    let mut policy = Policy::of(layer, Means::Reason);
    let uncounted: Vec<&Possible> = fits.iter().copied().filter(|possible| possible.grown.is_none()).collect();
    let mut unattributed = solved.rest;
    if let ([only], true, false) = (&uncounted[..], sure, solved.mixed)
        && only.is_policy
        && solved.rest > solved.edge
    {
        let count = solved.rest - solved.edge;
        shares.push(Share { count, by: Means::Elimination, refuser: only.refuser.clone() });
        unattributed = solved.edge;
    }
    if unattributed > 0 {
        let counts = |possible: &&Possible| possible.grown.is_some_and(|grown| grown.most > 0);
        let counted = fits.iter().copied().filter(|possible| (solved.mixed || solved.edge > 0) && counts(possible));
        let all: Vec<&Possible> = uncounted.iter().copied().chain(counted).collect();
        policy.candidates = all.iter().take(CANDIDATES).map(|possible| possible.refuser.clone()).collect();
        policy.note = Some(note(sure, solved, unattributed <= solved.edge, &uncounted, all.is_empty()).into());
    }
    match &shares[..] {
        [] => {}
        [one] if unattributed == 0 => {
            policy.by = one.by;
            policy.refuser = one.refuser.clone();
            shares.clear();
        }
        [first, ..] => policy.by = first.by,
    }
    policy.shares = shares;
    policy.unattributed = unattributed;
    policy
}

fn note(sure: bool, solved: &Solved, at_edge: bool, uncounted: &[&Possible], none: bool) -> &'static str {
    if none && !sure {
        "no rule of nftables or iptables accounts for it: connection tracking ('conntrack -S'), or another module"
    } else if none {
        "no rule that is there now can have dropped it: the rules changed"
    } else if solved.mixed {
        "the counters of several rules grew, and fit together in more than one way"
    } else if at_edge {
        "dropped at the edge of the window, while the counters were read"
    } else if uncounted.iter().any(|possible| !possible.is_policy) {
        "no counter on these rules: add `counter` before the verdict to know which, or try --per-packet"
    } else {
        "several policies drop here, and chains have no counter: end them with a rule `counter drop` to know which"
    }
}
