//! What this process may do: `/proc/thread-self/status`, and what the kernel says when it is asked.

use std::io;

/// A capability: its name, its number in include/uapi/linux/capability.h, and what it is good for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap(pub &'static str, pub u32, pub &'static str);

macro_rules! capabilities {
    ($($name:ident = $text:literal, $number:literal, $gives:literal;)*) => {
        $(#[doc = $gives] pub const $name: Cap = Cap($text, $number, $gives);)*
        /// All that the program can use, the most needed first.
        pub const CAPABILITIES: &[Cap] = &[$($name),*];
    };
}

capabilities! {
    BPF = "CAP_BPF", 39, "count in the kernel";
    PERFMON = "CAP_PERFMON", 38, "read the kernel's structures there";
    NET_ADMIN = "CAP_NET_ADMIN", 12, "attach to packets, change settings, drop monitor";
    SYSLOG = "CAP_SYSLOG", 34, "names of the kernel's functions";
    SYS_PTRACE = "CAP_SYS_PTRACE", 19, "whose socket it is";
    DAC_READ_SEARCH = "CAP_DAC_READ_SEARCH", 2, "whose socket it is";
    SYS_ADMIN = "CAP_SYS_ADMIN", 21, "other namespaces, cost of probes, drop monitor";
}

/// Room for maps, on kernels until 5.10.
pub const SYS_RESOURCE: Cap = Cap("CAP_SYS_RESOURCE", 24, "lock memory beyond the limit");

/// A line of capabilities, and whether system calls are filtered: fs/proc/array.c task_cap(), task_seccomp().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The capabilities that count, a bit each.
    pub effective: Option<u64>,
    /// Those that can be had at all.
    pub bounding: Option<u64>,
    /// 0: no filter, 1: strict, 2: filtered. Absent without CONFIG_SECCOMP.
    pub seccomp: Option<u64>,
    /// True if no program that is started can gain privileges.
    pub no_new_privileges: Option<bool>,
}

impl Status {
    /// True if the capability of this number counts; absent if that is not known.
    pub fn has(&self, number: u32) -> Option<bool> {
        self.effective.map(|set| set & (1 << number) != 0)
    }

    /// True if it counts. CAP_SYS_ADMIN stands for the two that were split off from it (include/linux/capability.h
    /// bpf_capable(), perfmon_capable()).
    pub fn allows(&self, cap: Cap) -> bool {
        let has = |cap: Cap| self.has(cap.1) == Some(true);
        has(cap) || ([BPF, PERFMON].contains(&cap) && has(SYS_ADMIN))
    }

    /// True if it can't be gained either.
    pub fn can_never_have(&self, number: u32) -> bool {
        self.bounding.is_some_and(|set| set & (1 << number) == 0)
    }
}

/// The status in the text of `/proc/PID/status`.
pub fn status(bytes: &[u8]) -> Status {
    let mut status = Status::default();
    for line in bytes.split(|&b| b == b'\n') {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let word = std::str::from_utf8(line[colon + 1..].trim_ascii()).unwrap_or_default();
        let hex = || u64::from_str_radix(word, 16).ok();
        match &line[..colon] {
            b"CapEff" => status.effective = hex(),
            b"CapBnd" => status.bounding = hex(),
            b"Seccomp" => status.seccomp = word.parse().ok(),
            b"NoNewPrivs" => status.no_new_privileges = word.parse::<u8>().ok().map(|n| n != 0),
            _ => {}
        }
    }
    status
}

/// Gives up, for good, all capabilities but those that reading takes once the programs are attached: maps (before 5.19 a
/// map can't be read without CAP_BPF), symbols, the processes behind sockets, and the rules that refused packets, in their
/// namespaces. One that is missing stays so.
pub fn keep_only_what_is_read_with() {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let maps_and_names =
        CapabilitySet::BPF | CapabilitySet::SYSLOG | CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    // Firewall rules and attached programs, in the namespaces that lost packets.
    let read = maps_and_names | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
    if let Ok(now) = capabilities(None) {
        let both = now.permitted & read;
        // To give up what one has is always permitted.
        let _ = set_capabilities(None, CapabilitySets { effective: now.effective & both, permitted: both, ..now });
    }
}

/// The names of those of `wanted` that this process does not have; none if that can't be found out.
pub fn missing(wanted: &[Cap]) -> Vec<&'static str> {
    let status = std::fs::read("/proc/thread-self/status").map(|text| status(&text)).unwrap_or_default();
    let lacking = wanted.iter().filter(|cap| status.effective.is_some() && !status.allows(**cap));
    lacking.map(|cap| cap.0).collect()
}

/// Whether the text of `/proc/kallsyms`, or its beginning, tells addresses. To whom it may not, it shows zeros
/// (kernel/kallsyms.c s_show()); a few symbols really are at zero.
pub fn shows_addresses(bytes: &[u8]) -> bool {
    bytes.split(|&b| b == b'\n').any(|line| {
        let address = line.split(|&b| b == b' ').next().unwrap_or_default();
        address.iter().any(|&b| b.is_ascii_hexdigit() && b != b'0')
    })
}

/// The word in brackets, of a file that shows a choice: `none [integrity] confidentiality`.
pub fn chosen(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0)
}

/// Whether the system call for BPF can be reached: it is asked for something that does not exist, and has no effect. The
/// error is that of who refuses it: the kernel's policy, a seccomp filter, a security module, or a kernel without it.
pub fn bpf_answers() -> io::Result<()> {
    // No kernel has this command.
    let (command, size): (libc::c_int, libc::c_uint) = (libc::c_int::MAX, 0);
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: with a size of zero the kernel reads nothing through the pointer (kernel/bpf/syscall.c __sys_bpf()).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, nothing, size) };
    let error = io::Error::last_os_error();
    // What the call itself says of nonsense differs between kernels: EINVAL, E2BIG.
    let refused = [libc::EPERM, libc::EACCES, libc::ENOSYS].map(Some).contains(&error.raw_os_error());
    if result != 0 && refused { Err(error) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn capabilities_are_read() {
        let text = b"Name:\ta\nCapEff:\t0000000000001000\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let status = status(text);
        assert_eq!((status.has(12), status.has(39), status.seccomp), (Some(true), Some(false), Some(2)));
        assert!(!status.can_never_have(39) && status.no_new_privileges == Some(true));
        assert_eq!(super::status(b"nothing").has(12), None);
    }

    #[test]
    fn what_is_missing_is_told() {
        let with = |set: u64| Status { effective: Some(set), ..Status::default() };
        assert!(!with(0).allows(BPF) && with(1 << 39).allows(BPF) && !with(1 << 39).allows(PERFMON));
        assert!(with(1 << 21).allows(BPF) && !with(1 << 21).allows(SYSLOG));
    }

    #[test]
    fn hidden_addresses_are_no_addresses() {
        assert!(!shows_addresses(b"0000000000000000 T _stext\n0000000000000000 T _text\n"));
        assert!(shows_addresses(b"0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\n"));
        assert!(!shows_addresses(b""));
    }

    #[test]
    fn a_choice_stands_in_brackets() {
        assert_eq!(chosen(b"none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(chosen(b"none"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (status(&bytes), shows_addresses(&bytes), chosen(&bytes));
        }
    }
}
