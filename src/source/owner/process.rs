//! A process, held by its folder in /proc: when its number goes to another one, nothing is read of that one. For each open
//! file one system call is made: a host has hundreds of thousands.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};

/// Longer than `socket:[18446744073709551615]`.
const TARGET: usize = 64;
const ENTRIES: usize = 8 << 10;

/// A process.
#[derive(Debug)]
pub struct Process {
    folder: OwnedFd,
}

/// The numbers of all processes, in order.
pub fn all() -> io::Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

impl Process {
    /// The process that has this number now.
    pub fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Process { folder: openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())? })
    }

    /// Hands over the inode of each socket among its open files, until `each` says that it wants no more.
    pub fn sockets(&self, mut each: impl FnMut(u64) -> bool) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let files = openat(&self.folder, "fd", flags, Mode::empty())?;
        let mut buffer = [MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(&files, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let mut target = [MaybeUninit::uninit(); TARGET];
            // One that was closed meanwhile is none.
            let Ok((target, _)) = readlinkat_raw(&files, entry.file_name(), &mut target) else { continue };
            if let Some(inode) = inode(target)
                && !each(inode)
            {
                break;
            }
        }
        Ok(())
    }

    /// When it began, in ticks since boot. None if it ended.
    pub fn began(&self) -> Option<u64> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.folder, "stat", flags, Mode::empty()).ok()?;
        let mut text = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(file), &mut text).ok()?;
        began(&text)
    }
}

/// The inode in `socket:[123]`.
fn inode(target: &[u8]) -> Option<u64> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// starttime in /proc/PID/stat, the 22nd column (proc_pid_stat(), fs/proc/array.c). The second is the name, which may hold
/// blanks and brackets.
fn began(text: &[u8]) -> Option<u64> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let column = text[end + 1..].split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(19)?;
    std::str::from_utf8(column.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_does_not_shift_the_columns() {
        let columns: Vec<String> = (3..=52).map(|column| column.to_string()).collect();
        let text = |name: &str| began(format!("7 ({name}) {}\n", columns.join(" ")).as_bytes());
        assert_eq!([text("sleep"), text(") R 1 (x"), text("a b\n)")], [Some(22); 3]);
        assert_eq!(began(b"7 (cut) S 1 2"), None);
    }

    #[test]
    fn targets_other_than_sockets_are_none() {
        assert_eq!(inode(b"socket:[4711]"), Some(4711));
        for other in [&b"socket:[]"[..], b"socket:[x]", b"pipe:[1]", b"/tmp/socket:[1]", b"socket:[1", b""] {
            assert_eq!(inode(other), None);
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = began(&bytes);
            let _ = inode(&bytes);
        }
    }
}
