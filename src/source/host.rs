//! Where files are opened: the running kernel, or a recorded tree of its files. Every door reads through here, so every
//! verb can be recorded and replayed. What is no file (an answer of netlink, of getsockopt(), of ioctl()) has a path in a
//! recorded tree all the same: see [`Host::answer`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::tape::{NOTES, Notes, Tape};
use crate::error::Error;
use crate::model::Span;

/// A recorded file longer than this is not read: the longest that a real kernel wrote (`/proc/interrupts` of 1,152
/// CPUs) has 14 MB.
const LONGEST: usize = 64 << 20;

/// The running kernel, or a recorded tree.
#[derive(Clone, Debug)]
pub enum Host {
    /// The running kernel, as the calling thread sees it.
    Live,
    /// The running kernel; all that is read of it is kept.
    Taped(Arc<Tape>),
    /// A folder with `proc`, `sys` and `.netlink` in it. Nothing outside of it is ever read.
    Recorded(Arc<Recorded>),
}

/// A recorded tree.
#[derive(Debug)]
pub struct Recorded {
    root: OwnedFd,
    notes: OnceLock<Notes>,
}

impl Host {
    /// The same host, and nothing that is read of it is kept: for what is in the recording already.
    pub fn untaped(&self) -> &Host {
        if matches!(self, Host::Taped(_)) { &Host::Live } else { self }
    }

    /// The samples of the recorded tree at `root`: itself, or the two below it called `before` and `after`.
    pub fn recorded(root: &Path) -> Result<Vec<Host>, Error> {
        let two = ["before", "after"].map(|name| root.join(name));
        if let [true, false] = two.each_ref().map(|path| path.is_dir()) {
            return Err(Error::usage(format!("{} is half a recording: it has no folder after", root.display()))
                .hint(format!("'--root {}' shows the sample that is there", two[0].display())));
        }
        let samples: Vec<PathBuf> =
            if two.iter().all(|path| path.is_dir()) { two.into() } else { vec![root.to_owned()] };
        samples.into_iter().map(Self::tree).collect()
    }

    fn tree(path: PathBuf) -> Result<Host, Error> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        let usage = |why: String| {
            Error::usage(format!("{} is no recorded tree: {why}", path.display()))
                .hint("give a folder that 'netstat-deep record --bundle' made, or that holds proc/ and sys/ of a host")
        };
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| usage(e.to_string()))?;
        if !path.join("proc").is_dir() {
            return Err(usage("it has no folder proc".into()));
        }
        Ok(Host::Recorded(Arc::new(Recorded { root, notes: OnceLock::new() })))
    }

    /// True for a recorded tree.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Host::Recorded(_))
    }

    /// Reads the file at `path`, relative to the root, into `bytes`, whose old content is lost.
    pub fn read(&self, path: &str, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.read_up_to(LONGEST, path, bytes)
    }

    /// The same of a file that may be up to `longest` bytes long.
    pub(super) fn read_up_to(&self, longest: usize, path: &str, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        let file = self.open(path, OFlags::empty())?;
        loop {
            bytes.reserve(bytes.capacity().max(1 << 16) / 2);
            if rustix::io::read(&file, rustix::buffer::spare_capacity(bytes))? == 0 {
                self.keep(path, bytes);
                return Ok(());
            }
            if bytes.len() > longest {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {longest} bytes")));
            }
        }
    }

    /// What the running kernel answers to something that is no file, which `ask` asks for; of a recording, what it holds at
    /// `path`.
    pub fn answer(&self, path: &str, ask: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        if self.is_recorded() {
            let mut bytes = Vec::new();
            self.read(path, &mut bytes)?;
            return Ok(bytes);
        }
        let bytes = ask()?;
        self.keep(path, &bytes);
        Ok(bytes)
    }

    /// Keeps what was read of the running kernel, if it is being recorded: of what is not read by [`read`](Self::read).
    pub fn keep(&self, path: &str, bytes: &[u8]) {
        if let Host::Taped(tape) = self {
            tape.keep(path, bytes);
        }
    }

    /// Keeps another part of an answer that comes in several.
    pub fn keep_more(&self, path: &str, bytes: &[u8]) {
        if let Host::Taped(tape) = self {
            tape.keep_more(path, bytes);
        }
    }

    /// When a source was read, as its reader measured it; of a recording, when that was made.
    pub fn span(&self, source: &str, measured: Span) -> Span {
        match self {
            Host::Live => measured,
            Host::Taped(tape) => tape.note_span(source, measured),
            Host::Recorded(tree) => tree.notes(self).span(source),
        }
    }

    /// When a sample was complete, which is `now`; of a recording, when that was, if it says so.
    pub fn complete(&self, now: Duration) -> Option<Duration> {
        match self {
            Host::Live => Some(now),
            Host::Taped(tape) => tape.note_end(now),
            Host::Recorded(tree) => tree.notes(self).at.map(Duration::from_micros),
        }
    }

    /// What a recording knows of itself. None for the running kernel.
    pub fn notes(&self) -> Option<&Notes> {
        match self {
            Host::Recorded(tree) => Some(tree.notes(self)),
            Host::Live | Host::Taped(_) => None,
        }
    }

    /// The names in the folder at `path`. A recording has those below which something was read.
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

    /// `/proc/net` is a link to the main thread's namespace: a thread that has entered another one must read its own.
    fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        // A recording may hold a named pipe where a file should be: that must not block.
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match self {
            Host::Live | Host::Taped(_) => {
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

impl Recorded {
    fn notes(&self, host: &Host) -> &Notes {
        self.notes.get_or_init(|| {
            let mut bytes = Vec::new();
            // A tree that was copied by hand has no notes.
            host.read(NOTES, &mut bytes).ok().and_then(|()| Notes::parse(&bytes)).unwrap_or_default()
        })
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
