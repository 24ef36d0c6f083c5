//! Statistics with standard names, of all devices at once: the MAC's and the physical layer's, pause frames, forward
//! error correction, and how often the physical link went down.

use std::io;

use super::{FLAG_STATS, HEADER, Query, number};
use crate::model::Group;
use crate::source::genl::push;
use crate::source::groups::{ETH_CTRL, ETH_MAC, ETH_PHY, FEC, LINKSTATE, PAUSE, RMON};
use crate::source::netlink::{Client, Dumped, attributes};
use crate::source::sheet::{Owner, Rows};

// include/uapi/linux/ethtool_netlink.h
const LINKSTATE_GET: u8 = 6;
const PAUSE_GET: u8 = 21;
const FEC_GET: u8 = 29;
const STATS_GET: u8 = 32;
const STATS_HEADER: u16 = 2;
const STATS_GROUPS: u16 = 3;
const STATS_GRP: u16 = 4;
const GRP_ID: u16 = 2;
const GRP_STAT: u16 = 4;
const BITSET_NOMASK: u16 = 1;
const BITSET_SIZE: u16 = 2;
const BITSET_VALUE: u16 = 4;
const LINKSTATE_EXT_DOWN_CNT: u16 = 7;
/// The statistics stand in an attribute of this kind, in the answers of both.
const PAUSE_STATS: u16 = 5;
const FEC_STATS: u16 = 5;

/// A group of STATS_GET: the names of its statistics, in the order of their numbers (net/ethtool/stats.c
/// stats_eth_phy_names and those below it).
struct Standard {
    group: &'static Group,
    names: &'static [&'static str],
}

static STANDARD: [Standard; 4] = [
    Standard { group: &ETH_PHY, names: &["SymbolErrorDuringCarrier"] },
    Standard {
        group: &ETH_MAC,
        names: &[
            "FramesTransmittedOK",
            "SingleCollisionFrames",
            "MultipleCollisionFrames",
            "FramesReceivedOK",
            "FrameCheckSequenceErrors",
            "AlignmentErrors",
            "OctetsTransmittedOK",
            "FramesWithDeferredXmissions",
            "LateCollisions",
            "FramesAbortedDueToXSColls",
            "FramesLostDueToIntMACXmitError",
            "CarrierSenseErrors",
            "OctetsReceivedOK",
            "FramesLostDueToIntMACRcvError",
            "MulticastFramesXmittedOK",
            "BroadcastFramesXmittedOK",
            "FramesWithExcessiveDeferral",
            "MulticastFramesReceivedOK",
            "BroadcastFramesReceivedOK",
            "InRangeLengthErrors",
            "OutOfRangeLengthField",
            "FrameTooLongErrors",
        ],
    },
    Standard {
        group: &ETH_CTRL,
        names: &["MACControlFramesTransmitted", "MACControlFramesReceived", "UnsupportedOpcodesReceived"],
    },
    Standard { group: &RMON, names: &["undersize_pkts", "oversize_pkts", "fragments", "jabbers"] },
];

/// The standard groups.
pub fn standard(client: &mut Client) -> io::Result<(Vec<Rows>, Dumped)> {
    let mut groups = Vec::new();
    push(&mut groups, BITSET_NOMASK, &[]);
    push(&mut groups, BITSET_SIZE, &(STANDARD.len() as u32).to_ne_bytes());
    push(&mut groups, BITSET_VALUE, &0b1111_u32.to_ne_bytes());
    let mut more = Vec::new();
    push(&mut more, STATS_GROUPS | super::NESTED, &groups);
    let query = Query { header: STATS_HEADER, more, ..Query::all("stats-get", STATS_GET) };
    let mut tables: Vec<Rows> = STANDARD.iter().map(|standard| Rows::new(standard.group, standard.names)).collect();
    let clear = |tables: &mut Vec<Rows>| tables.iter_mut().for_each(|rows| rows.rows.clear());
    let dumped = query.dump(client, &mut tables, clear, |tables, device, message| {
        for (at, cells) in groups_of(message) {
            tables[at].rows.push((Owner::Device(device.into()), cells));
        }
        true
    })?;
    Ok((tables, dumped))
}

/// The groups of a message that have at least one statistic: which, and its cells.
fn groups_of(message: &[u8]) -> impl Iterator<Item = (usize, Vec<Option<u64>>)> {
    let of = |kind: u16| attributes(message).filter(move |(own, _)| *own == kind).map(|(_, value)| value);
    of(STATS_GRP).filter_map(|group| {
        let id = attributes(group).find(|(kind, _)| *kind == GRP_ID)?.1;
        let at = number(id)? as usize;
        let mut cells = vec![None; STANDARD.get(at)?.names.len()];
        for (_, inner) in attributes(group).filter(|(kind, _)| *kind == GRP_STAT) {
            for (which, value) in attributes(inner) {
                // An empty one only moves the next to a multiple of eight.
                if let (Some(cell), Some(value)) = (cells.get_mut(usize::from(which)), number(value)) {
                    *cell = Some(value);
                }
            }
        }
        cells.iter().any(Option::is_some).then_some((at, cells))
    })
}

/// Pause frames, of devices that count them.
pub fn pause(client: &mut Client) -> io::Result<(Vec<Rows>, Dumped)> {
    let query = Query { flags: FLAG_STATS, ..Query::all("pause-get", PAUSE_GET) };
    simple(client, &query, Rows::new(&PAUSE, &["tx_pause_frames", "rx_pause_frames"]), |message| {
        let value = |kind| nested(message, PAUSE_STATS, kind).and_then(number);
        vec![value(2), value(3)]
    })
}

/// Forward error correction, of devices that count it. The kernel gives the total first, then each lane.
pub fn fec(client: &mut Client) -> io::Result<(Vec<Rows>, Dumped)> {
    let query = Query { flags: FLAG_STATS, ..Query::all("fec-get", FEC_GET) };
    simple(client, &query, Rows::new(&FEC, &["corrected_blocks", "uncorrectable_blocks"]), |message| {
        let value = |kind| nested(message, FEC_STATS, kind).and_then(|lanes| number(lanes.get(..8)?));
        vec![value(2), value(3)]
    })
}

/// How often the physical link went down, of devices that count it.
pub fn linkstate(client: &mut Client) -> io::Result<(Vec<Rows>, Dumped)> {
    let query = Query::all("linkstate-get", LINKSTATE_GET);
    simple(client, &query, Rows::new(&LINKSTATE, &["ext_down_cnt"]), |message| {
        let count = attributes(message).find(|(kind, _)| *kind == LINKSTATE_EXT_DOWN_CNT);
        vec![count.and_then(|(_, value)| number(value))]
    })
}

fn simple(
    client: &mut Client,
    query: &Query,
    mut rows: Rows,
    cells: impl Fn(&[u8]) -> Vec<Option<u64>>,
) -> io::Result<(Vec<Rows>, Dumped)> {
    let dumped = query.dump(
        client,
        &mut rows,
        |rows| rows.rows.clear(),
        |rows, device, message| {
            let cells = cells(message);
            if cells.iter().any(Option::is_some) {
                rows.rows.push((Owner::Device(device.into()), cells));
            }
            true
        },
    )?;
    Ok((vec![rows], dumped))
}

fn nested(message: &[u8], outer: u16, inner: u16) -> Option<&[u8]> {
    let (_, nest) = attributes(message).find(|(kind, _)| *kind == outer)?;
    attributes(nest).find(|(kind, _)| *kind == inner).map(|(_, value)| value)
}

/// What any message may be taken for, for the fuzzer: the number of cells that were found in it.
pub fn cells(payload: &[u8]) -> usize {
    let of = |header| super::device_of(payload, header).map(|(_, message)| message);
    let standard = of(STATS_HEADER).into_iter().flat_map(groups_of).map(|(_, cells)| cells.len()).sum::<usize>();
    let simple = of(HEADER).into_iter().flat_map(|message| nested(message, PAUSE_STATS, 2)).count();
    standard + simple
}

#[cfg(test)]
mod tests;
