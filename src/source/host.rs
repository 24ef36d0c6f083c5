//! Where files are opened: the running kernel, or a recorded tree of its files. Every door reads through here, so every
//! verb can be replayed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::error::Error;

/// A recorded file longer than this is not read: the longest that a real kernel wrote (`/proc/interrupts` of 1,152
/// CPUs) has 14 MB.
const LONGEST: usize = 64 << 20;

/// The running kernel, or a recorded tree.
#[derive(Clone, Debug)]
pub enum Host {
    /// The running kernel, as the calling thread sees it.
    Live,
    /// A folder with `proc`, `sys` and `.netlink` in it. Nothing outside of it is ever read.
    Recorded(Arc<Recorded>),
}

/// A recorded tree.
#[derive(Debug)]
pub struct Recorded {
    root: OwnedFd,
    path: PathBuf,
}

impl Host {
    /// The samples of the recorded tree at `root`: itself, or the two below it called `before` and `after`.
    pub fn recorded(root: &Path) -> Result<Vec<Host>, Error> {
        let two = ["before", "after"].map(|name| root.join(name));
        let samples: Vec<PathBuf> =
            if two.iter().all(|path| path.is_dir()) { two.into() } else { vec![root.to_owned()] };
        samples.into_iter().map(Self::tree).collect()
    }

    fn tree(path: PathBuf) -> Result<Host, Error> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        let usage = |why: String| {
            Error::usage(format!("{} is no recorded tree: {why}", path.display()))
                .hint("give a folder that holds proc/ and sys/ as they were copied from a host")
        };
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| usage(e.to_string()))?;
        if !path.join("proc").is_dir() {
            return Err(usage("it has no folder proc".into()));
        }
        Ok(Host::Recorded(Arc::new(Recorded { root, path })))
    }

    /// True for a recorded tree.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Host::Recorded(_))
    }

    /// Reads the file at `path`, relative to the root, into `bytes`, whose old content is lost.
    pub fn read(&self, path: &str, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        let file = self.open(path, OFlags::empty())?;
        loop {
            bytes.reserve(bytes.capacity().max(1 << 16) / 2);
            if rustix::io::read(&file, rustix::buffer::spare_capacity(bytes))? == 0 {
                return Ok(());
            }
            if bytes.len() > LONGEST {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {LONGEST} bytes")));
            }
        }
    }

    /// The names in the folder at `path`.
    pub fn list(&self, path: &str) -> io::Result<Vec<Vec<u8>>> {
        let folder = self.open(path, OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let name = entry?.file_name().to_bytes().to_owned();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The folder that process lists are read from.
    pub fn proc_folder(&self) -> PathBuf {
        match self {
            Host::Live => "/proc".into(),
            Host::Recorded(tree) => tree.path.join("proc"),
        }
    }

    /// `/proc/net` is a link to the main thread's namespace: a thread that has entered another one must read its own.
    fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        // A recording may hold a named pipe where a file should be: that must not block.
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match self {
            Host::Live => {
                let mut live = String::with_capacity(path.len() + 16);
                match path.strip_prefix("proc/net/") {
                    Some(rest) => {
                        live.push_str("/proc/thread-self/net/");
                        live.push_str(rest);
                    }
                    None => {
                        live.push('/');
                        live.push_str(path);
                    }
                }
                Ok(rustix::fs::openat(CWD, live, flags, Mode::empty())?)
            }
            Host::Recorded(tree) => {
                let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let file = rustix::fs::openat2(tree.root.as_fd(), path, flags, Mode::empty(), inside)?;
                match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
                    FileType::RegularFile | FileType::Directory => Ok(file),
                    other => Err(io::Error::other(format!("not a file but a {other:?}"))),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let host = Host::recorded(folder.path()).unwrap().remove(0);
        (folder, host)
    }

    #[test]
    fn the_thread_of_a_namespace_reads_its_own_files() {
        let mut bytes = Vec::new();
        Host::Live.read("proc/net/snmp", &mut bytes).unwrap();
        assert!(bytes.starts_with(b"Ip: "));
    }

    #[test]
    fn a_recording_cannot_point_outside_of_itself() {
        let (folder, host) = tree();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("proc/stat")).unwrap();
        assert!(host.read("proc/stat", &mut Vec::new()).is_err());
        assert!(host.read("../../../../etc/passwd", &mut Vec::new()).is_err());
    }

    #[test]
    fn a_named_pipe_in_a_recording_does_not_block() {
        let (folder, host) = tree();
        rustix::fs::mknodat(CWD, folder.path().join("proc/stat"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(host.read("proc/stat", &mut Vec::new()).unwrap_err().to_string().contains("not a file"));
    }

    #[test]
    fn a_folder_without_proc_is_no_recording() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Host::recorded(folder.path()).unwrap_err().exit_code(), 2);
    }
}
