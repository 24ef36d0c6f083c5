//! Firewall rules of iptables of the old kind (ip_tables, ip6_tables), by getsockopt(): the same nouns as those of nftables.
//! Every rule there has a counter. Only tables that the namespace has already are asked for: asking for another would make
//! it (net/netfilter/x_tables.c, xt_request_find_table_lock()).

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::nftables::{Chain, ChainId, Hook, Match, Rule, Ruleset, Verdict};
use super::{Host, text};

/// Tables longer than this are not read.
const LONGEST: usize = 64 << 20;

// include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h: the same numbers
const SO_GET_INFO: libc::c_int = 64;
const SO_GET_ENTRIES: libc::c_int = 65;
const NAME: usize = 32;
/// struct ipt_getinfo
const INFO: usize = 84;
/// struct ipt_get_entries: what stands before the entries.
const ENTRIES: usize = 40;
const HOOKS: usize = 5;
const HOOK_NAMES: [&str; HOOKS] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// struct xt_entry_target and xt_entry_match: size, name, revision.
const PART: usize = 32;
/// Verdicts are stored as `-verdict - 1`; NF_DROP is 0.
const DROP: i32 = -1;
const INVERT_DEVICE: u8 = 0x01;
const INVERT_PROTOCOL: u8 = 0x40;

/// How the two families lay out their entries (struct ipt_entry, struct ip6t_entry).
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    family: u8,
    names: &'static str,
    level: libc::c_int,
    device: usize,
    protocol: usize,
    inverted: usize,
    offsets: usize,
    counters: usize,
    length: usize,
}

/// IPv4.
pub const IPV4: Layout = Layout {
    family: 2,
    names: "proc/net/ip_tables_names",
    level: libc::IPPROTO_IP,
    device: 16,
    protocol: 80,
    inverted: 83,
    offsets: 88,
    counters: 96,
    length: 112,
};

/// IPv6.
pub const IPV6: Layout = Layout {
    family: 10,
    names: "proc/net/ip6_tables_names",
    level: libc::IPPROTO_IPV6,
    device: 64,
    protocol: 128,
    inverted: 132,
    offsets: 140,
    counters: 152,
    length: 168,
};

/// Reads the rules of the calling thread's network namespace, of those tables that it has.
pub fn read(host: &Host) -> io::Result<Ruleset> {
    let mut all = Ruleset::default();
    for layout in [IPV4, IPV6] {
        let mut names = Vec::new();
        // A kernel without this kind of iptables has no such file.
        match host.read(layout.names, &mut names) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            result => result?,
        }
        for name in names.split(|&b| b == b'\n').filter(|name| !name.is_empty() && name.len() < NAME) {
            let path = format!(".xtables/{}/{}.bin", layout.family, text::printable(name));
            let both = host.answer(&path, || table(layout, name))?;
            let (info, entries) = both.split_at_checked(INFO).unwrap_or_default();
            match parse(layout, name, info, entries.get(ENTRIES..).unwrap_or_default()) {
                Some(table) => {
                    all.chains.extend(table.chains);
                    all.rules.extend(table.rules);
                }
                None => all.unsure = true,
            }
        }
    }
    Ok(all)
}

/// struct ipt_getinfo, then struct ipt_get_entries.
fn table(layout: Layout, name: &[u8]) -> io::Result<Vec<u8>> {
    let family = if layout.family == IPV4.family { AddressFamily::INET } else { AddressFamily::INET6 };
    // Any socket of the family will do; a raw one would take one capability more.
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let ask = |option: libc::c_int, bytes: &mut Vec<u8>| {
        let mut length = bytes.len() as libc::socklen_t;
        // SAFETY: `bytes` and `length` live through the call, and `length` is the size of `bytes`.
        let result = unsafe {
            libc::getsockopt(socket.as_raw_fd(), layout.level, option, bytes.as_mut_ptr().cast(), &raw mut length)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let mut info = vec![0; INFO];
    info[..name.len()].copy_from_slice(name);
    ask(SO_GET_INFO, &mut info)?;
    let size = number(&info, INFO - 4).unwrap_or(0) as usize;
    if size > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("a table of {size} bytes")));
    }
    let mut entries = vec![0; ENTRIES + size];
    entries[..name.len()].copy_from_slice(name);
    entries[NAME..NAME + 4].copy_from_slice(&(size as u32).to_ne_bytes());
    ask(SO_GET_ENTRIES, &mut entries)?;
    info.append(&mut entries);
    Ok(info)
}

/// A table's chains, and the rules that can drop or lead to another chain, from struct ipt_getinfo and the entries.
pub fn parse(layout: Layout, table: &[u8], info: &[u8], entries: &[u8]) -> Option<Ruleset> {
    let table = text::printable(table);
    let hooks = number(info, NAME)?;
    // The number of a hook by where its chain begins, and by where its policy stands.
    let mut begins = HashMap::new();
    let mut policies = HashMap::new();
    for hook in (0..HOOKS).filter(|hook| hooks >> hook & 1 == 1) {
        begins.insert(number(info, NAME + 4 + 4 * hook)? as usize, hook);
        policies.insert(number(info, NAME + 4 + 4 * (HOOKS + hook))? as usize, hook);
    }
    let all = split(layout, entries)?;
    let mut names: HashMap<usize, String> = begins.iter().map(|(&at, &hook)| (at, HOOK_NAMES[hook].into())).collect();
    for entry in &all {
        if let Some(name) = entry.begins() {
            // Jumps lead behind the entry that bears the name.
            names.insert(entry.at + entry.bytes.len(), name);
        }
    }
    let id = |chain: &str| ChainId { family: layout.family, table: table.clone(), chain: chain.into() };
    let mut out = Ruleset::default();
    let (mut chain, mut position) = (None, 0);
    for entry in &all {
        if let Some(name) = names.get(&entry.at) {
            let hook = begins.get(&entry.at);
            let hook = hook.map(|&hook| Hook { number: hook as u32, priority: priority(&table), device: None });
            out.chains.push(Chain { id: id(name), hook, drops: false, packets: None });
            (chain, position) = (Some(name), 0);
        }
        let Some(chain) = chain else { continue };
        position += 1;
        let verdict = entry.verdict(&names);
        if policies.contains_key(&entry.at) {
            if let Some(chain) = out.chains.last_mut() {
                chain.drops = verdict == Verdict::Drop;
                chain.packets = entry.packets(layout);
            }
        } else if verdict != Verdict::Other {
            out.rules.push(Rule {
                chain: id(chain),
                // There are no handles: the place stands for it, as 'iptables -D' takes it.
                handle: position.into(),
                position,
                comment: entry.comment(layout),
                verdict,
                packets: entry.packets(layout),
                named: None,
                wants: entry.wants(layout),
            });
        }
    }
    Some(out)
}

/// One entry of a table.
struct Entry<'a> {
    at: usize,
    bytes: &'a [u8],
    /// Where its target begins.
    target: usize,
}

fn split(layout: Layout, entries: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < entries.len() {
        let rest = &entries[at..];
        let (target, next) = (short(rest, layout.offsets)?, short(rest, layout.offsets + 2)?);
        let bytes = rest.get(..next).filter(|_| layout.length <= target && target + PART <= next)?;
        all.push(Entry { at, bytes, target });
        at += next;
    }
    Some(all)
}

impl Entry<'_> {
    /// The chain that begins behind it: its target is `ERROR` and holds the name.
    fn begins(&self) -> Option<String> {
        let target = &self.bytes[self.target..];
        (name(target) == b"ERROR").then(|| string(&target[PART..]))
    }

    fn verdict(&self, chains: &HashMap<usize, String>) -> Verdict {
        let target = &self.bytes[self.target..];
        match (name(target), number(target, PART).map(u32::cast_signed)) {
            (b"", Some(DROP)) => Verdict::Drop,
            (b"REJECT", _) => Verdict::Reject,
            (b"", Some(to)) if to >= 0 => {
                let chain = usize::try_from(to).ok().and_then(|to| chains.get(&to));
                chain.map_or(Verdict::Other, |chain| Verdict::Jump(chain.clone()))
            }
            _ => Verdict::Other,
        }
    }

    fn packets(&self, layout: Layout) -> Option<u64> {
        self.bytes.get(layout.counters..layout.counters + 8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    fn comment(&self, layout: Layout) -> Option<String> {
        let mut matches = &self.bytes[layout.length..self.target];
        while let Some(size) = short(matches, 0).filter(|&size| size >= PART && size <= matches.len()) {
            if name(matches) == b"comment" {
                return Some(string(&matches[PART..size]));
            }
            matches = &matches[size..];
        }
        None
    }

    fn wants(&self, layout: Layout) -> Match {
        let inverted = self.bytes[layout.inverted];
        let protocol = short(self.bytes, layout.protocol).filter(|_| inverted & INVERT_PROTOCOL == 0);
        // IFNAMSIZ bytes each: name in, name out, and the masks in the same order.
        let (device, mask) = (&self.bytes[layout.device..][..16], &self.bytes[layout.device + 32..][..16]);
        let length = device.iter().position(|&b| b == 0).unwrap_or(15);
        // Without its NUL under the mask it is the beginning of many names.
        let whole = length > 0 && mask[length] == 0xff && inverted & INVERT_DEVICE == 0;
        Match {
            family: None,
            protocol: protocol.and_then(|protocol| u8::try_from(protocol).ok()).filter(|&protocol| protocol != 0),
            device: whole.then(|| string(device)),
        }
    }
}

/// include/uapi/linux/netfilter_ipv4.h, enum nf_ip_hook_priorities
fn priority(table: &str) -> i32 {
    match table {
        "raw" => -300,
        "mangle" => -150,
        "security" => 50,
        _ => 0,
    }
}

/// The name of a target or match.
fn name(part: &[u8]) -> &[u8] {
    part.get(2..PART - 1).unwrap_or_default().split(|&b| b == 0).next().unwrap_or_default()
}

fn string(bytes: &[u8]) -> String {
    text::printable(bytes.split(|&b| b == 0).next().unwrap_or_default())
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(target: &[u8], data: &[u8], packets: u64) -> Vec<u8> {
        let mut bytes = vec![0; IPV4.length];
        bytes[IPV4.protocol] = 17;
        bytes[IPV4.counters..][..8].copy_from_slice(&packets.to_ne_bytes());
        bytes[IPV4.offsets..][..2].copy_from_slice(&(IPV4.length as u16).to_ne_bytes());
        let mut part = [0; PART];
        part[2..2 + target.len()].copy_from_slice(target);
        bytes.extend([&part[..], data, &[0; 4]].concat());
        let next = bytes.len() as u16;
        bytes[IPV4.offsets + 2..][..2].copy_from_slice(&next.to_ne_bytes());
        bytes
    }

    fn info(begin: u32, policy: u32) -> Vec<u8> {
        let mut info = vec![0; INFO];
        info[NAME..][..4].copy_from_slice(&2_u32.to_ne_bytes());
        info[NAME + 8..][..4].copy_from_slice(&begin.to_ne_bytes());
        info[NAME + 28..][..4].copy_from_slice(&policy.to_ne_bytes());
        info
    }

    #[test]
    fn rules_chains_and_the_policy_are_told_apart() {
        let (rule, policy) = (entry(b"", &DROP.to_ne_bytes(), 7), entry(b"", &DROP.to_ne_bytes(), 3));
        let own = [entry(b"ERROR", b"deny\0", 0), entry(b"REJECT", &[], 5)].concat();
        let bytes = [rule.clone(), policy, own].concat();
        let table = parse(IPV4, b"filter", &info(0, rule.len() as u32), &bytes).unwrap();
        let [input, deny] = &table.chains[..] else { panic!("{table:?}") };
        assert_eq!((input.id.chain.as_str(), input.drops, input.packets), ("INPUT", true, Some(3)));
        assert_eq!((deny.id.chain.as_str(), &deny.hook), ("deny", &None));
        let told: Vec<_> = table.rules.iter().map(|r| (r.chain.chain.as_str(), r.position, r.packets)).collect();
        assert_eq!(told, [("INPUT", 1, Some(7)), ("deny", 1, Some(5))]);
        assert_eq!(table.rules[0].wants.protocol, Some(17));
    }

    #[test]
    fn a_table_that_is_cut_off_is_none() {
        let rule = entry(b"", &DROP.to_ne_bytes(), 7);
        assert!(parse(IPV4, b"filter", &info(0, 0), &rule[..rule.len() - 1]).is_none());
    }

    proptest! {
        #[test]
        fn no_table_panics(info in proptest::collection::vec(any::<u8>(), 0..100),
                           mut entries in proptest::collection::vec(any::<u8>(), 0..600), target in 0..200_u16) {
            if let Some(offsets) = entries.get_mut(IPV4.offsets..IPV4.offsets + 4) {
                offsets[..2].copy_from_slice(&target.to_ne_bytes());
                offsets[2..].copy_from_slice(&(target + 40).to_ne_bytes());
            }
            for layout in [IPV4, IPV6] {
                let _ = parse(layout, b"t", &info, &entries);
            }
        }
    }
}
