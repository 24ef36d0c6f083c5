//! The settings of this host, each in the namespace that its scope asks for; and what identifies the host.

use std::io;

use crate::model::Scope;
use crate::source::place::{self, Place};
use crate::source::settings;
use crate::tune::apply::Panel;
use crate::tune::journal::{Change, Namespace, Step};

/// The settings of the running kernel: machine-wide ones from `home`, where the calling thread is, the others in
/// `place`.
pub struct Switches<'a> {
    /// The host's own namespace, as far as we are in it.
    pub home: &'a Place,
    /// The namespace of the change; absent if it is gone.
    pub place: Option<&'a Place>,
}

impl Switches<'_> {
    /// On the calling thread, so that what is written down and what is written lie in one order, which a test can cut
    /// anywhere.
    fn inside<T>(&self, step: &Step, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if step.scope == Scope::Machine {
            return work();
        }
        let place = self.place.ok_or_else(|| io::Error::other("its network namespace is gone"))?;
        place.visit(self.home, work).map_err(io::Error::other)?
    }
}

impl Panel for Switches<'_> {
    fn read(&self, step: &Step) -> io::Result<String> {
        self.inside(step, || settings::value(&step.file))
    }

    fn write(&self, step: &Step, value: &str) -> io::Result<()> {
        self.inside(step, || settings::set(&step.file, value))
    }

    fn writable(&self, step: &Step) -> io::Result<()> {
        self.inside(step, || settings::writable(&step.file))
    }
}

/// The host, so that a state folder shared by two is noticed: its machine id, else its name.
pub fn host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let id = read("/etc/machine-id");
    if id.is_empty() { read("/proc/sys/kernel/hostname") } else { id }
}

/// This boot: settings that are not persisted do not outlive it.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The namespace of a change, found again; absent if it is gone.
pub fn find_again(namespace: &Namespace) -> Option<Place> {
    let is_it = |place: &Place| {
        let (id, cookie) = place.inside(place::identity).unwrap_or_default();
        match (namespace.cookie, cookie) {
            (Some(then), Some(now)) => then == now,
            // Without cookies (before 5.14) the inode must do, although it may be used again.
            _ => id.is_some() && id == namespace.id,
        }
    };
    let called = namespace.reference.as_deref().and_then(|reference| Place::find(reference).ok());
    called.into_iter().chain([Place::here_pinned()]).chain(place::all()).find(is_it)
}

/// True if the change was made on this host.
pub fn is_ours(change: &Change) -> bool {
    change.host == host()
}
