//! Reading a map whole, many entries a call: the loader's own iterator asks the kernel twice for every entry.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::sys::{BPF_MAP_LOOKUP_BATCH, bpf};

/// Entries asked for at a time, more than any bucket of a hash holds.
const BATCH: usize = 512;

/// The part of union bpf_attr for calls on many entries.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Calls `entry` with every key of a per-CPU map and its values, one for each CPU, each of a multiple of 8 bytes.
pub fn each(map: BorrowedFd, key: usize, value: usize, mut entry: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(_, e)| e)?;
    let values = value.next_multiple_of(8) * cpus;
    // As many as there may be, but not more than a few megabytes at a time.
    let batch = BATCH.min((4 << 20) / values).max(64);
    let mut keys = vec![0_u8; key * batch];
    let mut rows = vec![0_u8; values * batch];
    let mut from = vec![0_u8; key.max(8)];
    let mut to = vec![0_u8; key.max(8)];
    let mut first = true;
    loop {
        let mut attr = Batch {
            in_batch: if first { 0 } else { from.as_ptr() as u64 },
            out_batch: to.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: rows.as_mut_ptr() as u64,
            count: batch as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: `attr` has the layout of the kernel's structure and lives through the call, as do the buffers that it
        // points to; each has room for `batch` entries of the map's own sizes.
        let end = match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) } {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let count = (attr.count as usize).min(batch);
        for (key, row) in keys.chunks_exact(key).zip(rows.chunks_exact(values)).take(count) {
            entry(key, row);
        }
        if end || count == 0 {
            return Ok(());
        }
        first = false;
        std::mem::swap(&mut from, &mut to);
    }
}
