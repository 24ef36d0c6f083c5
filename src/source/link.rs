//! Network devices by rtnetlink: RTM_GETLINK with IFLA_STATS64.
//!
//! The answer is decoded here and not by netlink-packet-route: that refuses the whole message of a device whose name is
//! not UTF-8 (any byte but `/`, `:` and blanks is allowed, net/core/dev.c dev_valid_name()), and it fills counters that an
//! old kernel does not have with zeros.

use std::io;

use netlink_packet_core::Emitable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;

use super::netlink::{self, Client, Dumped, Family, Pending, Request, attributes};
use super::{Host, Label, Sheet, SheetRow};

// include/uapi/linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_INFO_KIND: u16 = 1;
/// struct ifinfomsg
const IFINFO: usize = 16;

/// The fields of struct rtnl_link_stats64 in their order. A shorter answer comes from a kernel that lacks the last ones.
pub const FIELDS: [&str; 25] = [
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
];

/// Devices of these kinds only add up what their members counted: each loss would stand twice.
const SUMS_OF_OTHERS: [&[u8]; 2] = [b"bond", b"team"];

/// A device as a message tells it.
#[derive(Debug, PartialEq)]
pub struct Link {
    /// Its name.
    pub name: Vec<u8>,
    /// Its statistics, in the order of [`FIELDS`].
    pub stats: Vec<Option<u64>>,
    /// True if its statistics are the sum of other devices' ones.
    pub sums_others: bool,
}

/// Starts to read all devices of the calling thread's network namespace.
pub fn start(host: &Host) -> io::Result<Pending<(Vec<Link>, Dumped)>> {
    let host = host.clone();
    // The kernel answers under its rtnl lock, which a driver may hold for long.
    netlink::start(move || {
        let mut links = Vec::new();
        let dumped = Client::new(&host, Family::Route).dump(&request(), &mut links, Vec::clear, |links, payload| {
            parse(payload).map(|link| links.push(link)).is_some()
        })?;
        Ok((links, dumped))
    })
}

/// The devices as a table.
pub fn sheet(links: &[Link]) -> Sheet<'_> {
    let rows = links.iter().filter(|link| !link.sums_others);
    Sheet {
        columns: FIELDS.iter().map(|name| name.as_bytes()).collect(),
        rows: rows.map(|link| SheetRow { label: Label::Device(&link.name), cells: link.stats.clone() }).collect(),
        ..Sheet::default()
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
    let mut link = Link { name: Vec::new(), stats: Vec::new(), sums_others: false };
    for (kind, value) in attributes(payload.get(IFINFO..)?) {
        match kind {
            IFLA_IFNAME => link.name = value.split(|&b| b == 0).next().unwrap_or_default().to_vec(),
            IFLA_STATS64 => {
                let words = value.chunks_exact(8).map(|word| word.try_into().ok().map(u64::from_ne_bytes));
                link.stats = words.take(FIELDS.len()).collect();
            }
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                let name = kind.map(|(_, name)| name.split(|&b| b == 0).next().unwrap_or_default());
                link.sums_others = name.is_some_and(|name| SUMS_OF_OTHERS.contains(&name));
            }
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
        assert_eq!(sheet(&links).rows.len(), 1);
    }

    #[test]
    fn this_kernel_knows_its_loopback() {
        let (links, _) = start(&Host::Live).unwrap().wait().unwrap();
        let lo = links.iter().find(|link| link.name == b"lo").unwrap();
        assert!(lo.stats.len() >= 24);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
