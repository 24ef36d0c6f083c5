//! Firewall rules of nftables, and of iptables over nftables, by nfnetlink: only those that can drop a packet, or lead to
//! such. Nothing is ever added or changed (NFT_MSG_GETCHAIN and NFT_MSG_GETRULE, net/netfilter/nf_tables_api.c).

mod counters;
mod expressions;

use std::collections::HashMap;
use std::io;

use super::Host;
use super::netlink::{self, Client, Dumped, Family, Request, attributes};
use super::text;
pub use counters::{NamedCounter, object};
use expressions::Expressions;
pub use expressions::{Match, Verdict};

/// Rules kept, at most.
const RULES: usize = 100_000;

// include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_GETOBJ: u16 = 19;
/// struct nfgenmsg
const HEADER: usize = 4;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_COUNTERS: u16 = 8;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
/// libnftnl: the comment among the user data of a rule.
const UDATA_RULE_COMMENT: u8 = 0;

pub(super) const NFTA_COUNTER_PACKETS: u16 = 2;

/// A chain, by the number of its family (`NFPROTO_*`), its table and its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChainId {
    /// The family's number.
    pub family: u8,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Which.
    pub id: ChainId,
    /// Where packets come into it; absent for one that is only jumped to.
    pub hook: Option<Hook>,
    /// Packets that no rule decided on are dropped.
    pub drops: bool,
    /// Packets that the policy decided on, where the chain counts them (iptables' chains do).
    pub packets: Option<u64>,
}

/// Where a chain stands in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The hook's number, whose meaning depends on the family.
    pub number: u32,
    /// The lowest comes first.
    pub priority: i32,
    /// The device, for a chain of one.
    pub device: Option<String>,
}

/// A rule that can drop a packet, or leads to another chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The chain that it stands in.
    pub chain: ChainId,
    /// The kernel's number for it.
    pub handle: u64,
    /// Its place in the chain, from 1.
    pub position: u32,
    /// What stands beside it.
    pub comment: Option<String>,
    /// What it does.
    pub verdict: Verdict,
    /// Packets that its verdict was given on: only of a counter behind all that the rule asks.
    pub packets: Option<u64>,
    /// The counter with a name that stands there, if it is one. Its packets are the rule's if no other uses it.
    pub named: Option<String>,
    /// Which packets it can be about.
    pub wants: Match,
}

/// All chains, and the rules that matter for drops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// In the kernel's order.
    pub chains: Vec<Chain>,
    /// In the kernel's order: by table, chain and place.
    pub rules: Vec<Rule>,
    /// There were more rules than are kept.
    pub cut: bool,
    /// The rules changed as they were read, or some made no sense.
    pub unsure: bool,
    /// Rules so far of each chain.
    places: HashMap<ChainId, u32>,
}

/// Whether the kernel has nftables now. Where it has not, asking for rules would load the module (nfnetlink_rcv_msg() in
/// net/netfilter/nfnetlink.c), and there can be none.
pub fn is_there() -> bool {
    let mut bytes = Vec::new();
    if let Err(e) = Host::Live.read("proc/modules", &mut bytes) {
        // A kernel without modules loads none.
        return e.kind() == io::ErrorKind::NotFound;
    }
    // Built in or loaded, its functions have names; they are there also for those who may not see their addresses.
    let is_function =
        |line: &[u8]| line.split(|&b| b == b' ').nth(2).is_some_and(|name| name.starts_with(b"nft_do_chain"));
    Host::Live.read("proc/kallsyms", &mut bytes).is_ok() && bytes.split(|&b| b == b'\n').any(is_function)
}

/// Reads the rules of the calling thread's network namespace.
pub fn read(host: &Host) -> io::Result<Ruleset> {
    let host = host.clone();
    netlink::start(move || {
        let mut client = Client::new(&host, Family::Netfilter);
        let mut found = Ruleset::default();
        let chains = client.dump(
            &request("getchain", NFT_MSG_GETCHAIN),
            &mut found,
            |found| found.chains.clear(),
            |found, payload| chain(payload).map(|chain| found.chains.push(chain)).is_some(),
        )?;
        // Without a chain there is no rule.
        let rules = if found.chains.is_empty() {
            Dumped::default()
        } else {
            client.dump(
                &request("getrule", NFT_MSG_GETRULE),
                &mut found,
                |found| {
                    found.rules.clear();
                    found.places.clear();
                    found.cut = false;
                },
                Ruleset::take,
            )?
        };
        // Counters with names are asked for only where a rule has one.
        let counters = if found.rules.iter().any(|rule| rule.named.is_some() && rule.packets.is_none()) {
            let mut counters = Vec::new();
            let dumped =
                client.dump(&request("getobj", NFT_MSG_GETOBJ), &mut counters, Vec::clear, |counters, payload| {
                    object(payload).map(|one| counters.extend(one)).is_some()
                })?;
            counters::name(&mut found.rules, &counters);
            dumped
        } else {
            Dumped::default()
        };
        found.unsure = [chains, rules, counters].iter().any(|dumped| dumped.disturbed || dumped.bad > 0);
        found.places.clear();
        Ok(found)
    })?
    .wait()
}

fn request(name: &'static str, message: u16) -> Request {
    Request { name, kind: NFNL_SUBSYS_NFTABLES << 8 | message, payload: vec![0; HEADER] }
}

impl Ruleset {
    /// Takes a rule from the payload of an NFT_MSG_NEWRULE message, if it matters. False if it makes no sense.
    pub fn take(&mut self, payload: &[u8]) -> bool {
        let Some(mut rule) = rule(payload) else { return false };
        let place = self.places.entry(rule.chain.clone()).or_insert(0);
        *place += 1;
        rule.position = *place;
        if rule.verdict == Verdict::Other {
            return true;
        }
        if self.rules.len() < RULES {
            self.rules.push(rule);
        } else {
            self.cut = true;
        }
        true
    }
}

/// A chain from the payload of an NFT_MSG_NEWCHAIN message.
pub fn chain(payload: &[u8]) -> Option<Chain> {
    let (family, body) = (*payload.first()?, payload.get(HEADER..)?);
    let mut chain = Chain { id: ChainId { family, ..ChainId::default() }, hook: None, drops: false, packets: None };
    for (kind, value) in attributes(body) {
        match kind {
            NFTA_CHAIN_TABLE => chain.id.table = string(value),
            NFTA_CHAIN_NAME => chain.id.chain = string(value),
            NFTA_CHAIN_HOOK => chain.hook = hook(value),
            NFTA_CHAIN_POLICY => chain.drops = be32(value) == Some(0), // NF_DROP
            NFTA_CHAIN_COUNTERS => chain.packets = find(value, NFTA_COUNTER_PACKETS).and_then(be64),
            _ => {}
        }
    }
    (!chain.id.table.is_empty() && !chain.id.chain.is_empty()).then_some(chain)
}

fn hook(bytes: &[u8]) -> Option<Hook> {
    Some(Hook {
        number: find(bytes, NFTA_HOOK_HOOKNUM).and_then(be32)?,
        priority: find(bytes, NFTA_HOOK_PRIORITY).and_then(be32)?.cast_signed(),
        device: find(bytes, NFTA_HOOK_DEV).map(string),
    })
}

/// A rule from the payload of an NFT_MSG_NEWRULE message; its place in the chain is not told there.
pub fn rule(payload: &[u8]) -> Option<Rule> {
    let (family, body) = (*payload.first()?, payload.get(HEADER..)?);
    let mut chain = ChainId { family, ..ChainId::default() };
    let (mut handle, mut comment, mut expressions) = (None, None, Expressions::default());
    for (kind, value) in attributes(body) {
        match kind {
            NFTA_RULE_TABLE => chain.table = string(value),
            NFTA_RULE_CHAIN => chain.chain = string(value),
            NFTA_RULE_HANDLE => handle = be64(value),
            NFTA_RULE_EXPRESSIONS => expressions = Expressions::read(value),
            NFTA_RULE_USERDATA => comment = user_comment(value),
            _ => {}
        }
    }
    (!chain.table.is_empty() && !chain.chain.is_empty()).then_some(Rule {
        chain,
        handle: handle?,
        position: 0,
        comment: comment.or(expressions.comment),
        verdict: expressions.verdict,
        packets: expressions.packets,
        named: expressions.named,
        wants: expressions.wants,
    })
}

/// User data is a row of kind, length, value, a byte each for the first two (libnftnl, udata.h).
fn user_comment(mut bytes: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = bytes {
        let value = rest.get(..usize::from(*length))?;
        if *kind == UDATA_RULE_COMMENT {
            return Some(string(value));
        }
        bytes = &rest[value.len()..];
    }
    None
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(its, _)| *its == kind).map(|(_, value)| value)
}

/// Up to the first NUL, made fit to print.
fn string(bytes: &[u8]) -> String {
    text::printable(bytes.split(|&b| b == 0).next().unwrap_or_default())
}

fn be32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

fn be64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::expressions::tests::{counter, drop, expression, list};
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    pub fn message(parts: &[Vec<u8>]) -> Vec<u8> {
        [vec![1, 0, 0, 0], parts.concat()].concat()
    }

    pub fn in_chain(name: &[u8], handle: u64, expressions: &[Vec<u8>]) -> Vec<u8> {
        message(&[
            attribute(NFTA_RULE_TABLE, b"filter\0"),
            attribute(NFTA_RULE_CHAIN, name),
            attribute(NFTA_RULE_HANDLE, &handle.to_be_bytes()),
            attribute(NFTA_RULE_EXPRESSIONS, &list(expressions)),
            attribute(NFTA_RULE_USERDATA, b"\x01\x01x\x00\x06block\0"),
        ])
    }

    #[test]
    fn rules_that_cannot_drop_are_counted_for_the_place_and_not_kept() {
        let mut rules = Ruleset::default();
        assert!(rules.take(&in_chain(b"input\0", 4, &[expression(b"counter\0", &counter(9))])));
        assert!(rules.take(&in_chain(b"input\0", 5, &[expression(b"counter\0", &counter(7)), drop()])));
        assert!(!rules.take(b"\x01\0\0\0rubbish"));
        let [rule] = &rules.rules[..] else { panic!("{rules:?}") };
        assert_eq!((rule.handle, rule.position, rule.packets), (5, 2, Some(7)));
        assert_eq!((rule.comment.as_deref(), &rule.verdict), (Some("block"), &Verdict::Drop));
    }

    #[test]
    fn a_chain_says_where_it_stands_and_what_its_policy_is() {
        let hook = [
            attribute(NFTA_HOOK_HOOKNUM, &1_u32.to_be_bytes()),
            attribute(NFTA_HOOK_PRIORITY, &(-150_i32).to_be_bytes()),
        ];
        let bytes = message(&[
            attribute(NFTA_CHAIN_TABLE, b"t\0"),
            attribute(NFTA_CHAIN_NAME, b"c\0"),
            attribute(NFTA_CHAIN_HOOK, &hook.concat()),
            attribute(NFTA_CHAIN_POLICY, &0_u32.to_be_bytes()),
        ]);
        let chain = chain(&bytes).unwrap();
        assert_eq!(chain.hook, Some(Hook { number: 1, priority: -150, device: None }));
        assert!(chain.drops && chain.packets.is_none());
    }

    #[test]
    fn this_kernel_answers_or_says_why_not() {
        match read(&Host::Live) {
            Ok(rules) => assert!(!rules.cut),
            Err(error) => assert!(error.raw_os_error().is_some(), "{error}"),
        }
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = chain(&bytes);
            let _ = Ruleset::default().take(&bytes);
            let _ = user_comment(&bytes);
            let _ = object(&bytes);
        }
    }
}
