//! A filter like that of a container: the system call bpf is refused.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Becomes a program that may not call bpf, whatever its capabilities. Returns only to say what went wrong.
pub fn become_without_bpf(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = String>) -> String {
    // include/uapi/linux/filter.h, seccomp.h: the number of the call stands at the beginning of struct seccomp_data.
    let step = |code: u32, jump: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: jump, k };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_bpf as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the filter lives through the call, is as long as it says, and ends with a verdict on every way.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    };
    if result != 0 {
        return format!("no filter: {}", std::io::Error::last_os_error());
    }
    Command::new(program).args(arguments).exec().to_string()
}
