//! Who refuses packets in netfilter, `ebpf/verdict.bpf.c`: programs that look on as the kernel evaluates chains and tables.
//! Each is attached alone. A kernel that refuses them, or does not describe its modules' types (before 5.11), costs nothing
//! else: rules' counters stand in for them.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;

use aya::maps::{HashMap as KernelMap, Map, MapData, PerCpuArray};
use aya::{Btf as AyaBtf, Endianness};

use super::bytes::{u32_at, u64_at};
use super::function::{self, Absent, Attached, Function, Place as FunctionPlace, Programs, STAND_IN};
use super::{PerPacket, Refusal, TYPES, Types, map};
use crate::model::Probe;
use crate::source::btf::{self, Btf};
use crate::source::text;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/verdict.bpf.o"));

/// Programs that read the structures of one module.
struct Group {
    module: &'static str,
    functions: &'static [Spec],
}

/// A function, the module that it lies in, and the program for each form that its arguments have had.
struct Spec {
    module: &'static str,
    name: &'static str,
    programs: &'static [(&'static [&'static str], &'static str)],
}

const fn expression(module: &'static str, name: &'static str) -> Spec {
    Spec { module, name, programs: &[(&["nft_expr *", "nft_regs *", "nft_pktinfo *"], "decided")] }
}

/// Both forms of ipt_do_table() and ip6t_do_table(): since 5.16, and before.
const TABLE: &[(&[&str], &str)] = &[
    (&["void *", "sk_buff *", "nf_hook_state *"], "table_first"),
    (&["sk_buff *", "nf_hook_state *", "xt_table *"], "table_last"),
];

const CHAIN: &str = "nft_do_chain";

/// The first of each group is what counts: the others only tell the rule.
const GROUPS: &[Group] = &[
    Group {
        module: "nf_tables",
        functions: &[
            Spec { module: "nf_tables", name: CHAIN, programs: &[(&["nft_pktinfo *", "void *"], "evaluated")] },
            expression("nf_tables", "nft_immediate_eval"),
            expression("nf_tables", "nft_lookup_eval"),
            expression("nft_reject_inet", "nft_reject_inet_eval"),
            expression("nft_reject_ipv4", "nft_reject_ipv4_eval"),
            expression("nft_reject_ipv6", "nft_reject_ipv6_eval"),
            expression("nft_reject_bridge", "nft_reject_bridge_eval"),
            expression("nft_reject_netdev", "nft_reject_netdev_eval"),
            expression("nft_compat", "nft_target_eval_xt"),
            expression("nft_compat", "nft_target_eval_bridge"),
            expression("nft_synproxy", "nft_synproxy_eval"),
        ],
    },
    Group { module: "ip_tables", functions: &[Spec { module: "ip_tables", name: "ipt_do_table", programs: TABLE }] },
    Group { module: "ip6_tables", functions: &[Spec { module: "ip6_tables", name: "ip6t_do_table", programs: TABLE }] },
];

/// Sizes of the structures in `ebpf/verdict.bpf.c`.
const REFUSAL: usize = 56;
const PLACE: usize = 24;
const NAME: usize = 256;

/// What refused a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A rule of nftables.
    Rule,
    /// A rule of nftables, but it could not be found.
    UnknownRule,
    /// The policy of a chain of nftables.
    Policy,
    /// A rule or policy in a table of x_tables.
    Table,
}

/// Packets refused by one thing, that look alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// What refused them.
    pub what: What,
    /// The table and, with nftables, the chain that the rule stands in, or whose policy it is.
    pub place: Place,
    /// The rule's handle; 0 if there is none.
    pub rule: u64,
    /// The priority of the chain on the hook.
    pub priority: i32,
    /// The table's family (`NFPROTO_*`).
    pub family: u8,
    /// The hook's number.
    pub hook: u8,
    /// The packet's family (`NFPROTO_*`).
    pub network: u8,
    /// IP protocol; of IPv6 with nftables, that behind all headers.
    pub protocol: u8,
    /// The device that it came in by or, behind the routing, goes out by; empty if it had none.
    pub device: String,
}

/// A chain, or a table of x_tables, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The table.
    pub table: u64,
    /// The chain.
    pub chain: u64,
    /// The inode of the namespace.
    pub netns: u32,
}

/// What was refused since the probe was attached.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// Packets.
    pub refused: HashMap<Verdict, u64>,
    /// What table and chain are called.
    pub names: HashMap<Place, (String, String)>,
    /// Packets for which there was no room.
    pub unkept: u64,
}

/// The functions that count, with what is seen there: whether this kernel has them, or why not.
pub fn look() -> Vec<(&'static str, &'static str, Result<(), String>)> {
    let bytes = std::fs::read(format!("{TYPES}/vmlinux")).unwrap_or_default();
    let Some(kernel) = Btf::kernel(&bytes) else { return Vec::new() };
    let first = GROUPS.iter().filter_map(|group| group.functions.first());
    let look = |spec: &Spec| match FunctionPlace::of(spec.name, spec.module, &kernel) {
        Ok(_) => Ok(()),
        Err(Absent::NotLoaded) => Err(NOT_LOADED.into()),
        Err(Absent::Refused(refusal)) => Err(refusal.what),
    };
    first.map(|spec| (spec.name, gives(spec.name), look(spec))).collect()
}

/// What is seen at a function.
pub fn gives(function: &str) -> &'static str {
    match function {
        CHAIN => "Which chain of nftables drops a packet.",
        "ipt_do_table" | "ip6t_do_table" => "Which table of iptables of the old kind drops a packet.",
        _ => "Which rule of nftables it was.",
    }
}

/// Said of a function that nobody can call.
pub const NOT_LOADED: &str = "its module is not loaded: there are no such rules";

/// The programs, as far as they could be attached.
#[derive(Default)]
pub struct VerdictProbe {
    maps: Option<Maps>,
    attached: Vec<(&'static str, Attached)>,
    /// Those that could not, though somebody may call the function.
    missing: Vec<Probe>,
    /// They cost too much, and were taken away.
    gave_up: bool,
}

struct Maps {
    refusals: MapData,
    names: KernelMap<MapData, [u8; PLACE], [u8; 2 * NAME]>,
    unkept: PerCpuArray<MapData, u64>,
}

impl VerdictProbe {
    /// Attaches what this kernel has and allows, if that is wanted: every packet that the firewall looks at passes it.
    pub(crate) fn attach(types: &Types, per_packet: PerPacket) -> Self {
        let mut probe = VerdictProbe::default();
        match per_packet {
            PerPacket::Wanted => {}
            PerPacket::Unwanted => return probe,
            PerPacket::Untimed => {
                probe.missing.push(missing(CHAIN, &PerPacket::refused()));
                return probe;
            }
        }
        let mut maps = None;
        let Some(kernel) = Btf::kernel(&types.bytes) else { return probe };
        for group in GROUPS {
            let result = probe.group(group, &kernel, types, &mut maps);
            probe.missing.extend(result.err().map(|refusal| missing(group.functions[0].name, &refusal)));
        }
        match maps.map(Maps::new) {
            Some(Ok(maps)) => probe.maps = Some(maps),
            // Without its maps a program is of no use.
            Some(Err(_)) | None => probe.attached.clear(),
        }
        probe
    }

    fn group(&mut self, group: &Group, kernel: &Btf, types: &Types, maps: &mut Option<AllMaps>) -> Result<(), Refusal> {
        let mut programs = None;
        for (at, spec) in group.functions.iter().enumerate() {
            let attached = match Function::find(spec.name, spec.module, kernel) {
                // Rules of this kind there are none.
                Err(Absent::NotLoaded) if at == 0 => return Ok(()),
                Err(Absent::NotLoaded) => continue,
                Err(Absent::Refused(refusal)) => Err(refusal),
                Ok(function) => {
                    let programs = match &programs {
                        Some(programs) => programs,
                        None => programs.insert(fitted(group, types, maps)?),
                    };
                    program(spec, &function.arguments).and_then(|name| programs.attach(name, spec.name, &function))
                }
            };
            match attached {
                Ok(attached) => self.attached.push((spec.name, attached)),
                // Without the first the others count nothing.
                Err(refusal) if at == 0 => return Err(refusal),
                Err(refusal) => self.missing.push(missing(spec.name, &refusal)),
            }
        }
        Ok(())
    }

    /// Every verdict of nftables is seen.
    pub fn sees_chains(&self) -> bool {
        self.sees(CHAIN)
    }

    fn sees(&self, function: &str) -> bool {
        !self.gave_up && self.attached.iter().any(|(name, _)| *name == function)
    }

    /// What a chain drops without a rule, its policy drops: every expression that can decide is looked at. Not so if the
    /// kernel refused a program for one, or has loaded the module of one since.
    pub fn tells_policies(&self) -> bool {
        let mut rules =
            GROUPS.iter().filter(|group| group.functions[0].name == CHAIN).flat_map(|group| group.functions);
        let refused = |name: &str| self.missing.iter().any(|probe| probe.name == format!("fexit/{name}"));
        rules.all(|spec| self.sees(spec.name) || !(refused(spec.name) || function::is_loaded(spec.module)))
    }

    /// The time that they have taken so far.
    pub fn nanoseconds(&self) -> u64 {
        self.attached.iter().map(|(_, attached)| attached.nanoseconds()).sum()
    }

    /// Takes them away for good, and says why.
    pub fn give_up(&mut self, why: &str) {
        self.gave_up = true;
        self.attached.iter_mut().for_each(|(_, attached)| attached.give_up(why));
    }

    /// Stops counting; what was counted can still be read.
    pub fn detach(&mut self) {
        self.attached.iter_mut().for_each(|(_, attached)| attached.detach());
    }

    /// What each did since this was last asked; those that are missing, why.
    pub fn did(&mut self, timed: bool) -> Vec<Probe> {
        let did = self.attached.iter_mut().map(|(_, attached)| attached.did(timed)).collect::<Vec<_>>();
        did.into_iter().chain(self.missing.iter().cloned()).collect()
    }

    /// What was counted until now.
    pub fn read(&self) -> io::Result<Verdicts> {
        let mut all = Verdicts::default();
        let Some(maps) = &self.maps else { return Ok(all) };
        map::each(maps.refusals.fd().as_fd(), REFUSAL, 8, |key, cpus| {
            if let Some(verdict) = verdict(key) {
                all.refused.insert(verdict, cpus.chunks_exact(8).map(|value| u64_at(value, 0)).sum());
            }
        })?;
        for entry in maps.names.iter() {
            let (key, names) = entry.map_err(io::Error::other)?;
            all.names.insert(place(&key), (string(&names[..NAME]), string(&names[NAME..])));
        }
        all.unkept = maps.unkept.get(&0, 0).map_err(io::Error::other)?.iter().sum();
        Ok(all)
    }
}

type AllMaps = HashMap<String, MapData>;

impl Maps {
    fn new(mut all: AllMaps) -> Result<Self, String> {
        let mut take = |name: &str| all.remove(name).ok_or_else(|| format!("the object has no map {name}"));
        Ok(Maps {
            refusals: take("refusals")?,
            names: Map::HashMap(take("names")?).try_into().map_err(|error: aya::maps::MapError| error.to_string())?,
            unkept: Map::PerCpuArray(take("unkept")?)
                .try_into()
                .map_err(|error: aya::maps::MapError| error.to_string())?,
        })
    }
}

/// The programs, fitted to the structures of a module, or of the kernel if it is built in.
fn fitted(group: &Group, types: &Types, maps: &mut Option<AllMaps>) -> Result<Programs, Refusal> {
    let wrong = |what: String| Refusal::new(format!("the programs for {}: {what}", group.module), "");
    let maps = match maps {
        Some(maps) => maps,
        None => maps.insert(function::maps(OBJECT).map_err(wrong)?),
    };
    let Ok(module) = std::fs::read(format!("{TYPES}/{}", group.module)) else {
        return Programs::new(OBJECT, &types.loader, maps).map_err(wrong);
    };
    let all = btf::joined(&types.bytes, &module).ok_or_else(|| wrong("its types make no sense".into()))?;
    let all = AyaBtf::parse(&all, Endianness::default()).map_err(|error| wrong(error.to_string()))?;
    Programs::new(OBJECT, &all, maps).map_err(wrong)
}

fn program(spec: &Spec, arguments: &[String]) -> Result<&'static str, Refusal> {
    let fits = spec.programs.iter().find(|(form, _)| arguments == *form);
    fits.map(|(_, program)| *program).ok_or_else(|| {
        Refusal::new(format!("{}() of this kernel is not understood: {}", spec.name, arguments.join(", ")), STAND_IN)
    })
}

fn missing(name: &str, refusal: &Refusal) -> Probe {
    super::attempt::missing("fexit", name, refusal)
}

fn verdict(key: &[u8]) -> Option<Verdict> {
    let [what, family, hook, network, protocol] = *key.get(32..37)?.first_chunk()?;
    Some(Verdict {
        what: *[What::Rule, What::UnknownRule, What::Policy, What::Table].get(usize::from(what))?,
        place: Place { table: u64_at(key, 0), chain: u64_at(key, 8), netns: u32_at(key, 24) },
        rule: u64_at(key, 16),
        priority: u32_at(key, 28).cast_signed(),
        family,
        hook,
        network,
        protocol,
        device: string(key.get(40..REFUSAL)?),
    })
}

fn place(key: &[u8]) -> Place {
    Place { table: u64_at(key, 0), chain: u64_at(key, 8), netns: u32_at(key, 16) }
}

fn string(bytes: &[u8]) -> String {
    text::printable(bytes.split(|&b| b == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_what_is_asked_of_it() {
        let object = aya_obj::Object::parse(OBJECT).unwrap();
        let programs = GROUPS.iter().flat_map(|group| group.functions).flat_map(|spec| spec.programs);
        for (_, program) in programs {
            assert!(object.programs.contains_key(*program), "{program}");
        }
        let sizes = |name: &str| (object.maps[name].key_size() as usize, object.maps[name].value_size() as usize);
        assert_eq!((sizes("refusals"), sizes("names")), ((REFUSAL, 8), (PLACE, 2 * NAME)));
    }

    #[test]
    fn a_verdict_is_read_as_the_program_writes_it() {
        let mut key = [0; REFUSAL];
        for (at, number) in [(0, 3), (8, 4), (16, 5), (24, 7)] {
            key[at] = number;
        }
        key[28..32].copy_from_slice(&(-5_i32).to_ne_bytes());
        key[32..37].copy_from_slice(&[2, 1, 3, 10, 17]);
        key[40..44].copy_from_slice(b"eth0");
        let place = Place { table: 3, chain: 4, netns: 7 };
        let (family, hook, network, protocol, device) = (1, 3, 10, 17, "eth0".to_owned());
        let what = What::Policy;
        let told = Verdict { what, place, rule: 5, priority: -5, family, hook, network, protocol, device };
        assert_eq!(verdict(&key), Some(told));
        key[32] = 9;
        assert_eq!(verdict(&key), None);
    }

    #[test]
    fn the_program_is_the_one_for_the_form_that_the_function_has() {
        let spec = &GROUPS[1].functions[0];
        let form = |words: &[&str]| program(spec, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(form(&["void *", "sk_buff *", "nf_hook_state *"]).unwrap(), "table_first");
        assert_eq!(form(&["sk_buff *", "nf_hook_state *", "xt_table *"]).unwrap(), "table_last");
        assert!(form(&["sk_buff *"]).unwrap_err().what.contains("not understood: sk_buff *"));
    }
}
