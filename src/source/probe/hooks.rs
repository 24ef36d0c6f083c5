//! Hooks at which something goes wrong that no counter tells, or not whose: `ebpf/hooks.bpf.c`. Each is attached alone;
//! one that this kernel does not have, or refuses, is a status with the reason.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use aya::maps::{Map, PerCpuArray};
use aya::{Ebpf, EbpfLoader};

use super::bytes::{address, u16_at, u32_at, u64_at};
use super::hook::{self, Hook};
use super::{PerPacket, Refusal, Types, attempt, map};
use crate::model::Probe;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/hooks.bpf.o"));

/// A hook: its tracepoint and the group of that, the type of its first argument, and the program for each number of
/// arguments.
struct Spec {
    group: &'static str,
    tracepoint: &'static str,
    first: &'static str,
    programs: &'static [(usize, &'static str)],
}

/// In the order of enum hook in `ebpf/hooks.bpf.c`.
const SPECS: &[Spec] = &[
    Spec { group: "udp", tracepoint: "udp_fail_queue_rcv_skb", first: "int", programs: &[(2, "udp_fail")] },
    Spec { group: "sock", tracepoint: "sock_exceed_buf_limit", first: "sock *", programs: &[(4, "exceed")] },
    Spec { group: "sock", tracepoint: "sock_rcvqueue_full", first: "sock *", programs: &[(2, "queue_full")] },
    Spec {
        group: "tcp",
        tracepoint: "tcp_retransmit_skb",
        first: "sock *",
        programs: &[(3, "retransmit3"), (2, "retransmit2")],
    },
    Spec { group: "tcp", tracepoint: "tcp_retransmit_synack", first: "sock *", programs: &[(2, "synack")] },
    Spec { group: "tcp", tracepoint: "tcp_send_reset", first: "sock *", programs: &[(3, "reset3"), (2, "reset2")] },
    Spec { group: "xdp", tracepoint: "xdp_exception", first: "net_device *", programs: &[(3, "xdp_bad")] },
    Spec { group: "xdp", tracepoint: "xdp_redirect_err", first: "net_device *", programs: &[(4, "xdp_redirect")] },
    Spec { group: "net", tracepoint: "net_dev_xmit_timeout", first: "net_device *", programs: &[(2, "timeout")] },
    Spec { group: "neigh", tracepoint: "neigh_timer_handler", first: "neighbour *", programs: &[(2, "neighbour")] },
    Spec { group: "net", tracepoint: PER_PACKET, first: "sk_buff *", programs: &[(4, "transmit")] },
    Spec { group: "napi", tracepoint: "dql_stall_detected", first: "short unsigned int", programs: &[(1, "stall")] },
    Spec { group: "page_pool", tracepoint: "page_pool_release", first: "page_pool *", programs: &[(4, "pool")] },
];

/// The one that every packet passes: attached only if asked for, and as long as it costs little.
const PER_PACKET: &str = "net_dev_xmit";

/// Sizes of the structures in `ebpf/hooks.bpf.c`.
const HIT: usize = 48;
const HITS: usize = 24;

/// The tracepoints.
pub fn names() -> impl Iterator<Item = &'static str> {
    SPECS.iter().map(|spec| spec.tracepoint)
}

/// The tracepoints, each as group and name.
pub(super) fn tracepoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    SPECS.iter().map(|spec| (spec.group, spec.tracepoint))
}

/// What a hook saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hit {
    /// The tracepoint.
    pub hook: &'static str,
    /// An error, reason, action or queue, as the hook has it.
    pub code: i32,
    /// The namespace's inode; 0 if not known.
    pub netns: u32,
    /// The device's number in its namespace; 0 if it has none.
    pub ifindex: u32,
    /// The inode of the socket; 0 if it has none.
    pub inode: u64,
    /// The other end.
    pub remote: Option<(IpAddr, u16)>,
}

/// How often each thing was seen, and the name of its device or protocol.
pub type Hits = HashMap<Hit, (u64, Vec<u8>)>;

/// The hooks, as far as they could be attached.
pub struct HookProbe {
    ebpf: Ebpf,
    hooks: Vec<Hook>,
    /// Those that could not.
    missing: Vec<Probe>,
}

impl HookProbe {
    /// Attaches what this kernel has; what every packet passes only if `per_packet`.
    pub(crate) fn attach(types: &Types, per_packet: PerPacket) -> Result<Self, Refusal> {
        let mut loader = EbpfLoader::new();
        let mut ebpf =
            loader.btf(Some(&types.loader)).load(OBJECT).map_err(|error| hook::forbidden(&hook::innermost(&error)))?;
        let (mut hooks, mut missing) = (Vec::new(), Vec::new());
        for spec in SPECS {
            let wanted = match per_packet {
                _ if spec.tracepoint != PER_PACKET => Ok(()),
                PerPacket::Wanted => Ok(()),
                PerPacket::Untimed => Err(PerPacket::refused()),
                PerPacket::Unwanted => continue,
            };
            let attached = wanted
                .and_then(|()| program(spec, types.arguments(spec.tracepoint)))
                .and_then(|program| Hook::attach(&mut ebpf, program, spec.tracepoint, types));
            match attached {
                Ok(hook) => hooks.push(hook),
                Err(refusal) => missing.push(attempt::missing(attempt::TYPED, spec.tracepoint, &refusal)),
            }
        }
        Ok(HookProbe { ebpf, hooks, missing })
    }

    /// The time that the hook which every packet passes has taken so far.
    pub fn nanoseconds_per_packet(&self) -> u64 {
        self.hooks.iter().filter(|hook| hook.is_at(PER_PACKET)).map(|hook| hook.nanoseconds(&self.ebpf)).sum()
    }

    /// Takes the hook that every packet passes away for good, and says why.
    pub fn give_up(&mut self, why: &str) {
        for hook in self.hooks.iter_mut().filter(|hook| hook.is_at(PER_PACKET)) {
            hook.give_up(&mut self.ebpf, why);
        }
    }

    /// Stops counting.
    pub fn detach(&mut self) {
        for hook in &mut self.hooks {
            hook.detach(&mut self.ebpf);
        }
    }

    /// What each did since this was last asked; those that are missing, why.
    pub fn did(&mut self, timed: bool) -> Vec<Probe> {
        let did = self.hooks.iter_mut().map(|hook| hook.did(&self.ebpf, timed)).collect::<Vec<_>>();
        did.into_iter().chain(self.missing.iter().cloned()).collect()
    }

    /// What was seen since the hooks were attached, and how many hits found no room.
    pub fn read(&self) -> io::Result<(Hits, u64)> {
        let mut hits = Hits::new();
        let Some(Map::PerCpuHashMap(data)) = self.ebpf.map("hits") else { return Err(io::Error::other("no map hits")) };
        map::each(data.fd().as_fd(), HIT, HITS, |key, cpus| {
            let Some(hit) = hit_of(key) else { return };
            let (count, name) = hits.entry(hit).or_default();
            for value in cpus.chunks_exact(HITS) {
                *count += u64_at(value, 0);
                let own = value[8..HITS].split(|&b| b == 0).next().unwrap_or_default();
                if !own.is_empty() {
                    *name = own.to_owned();
                }
            }
        })?;
        let mut unkept = 0;
        if let Some(array) = self.ebpf.map("unkept").and_then(|map| PerCpuArray::<_, u64>::try_from(map).ok()) {
            for at in 0..SPECS.len() as u32 {
                unkept += array.get(&at, 0).map_err(io::Error::other)?.iter().sum::<u64>();
            }
        }
        Ok((hits, unkept))
    }
}

/// The program that takes as many of the hook's arguments as there are.
fn program(spec: &Spec, arguments: Option<&[String]>) -> Result<&'static str, Refusal> {
    let Some(arguments) = arguments else {
        return Err(Refusal::new(format!("this kernel has no hook {}", spec.tracepoint), ""));
    };
    let fits = spec.programs.iter().find(|(count, _)| *count <= arguments.len());
    match fits {
        Some((_, program)) if arguments.first().is_some_and(|first| first == spec.first) => Ok(program),
        _ => Err(Refusal::new(
            format!("the hook {} of this kernel is not understood: {}", spec.tracepoint, arguments.join(", ")),
            "",
        )),
    }
}

fn hit_of(key: &[u8]) -> Option<Hit> {
    let remote = address(u16_at(key, 40), &key[24..40]).map(|address| (address, u16_at(key, 42).swap_bytes()));
    Some(Hit {
        hook: SPECS.get(u32_at(key, 8) as usize)?.tracepoint,
        code: u32_at(key, 12) as i32,
        netns: u32_at(key, 16),
        ifindex: u32_at(key, 20),
        inode: u64_at(key, 0),
        remote,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_that_for_the_arguments_there_are() {
        let retransmit = SPECS.iter().find(|spec| spec.tracepoint == "tcp_retransmit_skb").unwrap();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let old = words(&["sock *", "sk_buff *"]);
        assert_eq!(program(retransmit, Some(&old)), Ok("retransmit2"));
        let new = words(&["sock *", "sk_buff *", "int"]);
        assert_eq!(program(retransmit, Some(&new)), Ok("retransmit3"));
        assert!(program(retransmit, Some(&words(&["sk_buff *", "sock *"]))).unwrap_err().what.contains("understood"));
        assert!(program(retransmit, None).unwrap_err().what.contains("no hook"));
    }
}
