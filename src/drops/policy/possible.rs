//! What can have dropped a packet in netfilter: rules and chains' policies, each with the packets that it is about.

use std::collections::{HashMap, HashSet};

use super::super::words::protocol;
use crate::model::{Direction, Drop, Means, Refuser};
use crate::source::nftables::{self, Chain, ChainId, Rule, Ruleset, Verdict};
use crate::source::{Host, xtables};

// include/uapi/linux/netfilter.h
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_ARP: u8 = 3;
const NFPROTO_NETDEV: u8 = 5;
pub const NFPROTO_BRIDGE: u8 = 7;
const NFPROTO_IPV6: u8 = 10;

/// Headers of IPv6 that stand before the transport's, which a row then does not tell: hop-by-hop, routing, fragment,
/// destination options.
const IPV6_HEADERS: [&str; 4] = ["0", "43", "44", "60"];

/// The rules of a namespace.
#[derive(Default)]
pub struct Rules {
    nftables: Ruleset,
    /// Of iptables of the old kind.
    xtables: Ruleset,
}

impl Rules {
    /// Those of the calling thread's namespace.
    pub fn read() -> Result<Self, String> {
        let nftables = nftables::read(&Host::Live).or_else(|error| match error.raw_os_error() {
            // A kernel without nftables has no such rules.
            Some(libc::EINVAL | libc::EPROTONOSUPPORT) => Ok(Ruleset::default()),
            _ => Err(format!("rules of nftables: {error}")),
        })?;
        let xtables = xtables::read(&Host::Live).map_err(|error| format!("rules of iptables: {error}"))?;
        Ok(Rules { nftables, xtables })
    }

    /// There is nothing that could drop.
    pub fn is_empty(&self) -> bool {
        [&self.nftables, &self.xtables].iter().all(|rules| rules.chains.is_empty())
    }

    /// Those of nftables.
    pub fn chains_of_nftables(&self) -> &Ruleset {
        &self.nftables
    }

    /// They changed as they were read, or are too many.
    pub fn unsure(&self) -> bool {
        [&self.nftables, &self.xtables].iter().any(|rules| rules.unsure || rules.cut)
    }
}

/// The rules as they were just before a moment, and just after it: the probe's counts were read between the two.
#[derive(Default)]
pub struct Twice {
    /// Before.
    pub early: Rules,
    /// After.
    pub late: Rules,
}

/// How much a counter grew in a window: its edges are not known to the packet while packets come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    /// At least.
    pub least: u64,
    /// At most.
    pub most: u64,
}

impl Grown {
    /// From what it was before and after the beginning, and before and after the end. None if it was set meanwhile.
    pub fn of(counts: [u64; 4]) -> Option<Self> {
        let [a, b, c, d] = counts;
        counts.is_sorted().then_some(Grown { least: c - b, most: d - a })
    }
}

/// A rule or chain that can drop packets.
pub struct Possible {
    /// As it is told.
    pub refuser: Refuser,
    /// Not a rule: what its chain does with packets that no rule decided on.
    pub is_policy: bool,
    /// Of iptables of the old kind.
    pub xtables: bool,
    /// How much its counter grew; absent if it has none, or none that counts only drops.
    pub grown: Option<Grown>,
    /// How that is known.
    pub by: Means,
    /// Where its chain can be entered.
    pub entries: Vec<Entry>,
    /// Of which packets, as a row tells it.
    pub network: Option<&'static str>,
    /// As a row tells it.
    pub protocol: Option<String>,
    /// As a row tells it.
    pub device: Option<String>,
}

/// A hook that leads to a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The chain's priority there.
    pub priority: i32,
    /// The device, for a chain of one.
    pub device: Option<String>,
}

impl Possible {
    /// Whether it can have dropped these packets.
    pub fn fits(&self, drop: &Drop) -> bool {
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
        let transport = drop.protocol.as_ref().filter(|protocol| !IPV6_HEADERS.contains(&protocol.as_str()));
        same(self.network, drop.network.as_ref())
            && same(self.protocol.as_deref(), transport)
            && same(self.device.as_deref(), drop.device.as_ref())
            && self.entries.iter().any(entered)
    }
}

/// Every rule and chain of nftables that can drop.
pub fn of_nftables(begin: &Twice, end: &Twice) -> Vec<Possible> {
    of_kind(four(begin, end).map(|rules| &rules.nftables), false)
}

/// Every one of iptables of the old kind.
pub fn of_xtables(begin: &Twice, end: &Twice) -> Vec<Possible> {
    of_kind(four(begin, end).map(|rules| &rules.xtables), true)
}

fn four<'a>(begin: &'a Twice, end: &'a Twice) -> [&'a Rules; 4] {
    [&begin.early, &begin.late, &end.early, &end.late]
}

fn of_kind(four: [&Ruleset; 4], xtables: bool) -> Vec<Possible> {
    let now = four[3];
    let entries = entries(now);
    let tools = tools(now, xtables);
    let tool = |chain: &ChainId| tools.get(&(chain.family, &chain.table)).map(|&tool| tool.to_owned());
    let rules: [HashMap<(&ChainId, u64), &Rule>; 4] =
        four.map(|rules| rules.rules.iter().map(|rule| ((&rule.chain, rule.handle), rule)).collect());
    let chains: [HashMap<&ChainId, &Chain>; 4] =
        four.map(|rules| rules.chains.iter().filter(|chain| chain.drops).map(|chain| (&chain.id, chain)).collect());
    let mut all = Vec::new();
    for rule in &now.rules {
        let Some(verdict) = rule.verdict.word() else { continue };
        let Some(entries) = entries.get(&rule.chain) else { continue };
        let counts = rules.each_ref().map(|rules| rules.get(&(&rule.chain, rule.handle))?.packets);
        let grown = all_four(counts).and_then(Grown::of).filter(|_| rule.verdict != Verdict::Map);
        let mut refuser = refuser(&rule.chain, entries, verdict);
        refuser.tool = tool(&rule.chain);
        refuser.handle = Some(rule.handle).filter(|_| !xtables);
        refuser.rule = Some(rule.position);
        refuser.comment.clone_from(&rule.comment);
        refuser.counted = grown.map(|grown| grown.most);
        all.push(Possible {
            refuser,
            is_policy: false,
            xtables,
            grown,
            by: Means::Counter,
            entries: entries.clone(),
            network: rule.wants.family.and_then(network).or(network(rule.chain.family)),
            protocol: rule.wants.protocol.and_then(protocol),
            device: rule.wants.device.clone(),
        });
    }
    for chain in now.chains.iter().filter(|chain| chain.drops && chain.hook.is_some()) {
        let Some(entries) = entries.get(&chain.id) else { continue };
        let counts = chains.each_ref().map(|chains| chains.get(&chain.id)?.packets);
        let grown = all_four(counts).and_then(Grown::of);
        let mut refuser = refuser(&chain.id, entries, "policy");
        refuser.tool = tool(&chain.id);
        refuser.counted = grown.map(|grown| grown.most);
        all.push(Possible {
            refuser,
            is_policy: true,
            xtables,
            grown,
            by: Means::Counter,
            entries: entries.clone(),
            network: network(chain.id.family),
            protocol: None,
            device: None,
        });
    }
    all
}

fn all_four(counts: [Option<u64>; 4]) -> Option<[u64; 4]> {
    let [a, b, c, d] = counts;
    Some([a?, b?, c?, d?])
}

/// Tables that iptables made: their chains are called as iptables calls them (nft_xt_builtin_init(), iptables/nft.c).
pub fn tools(rules: &Ruleset, old: bool) -> HashMap<(u8, &String), &'static str> {
    let own = |chain: &&Chain| {
        let name = chain.hook.as_ref().map(|hook| hook_name(chain.id.family, hook.number).to_uppercase());
        name.as_ref() == Some(&chain.id.chain)
    };
    let tool = |chain: &'_ Chain| match (chain.id.family, old) {
        (NFPROTO_IPV4, false) => Some("iptables"),
        (NFPROTO_IPV6, false) => Some("ip6tables"),
        (family @ (NFPROTO_IPV4 | NFPROTO_IPV6), true) => Some(legacy(family)),
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

/// The command for tables of the old kind.
pub fn legacy(family: u8) -> &'static str {
    if family == NFPROTO_IPV6 { "ip6tables-legacy" } else { "iptables-legacy" }
}

/// What nft calls a family.
pub fn family(number: u8) -> String {
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
pub fn network(family: u8) -> Option<&'static str> {
    match family {
        NFPROTO_IPV4 => Some("ipv4"),
        NFPROTO_IPV6 => Some("ipv6"),
        NFPROTO_ARP => Some("arp"),
        _ => None,
    }
}

/// What nft calls a hook of a family.
pub fn hook_name(family: u8, number: u32) -> &'static str {
    let names: &[&str] = match family {
        NFPROTO_NETDEV => &["ingress", "egress"],
        NFPROTO_ARP => &["input", "output", "forward"],
        NFPROTO_BRIDGE => &["prerouting", "input", "forward", "output", "postrouting", "brouting"],
        _ => &["prerouting", "input", "forward", "output", "postrouting", "ingress"],
    };
    names.get(number as usize).copied().unwrap_or("unknown")
}
