//! How many packets each transmit queue of a device sent, by the queueing discipline that mq put before it. Nearly every card
//! with several queues has mq, and few drivers count by queue.

use std::collections::BTreeMap;

use super::{Names, Qdisc};
use crate::source::groups::MQ;
use crate::source::sheet::{Owner, Rows};

/// Disciplines whose children are the device's queues, the n-th below their class n + 1 (net/sched/sch_mq.c mq_attach()).
const ROOTS: [&[u8]; 2] = [b"mq", b"mqprio"];

/// The packets of the queues of all devices that have mq.
pub fn rows(qdiscs: &[Qdisc], names: &Names) -> Rows {
    let mut rows = Rows::new(&MQ, &["packets"]);
    for (device, queue, packets) in queues(qdiscs) {
        if let Some(name) = names.get(&device) {
            rows.rows.push((Owner::TxQueue(name.clone(), queue), vec![packets]));
        }
    }
    rows
}

/// The device's number, the queue's, and its packets.
fn queues(qdiscs: &[Qdisc]) -> impl Iterator<Item = (u32, u32, Option<u64>)> {
    let roots = qdiscs.iter().filter(|qdisc| qdisc.is_root() && ROOTS.contains(&&qdisc.kind[..]));
    let roots: BTreeMap<u32, u32> = roots.map(|root| (root.index, root.handle >> 16)).collect();
    qdiscs.iter().filter(|qdisc| !qdisc.is_root()).filter_map(move |qdisc| {
        roots.get(&qdisc.index).filter(|major| **major == qdisc.parent >> 16)?;
        let [_, packets, ..] = qdisc.stats;
        Some((qdisc.index, (qdisc.parent & 0xffff).checked_sub(1)?, packets))
    })
}

#[cfg(test)]
mod tests {
    use super::super::TC_H_ROOT;
    use super::*;

    fn qdisc(index: u32, handle: u32, parent: u32, kind: &[u8], packets: u64) -> Qdisc {
        let stats = [None, Some(packets), None, None, None, None, None];
        Qdisc { index, handle, parent, kind: kind.to_vec(), stats, ..Qdisc::default() }
    }

    #[test]
    fn children_of_mq_are_queues_and_others_are_not() {
        let qdiscs = [
            qdisc(3, 0, TC_H_ROOT, b"mq", 12),
            qdisc(3, 0, 1, b"pfifo_fast", 5),
            qdisc(3, 0x8002_0000, 2, b"fq", 7),
            qdisc(4, 0x8001_0000, TC_H_ROOT, b"htb", 3),
            qdisc(4, 0x8003_0000, 0x8001_0001, b"fq_codel", 3),
            qdisc(5, 0x8004_0000, TC_H_ROOT, b"mq", 1),
            qdisc(5, 0, 0x8004_0003, b"pfifo_fast", 1),
            qdisc(5, 0, 0x8004_0000, b"pfifo_fast", 1),
        ];
        assert_eq!(queues(&qdiscs).collect::<Vec<_>>(), [(3, 0, Some(5)), (3, 1, Some(7)), (5, 2, Some(1))]);
    }
}
