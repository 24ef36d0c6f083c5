//! Network namespaces: finding one, and working inside it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, did_you_mean};

/// Not one namespace but every one: for `rx` and `tx`.
pub const ALL: &str = "all";
/// Where `ip netns` keeps its names.
pub(super) const NAMED: &str = "/run/netns";

/// The network namespace that is looked at.
#[derive(Debug)]
pub struct Place {
    /// Absent: the one we are in.
    namespace: Option<OwnedFd>,
    /// How it was asked for.
    reference: String,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// What to write before a command so that it acts there.
    pub enter: Option<String>,
}

impl Place {
    /// The namespace we are in.
    pub fn here() -> Self {
        Place { namespace: None, reference: String::new(), name: None, enter: None }
    }

    /// The namespace we are in, so that it can be found again from inside another one. Where that is not permitted, as
    /// [`here`](Self::here).
    pub fn here_pinned() -> Self {
        Place { namespace: File::open("/proc/thread-self/ns/net").ok().map(OwnedFd::from), ..Self::here() }
    }

    /// A namespace by the name that `ip netns` knows, by a path, or by a process as `pid:N`.
    pub fn find(reference: &str) -> Result<Self, Error> {
        if reference == ALL {
            return Err(Error::usage("one network namespace at a time here: only the reports of rx and tx take all")
                .hint("name one: --netns NAME ('ip netns' lists them), a path or pid:N"));
        }
        let (path, name, enter) = if let Some(pid) = reference.strip_prefix("pid:") {
            let pid: u32 = pid.parse().map_err(|_| {
                Error::usage(format!("'{reference}' names no process")).hint("write pid: and the process's number")
            })?;
            (PathBuf::from(format!("/proc/{pid}/ns/net")), None, format!("nsenter --net=/proc/{pid}/ns/net"))
        } else if reference.contains('/') {
            (PathBuf::from(reference), None, format!("nsenter --net={reference}"))
        } else {
            let path = Path::new(NAMED).join(reference);
            (path, Some(reference.to_owned()), format!("ip netns exec {reference}"))
        };
        let file = File::open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => {
                Error::missing(format!("network namespace '{reference}' can't be opened: {e}"))
                    .hint("run as root, or with CAP_SYS_PTRACE for another process's namespace")
            }
            _ => Error::usage(format!("there is no network namespace '{reference}'")).hint(who_is_there(reference)),
        })?;
        Ok(Place { namespace: Some(file.into()), reference: reference.into(), name, enter: Some(enter) })
    }

    /// Whether it is the namespace that we were in from the start.
    pub fn is_here(&self) -> bool {
        self.namespace.is_none()
    }

    /// Its inode, without entering it.
    pub fn inode(&self) -> Option<u32> {
        match &self.namespace {
            Some(namespace) => u32::try_from(rustix::fs::fstat(namespace).ok()?.st_ino).ok(),
            None => inode(),
        }
    }

    /// Runs `work` on a thread inside the namespace. Other threads stay where they are, so that several namespaces can
    /// be read at the same time.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let Some(namespace) = &self.namespace else { return Ok(work()) };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.move_into(namespace)?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` on the calling thread, moved into the namespace for that time and back to `home`.
    pub fn visit<T>(&self, home: &Place, work: impl FnOnce() -> T) -> Result<T, Error> {
        let (Some(there), Some(back)) = (&self.namespace, &home.namespace) else { return Ok(work()) };
        self.move_into(there)?;
        let done = work();
        self.move_into(back)?;
        Ok(done)
    }

    fn move_into(&self, namespace: &OwnedFd) -> Result<(), Error> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|e| match e {
            rustix::io::Errno::PERM => Error::missing("this network namespace can't be entered: not permitted")
                .hint("run as root, or with CAP_SYS_ADMIN"),
            _ => Error::usage(format!("'{}' is no network namespace: {e}", self.reference))
                .hint("give a name that 'ip netns' shows, a path like /run/netns/NAME, or pid:N"),
        })
    }
}

fn who_is_there(wrong: &str) -> String {
    let names: Vec<String> = std::fs::read_dir(NAMED)
        .map(|entries| {
            entries.flatten().map(|entry| super::text::printable(entry.file_name().as_encoded_bytes())).collect()
        })
        .unwrap_or_default();
    did_you_mean(wrong, names.into_iter(), "'ip netns' lists the names; a path or pid:N is taken too")
}

/// Every namespace that can be found: the named ones, then those of processes. May hold the same one more than once.
pub fn all() -> impl Iterator<Item = Place> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let pids = names("/proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    let references = names(NAMED).into_iter().chain(pids.map(|pid| format!("pid:{pid}")));
    references.filter_map(|reference| Place::find(&reference).ok())
}

/// The names that `ip netns` knows, by the namespaces' inodes.
pub fn names_by_inode() -> std::collections::HashMap<u32, String> {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(NAMED).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| {
        let inode = std::fs::metadata(entry.path()).ok()?.ino();
        Some((u32::try_from(inode).ok()?, super::text::printable(entry.file_name().as_encoded_bytes())))
    };
    entries.filter_map(one).collect()
}

/// The namespace's inode, by which the kernel's own structures know it.
pub fn inode() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    u32::try_from(std::fs::metadata("/proc/thread-self/ns/net").ok()?.ino()).ok()
}

/// The namespace that the calling thread is in: `net:[4026531840]` and, since 5.14, the kernel's cookie for it.
pub fn identity() -> (Option<String>, Option<u64>) {
    let link = std::fs::read_link("/proc/thread-self/ns/net").ok();
    (link.map(|link| link.to_string_lossy().into_owned()), cookie())
}

fn cookie() -> Option<u64> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    /// include/uapi/asm-generic/socket.h
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    let mut cookie: u64 = 0;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` and `length` live through the call, and `length` is the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (result == 0 && length as usize == size_of::<u64>()).then_some(cookie)
}
