//! Whose a socket is: process, cgroup, systemd unit, container. Looked up only for the few sockets that a finding names.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;

use procfs::process::{FDTarget, all_processes};

use super::{Host, text};
use crate::model::Victim;

/// Where a recorded tree tells which process has which socket.
pub const HELD: &str = ".sockets";

/// Which process holds each socket: the lowest number where several share it.
#[derive(Debug, Default, PartialEq)]
pub struct Held {
    /// Process numbers by the sockets' inodes.
    pub by_inode: BTreeMap<u64, u32>,
    /// Processes whose open files can't be seen.
    pub hidden: usize,
}

/// Fills in the owners of `victims`, by the inodes of their sockets. What can't be seen stays absent; the reason is
/// returned.
pub fn find(host: &Host, victims: &mut [&mut Victim]) -> Result<(), String> {
    let inodes = victims.iter().map(|victim| u64::from(victim.inode)).filter(|inode| *inode != 0);
    let mut wanted: BTreeSet<u64> = inodes.collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let held = match host {
        Host::Recorded(_) => recorded(host)?,
        Host::Live | Host::Taped(_) => walk(Some(&mut wanted.clone()))?,
    };
    let mut owners: BTreeMap<u32, Owner> = BTreeMap::new();
    for victim in victims.iter_mut() {
        if let Some(pid) = held.by_inode.get(&victim.inode.into()) {
            owners.entry(*pid).or_insert_with(|| owner(host, *pid)).fill(victim);
            wanted.remove(&victim.inode.into());
        }
    }
    if wanted.is_empty() || held.hidden == 0 {
        return Ok(());
    }
    let hidden = held.hidden;
    Err(format!("the open files of {hidden} processes can't be seen: needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"))
}

/// The sockets, by inode, of the processes that `wanted` holds, which sees a process's number and its systemd unit. Those
/// whose files can't be seen are left out.
pub fn inodes(host: &Host, wanted: impl Fn(u32, Option<&str>) -> bool) -> Result<HashSet<u32>, String> {
    let unit_of = |pid| owner(host, pid).cgroup.as_deref().and_then(unit);
    let is_wanted = |pid| wanted(pid, unit_of(pid).as_deref());
    let mut inodes = HashSet::new();
    if host.is_recorded() {
        let mut known: BTreeMap<u32, bool> = BTreeMap::new();
        for (inode, pid) in recorded(host)?.by_inode {
            if *known.entry(pid).or_insert_with(|| is_wanted(pid)) {
                inodes.extend(u32::try_from(inode));
            }
        }
        return Ok(inodes);
    }
    for process in all_processes().map_err(|e| e.to_string())?.flatten() {
        let Ok(pid) = u32::try_from(process.pid) else { continue };
        if let Some(files) = is_wanted(pid).then(|| process.fd().ok()).flatten() {
            let sockets = files.flatten().filter_map(|file| match file.target {
                FDTarget::Socket(inode) => u32::try_from(inode).ok(),
                _ => None,
            });
            inodes.extend(sockets);
        }
    }
    Ok(inodes)
}

/// Reads the owners of all sockets, so that they can be found in a recording.
pub fn keep(host: &Host) -> Result<(), String> {
    let held = walk(None)?;
    let mut text = format!("hidden {}\n", held.hidden);
    for (inode, pid) in &held.by_inode {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{inode} {pid}");
    }
    for pid in held.by_inode.values().collect::<BTreeSet<_>>() {
        owner(host, *pid);
    }
    host.keep(HELD, text.as_bytes());
    Ok(())
}

/// Looks through the open files of all processes, or until all that is wanted is found.
fn walk(mut wanted: Option<&mut BTreeSet<u64>>) -> Result<Held, String> {
    let mut held = Held::default();
    let mut processes: Vec<_> = all_processes().map_err(|e| e.to_string())?.flatten().collect();
    processes.sort_by_key(|process| process.pid);
    for process in processes {
        if wanted.as_ref().is_some_and(|wanted| wanted.is_empty()) {
            break;
        }
        let (Ok(files), Ok(pid)) = (process.fd(), u32::try_from(process.pid)) else {
            held.hidden += 1;
            continue;
        };
        for file in files.flatten() {
            if let FDTarget::Socket(inode) = file.target
                && wanted.as_mut().is_none_or(|wanted| wanted.remove(&inode))
            {
                held.by_inode.entry(inode).or_insert(pid);
            }
        }
    }
    Ok(held)
}

fn recorded(host: &Host) -> Result<Held, String> {
    let mut bytes = Vec::new();
    host.read(HELD, &mut bytes).map_err(|_| "the recording does not tell which process has which socket".to_owned())?;
    Ok(parse(&bytes))
}

/// Which process holds each socket, as a recording tells it: an inode and a process in each line.
pub fn parse(bytes: &[u8]) -> Held {
    let mut held = Held::default();
    for line in bytes.split(|&b| b == b'\n') {
        let mut words = line.split(|&b| b == b' ');
        let (Some(first), Some(number)) = (words.next(), words.next().and_then(text::first_number)) else { continue };
        match (first, text::first_number(first), u32::try_from(number)) {
            (b"hidden", ..) => held.hidden = usize::try_from(number).unwrap_or(usize::MAX),
            (_, Some(inode), Ok(pid)) => drop(held.by_inode.entry(inode).or_insert(pid)),
            _ => {}
        }
    }
    held
}

struct Owner {
    pid: Option<u32>,
    comm: Option<String>,
    cgroup: Option<String>,
}

impl Owner {
    fn fill(&self, victim: &mut Victim) {
        victim.pid = self.pid;
        victim.comm.clone_from(&self.comm);
        victim.unit = self.cgroup.as_deref().and_then(unit);
        victim.container = self.cgroup.as_deref().and_then(container);
        victim.cgroup.clone_from(&self.cgroup);
    }
}

fn owner(host: &Host, pid: u32) -> Owner {
    let read = |name: &str| {
        let mut bytes = Vec::new();
        host.read(&format!("proc/{pid}/{name}"), &mut bytes).ok().map(|()| bytes)
    };
    Owner {
        pid: Some(pid),
        comm: read("comm").map(|comm| text::printable(comm.trim_ascii_end())),
        cgroup: read("cgroup").and_then(|lines| cgroup(&lines)),
    }
}

/// The path in `/proc/PID/cgroup`: of version 2 (`0::/path`), else of the hierarchy that systemd names its own.
fn cgroup(lines: &[u8]) -> Option<String> {
    let path = |line: &[u8]| {
        let mut parts = line.splitn(3, |&b| b == b':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let rank = if number == b"0" { 0 } else { 1 + u8::from(controllers != b"name=systemd") };
        (path != b"/" || rank == 0).then(|| (rank, text::printable(path)))
    };
    lines.split(|&b| b == b'\n').filter_map(path).min_by_key(|(rank, _)| *rank).map(|(_, path)| path)
}

/// The systemd unit that a cgroup path lies in: its last part with a unit's ending.
fn unit(cgroup: &str) -> Option<String> {
    let ends = [".service", ".scope", ".socket", ".mount", ".swap"];
    cgroup.rsplit('/').find(|part| ends.iter().any(|end| part.ends_with(end))).map(str::to_owned)
}

/// The container's id: 64 hexadecimal digits somewhere in the path, as Docker, containerd, CRI-O and Podman write it.
fn container(cgroup: &str) -> Option<String> {
    let words = cgroup.rsplit(|c: char| !c.is_ascii_hexdigit());
    words.into_iter().find(|word| word.len() == 64).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_and_containers_are_read_from_the_cgroup() {
        let id = "4f".repeat(32);
        let docker = format!("/system.slice/docker-{id}.scope");
        assert_eq!(container(&docker), Some(id.clone()));
        assert_eq!(unit(&docker), Some(format!("docker-{id}.scope")));
        assert_eq!(container(&format!("/kubepods/besteffort/pod1234/{id}")), Some(id));
        assert_eq!(unit("/system.slice/dnsd.service/worker"), Some("dnsd.service".into()));
        assert_eq!((unit("/"), container("/user.slice")), (None, None));
    }

    #[test]
    fn version_2_wins_over_version_1() {
        assert_eq!(cgroup(b"4:memory:/m\n1:name=systemd:/s\n0::/two\n"), Some("/two".into()));
        assert_eq!(cgroup(b"4:memory:/m\n1:name=systemd:/s\n"), Some("/s".into()));
        assert_eq!(cgroup(b"rubbish"), None);
    }

    #[test]
    fn our_own_socket_is_ours() {
        use std::os::fd::AsRawFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap();
        let mut victim = Victim { inode, ..Victim::default() };
        find(&Host::Live, &mut [&mut victim]).unwrap();
        assert_eq!(victim.pid, Some(std::process::id()));
        assert!(victim.comm.is_some());
    }

    #[test]
    fn what_a_recording_tells_of_sockets_is_read() {
        let held = parse(b"hidden 2\n17 400\n18 400\n17 900\nrubbish\n19\n\xff 3\n20 99999999999\n");
        assert_eq!(held, Held { by_inode: BTreeMap::from([(17, 400), (18, 400)]), hidden: 2 });
    }

    proptest! {
        #[test]
        fn no_recording_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
