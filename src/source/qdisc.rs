//! Queueing disciplines by rtnetlink: RTM_GETQDISC and RTM_GETTCLASS, of each what TCA_STATS2 says.
//!
//! What a packet loses below a root is counted there too (qdisc_tree_reduce_backlog() and every classful enqueue in
//! net/sched), and mq's root is the sum of its queues (mq_dump()): so roots have a table of their own, in which each
//! loss stands once, and all below them another.

mod app;
pub mod limit;
mod queues;

use std::collections::BTreeMap;
use std::io;

use super::Host;
use super::groups::{CLSACT, QDISC, QDISC_CHILD};
use super::netlink::{Client, Dumped, Family, Request, attributes};
use super::sheet::{Owner, Rows};

// include/uapi/linux/rtnetlink.h
const RTM_GETQDISC: u16 = 38;
const RTM_GETTCLASS: u16 = 42;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
// include/uapi/linux/gen_stats.h
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_APP: u16 = 4;
const TCA_STATS_PKT64: u16 = 8;
/// include/uapi/linux/pkt_sched.h
const TC_H_ROOT: u32 = 0xffff_ffff;
/// struct tcmsg: family, three bytes of padding, ifindex, handle, parent, info.
const TCMSG: usize = 20;

/// The columns of a root, of what is below it, and of a class.
const COLUMNS: &[&str] = &["bytes", "packets", "drops", "requeues", "overlimits", "qlen", "backlog"];

/// Disciplines that send packets on and hold none.
const HOLD_NOTHING: [&[u8]; 2] = [b"noqueue", b"noop"];
/// Those that stand at a hook, and are no queue.
const HOOKS: [&[u8]; 2] = [b"clsact", b"ingress"];
/// Those whose classes count for themselves; the classes of others (mq, prio) only repeat what their qdisc says.
const WITH_CLASSES: [&[u8]; 5] = [b"htb", b"hfsc", b"drr", b"qfq", b"cbq"];

/// Devices by the kernel's number of them.
pub type Names = BTreeMap<u32, Vec<u8>>;

/// A qdisc, or a class of one, as a message tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Qdisc {
    /// The kernel's number of the device.
    pub index: u32,
    /// Its own handle; 0 for those that the kernel made by itself.
    pub handle: u32,
    /// The handle of what it hangs below.
    pub parent: u32,
    /// What it is called: fq_codel, htb...
    pub kind: Vec<u8>,
    /// Its options as the kernel writes them.
    options: Vec<u8>,
    /// Its statistics, in the order of [`COLUMNS`].
    stats: [Option<u64>; COLUMNS.len()],
    /// What only its kind counts.
    app: Vec<u8>,
}

impl Qdisc {
    /// True for the qdisc that a device's packets enter first.
    pub fn is_root(&self) -> bool {
        self.parent == TC_H_ROOT
    }

    /// As tc(8) calls it: `htb 1:`; one without a handle by what it hangs below, `pfifo_fast 0: parent :1`.
    pub fn name(&self) -> String {
        let kind = super::text::printable(&self.kind);
        match (self.handle, self.parent) {
            (0, TC_H_ROOT) => format!("{kind} 0:"),
            (0, parent) => format!("{kind} 0: parent {}", handle(parent)),
            (own, _) => format!("{kind} {}", handle(own)),
        }
    }

    fn row(&self, owner: Owner) -> (Owner, Vec<Option<u64>>) {
        (owner, self.stats.to_vec())
    }
}

/// `1:10` as tc(8) writes a handle: both halves in hexadecimal, a half that is 0 left out.
pub fn handle(handle: u32) -> String {
    match (handle >> 16, handle & 0xffff) {
        (major, 0) => format!("{major:x}:"),
        (0, minor) => format!(":{minor:x}"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

/// All qdiscs of the calling thread's network namespace, and what their classes count, as tables.
pub fn read(client: &mut Client, names: &Names) -> io::Result<(Vec<Rows>, Dumped)> {
    let (qdiscs, mut dumped) = all(client)?;
    let mut tables = Tables::of(&qdiscs, names);
    for qdisc in qdiscs.iter().filter(|qdisc| qdisc.is_root() && WITH_CLASSES.contains(&&qdisc.kind[..])) {
        let Some(device) = names.get(&qdisc.index) else { continue };
        let (classes, more) = dump(client, "gettclass", RTM_GETTCLASS, qdisc.index)?;
        dumped.bad += more.bad;
        dumped.disturbed |= more.disturbed;
        classes.iter().for_each(|class| tables.put_class(class, device));
    }
    let mut all = tables.all();
    all.push(queues::rows(&qdiscs, names));
    Ok((all, dumped))
}

/// What qdiscs say of themselves, as tables.
pub fn tables(qdiscs: &[Qdisc], names: &Names) -> Vec<Rows> {
    Tables::of(qdiscs, names).all()
}

/// All qdiscs.
pub fn all(client: &mut Client) -> io::Result<(Vec<Qdisc>, Dumped)> {
    dump(client, "getqdisc", RTM_GETQDISC, 0)
}

/// Of every device with the request for qdiscs, of one with that for classes.
fn dump(client: &mut Client, name: &'static str, kind: u16, index: u32) -> io::Result<(Vec<Qdisc>, Dumped)> {
    let mut payload = vec![0; TCMSG];
    payload[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut found = Vec::new();
    let dumped = client.dump(&Request { name, kind, payload }, &mut found, Vec::clear, |found, payload| {
        parse(payload).map(|qdisc| found.push(qdisc)).is_some()
    })?;
    Ok((found, dumped))
}

/// A client that reads qdiscs.
pub fn client(host: &Host) -> Client<'_> {
    Client::new(host, Family::Route)
}

/// A qdisc or class from the payload of its message.
pub fn parse(payload: &[u8]) -> Option<Qdisc> {
    let fixed = payload.get(..TCMSG)?;
    let word = |at: usize| Some(u32::from_ne_bytes(*fixed.get(at..)?.first_chunk()?));
    let mut qdisc = Qdisc { index: word(4)?, handle: word(8)?, parent: word(12)?, ..Qdisc::default() };
    for (kind, value) in attributes(payload.get(TCMSG..)?) {
        match kind {
            TCA_KIND => qdisc.kind = value.split(|&b| b == 0).next().unwrap_or_default().to_vec(),
            TCA_OPTIONS => qdisc.options = value.to_vec(),
            TCA_STATS2 => statistics(value, &mut qdisc),
            _ => {}
        }
    }
    (!qdisc.kind.is_empty()).then_some(qdisc)
}

/// net/core/gen_stats.c gnet_stats_copy_basic(), gnet_stats_copy_queue(). Packets have 32 bits there, and 64 in an attribute
/// of their own once they need them.
fn statistics(stats: &[u8], qdisc: &mut Qdisc) {
    let [bytes, packets, drops, requeues, overlimits, qlen, backlog] = &mut qdisc.stats;
    for (kind, value) in attributes(stats) {
        match kind {
            TCA_STATS_BASIC => {
                *bytes = wide(value, 0);
                *packets = packets.or(narrow(value, 8));
            }
            TCA_STATS_PKT64 => *packets = wide(value, 0),
            TCA_STATS_QUEUE => {
                // struct gnet_stats_queue
                for (at, column) in [&mut *qlen, backlog, drops, requeues, overlimits].into_iter().enumerate() {
                    *column = narrow(value, at * 4);
                }
            }
            TCA_STATS_APP => qdisc.app = value.to_vec(),
            _ => {}
        }
    }
}

fn wide(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn narrow(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

struct Tables {
    roots: Rows,
    below: Rows,
    hooks: Rows,
    kinds: Vec<Rows>,
}

impl Default for Tables {
    fn default() -> Self {
        Tables {
            roots: Rows::new(&QDISC, COLUMNS),
            below: Rows::new(&QDISC_CHILD, COLUMNS),
            hooks: Rows::new(&CLSACT, COLUMNS),
            kinds: Vec::new(),
        }
    }
}

impl Tables {
    fn of(qdiscs: &[Qdisc], names: &Names) -> Self {
        let mut tables = Tables::default();
        for qdisc in qdiscs {
            // A device that came after the list of devices was taken has no name yet: its qdisc shows next time.
            let Some(device) = names.get(&qdisc.index) else { continue };
            tables.put(qdisc, device);
        }
        tables
    }

    fn put(&mut self, qdisc: &Qdisc, device: &[u8]) {
        let kind = &&qdisc.kind[..];
        if HOLD_NOTHING.contains(kind) {
            return;
        }
        if HOOKS.contains(kind) {
            self.hooks.rows.push(qdisc.row(Owner::Device(device.to_vec())));
            return;
        }
        let owner = Owner::Qdisc(device.to_vec(), qdisc.name());
        let table = if qdisc.is_root() { &mut self.roots } else { &mut self.below };
        table.rows.push(qdisc.row(owner.clone()));
        self.put_app(qdisc, owner);
    }

    fn put_class(&mut self, class: &Qdisc, device: &[u8]) {
        let owner = Owner::Class(device.to_vec(), class.name());
        self.below.rows.push(class.row(owner.clone()));
        self.put_app(class, owner);
    }

    fn put_app(&mut self, qdisc: &Qdisc, owner: Owner) {
        let is_class = matches!(owner, Owner::Class(..));
        let Some((group, columns, cells)) = app::statistics(&qdisc.kind, is_class, &qdisc.app) else { return };
        let at = self.kinds.iter().position(|table| table.group == group);
        let at = at.unwrap_or_else(|| {
            self.kinds.push(Rows::new(group, columns));
            self.kinds.len() - 1
        });
        self.kinds[at].rows.push((owner, cells));
    }

    fn all(self) -> Vec<Rows> {
        [vec![self.roots, self.below, self.hooks], self.kinds].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    fn message(kind: &[u8], [handle, parent]: [u32; 2], stats: &[u8]) -> Vec<u8> {
        let words = [0_u32, 7, handle, parent, 2];
        let fixed: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        [fixed, attribute(TCA_KIND, kind), attribute(TCA_STATS2, stats)].concat()
    }

    fn queue(words: [u32; 5]) -> Vec<u8> {
        attribute(TCA_STATS_QUEUE, &words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>())
    }

    fn basic(bytes: u64, packets: u32) -> Vec<u8> {
        attribute(TCA_STATS_BASIC, &[&bytes.to_ne_bytes()[..], &packets.to_ne_bytes(), &[0; 4]].concat())
    }

    #[test]
    fn what_waits_and_what_was_dropped_are_told_apart() {
        let stats = [basic(1500, 9), queue([1, 2, 3, 4, 5])].concat();
        let qdisc = parse(&message(b"tbf\0", [0x8001_0000, TC_H_ROOT], &stats)).unwrap();
        assert_eq!(qdisc.stats, [1500, 9, 3, 4, 5, 1, 2].map(Some));
        assert_eq!((qdisc.name().as_str(), qdisc.is_root()), ("tbf 8001:", true));
    }

    #[test]
    fn packets_beyond_32_bits_come_in_an_attribute_of_their_own() {
        for order in [[0, 1], [1, 0]] {
            let parts = [basic(0, 3), attribute(TCA_STATS_PKT64, &((1_u64 << 32) + 3).to_ne_bytes())];
            let stats = [parts[order[0]].clone(), parts[order[1]].clone()].concat();
            assert_eq!(parse(&message(b"fq\0", [0, TC_H_ROOT], &stats)).unwrap().stats[1], Some((1 << 32) + 3));
        }
    }

    #[test]
    fn a_qdisc_that_nobody_named_is_called_by_its_place() {
        assert_eq!(parse(&message(b"pfifo_fast\0", [0, 1], &[])).unwrap().name(), "pfifo_fast 0: parent :1");
    }

    #[test]
    fn a_loss_below_a_root_stands_beside_it_and_not_with_it() {
        let mut tables = Tables::default();
        let lost = queue([0, 0, 5, 0, 0]);
        for parent in [TC_H_ROOT, 1, 2] {
            tables.put(&parse(&message(b"mq\0", [0, parent], &lost)).unwrap(), b"eth0");
        }
        tables.put(&parse(&message(b"noqueue\0", [0, TC_H_ROOT], &lost)).unwrap(), b"lo");
        tables.put(&parse(&message(b"clsact\0", [0xffff_0000, 0xffff_fff1], &lost)).unwrap(), b"eth0");
        assert_eq!((tables.roots.rows.len(), tables.below.rows.len(), tables.hooks.rows.len()), (1, 2, 1));
    }

    #[test]
    fn this_kernel_answers() {
        let host = Host::Live;
        let (qdiscs, dumped) = all(&mut client(&host)).unwrap();
        assert_eq!(dumped.bad, 0);
        assert!(!qdiscs.is_empty());
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(qdisc) = parse(&bytes) {
                Tables::default().put(&qdisc, b"eth0");
                Tables::default().put_class(&qdisc, b"eth0");
            }
        }
    }
}
