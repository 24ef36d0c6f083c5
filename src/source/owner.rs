//! Whose a socket is: process, cgroup, systemd unit, container. Looked up only for the few sockets that a finding names.

use std::collections::HashMap;
use std::path::Path;

use procfs::process::{FDTarget, all_processes};

use super::{Host, text};
use crate::model::Victim;

/// Fills in the owners of `victims`, by the inodes of their sockets. The lowest process number wins where several share
/// a socket. What can't be seen stays absent; the reason is returned.
pub fn find(host: &Host, victims: &mut [&mut Victim]) -> Result<(), String> {
    if victims.is_empty() {
        return Ok(());
    }
    if host.is_recorded() {
        return Err("a recording does not hold the processes' open files".into());
    }
    let mut wanted: HashMap<u64, Vec<&mut Victim>> = HashMap::new();
    for victim in victims.iter_mut().filter(|victim| victim.inode != 0) {
        wanted.entry(victim.inode.into()).or_default().push(victim);
    }
    let mut hidden = 0;
    let mut processes: Vec<_> = all_processes().map_err(|e| e.to_string())?.flatten().collect();
    processes.sort_by_key(|process| process.pid);
    for process in processes {
        if wanted.is_empty() {
            return Ok(());
        }
        let Ok(files) = process.fd() else {
            hidden += 1;
            continue;
        };
        for file in files.flatten() {
            if let FDTarget::Socket(inode) = file.target
                && let Some(victims) = wanted.remove(&inode)
            {
                let owner = owner(&host.proc_folder().join(process.pid.to_string()), process.pid);
                for victim in victims {
                    owner.fill(victim);
                }
            }
        }
    }
    if wanted.is_empty() || hidden == 0 {
        return Ok(());
    }
    Err(format!("the open files of {hidden} processes can't be seen: needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"))
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

fn owner(folder: &Path, pid: i32) -> Owner {
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    Owner {
        pid: u32::try_from(pid).ok(),
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
}
