//! What a rule asks of a packet and does with it: its expressions, as far as they matter for drops.

use super::super::netlink::attributes;
use super::counters::NFT_OBJECT_COUNTER;
use super::{NFTA_COUNTER_PACKETS, be32, be64, find, string};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFTA_LOOKUP_DREG: u16 = 3;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_OBJREF_IMM_TYPE: u16 = 1;
const NFTA_OBJREF_IMM_NAME: u16 = 2;
const NFTA_MATCH_NAME: u16 = 1;
const NFTA_MATCH_INFO: u16 = 3;

const NFT_REG_VERDICT: u32 = 0;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_CMP_EQ: u32 = 0;
const NF_DROP: i32 = 0;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;

/// What a rule does with the packets that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Drops them.
    Drop,
    /// Drops them, and answers so.
    Reject,
    /// What a map says, which can be to drop, or to go on in another chain.
    Map,
    /// Goes on in another chain of the same table.
    Jump(String),
    /// Something that loses no packet.
    #[default]
    Other,
}

impl Verdict {
    /// The word for one that loses packets; none for the others.
    pub fn word(&self) -> Option<&'static str> {
        match self {
            Verdict::Drop => Some("drop"),
            Verdict::Reject => Some("reject"),
            Verdict::Map => Some("verdict map"),
            Verdict::Jump(_) | Verdict::Other => None,
        }
    }
}

/// Which packets a rule can be about; what is absent is not asked, or in a way that is not understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    pub family: Option<u8>,
    /// The transport protocol's number.
    pub protocol: Option<u8>,
    /// The device that they came in by.
    pub device: Option<String>,
}

/// What the expressions of a rule come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expressions {
    pub verdict: Verdict,
    pub packets: Option<u64>,
    /// A counter with a name of its own, that stands where one of the rule would.
    pub named: Option<String>,
    pub comment: Option<String>,
    pub wants: Match,
}

/// What a register holds.
#[derive(Clone, Copy, PartialEq)]
enum Loaded {
    Family,
    Protocol,
    Device,
}

impl Expressions {
    /// From the list of a rule.
    pub fn read(bytes: &[u8]) -> Self {
        let mut all = Expressions::default();
        let mut loaded = None;
        for (_, element) in attributes(bytes) {
            let name = find(element, NFTA_EXPR_NAME).map(|name| name.split(|&b| b == 0).next().unwrap_or_default());
            all.take(name.unwrap_or_default(), find(element, NFTA_EXPR_DATA).unwrap_or_default(), &mut loaded);
        }
        all
    }

    fn take(&mut self, name: &[u8], data: &[u8], loaded: &mut Option<(u32, Loaded)>) {
        match name {
            b"counter" => {
                self.packets = find(data, NFTA_COUNTER_PACKETS).and_then(be64);
                return;
            }
            b"objref" if find(data, NFTA_OBJREF_IMM_TYPE).and_then(be32) == Some(NFT_OBJECT_COUNTER) => {
                self.named = find(data, NFTA_OBJREF_IMM_NAME).map(string);
                return;
            }
            // They let every packet on.
            b"log" | b"last" => return,
            b"immediate" if find(data, NFTA_IMMEDIATE_DREG).and_then(be32) == Some(NFT_REG_VERDICT) => {
                self.verdict = verdict(find(data, NFTA_IMMEDIATE_DATA).unwrap_or_default());
                return;
            }
            b"reject" => {
                self.verdict = Verdict::Reject;
                return;
            }
            b"target" => {
                match find(data, NFTA_MATCH_NAME).map(string).as_deref() {
                    Some("DROP") => self.verdict = Verdict::Drop,
                    Some("REJECT") => self.verdict = Verdict::Reject,
                    _ => {}
                }
                return;
            }
            b"match" => {
                if find(data, NFTA_MATCH_NAME).map(string).as_deref() == Some("comment") {
                    self.comment = find(data, NFTA_MATCH_INFO).map(string);
                    // It matches every packet.
                    return;
                }
            }
            b"meta" => {
                let kind = match find(data, NFTA_META_KEY).and_then(be32) {
                    Some(NFT_META_IIFNAME) => Some(Loaded::Device),
                    Some(NFT_META_NFPROTO) => Some(Loaded::Family),
                    Some(NFT_META_L4PROTO) => Some(Loaded::Protocol),
                    _ => None,
                };
                *loaded = find(data, NFTA_META_DREG).and_then(be32).zip(kind);
            }
            b"payload" => {
                let number = |kind| find(data, kind).and_then(be32);
                let place = (number(NFTA_PAYLOAD_BASE), number(NFTA_PAYLOAD_OFFSET), number(NFTA_PAYLOAD_LEN));
                // The protocol in an IPv4 header. In the same place of an IPv6 header lies a part of an address, but then
                // the rule asks for the family first.
                let protocol = place == (Some(NFT_PAYLOAD_NETWORK_HEADER), Some(9), Some(1));
                *loaded = number(NFTA_PAYLOAD_DREG).zip(protocol.then_some(Loaded::Protocol));
            }
            b"cmp" => self.compare(data, *loaded),
            b"lookup" => {
                if find(data, NFTA_LOOKUP_DREG).and_then(be32) == Some(NFT_REG_VERDICT) {
                    self.verdict = Verdict::Map;
                }
                *loaded = None;
            }
            _ => *loaded = None,
        }
        // What was counted so far was counted before this question.
        (self.packets, self.named) = (None, None);
    }

    fn compare(&mut self, data: &[u8], loaded: Option<(u32, Loaded)>) {
        let number = |kind| find(data, kind).and_then(be32);
        let Some((_, loaded)) = loaded.filter(|(register, _)| number(NFTA_CMP_SREG) == Some(*register)) else { return };
        let value = find(data, NFTA_CMP_DATA).and_then(|data| find(data, NFTA_DATA_VALUE)).unwrap_or_default();
        if number(NFTA_CMP_OP) != Some(NFT_CMP_EQ) {
            return;
        }
        match loaded {
            Loaded::Family => self.wants.family = value.first().copied(),
            Loaded::Protocol => self.wants.protocol = value.first().copied(),
            // Without its NUL it is the beginning of many names.
            Loaded::Device if value.contains(&0) => self.wants.device = Some(string(value)),
            Loaded::Device => {}
        }
    }
}

fn verdict(data: &[u8]) -> Verdict {
    let verdict = find(data, NFTA_DATA_VERDICT).unwrap_or_default();
    match find(verdict, NFTA_VERDICT_CODE).and_then(be32).map(u32::cast_signed) {
        // The upper half holds an errno.
        Some(code) if code >= 0 && code & 0xff == NF_DROP => Verdict::Drop,
        Some(NFT_JUMP | NFT_GOTO) => {
            find(verdict, NFTA_VERDICT_CHAIN).map(string).map_or(Verdict::Other, Verdict::Jump)
        }
        _ => Verdict::Other,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    pub fn expression(name: &[u8], data: &[u8]) -> Vec<u8> {
        [attribute(NFTA_EXPR_NAME, name), attribute(NFTA_EXPR_DATA, data)].concat()
    }

    pub fn list(expressions: &[Vec<u8>]) -> Vec<u8> {
        expressions.iter().flat_map(|one| attribute(1, one)).collect()
    }

    pub fn counter(packets: u64) -> Vec<u8> {
        attribute(NFTA_COUNTER_PACKETS, &packets.to_be_bytes())
    }

    fn number(kind: u16, value: u32) -> Vec<u8> {
        attribute(kind, &value.to_be_bytes())
    }

    fn decided(code: i32, chain: &[u8]) -> Vec<u8> {
        let verdict =
            [attribute(NFTA_VERDICT_CODE, &code.to_be_bytes()), attribute(NFTA_VERDICT_CHAIN, chain)].concat();
        let data = attribute(NFTA_IMMEDIATE_DATA, &attribute(NFTA_DATA_VERDICT, &verdict));
        expression(b"immediate\0", &[number(NFTA_IMMEDIATE_DREG, 0), data].concat())
    }

    pub fn drop() -> Vec<u8> {
        decided(NF_DROP, b"\0")
    }

    fn is_udp() -> [Vec<u8>; 2] {
        let value = attribute(NFTA_CMP_DATA, &attribute(NFTA_DATA_VALUE, &[17]));
        [
            expression(b"meta\0", &[number(NFTA_META_DREG, 1), number(NFTA_META_KEY, NFT_META_L4PROTO)].concat()),
            expression(b"cmp\0", &[number(NFTA_CMP_SREG, 1), number(NFTA_CMP_OP, NFT_CMP_EQ), value].concat()),
        ]
    }

    #[test]
    fn only_a_counter_behind_all_questions_counts_what_is_dropped() {
        let [load, compare] = is_udp();
        let count = expression(b"counter\0", &counter(5));
        let before = Expressions::read(&list(&[count.clone(), load.clone(), compare.clone(), drop()]));
        assert_eq!((before.verdict, before.packets), (Verdict::Drop, None));
        let name = [number(NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER), attribute(NFTA_OBJREF_IMM_NAME, b"c\0")].concat();
        let named = expression(b"objref\0", &name);
        let early = Expressions::read(&list(&[named.clone(), load.clone(), compare.clone(), drop()]));
        assert_eq!((early.named, Expressions::read(&list(&[named, drop()])).named), (None, Some("c".into())));
        let log = expression(b"log\0", &[]);
        let behind = Expressions::read(&list(&[load, compare, count, log, drop()]));
        assert_eq!((behind.verdict, behind.packets, behind.wants.protocol), (Verdict::Drop, Some(5), Some(17)));
    }

    #[test]
    fn a_rule_of_iptables_has_its_comment_and_target() {
        let comment = [attribute(NFTA_MATCH_NAME, b"comment\0"), attribute(NFTA_MATCH_INFO, b"not from there\0\0\0")];
        let rule = Expressions::read(&list(&[
            expression(b"match\0", &comment.concat()),
            expression(b"counter\0", &counter(3)),
            expression(b"target\0", &attribute(NFTA_MATCH_NAME, b"REJECT\0")),
        ]));
        assert_eq!((rule.verdict, rule.packets), (Verdict::Reject, Some(3)));
        assert_eq!(rule.comment.as_deref(), Some("not from there"));
    }

    #[test]
    fn ways_to_other_chains_are_seen() {
        assert_eq!(Expressions::read(&list(&[decided(NFT_GOTO, b"far\0")])).verdict, Verdict::Jump("far".into()));
        let map = expression(b"lookup\0", &number(NFTA_LOOKUP_DREG, 0));
        assert_eq!(Expressions::read(&list(&[map])).verdict, Verdict::Map);
        assert_eq!(Expressions::read(&list(&[decided(1, b"\0")])).verdict, Verdict::Other);
    }

    proptest! {
        #[test]
        fn no_expressions_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Expressions::read(&bytes);
        }
    }
}
