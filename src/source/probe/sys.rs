//! The system call bpf(2), for what the loader of the other programs does not do.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

// enum bpf_cmd, include/uapi/linux/bpf.h
pub const BPF_PROG_LOAD: libc::c_long = 5;
pub const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
pub const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
pub const BPF_BTF_LOAD: libc::c_long = 18;
pub const BPF_BTF_GET_FD_BY_ID: libc::c_long = 19;
pub const BPF_BTF_GET_NEXT_ID: libc::c_long = 23;
pub const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// The call, with that part of union bpf_attr which it takes; the rest counts as zero.
///
/// # Safety
/// `attr` has the layout that the kernel expects for this command, and what it points to is as long as it says, and
/// lives through the call.
pub unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is exclusively borrowed, of the size that is given; of the rest the caller takes care.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>() as libc::c_ulong) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A command that opens something: a program, a link, types.
///
/// # Safety
/// As for [`bpf`].
pub unsafe fn open<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller takes care of it.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel has just opened it for us. It is closed when another program is started.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
