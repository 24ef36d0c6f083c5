//! Which rule or chain of nftables dropped a packet, by the counters before and after the window.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::words::protocol_name;
use super::site::{Site, tell};
use super::solve::{Row, solve};
use crate::model::{Direction, Drop, Layer, Means, Policy, Refuser, Share};
use crate::source::nftables::{Chain, ChainId, Rule, Ruleset, Verdict};

/// Candidates named, at most.
const CANDIDATES: usize = 10;

// include/uapi/linux/netfilter.h
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_ARP: u8 = 3;
const NFPROTO_NETDEV: u8 = 5;
const NFPROTO_BRIDGE: u8 = 7;
const NFPROTO_IPV6: u8 = 10;

/// A rule or chain that can drop packets.
struct Possible {
    refuser: Refuser,
    /// How much its counter grew; absent if it has none, or none that counts only drops.
    grown: Option<u64>,
    /// Where its chain can be entered.
    entries: Vec<Entry>,
    network: Option<&'static str>,
    protocol: Option<String>,
    device: Option<String>,
}

/// A hook that leads to a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: &'static str,
    priority: i32,
    device: Option<String>,
}

impl Possible {
    /// Not a rule: what its chain does with packets that no rule decided on.
    fn is_policy(&self) -> bool {
        self.refuser.handle.is_none()
    }

    fn fits(&self, drop: &Drop) -> bool {
        let same = |wanted: Option<&str>, its: Option<&String>| {
            wanted.is_none_or(|wanted| its.is_none_or(|its| its == wanted))
        };
        let entered = |entry: &Entry| {
            let way = match entry.name {
                "output" => drop.direction != Some(Direction::In),
                "postrouting" | "egress" => true,
                _ => drop.direction != Some(Direction::Out),
            };
            way && same(entry.device.as_deref(), drop.device.as_ref())
        };
        same(self.network, drop.network.as_ref())
            && same(self.protocol.as_deref(), drop.protocol.as_ref())
            && same(self.device.as_deref(), drop.device.as_ref())
            && self.entries.iter().any(entered)
    }
}

/// Whether a place in nft_do_chain() is that of the policies, as far as that was found out.
pub type Sites = HashMap<String, bool>;

/// Names what dropped the packets of these rows, all of one namespace. `before` is changed to what the next window is to be
/// compared with.
pub fn attribute(drops: &mut [&mut Drop], before: &mut Ruleset, now: Ruleset, sites: &mut Sites) {
    let possibles = possibles(before, &now);
    let mut grown: Vec<u64> = possibles.iter().map(|possible| possible.grown.unwrap_or(0)).collect();
    let unsure = now.unsure || now.cut;
    if !unsure {
        learn(sites, drops, &possibles);
    }
    // Where the place says that nftables dropped it there is less to choose from: those come first.
    for in_chain in [true, false] {
        let mut rows: Vec<&mut &mut Drop> = drops.iter_mut().filter(|drop| is_in_chain(drop) == in_chain).collect();
        let asked: Vec<Row> = rows
            .iter()
            .map(|drop| {
                let of_policies = drop.location.as_ref().and_then(|place| sites.get(place));
                let fits = |possible: &Possible| {
                    possible.fits(drop) && of_policies.is_none_or(|&of_policies| possible.is_policy() == of_policies)
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
            drop.policy = Some(policy(in_chain, shares.collect(), solved.rest, solved.mixed, &fits, unsure));
        }
    }
    *before = now;
}

/// Finds out which place in nft_do_chain() is that of the policies, if the counters allow one answer only.
fn learn(sites: &mut Sites, drops: &[&mut Drop], possibles: &[Possible]) {
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
        for (at, possible) in possibles.iter().enumerate().filter(|(_, possible)| possible.fits(drop)) {
            let (cause, number) =
                if possible.is_policy() { (&mut site.policies, &mut policies) } else { (&mut site.rules, &mut rules) };
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
        let cause = if possibles[at].is_policy() { &mut site.policies } else { &mut site.rules };
        cause.counted += grown;
    }
    sites.extend(tell(&seen).into_iter().flatten());
}

/// Since 6.7 nftables frees what it drops itself; before, the hook does so for all of netfilter.
fn is_in_chain(drop: &Drop) -> bool {
    drop.location.as_ref().is_some_and(|place| place.starts_with("nft_do_chain"))
}

fn policy(in_chain: bool, mut shares: Vec<Share>, rest: u64, mixed: bool, fits: &[&Possible], unsure: bool) -> Policy {
    let layer = if in_chain || !shares.is_empty() { Layer::Nftables } else { Layer::Netfilter };
    let mut policy = Policy::of(layer, Means::Reason);
    let uncounted: Vec<&Possible> = fits.iter().copied().filter(|possible| possible.grown.is_none()).collect();
    let mut unattributed = rest;
    if rest > 0 {
        if let ([only], true, false, false) = (&uncounted[..], in_chain, mixed, unsure)
            && only.is_policy()
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
    let rules = uncounted.iter().filter(|possible| possible.refuser.handle.is_some()).count();
    Some(if !in_chain && all == 0 {
        "not by a rule of nftables: iptables of the old kind ('iptables-legacy -L -v'), or connection tracking \
         ('conntrack -S')"
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

/// Every rule and chain that can drop.
fn possibles(before: &Ruleset, now: &Ruleset) -> Vec<Possible> {
    let entries = entries(now);
    let tools = tools(now);
    let tool = |chain: &ChainId| tools.get(&(chain.family, &chain.table)).map(|&tool| tool.to_owned());
    let old_rules: HashMap<(&ChainId, u64), &Rule> = before.rules.iter().map(|r| ((&r.chain, r.handle), r)).collect();
    let old_chains: HashMap<&ChainId, &Chain> = before.chains.iter().map(|chain| (&chain.id, chain)).collect();
    let mut all = Vec::new();
    for rule in &now.rules {
        let verdict = match rule.verdict {
            Verdict::Drop => "drop",
            Verdict::Reject => "reject",
            Verdict::Map => "verdict map",
            Verdict::Jump(_) | Verdict::Other => continue,
        };
        let Some(entries) = entries.get(&rule.chain) else { continue };
        let old = old_rules.get(&(&rule.chain, rule.handle)).and_then(|old| old.packets);
        let grown = rule.packets.zip(old).and_then(|(now, old)| now.checked_sub(old));
        let grown = grown.filter(|_| rule.verdict != Verdict::Map);
        let mut refuser = refuser(&rule.chain, entries, verdict);
        refuser.tool = tool(&rule.chain);
        refuser.handle = Some(rule.handle);
        refuser.rule = Some(rule.position);
        refuser.comment.clone_from(&rule.comment);
        refuser.counted = grown;
        all.push(Possible {
            refuser,
            grown,
            entries: entries.clone(),
            network: rule.wants.family.and_then(network).or(network(rule.chain.family)),
            protocol: rule.wants.protocol.and_then(protocol_name),
            device: rule.wants.device.clone(),
        });
    }
    for chain in now.chains.iter().filter(|chain| chain.drops && chain.hook.is_some()) {
        let Some(entries) = entries.get(&chain.id) else { continue };
        let old = old_chains.get(&chain.id).filter(|old| old.drops).and_then(|old| old.packets);
        let grown = chain.packets.zip(old).and_then(|(now, old)| now.checked_sub(old));
        let mut refuser = refuser(&chain.id, entries, "policy");
        refuser.tool = tool(&chain.id);
        refuser.counted = grown;
        let (entries, network) = (entries.clone(), network(chain.id.family));
        all.push(Possible { refuser, grown, entries, network, protocol: None, device: None });
    }
    all
}

/// Tables that iptables made: their chains are called as iptables calls them (nft_xt_builtin_init(), iptables/nft.c).
fn tools(rules: &Ruleset) -> HashMap<(u8, &String), &'static str> {
    let own = |chain: &&Chain| {
        let name = chain.hook.as_ref().map(|hook| hook_name(chain.id.family, hook.number).to_uppercase());
        name.as_ref() == Some(&chain.id.chain)
    };
    let tool = |chain: &'_ Chain| match chain.id.family {
        NFPROTO_IPV4 => Some("iptables"),
        NFPROTO_IPV6 => Some("ip6tables"),
        _ => None,
    };
    let chains = rules.chains.iter().filter(own);
    chains.filter_map(|chain| Some(((chain.id.family, &chain.id.table), tool(chain)?))).collect()
}

fn refuser(chain: &ChainId, entries: &[Entry], verdict: &str) -> Refuser {
    let one = match entries {
        [one] => Some(one),
        _ => None,
    };
    Refuser {
        family: Some(family(chain.family)),
        table: Some(chain.table.clone()),
        chain: Some(chain.chain.clone()),
        hook: one.map(|entry| entry.name.into()),
        priority: one.map(|entry| entry.priority),
        device: one.and_then(|entry| entry.device.clone()),
        verdict: Some(verdict.into()),
        ..Refuser::default()
    }
}

/// For each chain the hooks that lead to it, by jumps or by maps. A map may lead to every chain of its table that has no
/// hook of its own.
fn entries(rules: &Ruleset) -> HashMap<ChainId, Vec<Entry>> {
    let mut ways: HashMap<&ChainId, Vec<ChainId>> = HashMap::new();
    let mut maps: HashSet<&ChainId> = HashSet::new();
    for rule in &rules.rules {
        match &rule.verdict {
            Verdict::Jump(chain) => {
                let target = ChainId { chain: chain.clone(), ..rule.chain.clone() };
                ways.entry(&rule.chain).or_default().push(target);
            }
            Verdict::Map => {
                maps.insert(&rule.chain);
            }
            _ => {}
        }
    }
    let inner = |of: &ChainId| {
        let (family, table) = (of.family, of.table.clone());
        let inner = rules.chains.iter().filter(|chain| chain.hook.is_none()).map(|chain| &chain.id);
        inner.filter(move |id| id.family == family && id.table == table)
    };
    let mut found: HashMap<ChainId, Vec<Entry>> = HashMap::new();
    for chain in &rules.chains {
        let Some(hook) = &chain.hook else { continue };
        let entry = Entry {
            name: hook_name(chain.id.family, hook.number),
            priority: hook.priority,
            device: hook.device.clone(),
        };
        let mut seen: HashSet<&ChainId> = HashSet::new();
        let mut next = vec![&chain.id];
        let mut mapped = false;
        while let Some(id) = next.pop() {
            if seen.insert(id) {
                found.entry(id.clone()).or_default().push(entry.clone());
                next.extend(ways.get(id).into_iter().flatten());
                if maps.contains(id) && !std::mem::replace(&mut mapped, true) {
                    next.extend(inner(id));
                }
            }
        }
    }
    found
}

fn family(number: u8) -> String {
    match number {
        NFPROTO_INET => "inet".into(),
        NFPROTO_IPV4 => "ip".into(),
        NFPROTO_ARP => "arp".into(),
        NFPROTO_NETDEV => "netdev".into(),
        NFPROTO_BRIDGE => "bridge".into(),
        NFPROTO_IPV6 => "ip6".into(),
        other => other.to_string(),
    }
}

/// What a family's packets are called in a row.
fn network(family: u8) -> Option<&'static str> {
    match family {
        NFPROTO_IPV4 => Some("ipv4"),
        NFPROTO_IPV6 => Some("ipv6"),
        NFPROTO_ARP => Some("arp"),
        _ => None,
    }
}

fn hook_name(family: u8, number: u32) -> &'static str {
    let names: &[&str] = match family {
        NFPROTO_NETDEV => &["ingress", "egress"],
        NFPROTO_ARP => &["input", "output", "forward"],
        NFPROTO_BRIDGE => &["prerouting", "input", "forward", "output", "postrouting", "brouting"],
        _ => &["prerouting", "input", "forward", "output", "postrouting", "ingress"],
    };
    names.get(number as usize).copied().unwrap_or("unknown")
}
