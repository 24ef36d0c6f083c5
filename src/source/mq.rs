//! How many packets each transmit queue of a device sent, by the queueing discipline that mq put before it (rtnetlink
//! RTM_GETQDISC, TCA_STATS2). Nearly every card with several queues has mq, and few drivers count by queue.

use std::collections::BTreeMap;
use std::io;

use super::groups::MQ;
use super::netdev::Names;
use super::netlink::{Client, Dumped, Request, attributes};
use super::sheet::{Owner, Rows};

// include/uapi/linux/rtnetlink.h
const RTM_GETQDISC: u16 = 38;
const TCA_KIND: u16 = 1;
const TCA_STATS2: u16 = 7;
// include/uapi/linux/gen_stats.h
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_PKT64: u16 = 8;
/// include/uapi/linux/pkt_sched.h
const TC_H_ROOT: u32 = 0xffff_ffff;
/// struct tcmsg: family, three bytes of padding, ifindex, handle, parent, info.
const TCMSG: usize = 20;
/// Disciplines whose children are the device's queues, the n-th below their class n + 1 (net/sched/sch_mq.c mq_attach()).
const ROOTS: [&[u8]; 2] = [b"mq", b"mqprio"];

/// A queueing discipline, as far as it tells of queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qdisc {
    /// The kernel's number of its device.
    pub device: u32,
    /// Its handle; the major half is its own.
    pub handle: u32,
    /// The class that it hangs below.
    pub parent: u32,
    /// True if its children are queues.
    pub is_root_of_queues: bool,
    /// Packets that it handed to the driver.
    pub packets: Option<u64>,
}

/// The packets of the queues of all devices that have mq.
pub fn read(client: &mut Client, names: &Names) -> io::Result<(Vec<Rows>, Dumped)> {
    let request = Request { name: "getqdisc", kind: RTM_GETQDISC, payload: vec![0; TCMSG] };
    let mut qdiscs: Vec<Qdisc> = Vec::new();
    let dumped = client.dump(&request, &mut qdiscs, Vec::clear, |qdiscs, payload| {
        parse(payload).map(|qdisc| qdiscs.push(qdisc)).is_some()
    })?;
    let mut rows = Rows::new(&MQ, &["packets"]);
    for (device, queue, packets) in queues(&qdiscs) {
        if let Some(name) = names.get(&device) {
            rows.rows.push((Owner::TxQueue(name.clone(), queue), vec![packets]));
        }
    }
    Ok((vec![rows], dumped))
}

/// The device's number, the queue's, and its packets.
pub fn queues(qdiscs: &[Qdisc]) -> impl Iterator<Item = (u32, u32, Option<u64>)> {
    let roots = qdiscs.iter().filter(|qdisc| qdisc.is_root_of_queues && qdisc.parent == TC_H_ROOT);
    let roots: BTreeMap<u32, u32> = roots.map(|root| (root.device, root.handle >> 16)).collect();
    qdiscs.iter().filter_map(move |qdisc| {
        let own = roots.get(&qdisc.device).filter(|major| **major == qdisc.parent >> 16)?;
        let queue = (qdisc.parent & 0xffff).checked_sub(1).filter(|_| qdisc.parent != TC_H_ROOT && *own < 0xffff)?;
        Some((qdisc.device, queue, qdisc.packets))
    })
}

/// A qdisc from the payload of its message.
pub fn parse(payload: &[u8]) -> Option<Qdisc> {
    let fixed = payload.get(..TCMSG)?;
    let word = |at: usize| Some(u32::from_ne_bytes(*fixed.get(at..)?.first_chunk()?));
    let mut qdisc = Qdisc { device: word(4)?, handle: word(8)?, parent: word(12)?, ..Qdisc::default() };
    for (kind, value) in attributes(payload.get(TCMSG..)?) {
        match kind {
            TCA_KIND => qdisc.is_root_of_queues = ROOTS.contains(&value.split(|&b| b == 0).next().unwrap_or_default()),
            TCA_STATS2 => qdisc.packets = packets(value),
            _ => {}
        }
    }
    Some(qdisc)
}

/// struct gnet_stats_basic: bytes in eight, packets in four; where those are too few, all eight come beside it, since 5.5.
fn packets(stats: &[u8]) -> Option<u64> {
    let of = |wanted| attributes(stats).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let all = of(TCA_STATS_PKT64).and_then(|value| value.first_chunk()).map(|word| u64::from_ne_bytes(*word));
    all.or_else(|| Some(u32::from_ne_bytes(*of(TCA_STATS_BASIC)?.get(8..)?.first_chunk()?).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    fn message(device: u32, handle: u32, parent: u32, kind: &[u8], packets: u32) -> Vec<u8> {
        let basic = [9_u64.to_ne_bytes().to_vec(), packets.to_ne_bytes().to_vec()].concat();
        let fixed = [0, device, handle, parent, 0].map(u32::to_ne_bytes).concat();
        let stats = attribute(TCA_STATS2, &attribute(TCA_STATS_BASIC, &basic));
        [fixed, attribute(TCA_KIND, kind), stats].concat()
    }

    #[test]
    fn children_of_mq_are_queues_and_others_are_not() {
        let all = [
            message(3, 0, TC_H_ROOT, b"mq\0", 12),
            message(3, 0, 1, b"pfifo_fast\0", 5),
            message(3, 0x8002_0000, 2, b"fq\0", 7),
            message(4, 0x8001_0000, TC_H_ROOT, b"htb\0", 3),
            message(4, 0x8003_0000, 0x8001_0001, b"fq_codel\0", 3),
            message(5, 0x8004_0000, TC_H_ROOT, b"mq\0", 1),
            message(5, 0, 0x8004_0003, b"pfifo_fast\0", 1),
        ];
        let qdiscs: Vec<Qdisc> = all.iter().filter_map(|payload| parse(payload)).collect();
        assert_eq!(queues(&qdiscs).collect::<Vec<_>>(), [(3, 0, Some(5)), (3, 1, Some(7)), (5, 2, Some(1))]);
    }

    #[test]
    fn more_packets_than_four_bytes_hold() {
        let basic = attribute(TCA_STATS_BASIC, &[0; 12]);
        let stats = [basic, attribute(TCA_STATS_PKT64, &5_000_000_000_u64.to_ne_bytes())].concat();
        assert_eq!(packets(&stats), Some(5_000_000_000));
        assert_eq!(packets(&stats[..9]), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let qdiscs: Vec<Qdisc> = parse(&bytes).into_iter().collect();
            let _ = queues(&qdiscs).count();
        }
    }
}
