//! What this process may do, by the names of the capabilities.

/// A capability (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    number: u32,
    /// Its name.
    pub name: &'static str,
    /// What netstat-deep does with it.
    pub gives: &'static str,
}

/// Those that probes use, the most needed first.
pub const CAPABILITIES: &[Capability] = &[
    Capability { number: 39, name: "CAP_BPF", gives: "programs in the kernel, and their maps" },
    Capability { number: 38, name: "CAP_PERFMON", gives: "programs that look into the kernel's memory" },
    Capability { number: 34, name: "CAP_SYSLOG", gives: "names of the kernel functions that drop" },
    Capability { number: 19, name: "CAP_SYS_PTRACE", gives: "the processes whose sockets lose packets" },
    Capability { number: 2, name: "CAP_DAC_READ_SEARCH", gives: "the processes of other users" },
    Capability { number: 21, name: "CAP_SYS_ADMIN", gives: "what a probe costs, and other network namespaces" },
    Capability { number: 24, name: "CAP_SYS_RESOURCE", gives: "room for maps, on kernels until 5.10" },
];

/// Gives up, for good, all capabilities but those that reading takes once the programs are attached: maps (before 5.19 a
/// map can't be read without CAP_BPF), symbols, and the processes behind sockets. One that is missing stays so.
pub fn keep_only_what_is_read_with() {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let read = CapabilitySet::BPF | CapabilitySet::SYSLOG | CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    if let Ok(now) = capabilities(None) {
        let both = now.permitted & read;
        // To give up what one has is always permitted.
        let _ = set_capabilities(None, CapabilitySets { effective: now.effective & both, permitted: both, ..now });
    }
}

/// How many bytes of memory this process may lock, if that limits what it can load and can't be raised: where the kernel
/// counts maps and programs as locked memory (kernel/bpf/syscall.c bpf_map_charge_init(), until 5.10).
pub fn locked_memory() -> Option<u64> {
    const CHARGES: &[u8] = b"\0bpf_map_charge_init\0";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current?;
    if missing(&["CAP_SYS_RESOURCE"]).is_empty() {
        return None;
    }
    // The functions of the kernel are among its types.
    let types = std::fs::read(format!("{}/vmlinux", super::TYPES)).unwrap_or_default();
    types.windows(CHARGES.len()).any(|name| name == CHARGES).then_some(limit)
}

/// The names of those of `wanted` that this process does not have. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
pub fn missing(wanted: &[&'static str]) -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let has = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    has.map_or(Vec::new(), |has| lacking(has, wanted))
}

fn lacking(has: u64, wanted: &[&'static str]) -> Vec<&'static str> {
    let holds = |number: u32| has >> number & 1 == 1;
    let lacks = |name: &&&'static str| {
        let known = CAPABILITIES.iter().find(|capability| capability.name == **name);
        !known.is_some_and(|known| holds(known.number) || (known.number >= 38 && holds(21)))
    };
    wanted.iter().filter(lacks).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let programs = ["CAP_BPF", "CAP_PERFMON"];
        assert_eq!(lacking(0, &programs), programs);
        assert_eq!(lacking(1 << 39, &programs), ["CAP_PERFMON"]);
        assert!(lacking(1 << 21, &programs).is_empty());
        assert_eq!(lacking(1 << 21, &["CAP_SYSLOG"]), ["CAP_SYSLOG"]);
    }
}
