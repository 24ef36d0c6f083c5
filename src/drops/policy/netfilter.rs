//! Which rule or chain of nftables or iptables dropped a packet, by the counters before and after the window.

use std::collections::{BTreeMap, HashMap};

use super::possible::{Possible, Rules, possibles};
use super::site::{Site, tell};
use super::solve::{Row, solve};
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

/// Names what dropped the packets of these rows, all of one namespace. `before` is changed to what the next window is to be
/// compared with.
pub fn attribute(drops: &mut [&mut Drop], before: &mut Rules, now: Rules, sites: &mut Sites) {
    let possibles = possibles(before, &now);
    let mut grown: Vec<u64> = possibles.iter().map(|possible| possible.grown.unwrap_or(0)).collect();
    let unsure = now.unsure();
    sites.frees_itself |= drops.iter().any(|drop| is_in_chain(drop));
    if !unsure {
        learn(&mut sites.policies, drops, &possibles);
    }
    // Where the place says that nftables dropped it there is less to choose from: those come first.
    for in_chain in [true, false] {
        let mut rows: Vec<&mut &mut Drop> = drops.iter_mut().filter(|drop| is_in_chain(drop) == in_chain).collect();
        let asked: Vec<Row> = rows
            .iter()
            .map(|drop| {
                let of_policies = drop.location.as_ref().and_then(|place| sites.policies.get(place));
                let other = |possible: &Possible| {
                    if possible.xtables { in_chain } else { !in_chain && sites.frees_itself }
                };
                let fits = |possible: &Possible| {
                    !other(possible)
                        && possible.fits(drop)
                        && of_policies.is_none_or(|&of_policies| possible.is_policy == of_policies)
                };
                Row { count: drop.count, fits: (0..possibles.len()).filter(|&at| fits(&possibles[at])).collect() }
            })
            .collect();
        let solved = solve(&asked, &mut grown);
        for ((drop, row), solved) in rows.iter_mut().zip(&asked).zip(solved) {
            let fits: Vec<&Possible> = row.fits.iter().map(|&at| &possibles[at]).collect();
            let shares = solved.shares.iter().map(|&(at, count)| Share {
                count,
                by: Means::Counter,
                refuser: possibles[at].refuser.clone(),
            });
            let layer = match solved.shares.iter().all(|&(at, _)| possibles[at].xtables) {
                _ if in_chain => Layer::Nftables,
                _ if solved.shares.is_empty() => Layer::Netfilter,
                true => Layer::Iptables,
                false => Layer::Nftables,
            };
            drop.policy = Some(policy(layer, shares.collect(), solved.rest, solved.mixed, &fits, unsure));
        }
    }
    *before = now;
}

/// Finds out which place in nft_do_chain() is that of the policies, if the counters allow one answer only.
fn learn(sites: &mut HashMap<String, bool>, drops: &[&mut Drop], possibles: &[Possible]) {
    if !sites.is_empty() {
        return;
    }
    let mut seen: BTreeMap<String, Site> = BTreeMap::new();
    // A rule that fits several rows of a place counted once.
    let mut counted: BTreeMap<(&str, usize), u64> = BTreeMap::new();
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
        cause.counted += grown;
    }
    sites.extend(tell(&seen).into_iter().flatten());
}

/// Since 6.7 nftables frees what it drops itself; before, the hook does so for all of netfilter.
fn is_in_chain(drop: &Drop) -> bool {
    drop.location.as_ref().is_some_and(|place| place.starts_with("nft_do_chain"))
}

fn policy(layer: Layer, mut shares: Vec<Share>, rest: u64, mixed: bool, fits: &[&Possible], unsure: bool) -> Policy {
    let in_chain = layer == Layer::Nftables;
    let mut policy = Policy::of(layer, Means::Reason);
    let uncounted: Vec<&Possible> = fits.iter().copied().filter(|possible| possible.grown.is_none()).collect();
    let mut unattributed = rest;
    if rest > 0 {
        if let ([only], true, false, false) = (&uncounted[..], in_chain, mixed, unsure)
            && only.is_policy
        {
            shares.push(Share { count: rest, by: Means::Elimination, refuser: only.refuser.clone() });
            unattributed = 0;
        } else {
            let counted = fits.iter().filter(|possible| mixed && possible.grown.is_some_and(|grown| grown > 0));
            let all: Vec<&Possible> = uncounted.iter().copied().chain(counted.copied()).collect();
            policy.candidates = all.iter().take(CANDIDATES).map(|possible| possible.refuser.clone()).collect();
            policy.note = note(in_chain, mixed, &uncounted, all.len());
        }
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

fn note(in_chain: bool, mixed: bool, uncounted: &[&Possible], all: usize) -> Option<String> {
    let rules = uncounted.iter().filter(|possible| !possible.is_policy).count();
    Some(if !in_chain && all == 0 {
        "no rule of nftables or iptables accounts for it: connection tracking ('conntrack -S'), or another module"
            .into()
    } else if all == 0 {
        "no rule that is there now can have dropped it: the rules changed".into()
    } else if mixed {
        "the counters of several rules grew, and fit together in more than one way".into()
    } else if rules > 0 {
        "no counter on these rules: add `counter` before the verdict to know which".into()
    } else {
        "several policies drop here, and chains have no counter: end them with a rule `counter drop` to know which"
            .into()
    })
}
