//! Counters of nftables that stand by themselves (NFT_MSG_GETOBJ): a rule names them, and more than one may.

use std::collections::HashMap;

use super::{HEADER, NFTA_COUNTER_PACKETS, Rule, be32, be64, find, string};

// include/uapi/linux/netfilter/nf_tables.h
pub const NFT_OBJECT_COUNTER: u32 = 1;
const NFTA_OBJ_TABLE: u16 = 1;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
const NFTA_OBJ_USE: u16 = 5;

/// A counter that stands by itself, to be named in rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCounter {
    /// The family of its table (`NFPROTO_*`).
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name there.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// How many rules and elements of maps name it.
    pub uses: u32,
}

/// A counter from the payload of an NFT_MSG_NEWOBJ message; nothing if it is another kind of object.
pub fn object(payload: &[u8]) -> Option<Option<NamedCounter>> {
    let (family, body) = (*payload.first()?, payload.get(HEADER..)?);
    if find(body, NFTA_OBJ_TYPE).and_then(be32)? != NFT_OBJECT_COUNTER {
        return Some(None);
    }
    Some(Some(NamedCounter {
        family,
        table: find(body, NFTA_OBJ_TABLE).map(string)?,
        name: find(body, NFTA_OBJ_NAME).map(string)?,
        packets: find(body, NFTA_OBJ_DATA).and_then(|data| find(data, NFTA_COUNTER_PACKETS)).and_then(be64)?,
        uses: find(body, NFTA_OBJ_USE).and_then(be32)?,
    }))
}

/// Gives rules the packets of their counters with names, of those that nothing else uses.
pub fn name(rules: &mut [Rule], counters: &[NamedCounter]) {
    let own = counters.iter().filter(|counter| counter.uses == 1);
    let own: HashMap<(u8, &String, &String), u64> =
        own.map(|counter| ((counter.family, &counter.table, &counter.name), counter.packets)).collect();
    for rule in rules.iter_mut().filter(|rule| rule.packets.is_none()) {
        let its = |name| own.get(&(rule.chain.family, &rule.chain.table, name)).copied();
        rule.packets = rule.named.as_ref().and_then(its);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ruleset;
    use super::super::expressions::tests::{counter, drop, expression};
    use super::super::tests::{in_chain, message};
    use super::*;
    use crate::source::genl::attribute;

    #[test]
    fn a_counter_with_a_name_is_the_rules_if_it_alone_uses_it() {
        let counter = |name: &[u8], uses: u32| {
            object(&message(&[
                attribute(NFTA_OBJ_TABLE, b"filter\0"),
                attribute(NFTA_OBJ_NAME, name),
                attribute(NFTA_OBJ_TYPE, &NFT_OBJECT_COUNTER.to_be_bytes()),
                attribute(NFTA_OBJ_DATA, &counter(12)),
                attribute(NFTA_OBJ_USE, &uses.to_be_bytes()),
            ]))
        };
        let counters = [counter(b"own\0", 1), counter(b"shared\0", 2)].map(|counter| counter.unwrap().unwrap());
        let mut rules = Ruleset::default();
        for name in [&b"own\0"[..], b"shared\0"] {
            let reference = [attribute(1, &1_u32.to_be_bytes()), attribute(2, name)].concat();
            assert!(rules.take(&in_chain(b"input\0", 4, &[expression(b"objref\0", &reference), drop()])));
        }
        name(&mut rules.rules, &counters);
        let packets: Vec<Option<u64>> = rules.rules.iter().map(|rule| rule.packets).collect();
        assert_eq!(packets, [Some(12), None]);
        let quota = message(&[attribute(NFTA_OBJ_TYPE, &2_u32.to_be_bytes())]);
        assert_eq!((object(&quota), object(b"\x01\0\0\0rubbish")), (Some(None), None));
    }
}
