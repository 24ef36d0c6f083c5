//! The drop probe, `ebpf/drops.bpf.c`: every packet that the kernel frees as dropped, added up in the kernel.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf, StackTraceMap};
use aya::{Ebpf, EbpfLoader};

use super::bytes::{AF_INET, AF_INET6, address, u16_at, u32_at, u64_at};
use super::event::{self, Event};
use super::hook::{self, Hook};
use super::map;
use super::{Refusal, Types};
use crate::model::Probe;
use crate::source::reasons::{ReasonNames, SUBSYSTEM_SHIFT};

/// The compiled programs; `ebpf/build` makes them.
static TYPED: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/drops.bpf.o"));
static RAW: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/drops-raw.bpf.o"));

pub(super) const TRACEPOINT: &str = "kfree_skb";

/// Sizes of the structures in `ebpf/drops.bpf.c`.
pub(super) const DROP: usize = 32;
const COUNT: usize = 24;
const VICTIM: usize = DROP + 8;
const VICTIM_COUNT: usize = 56;
const FLOW: usize = DROP + 40;
/// Entries of `unkept` for each subsystem.
const REASONS: u32 = 256;
/// Cells of `sums`.
const WITHOUT_VICTIM: u32 = 0;
const LEFT_OUT: u32 = 1;

/// Rows that are kept apart, unless told otherwise.
pub const ROWS: u32 = 4096;

/// What is to be kept besides the counts.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Rows that are kept apart, at most; drops of further ones are counted by their reason alone.
    pub rows: u32,
    /// Raw tracepoints also where the kernel takes typed ones.
    pub raw: bool,
    /// Addresses and ports.
    pub flows: bool,
    /// The kernel's call stacks.
    pub stacks: bool,
    /// Single drops, so many a second and CPU at most; 0 for none.
    pub events: u32,
    /// Of those, only the ones of this reason and this namespace; 0 for all.
    pub only: (u32, u32),
    /// Also the hook that every sent packet passes.
    pub per_packet: bool,
}

impl Default for Wanted {
    /// Counts alone.
    fn default() -> Self {
        Wanted { rows: ROWS, raw: false, flows: false, stacks: false, events: 0, only: (0, 0), per_packet: false }
    }
}

/// What the kernel tells apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// The instruction after the call that freed the packet.
    pub location: u64,
    /// The reason's number; 0 on a kernel that gives none.
    pub reason: u32,
    /// The namespace's inode; 0 if not known.
    pub netns: u32,
    /// The device's number in its namespace; 0 if not known.
    pub ifindex: u32,
    /// The number of the call stack; negative if not kept.
    pub stack: i32,
    /// EtherType.
    pub network: u16,
    /// IP protocol.
    pub protocol: u8,
    /// It had passed the receive path of a device.
    pub came_in: bool,
}

/// A socket that lost packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLoss {
    /// Its inode.
    pub inode: u64,
    /// Its owner's user.
    pub uid: u32,
    /// Its own address and port.
    pub local: Option<(IpAddr, u16)>,
    /// The other end, if it is connected.
    pub remote: Option<(IpAddr, u16)>,
    /// Packets lost.
    pub packets: u64,
}

/// Packets dropped on their way from one address to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowLoss {
    /// The sender; the port is 0 where the protocol has none.
    pub from: (IpAddr, u16),
    /// The receiver.
    pub to: (IpAddr, u16),
    /// Packets dropped.
    pub packets: u64,
}

/// Packets of one key.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Packets dropped since the probe was attached.
    pub packets: u64,
    /// The device's name.
    pub device: Vec<u8>,
}

/// What the kernel has counted since the probe was attached.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// By key.
    pub rows: HashMap<Key, Row>,
    /// By key and inode.
    pub sockets: HashMap<(Key, u64), SocketLoss>,
    /// By key, sender and receiver.
    pub flows: HashMap<(Key, Ends), u64>,
    /// Packets of which only the reason was kept.
    pub unkept: HashMap<u32, u64>,
    /// Packets whose socket was not kept.
    pub without_socket: u64,
    /// Single drops that found no place in the stream.
    pub left_out: u64,
}

/// A flow's ends: sender and receiver.
pub type Ends = ((IpAddr, u16), (IpAddr, u16));

/// The probe, attached.
pub struct DropProbe {
    ebpf: Ebpf,
    hook: Hook,
    ring: Option<RingBuf<MapData>>,
    names: ReasonNames,
}

impl DropProbe {
    /// Loads the program that fits this kernel and attaches it.
    pub(crate) fn attach(wanted: Wanted, types: &Types) -> Result<Self, Refusal> {
        let arguments = types.arguments(TRACEPOINT);
        let program = program(arguments.unwrap_or_default()).ok_or_else(|| {
            let found = arguments.map_or("no such tracepoint".into(), |arguments| arguments.join(", "));
            Refusal::new(
                format!("the hook kfree_skb of this kernel is not understood: {found}"),
                "'netstat-deep rx' works without",
            )
        })?;
        let attach = |object: &[u8]| {
            let mut ebpf = load(object, wanted, types)?;
            let hook = Hook::attach(&mut ebpf, program, TRACEPOINT, types)?;
            Ok((ebpf, hook))
        };
        let (mut ebpf, hook) = match wanted.raw {
            true => attach(RAW)?,
            false => attach(TYPED).or_else(|refusal| attach(RAW).map_err(|_| refusal))?,
        };
        let ring = ebpf.take_map("events").and_then(|map| RingBuf::try_from(map).ok());
        let ring = ring.filter(|_| wanted.events > 0);
        Ok(DropProbe { ebpf, hook, ring, names: types.names.clone() })
    }

    /// What this kernel calls its reasons.
    pub fn names(&self) -> &ReasonNames {
        &self.names
    }

    /// Stops counting; what was counted can still be read.
    pub fn detach(&mut self) {
        self.hook.detach(&mut self.ebpf);
    }

    /// The single drops that came since this was last asked.
    pub fn events(&mut self) -> Vec<Event> {
        let Some(ring) = &mut self.ring else { return Vec::new() };
        let mut events = Vec::new();
        while let Some(bytes) = ring.next() {
            events.extend(event::parse(&bytes));
        }
        events
    }

    /// What the program did since this was last asked.
    pub fn did(&mut self, timed: bool) -> Probe {
        self.hook.did(&self.ebpf, timed)
    }

    /// What was counted until now.
    pub fn read(&self) -> io::Result<Counts> {
        let mut counts = Counts::default();
        map::each(self.map("drops")?, DROP, COUNT, |key, cpus| {
            let row = counts.rows.entry(key_of(key)).or_default();
            for value in cpus.chunks_exact(COUNT) {
                row.packets += u64_at(value, 0);
                let name = value[8..24].split(|&b| b == 0).next().unwrap_or_default();
                if !name.is_empty() {
                    row.device = name.to_owned();
                }
            }
        })?;
        map::each(self.map("victims")?, VICTIM, VICTIM_COUNT, |key, cpus| {
            let inode = u64_at(key, DROP);
            let packets = cpus.chunks_exact(VICTIM_COUNT).map(|value| u64_at(value, 0)).sum();
            // Only the CPU that met the socket first described it.
            let told = cpus.chunks_exact(VICTIM_COUNT).find(|value| u16_at(value, 12) != 0);
            let mut socket = SocketLoss { inode, uid: 0, local: None, remote: None, packets };
            if let Some(value) = told {
                let family = u16_at(value, 12);
                socket.uid = u32_at(value, 8);
                let (local, remote) = (u16_at(value, 14), u16_at(value, 16).swap_bytes());
                socket.local = address(family, &value[24..40]).map(|address| (address, local));
                socket.remote = address(family, &value[40..56]).map(|a| (a, remote)).filter(|_| remote != 0);
            }
            counts.sockets.insert((key_of(key), inode), socket);
        })?;
        map::each(self.map("flows")?, FLOW, 8, |key, cpus| {
            let packets = cpus.chunks_exact(8).map(|value| u64_at(value, 0)).sum();
            let drop = key_of(key);
            let family = if drop.network == 0x86dd { AF_INET6 } else { AF_INET };
            let ends = &key[DROP..];
            if let (Some(from), Some(to)) = (address(family, &ends[..16]), address(family, &ends[16..32])) {
                let port = |at| u16_at(ends, at).swap_bytes();
                counts.flows.insert((drop, ((from, port(32)), (to, port(34)))), packets);
            }
        })?;
        self.sums("unkept", |at, sum| {
            counts.unkept.insert(((at / REASONS) << SUBSYSTEM_SHIFT) + at % REASONS, sum);
        })?;
        self.sums("sums", |at, sum| match at {
            WITHOUT_VICTIM => counts.without_socket = sum,
            LEFT_OUT => counts.left_out = sum,
            _ => {}
        })?;
        Ok(counts)
    }

    /// The addresses in a call stack, the innermost first; empty if it was not kept.
    pub fn stack(&self, number: i32) -> Vec<u64> {
        let Ok(number) = u32::try_from(number) else { return Vec::new() };
        let traces = self.ebpf.map("stacks").and_then(|map| StackTraceMap::try_from(map).ok());
        let trace = traces.and_then(|traces| traces.get(&number, 0).ok());
        trace.map_or(Vec::new(), |trace| trace.frames().iter().map(|frame| frame.ip).collect())
    }

    /// Calls `cell` with every number of an array that is not zero, summed over the CPUs.
    fn sums(&self, name: &str, mut cell: impl FnMut(u32, u64)) -> io::Result<()> {
        let Some(map) = self.ebpf.map(name) else { return Err(io::Error::other(format!("no map {name}"))) };
        let array = PerCpuArray::<_, u64>::try_from(map).map_err(io::Error::other)?;
        for at in 0..array.len() {
            let sum = array.get(&at, 0).map_err(io::Error::other)?.iter().sum();
            if sum > 0 {
                cell(at, sum);
            }
        }
        Ok(())
    }

    fn map(&self, name: &str) -> io::Result<BorrowedFd<'_>> {
        let data = match self.ebpf.map(name) {
            Some(Map::PerCpuHashMap(data) | Map::PerCpuLruHashMap(data)) => data,
            _ => return Err(io::Error::other(format!("the object has no map {name}"))),
        };
        Ok(data.fd().as_fd())
    }
}

fn load(object: &[u8], wanted: Wanted, types: &Types) -> Result<Ebpf, Refusal> {
    let (flows, stacks) = (u8::from(wanted.flows), u8::from(wanted.stacks));
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&types.loader));
    loader.override_global("keep_flows", &flows, true).override_global("keep_stacks", &stacks, true);
    let pace = wanted.events;
    loader.override_global("pace", &pace, true);
    loader.override_global("only_reason", &wanted.only.0, true);
    loader.override_global("only_netns", &wanted.only.1, true);
    loader.map_max_entries("drops", wanted.rows);
    // Maps that nothing is put into take no room.
    if pace == 0 {
        loader.map_max_entries("events", rustix::param::page_size() as u32);
    }
    if !wanted.flows {
        loader.map_max_entries("flows", 1);
    }
    if !wanted.stacks {
        loader.map_max_entries("stacks", 1);
    }
    loader.load(object).map_err(|error| hook::forbidden(&hook::innermost(&error)))
}

/// The program for the arguments that the hook has: those of 5.10, of 5.17 with the reason, of 6.11 with the socket.
fn program(arguments: &[String]) -> Option<&'static str> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["sk_buff *", "void *"] => Some("drop2"),
        ["sk_buff *", "void *", "enum skb_drop_reason"] => Some("drop3"),
        ["sk_buff *", "void *", "enum skb_drop_reason", "sock *", ..] => Some("drop4"),
        // Known in their beginning, whatever came behind it.
        ["sk_buff *", "void *", "enum skb_drop_reason", ..] => Some("drop3"),
        _ => None,
    }
}

pub(super) fn key_of(bytes: &[u8]) -> Key {
    Key {
        location: u64_at(bytes, 0),
        reason: u32_at(bytes, 8),
        netns: u32_at(bytes, 12),
        ifindex: u32_at(bytes, 16),
        stack: u32_at(bytes, 20) as i32,
        network: u16_at(bytes, 24).swap_bytes(),
        protocol: bytes[26],
        came_in: bytes[27] != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_that_for_the_arguments_of_the_hook() {
        let chosen = |words: &[&str]| program(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let (skb, place, reason, sk) = ("sk_buff *", "void *", "enum skb_drop_reason", "sock *");
        // 5.10, 6.1, 6.18; and one that nobody has seen yet.
        assert_eq!(chosen(&[skb, place]), Some("drop2"));
        assert_eq!(chosen(&[skb, place, reason]), Some("drop3"));
        assert_eq!(chosen(&[skb, place, reason, sk]), Some("drop4"));
        assert_eq!(chosen(&[skb, place, reason, sk, "int"]), Some("drop4"));
        assert_eq!(chosen(&[skb, place, reason, "int"]), Some("drop3"));
        assert_eq!(chosen(&[place, skb]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn keys_are_read_as_the_program_writes_them() {
        let mut bytes = [0; DROP];
        bytes[..8].copy_from_slice(&7_u64.to_ne_bytes());
        bytes[8..12].copy_from_slice(&6_u32.to_ne_bytes());
        bytes[20..24].copy_from_slice(&(-14_i32).to_ne_bytes());
        bytes[24..26].copy_from_slice(&[0x86, 0xdd]);
        bytes[26..28].copy_from_slice(&[17, 1]);
        let key = key_of(&bytes);
        assert_eq!((key.location, key.reason, key.stack), (7, 6, -14));
        assert_eq!((key.network, key.protocol, key.came_in), (0x86dd, 17, true));
    }
}
