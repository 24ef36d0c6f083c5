//! What the counts of the probe mean: reason, harm, stage and direction of each row, who lost the packets, and where they
//! were going.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::words::{Class, network, protocol};
use super::{DropWatch, stream};
use crate::model::{Direction, Drop, DropFlow, Victim, per_second};
use crate::source::probe::drops::{Counts, Key};
use crate::source::reasons::subsystem;
use crate::source::{place, text};

/// Sockets named for each row, at most.
const VICTIMS: usize = 20;
/// Flows named for each row, at most.
const FLOWS: usize = 100;

impl DropWatch {
    /// The rows as they are shown, the most harmful first.
    pub(super) fn drops(&self, counts: &Counts, seconds: f64) -> Vec<Drop> {
        let netns_names = place::names_by_inode();
        let devices = device_names(counts);
        let mut drops: Vec<Drop> = Vec::new();
        let mut at: HashMap<Key, usize> = HashMap::new();
        for (key, row) in &counts.rows {
            let device = match devices.get(&(key.netns, key.ifindex)) {
                Some(name) => Some(text::printable(name)),
                None if key.ifindex != 0 => Some(format!("if{}", key.ifindex)),
                None => None,
            };
            let mut drop = self.drop(key.reason, Some(key), row.packets, seconds);
            drop.device = device;
            drop.netns_name = netns_names.get(&key.netns).cloned();
            at.insert(*key, drops.len());
            drops.push(drop);
        }
        for ((key, inode), socket) in &counts.sockets {
            let Some(&at) = at.get(key) else { continue };
            let end = |end: Option<_>| end.map(|(address, port)| SocketAddr::new(address, port).to_string());
            drops[at].victims.push(Victim {
                uid: Some(socket.uid),
                local: end(socket.local),
                remote: end(socket.remote),
                lost: socket.packets,
                inode: u32::try_from(*inode).unwrap_or(0),
                ..Victim::default()
            });
        }
        for ((key, (from, to)), packets) in &counts.flows {
            let Some(&at) = at.get(key) else { continue };
            drops[at].flows.push(DropFlow { from: stream::words(*from), to: stream::words(*to), count: *packets });
        }
        if self.only.device.is_none() && self.only.netns.is_none() {
            let unkept = counts.unkept.iter().map(|(&reason, &packets)| self.drop(reason, None, packets, seconds));
            drops.extend(unkept);
        }
        for drop in &mut drops {
            drop.victims.sort_by(|a, b| (b.lost, &a.local, &a.remote).cmp(&(a.lost, &b.local, &b.remote)));
            drop.victims.truncate(VICTIMS);
            drop.flows.sort_by(|a, b| (b.count, &a.from, &a.to).cmp(&(a.count, &b.from, &b.to)));
            drop.flows.truncate(FLOWS);
        }
        drops.sort_by(|a, b| (b.harm, b.count, &a.reason, &a.device).cmp(&(a.harm, a.count, &b.reason, &b.device)));
        drops
    }

    /// What is known of a row by its key; without one, by its reason alone.
    pub(super) fn drop(&self, reason: u32, key: Option<&Key>, packets: u64, seconds: f64) -> Drop {
        let place = |address: u64| self.symbols.get(&address).cloned().unwrap_or_else(|| format!("{address:#x}"));
        let location = key.map(|key| place(key.location));
        let protocol = key.and_then(|key| protocol(key.protocol));
        let class = Class::of(self.probes.drops.names(), reason, location.as_deref(), protocol.as_deref());
        Drop {
            reason: class.name,
            reason_number: Some(reason),
            subsystem: subsystem(reason),
            likely: class.likely,
            harm: class.harm,
            normal: class.normal,
            direction: key.and_then(|key| direction(&class.stage, key.came_in)),
            stage: class.stage,
            location,
            device: None,
            netns: key.filter(|key| key.netns != 0).map(|key| namespace(key.netns)),
            netns_name: None,
            network: key.and_then(|key| network(key.network)),
            protocol,
            policy: None,
            count: packets,
            per_second: per_second(packets, seconds),
            victims: Vec::new(),
            flows: Vec::new(),
            stack: key.map_or(Vec::new(), |key| self.probes.drops.stack(key.stack).into_iter().map(place).collect()),
        }
    }
}

/// A namespace as the kernel writes it.
pub(super) fn namespace(inode: u32) -> String {
    format!("net:[{inode}]")
}

/// A packet that passed a device's receive path came in. Others are told by the stage, as far as that has one direction.
pub(super) fn direction(stage: &str, came_in: bool) -> Option<Direction> {
    const BEFORE: &[&str] = &["driver_rx", "gro", "backlog", "ingress"];
    const SEND: &[&str] = &["ip_out", "neighbour", "egress", "qdisc", "validate", "driver_tx"];
    if came_in || BEFORE.contains(&stage) {
        Some(Direction::In)
    } else if SEND.contains(&stage) || stage == "netfilter" {
        Some(Direction::Out)
    } else {
        None
    }
}

/// The names of devices, for packets that know only the number of theirs.
fn device_names(counts: &Counts) -> HashMap<(u32, u32), &Vec<u8>> {
    let named = counts.rows.iter().filter(|(_, row)| !row.device.is_empty());
    named.map(|(key, row)| ((key.netns, key.ifindex), &row.device)).collect()
}
