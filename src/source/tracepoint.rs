//! Which tracepoints this kernel has: by the names in its type information (BTF), which everybody may read, or by
//! tracefs.

use std::collections::HashSet;
use std::io;

use super::Host;

const BTF: &str = "sys/kernel/btf/vmlinux";
/// A tracepoint `kfree_skb` has a type of this name and its own (include/trace/bpf_probe.h __DEFINE_EVENT()).
const PREFIX: &[u8] = b"btf_trace_";
/// The values of enum skb_drop_reason (include/net/dropreason-core.h).
const REASON: &[u8] = b"SKB_DROP_REASON_";
/// Values of that enum which are no reasons.
const NO_REASONS: [&[u8]; 2] = [b"SKB_DROP_REASON_MAX", b"SKB_DROP_REASON_SUBSYS"];

/// What the kernel's type information tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Types {
    /// How long it is.
    pub bytes: usize,
    /// The tracepoints, without their groups.
    pub tracepoints: HashSet<Vec<u8>>,
    /// How many reasons for a drop the kernel itself has; subsystems may have more.
    pub drop_reasons: usize,
}

/// The running kernel's types.
pub fn types() -> io::Result<Types> {
    let mut bytes = Vec::new();
    Host::Live.read(BTF, &mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::other("makes no sense"))
}

/// The names in a BTF file: struct btf_header (include/uapi/linux/btf.h), then types, then strings that end with a zero.
pub fn parse(btf: &[u8]) -> Option<Types> {
    const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
    let word = |at: usize| Some(u32::from_ne_bytes(*btf.get(at..)?.first_chunk()?) as usize);
    if !btf.starts_with(&MAGIC) {
        return None;
    }
    let (header, offset, length) = (word(4)?, word(16)?, word(20)?);
    let strings = btf.get(header.checked_add(offset)?..)?.get(..length)?;
    let mut types = Types { bytes: btf.len(), ..Types::default() };
    for name in strings.split(|&b| b == 0) {
        if let Some(tracepoint) = name.strip_prefix(PREFIX) {
            types.tracepoints.insert(tracepoint.to_vec());
        }
        let reason = name.starts_with(REASON) && !NO_REASONS.iter().any(|other| name.starts_with(other));
        types.drop_reasons += usize::from(reason);
    }
    Some(types)
}

/// Whether tracefs has a tracepoint, given as `skb/kfree_skb`. An error: that can't be seen.
pub fn in_tracefs(path: &str) -> io::Result<bool> {
    // tracefs is mounted by itself, or below debugfs by those who have done so since before it existed.
    let mut last = None;
    for top in ["sys/kernel/tracing", "sys/kernel/debug/tracing"] {
        match Host::Live.list(&format!("{top}/events")) {
            Ok(_) => return Ok(Host::Live.list(&format!("{top}/events/{path}")).is_ok()),
            Err(e) => last = last.or(Some(e)),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn btf(strings: &[u8]) -> Vec<u8> {
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, 4, 4, strings.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([0; 4]);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn tracepoints_and_reasons_are_found_by_name() {
        let strings = b"\0btf_trace_kfree_skb\0kfree_skb\0SKB_DROP_REASON_NO_SOCKET\0SKB_DROP_REASON_MAX\0";
        let types = parse(&btf(strings)).unwrap();
        assert_eq!(types.tracepoints, HashSet::from([b"kfree_skb".to_vec()]));
        assert_eq!(types.drop_reasons, 1);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = btf(b"\0btf_trace_kfree_skb\0");
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[&0xeb9f_u16.to_ne_bytes()[..], &bytes].concat());
        }
    }
}
