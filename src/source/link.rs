//! Network devices by rtnetlink: RTM_GETLINK with IFLA_STATS64.
//!
//! The answer is decoded here and not by netlink-packet-route: that refuses the whole message of a device whose name is
//! not UTF-8 (any byte but `/`, `:` and blanks is allowed, net/core/dev.c dev_valid_name()), and it fills counters that an
//! old kernel does not have with zeros.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::Emitable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;

use super::Host;
use super::groups::{CARRIER, LINK, VIRTUAL};
use super::netlink::{Client, Dumped, Family, Request, attributes};
use super::sheet::{Owner, Rows};

// include/uapi/linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_CARRIER: u16 = 33;
const IFLA_CARRIER_UP_COUNT: u16 = 47;
const IFLA_CARRIER_DOWN_COUNT: u16 = 48;
const IFLA_INFO_KIND: u16 = 1;
/// struct ifinfomsg: family, a reserved byte, type, index, two words of flags.
const IFINFO: usize = 16;
const TYPE: usize = 2;
const INDEX: usize = 4;
const FLAGS: usize = 8;
/// include/uapi/linux/if.h
const IFF_UP: u32 = 1;
/// include/uapi/linux/if_arp.h
const ARPHRD_LOOPBACK: u16 = 772;

/// The fields of struct rtnl_link_stats64 in their order. A shorter answer comes from a kernel that lacks the last ones.
/// Behind them, whether the device is up and has no carrier.
pub const FIELDS: [&str; 26] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
    "rx_nohandler",
    "rx_otherhost_dropped",
    "no_carrier",
];
/// How many of them are statistics.
const STATS: usize = FIELDS.len() - 1;
const TX_DROPPED: usize = 7;

/// What `tx_dropped` means for devices that are software alone, by their kind (IFLA_INFO_KIND).
const VIRTUAL_FIELDS: [&str; 3] = ["pair_tx_dropped", "tun_tx_dropped", "other_tx_dropped"];

/// Devices of these kinds only add up what their members counted: each loss would stand twice.
const SUMS_OF_OTHERS: [&[u8]; 2] = [b"bond", b"team"];

/// Software that counts by queue, if it is asked (drivers/net/veth.c veth_get_ethtool_stats()).
const COUNTS_BY_QUEUE: &[u8] = b"veth";

/// A device as a message tells it.
#[derive(Debug, PartialEq)]
pub struct Link {
    /// Its name.
    pub name: Vec<u8>,
    /// Its statistics, in the order of [`FIELDS`].
    pub stats: Vec<Option<u64>>,
    /// 1 if it is up and has no carrier, as `ip link` says it.
    pub no_carrier: Option<u64>,
    /// The kind of a device that is software alone: `veth`, `tun`, `vxlan`. Empty for others.
    pub kind: Vec<u8>,
    /// True if its statistics are the sum of other devices' ones.
    pub sums_others: bool,
    /// The kernel's number of it.
    pub index: u32,
    /// True if there is hardware behind it, real or a hypervisor's: devices that are software alone have a kind.
    pub hardware: bool,
    /// True for software whose driver has statistics by queue.
    pub by_queue: bool,
    /// How often its carrier came and went.
    pub carrier: [Option<u64>; 2],
}

/// All devices of the calling thread's network namespace.
pub fn read(host: &Host) -> io::Result<(Vec<Link>, Dumped)> {
    let mut links = Vec::new();
    let dumped = Client::new(host, Family::Route).dump(&request(), &mut links, Vec::clear, |links, payload| {
        parse(payload).map(|link| links.push(link)).is_some()
    })?;
    Ok((links, dumped))
}

/// The names of all devices by their numbers. A recording keeps the statistics that were read with them before.
pub fn names(host: &Host) -> io::Result<BTreeMap<u32, Vec<u8>>> {
    let (links, _) = read(host.untaped())?;
    Ok(links.into_iter().map(|link| (link.index, link.name)).collect())
}

/// The devices as tables.
pub fn rows(links: &[Link]) -> [Rows; 3] {
    let owner = |link: &Link| Owner::Device(link.name.clone());
    let mut stats = Rows::new(&LINK, &FIELDS);
    let all = |link: &Link| {
        let mut all = link.stats.clone();
        all.resize(STATS, None);
        all.push(link.no_carrier);
        all
    };
    stats.rows.extend(links.iter().filter(|link| !link.sums_others).map(|link| (owner(link), all(link))));
    let mut carrier = Rows::new(&CARRIER, &["up_count", "down_count"]);
    carrier.rows.extend(links.iter().filter(|link| link.hardware).map(|link| (owner(link), link.carrier.to_vec())));
    let mut made = Rows::new(&VIRTUAL, &VIRTUAL_FIELDS);
    let software = links.iter().filter(|link| !link.hardware && !link.sums_others);
    made.rows.extend(software.map(|link| (owner(link), link.refused().to_vec())));
    [stats, carrier, made]
}

impl Link {
    /// Its `tx_dropped` in the column of what that means, in the order of [`VIRTUAL_FIELDS`].
    fn refused(&self) -> [Option<u64>; 3] {
        let column = match self.kind.as_slice() {
            b"veth" | b"netkit" => 0,
            b"tun" => 1,
            _ => 2,
        };
        let mut columns = [None; 3];
        columns[column] = self.stats.get(TX_DROPPED).copied().flatten();
        columns
    }
}

fn request() -> Request {
    let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    Request { name: "getlink", kind: message.message_type(), payload }
}

/// A device from the payload of an RTM_NEWLINK message.
pub fn parse(payload: &[u8]) -> Option<Link> {
    let fixed = payload.get(..IFINFO)?;
    let mut link = Link {
        name: Vec::new(),
        stats: Vec::new(),
        no_carrier: None,
        kind: Vec::new(),
        sums_others: false,
        index: u32::from_ne_bytes(*fixed[INDEX..].first_chunk()?),
        hardware: u16::from_ne_bytes(*fixed[TYPE..].first_chunk()?) != ARPHRD_LOOPBACK,
        by_queue: false,
        carrier: [None; 2],
    };
    let is_up = u32::from_ne_bytes(*fixed[FLAGS..].first_chunk()?) & IFF_UP != 0;
    let count = |value: &[u8]| value.first_chunk().map(|word| u32::from_ne_bytes(*word).into());
    for (kind, value) in attributes(payload.get(IFINFO..)?) {
        match kind {
            IFLA_IFNAME => link.name = value.split(|&b| b == 0).next().unwrap_or_default().to_vec(),
            IFLA_STATS64 => {
                let words = value.chunks_exact(8).map(|word| word.try_into().ok().map(u64::from_ne_bytes));
                link.stats = words.take(STATS).collect();
            }
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                let name = kind.map(|(_, name)| name.split(|&b| b == 0).next().unwrap_or_default());
                link.sums_others = name.is_some_and(|name| SUMS_OF_OTHERS.contains(&name));
                link.by_queue = name == Some(COUNTS_BY_QUEUE);
                link.hardware &= name.is_none_or(<[u8]>::is_empty);
                link.kind = name.unwrap_or_default().to_vec();
            }
            IFLA_CARRIER => link.no_carrier = value.first().map(|carrier| u64::from(is_up && *carrier == 0)),
            IFLA_CARRIER_UP_COUNT => link.carrier[0] = count(value),
            IFLA_CARRIER_DOWN_COUNT => link.carrier[1] = count(value),
            _ => {}
        }
    }
    (!link.name.is_empty() && !link.stats.is_empty()).then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    fn message(name: &[u8], stats: &[u64], kind: &[u8]) -> Vec<u8> {
        let stats: Vec<u8> = stats.iter().flat_map(|n| n.to_ne_bytes()).collect();
        let info = attribute(IFLA_INFO_KIND, kind);
        [
            vec![0; IFINFO],
            attribute(IFLA_IFNAME, name),
            attribute(IFLA_STATS64, &stats),
            attribute(IFLA_LINKINFO, &info),
        ]
        .concat()
    }

    #[test]
    fn a_kernel_without_the_last_fields_leaves_them_absent() {
        let link = parse(&message(b"eth0\0", &[7; 24], b"veth\0")).unwrap();
        assert_eq!((link.stats.len(), link.stats[23]), (24, Some(7)));
    }

    #[test]
    fn a_name_that_is_no_text_is_kept() {
        assert_eq!(parse(&message(&[0xff; 15], &[1], b"")).unwrap().name, [0xff; 15]);
    }

    #[test]
    fn a_bond_only_adds_up_its_members() {
        let links =
            [parse(&message(b"bond0\0", &[1], b"bond\0")).unwrap(), parse(&message(b"eth0\0", &[1], b"")).unwrap()];
        assert_eq!(rows(&links)[0].rows.len(), 1);
        assert_eq!(links.map(|link| link.hardware), [false, true]);
    }

    #[test]
    fn what_was_not_sent_stands_where_its_kind_belongs() {
        let mut stats = [0; 25];
        stats[TX_DROPPED] = 9;
        let refused = |kind: &[u8]| parse(&message(b"a\0", &stats, kind)).unwrap().refused();
        assert_eq!(refused(b"veth\0"), [Some(9), None, None]);
        assert_eq!(refused(b"tun\0"), [None, Some(9), None]);
        assert_eq!(refused(b"vlan\0"), [None, None, Some(9)]);
    }

    #[test]
    fn this_kernel_knows_its_loopback() {
        let (links, _) = read(&Host::Live).unwrap();
        let lo = links.iter().find(|link| link.name == b"lo").unwrap();
        assert!(lo.stats.len() >= 24 && lo.index == 1 && !lo.hardware);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
