//! Which name and address stands for which: numbered in the order in which they are met.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names that the kernel or systemd gives, and that say nothing of the host.
const COMMON: [&[u8]; 5] = [b"lo", b"system.slice", b"user.slice", b"machine.slice", b"init.scope"];
/// Endings by which systemd's units are known.
const ENDINGS: [&str; 7] = [".service", ".scope", ".slice", ".socket", ".mount", ".swap", ".device"];

/// What stands for what.
#[derive(Debug, Default)]
pub struct Names {
    devices: BTreeMap<Vec<u8>, String>,
    hosts: BTreeMap<Vec<u8>, String>,
    namespaces: BTreeMap<Vec<u8>, String>,
    processes: BTreeMap<Vec<u8>, String>,
    groups: BTreeMap<Vec<u8>, String>,
    containers: BTreeMap<Vec<u8>, String>,
    users: BTreeMap<u32, u32>,
    v4: BTreeMap<Ipv4Addr, Ipv4Addr>,
    v6: BTreeMap<Ipv6Addr, Ipv6Addr>,
    hardware: BTreeMap<Vec<u8>, String>,
}

impl Names {
    /// Of a network device: `dev1`.
    pub fn device(&mut self, name: &[u8]) -> String {
        stands_for(&mut self.devices, name, |n| format!("dev{n}"))
    }

    /// Of a network device that is known already.
    pub fn known_device(&self, name: &[u8]) -> Option<&str> {
        self.devices.get(name).map(String::as_str)
    }

    /// Of a host: `host1`.
    pub fn host(&mut self, name: &[u8]) -> String {
        stands_for(&mut self.hosts, name, |n| format!("host{n}"))
    }

    /// Of a network namespace: `netns1`.
    pub fn netns(&mut self, name: &str) -> String {
        stands_for(&mut self.namespaces, name.as_bytes(), |n| format!("netns{n}"))
    }

    /// Of a process: `app1`.
    pub fn process(&mut self, name: &[u8]) -> String {
        stands_for(&mut self.processes, name, |n| format!("app{n}"))
    }

    /// Of one part of a cgroup's path: `group1`, with the ending that tells a unit; a container's id stays one.
    pub fn group(&mut self, part: &[u8]) -> String {
        let text = String::from_utf8_lossy(part);
        let ending = ENDINGS.iter().find(|ending| text.ends_with(**ending)).copied().unwrap_or("");
        let id = text.split(|c: char| !c.is_ascii_hexdigit()).find(|word| word.len() == 64);
        match id {
            Some(id) => {
                let id = stands_for(&mut self.containers, id.as_bytes(), |n| format!("{n:064x}"));
                format!("{id}{ending}")
            }
            None => stands_for(&mut self.groups, part, |n| format!("group{n}{ending}")),
        }
    }

    /// Of a user: root stays root.
    pub fn user(&mut self, uid: u32) -> u32 {
        if uid == 0 {
            return 0;
        }
        let next = 1000 + u32::try_from(self.users.len()).unwrap_or(0);
        *self.users.entry(uid).or_insert(next)
    }

    /// Of an address: one that is meant for measurements (RFC 2544) or documents (RFC 3849). Those that mean this host, all
    /// hosts or none stay.
    pub fn address(&mut self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => self.v4(address).into(),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(inner) => self.v4(inner).to_ipv6_mapped().into(),
                None => self.v6(address).into(),
            },
        }
    }

    /// Of a hardware address.
    pub fn hardware(&mut self, address: &[u8]) -> String {
        stands_for(&mut self.hardware, address, |n| {
            let [.., a, b, c] = n.to_be_bytes();
            format!("02:00:00:{a:02x}:{b:02x}:{c:02x}")
        })
    }

    /// The names that may stand in running text, with what stands for them.
    pub fn in_text(&self) -> impl Iterator<Item = (&[u8], &str)> {
        let all = self.devices.iter().chain(&self.hosts).chain(&self.namespaces);
        all.map(|(name, new)| (name.as_slice(), new.as_str()))
    }

    fn v4(&mut self, address: Ipv4Addr) -> Ipv4Addr {
        if address.is_unspecified() || address.is_loopback() || address.is_broadcast() {
            return address;
        }
        // A group stays a group: 233.252.0.0/24 is for documents (RFC 6676).
        let start = if address.is_multicast() { [233, 252, 0, 0] } else { [198, 18, 0, 0] };
        let next = u32::try_from(self.v4.len() + 1).unwrap_or(1);
        *self.v4.entry(address).or_insert_with(|| Ipv4Addr::from(u32::from_be_bytes(start).wrapping_add(next)))
    }

    fn v6(&mut self, address: Ipv6Addr) -> Ipv6Addr {
        if address.is_unspecified() || address.is_loopback() {
            return address;
        }
        let first = match address.segments()[0] {
            group if group & 0xff00 == 0xff00 => group,
            // Link-local.
            0xfe80 => 0xfe80,
            _ => 0x2001,
        };
        let start = u128::from(Ipv6Addr::new(first, 0xdb8, 0, 0, 0, 0, 0, 0));
        let next = self.v6.len() as u128 + 1;
        *self.v6.entry(address).or_insert_with(|| Ipv6Addr::from(start.wrapping_add(next)))
    }
}

fn stands_for(known: &mut BTreeMap<Vec<u8>, String>, name: &[u8], new: impl Fn(u64) -> String) -> String {
    if name.is_empty() || COMMON.contains(&name) {
        return String::from_utf8_lossy(name).into_owned();
    }
    let next = known.len() as u64 + 1;
    known.entry(name.to_vec()).or_insert_with(|| new(next)).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_stands_for_the_same_and_another_for_another() {
        let mut names = Names::default();
        let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.1", "fd00::1", "::ffff:10.0.0.2", "224.0.0.251", "ff02::fb"];
        let new = addresses.map(|address| names.address(address.parse().unwrap()).to_string());
        assert_eq!(
            new,
            [
                "198.18.0.1",
                "198.18.0.2",
                "198.18.0.1",
                "2001:db8::1",
                "::ffff:198.18.0.2",
                "233.252.0.3",
                "ff02:db8::2"
            ]
        );
        assert_eq!([33, 0, 1001, 33].map(|uid| names.user(uid)), [1000, 0, 1001, 1000]);
    }

    #[test]
    fn what_means_this_host_or_none_stays() {
        let mut names = Names::default();
        for same in ["0.0.0.0", "127.0.0.53", "::", "::1", "255.255.255.255"] {
            assert_eq!(names.address(same.parse().unwrap()).to_string(), same);
        }
        assert_eq!(names.device(b"lo"), "lo");
    }

    #[test]
    fn a_unit_stays_a_unit_and_a_container_a_container() {
        let mut names = Names::default();
        assert_eq!(names.group(b"acme-billing.service"), "group1.service");
        assert_eq!(names.group(b"system.slice"), "system.slice");
        let docker = format!("docker-{}.scope", "4f".repeat(32));
        assert_eq!(names.group(docker.as_bytes()), format!("{:064x}.scope", 1));
    }
}
