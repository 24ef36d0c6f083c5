//! The sysfs of the calling thread's network namespace.
//!
//! A mounted sysfs shows the devices of the namespace in which it was mounted, whoever reads it: for a thread that has
//! entered another one, `/sys` is the wrong one. So one is mounted for it, at no place at all
//! (fs/sysfs/mount.c sysfs_init_fs_context() takes the mounting thread's namespace).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Its root. Who may not mount (CAP_SYS_ADMIN) could not have entered another namespace either: then it is `/sys`.
pub fn root() -> io::Result<OwnedFd> {
    match mount() {
        Err(Errno::PERM | Errno::NOSYS) => {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
            Ok(rustix::fs::openat(CWD, "/sys", flags, Mode::empty())?)
        }
        mounted => Ok(mounted?),
    }
}

/// A mount that is in nobody's tree, and gone with its descriptor.
fn mount() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The names in a folder below the root, in their order.
pub fn list(root: &OwnedFd, path: &str) -> io::Result<Vec<Vec<u8>>> {
    let folder = rustix::fs::openat(root, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let name = entry?.file_name().to_bytes().to_owned();
        if !name.starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
