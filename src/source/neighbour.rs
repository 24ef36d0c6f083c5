//! Neighbours by rtnetlink: the tables as a whole (RTM_GETNEIGHTBL), for namespaces whose `/proc/net/stat` does not show
//! them, and the next hops whose link address is not known (RTM_GETNEIGH).

use std::io;
use std::net::IpAddr;

use super::netlink::{Client, Dumped, Family, Request, attributes};
use super::{Host, Label, Sheet, SheetRow, link, text};
use crate::model::Unresolved;

// include/uapi/linux/rtnetlink.h, neighbour.h
const RTM_GETNEIGH: u16 = 30;
const RTM_GETNEIGHTBL: u16 = 66;
const NDTA_CONFIG: u16 = 5;
const NDTA_STATS: u16 = 7;
const NDA_DST: u16 = 1;
const NUD_INCOMPLETE: u16 = 0x01;
const NUD_FAILED: u16 = 0x20;
/// struct ndtmsg: family, three bytes of padding.
const NDTMSG: usize = 4;
/// struct ndmsg: family, three bytes of padding, ifindex, state, flags, type.
const NDMSG: usize = 12;
/// Next hops that are kept, at most.
const MOST: usize = 1000;

/// The fields of struct ndt_stats, by the names of the same columns in `/proc/net/stat/arp_cache`; then, from struct
/// ndt_config, how many entries there are. What a full queue lost is not in it.
const COLUMNS: [&str; 12] = [
    "allocs",
    "destroys",
    "hash_grows",
    "res_failed",
    "lookups",
    "hits",
    "rcv_probes_mcast",
    "rcv_probes_ucast",
    "periodic_gc_runs",
    "forced_gc_runs",
    "table_fulls",
    "entries",
];
/// Where struct ndt_config has its entries.
const ENTRIES: usize = 4;

/// A neighbour table as a whole: it is the machine's, whatever namespace asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// True for IPv6.
    pub v6: bool,
    /// Its numbers, in the order of the columns of [`Whole::sheet`].
    pub values: Vec<Option<u64>>,
}

impl Whole {
    /// As `/proc/net/stat` would show it, but for what only that tells.
    pub fn sheet(&self) -> Sheet<'static> {
        let rows = vec![SheetRow { label: Label::Line(0), cells: self.values.clone() }];
        Sheet { columns: COLUMNS.iter().map(|name| name.as_bytes()).collect(), rows, ..Sheet::default() }
    }
}

/// The tables of both IP versions.
pub fn tables(host: &Host) -> io::Result<(Vec<Whole>, Dumped)> {
    let request = Request { name: "getneightbl", kind: RTM_GETNEIGHTBL, payload: vec![0; NDTMSG] };
    let mut all = Vec::new();
    let dumped = Client::new(host, Family::Route).dump(&request, &mut all, Vec::clear, |all, payload| {
        all.extend(parse_table(payload));
        true
    })?;
    Ok((all, dumped))
}

/// A table from its message; of each device there is one more, without numbers.
pub fn parse_table(payload: &[u8]) -> Option<Whole> {
    let v6 = family(*payload.first()?)?;
    let mut values = vec![None; COLUMNS.len()];
    for (kind, value) in attributes(payload.get(NDTMSG..)?) {
        match kind {
            NDTA_STATS => {
                let words = value.chunks_exact(8).map(|word| word.try_into().ok().map(u64::from_ne_bytes));
                values[..COLUMNS.len() - 1].iter_mut().zip(words).for_each(|(cell, word)| *cell = word);
            }
            NDTA_CONFIG => {
                let entries = value.get(ENTRIES..).and_then(<[u8]>::first_chunk);
                values[COLUMNS.len() - 1] = entries.map(|word| u32::from_ne_bytes(*word).into());
            }
            _ => {}
        }
    }
    values.iter().any(Option::is_some).then_some(Whole { v6, values })
}

/// The next hops of this namespace whose link address is asked for, or was and nobody answered; those that failed first.
pub fn unresolved(host: &Host) -> io::Result<Vec<Unresolved>> {
    let request = Request { name: "getneigh", kind: RTM_GETNEIGH, payload: vec![0; NDMSG] };
    let mut found: Vec<(u32, IpAddr, bool)> = Vec::new();
    Client::new(host, Family::Route).dump(&request, &mut found, Vec::clear, |found, payload| {
        if found.len() < MOST {
            found.extend(parse(payload));
        }
        true
    })?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let names = link::names(host)?;
    let named = |(index, address, failed): (u32, IpAddr, bool)| {
        names.get(&index).map(|device| Unresolved { address, device: text::printable(device), failed })
    };
    let mut all: Vec<Unresolved> = found.into_iter().filter_map(named).collect();
    all.sort_by(|a, b| b.failed.cmp(&a.failed).then_with(|| a.device.cmp(&b.device)).then(a.address.cmp(&b.address)));
    Ok(all)
}

/// Device, address, and whether nobody answered, of an entry without a link address.
pub fn parse(payload: &[u8]) -> Option<(u32, IpAddr, bool)> {
    let fixed = payload.get(..NDMSG)?;
    let v6 = family(fixed[0])?;
    let state = u16::from_ne_bytes([fixed[8], fixed[9]]);
    if state & (NUD_INCOMPLETE | NUD_FAILED) == 0 {
        return None;
    }
    let (_, address) = attributes(payload.get(NDMSG..)?).find(|(kind, _)| *kind == NDA_DST)?;
    let address: IpAddr = match v6 {
        false => <[u8; 4]>::try_from(address).ok()?.into(),
        true => <[u8; 16]>::try_from(address).ok()?.into(),
    };
    Some((u32::from_ne_bytes(*fixed[4..].first_chunk()?), address, state & NUD_FAILED != 0))
}

/// False for IPv4, true for IPv6.
fn family(number: u8) -> Option<bool> {
    match i32::from(number) {
        libc::AF_INET => Some(false),
        libc::AF_INET6 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    fn entry(state: u16, address: &[u8]) -> Vec<u8> {
        let mut message = vec![if address.len() == 4 { 2 } else { 10 }, 0, 0, 0, 7, 0, 0, 0];
        message.extend(state.to_ne_bytes());
        message.extend([0, 0]);
        [message, attribute(NDA_DST, address)].concat()
    }

    #[test]
    fn only_next_hops_without_a_link_address_are_taken() {
        assert_eq!(parse(&entry(NUD_FAILED, &[10, 0, 0, 9])), Some((7, [10, 0, 0, 9].into(), true)));
        assert_eq!(parse(&entry(NUD_INCOMPLETE, &[0xfd; 16])), Some((7, [0xfd; 16].into(), false)));
        assert_eq!(parse(&entry(0x02, &[10, 0, 0, 9])), None, "one that is reachable");
        assert_eq!(parse(&entry(NUD_FAILED, &[10, 0, 0])), None, "an address that is cut off");
    }

    #[test]
    fn an_older_kernel_has_fewer_numbers() {
        let stats: Vec<u8> = (1..=10_u64).flat_map(u64::to_ne_bytes).collect();
        let config: Vec<u8> = [0_u32, 33, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let message = [vec![2, 0, 0, 0], attribute(NDTA_CONFIG, &config), attribute(NDTA_STATS, &stats)].concat();
        let table = parse_table(&message).unwrap();
        let at = |name| table.values[COLUMNS.iter().position(|column| *column == name).unwrap()];
        assert_eq!(
            (at("res_failed"), at("forced_gc_runs"), at("table_fulls"), at("entries")),
            (Some(4), Some(10), None, Some(33))
        );
    }

    #[test]
    fn this_kernel_has_both_tables() {
        let (all, dumped) = tables(&Host::Live).unwrap();
        assert!(all.iter().any(|table| !table.v6) && dumped.bad == 0, "{all:?}");
        unresolved(&Host::Live).unwrap();
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse_table(&bytes);
        }
    }
}
