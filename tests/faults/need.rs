//! What a case needs of the machine, and whether this one has it.

use std::fs;
use std::process::{Command, Stdio};

use crate::lab::Lab;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Root, the `ip` tool, and a kernel that makes namespaces and veth pairs.
    Namespaces,
    Nft,
    Ethtool,
    /// iptables over nftables.
    Iptables,
    /// iptables of the old kind.
    OldIptables,
    /// clang, to make programs that drop.
    Clang,
    Conntrack,
    TwoCpus,
    Strace,
    /// A memory cgroup that limits TCP by itself (version 1).
    TcpCgroup,
    /// A kernel that takes our programs, and describes its types for them.
    Bpf,
    Bpftrace,
    Tcpdump,
    /// Lowers a limit of the whole machine: takes the lock alone.
    MachineWide,
}

pub struct Machine {
    /// Each need that is not met, with the reason in one line.
    missing: Vec<(Need, String)>,
}

impl Machine {
    pub fn look() -> Self {
        let found = [
            (Need::Namespaces, namespaces()),
            (Need::Nft, nft()),
            (Need::Ethtool, has_tool("ethtool", "--version")),
            (Need::Iptables, has_tool("iptables-nft", "--version")),
            (Need::OldIptables, old_iptables()),
            (Need::Clang, has_tool("clang", "--version")),
            (Need::Conntrack, conntrack()),
            (Need::TwoCpus, two_cpus()),
            (Need::Strace, has_tool("strace", "-V")),
            (Need::TcpCgroup, tcp_cgroup()),
            (Need::Bpf, bpf()),
            (Need::Tcpdump, has_tool("tcpdump", "--version")),
            (Need::Bpftrace, has_tool("bpftrace", "--version")),
        ];
        Self { missing: found.into_iter().filter_map(|(need, found)| Some((need, found.err()?))).collect() }
    }

    pub fn lacks(&self, needs: &[Need]) -> Option<String> {
        self.missing.iter().find(|(need, _)| needs.contains(need)).map(|(_, reason)| reason.clone())
    }
}

fn namespaces() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".into());
    }
    has_tool("ip", "-V")?;
    // Whether the kernel has namespaces, veth and IPv6 is best asked by making one.
    Lab::new().map(drop).map_err(|trouble| format!("no namespace with a veth pair here: {trouble:?}"))
}

fn nft() -> Result<(), String> {
    has_tool("nft", "--version")
}

fn old_iptables() -> Result<(), String> {
    has_tool("iptables-legacy", "--version")?;
    // Of a module that is not loaded the file is missing; the tool would load it.
    let there = std::path::Path::new("/proc/net/ip_tables_names").exists();
    if there { Ok(()) } else { Err("needs ip_tables in the kernel".into()) }
}

/// Lowering the table's size loses packets of every connection that this machine tracks, so nothing may be tracked.
fn conntrack() -> Result<(), String> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_count";
    let count = fs::read_to_string(path).map_err(|_| "needs nf_conntrack in the kernel".to_owned())?;
    if count.trim() == "0" { Ok(()) } else { Err("this machine itself tracks connections".into()) }
}

/// Not by asking the program under test: if that could not load its own, this would hide it.
fn bpf() -> Result<(), String> {
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("needs a kernel with BTF".into());
    }
    let secret = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if secret.contains("[confidentiality]") { Err("this kernel is locked down".into()) } else { Ok(()) }
}

/// Where memory cgroups of version 1 are.
pub const MEMORY_CGROUPS: &str = "/sys/fs/cgroup/memory";

fn tcp_cgroup() -> Result<(), String> {
    let limit = format!("{MEMORY_CGROUPS}/memory.kmem.tcp.limit_in_bytes");
    if fs::exists(limit).unwrap_or(false) { Ok(()) } else { Err("needs memory cgroups of version 1".into()) }
}

fn two_cpus() -> Result<(), String> {
    match std::thread::available_parallelism() {
        Ok(n) if n.get() >= 2 => Ok(()),
        _ => Err("needs two CPUs".into()),
    }
}

fn has_tool(tool: &str, question: &str) -> Result<(), String> {
    let answer = Command::new(tool).arg(question).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if answer.is_ok_and(|status| status.success()) { Ok(()) } else { Err(format!("needs the tool `{tool}`")) }
}
