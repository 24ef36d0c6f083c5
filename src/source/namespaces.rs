//! Every network namespace of this host, each once, and whose it is: those that `ip netns` named, and those in which
//! processes run.
//!
//! None is held open: a namespace that its owner gives up goes away at once, whoever looks at it. It is found again by its
//! path, and known by device and inode (fs/nsfs.c) and, while one is inside, by its cookie.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::place::{self, NAMED, Place};
use super::{Host, owner, text};
use crate::error::Error;

/// Which namespace: device and inode of its file. All namespaces are files of one device.
pub type Id = (u64, u64);

/// A network namespace that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    /// Which one.
    pub id: Id,
    /// How to tell it from the others in a word: its name, container, systemd unit or process. No two are alike.
    pub label: String,
    /// Its name, if `ip netns` gave it one.
    pub name: Option<String>,
    /// The oldest process in it.
    pub pid: Option<u32>,
    /// That process's name.
    pub comm: Option<String>,
    /// The systemd unit that it runs in.
    pub unit: Option<String>,
    /// The id of the container that it runs in.
    pub container: Option<String>,
    /// It is the one that this program was started in.
    pub is_here: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The namespaces: first the one that we are in, then by name, then by process.
    pub all: Vec<Namespace>,
    /// Processes whose namespaces can't be seen.
    pub hidden: usize,
}

/// Looks for all of them. Without CAP_SYS_PTRACE, those of other users' processes stay hidden.
pub fn find() -> io::Result<Found> {
    let here = id_of("/proc/thread-self/ns/net")?;
    let mut found: Vec<Namespace> = vec![Namespace { id: here, is_here: true, ..Namespace::default() }];
    let mut at: HashMap<Id, usize> = HashMap::from([(here, 0)]);
    for (name, id) in named(here.0) {
        let place = *at.entry(id).or_insert_with(|| {
            found.push(Namespace { id, ..Namespace::default() });
            found.len() - 1
        });
        found[place].name.get_or_insert(name);
    }
    let mut hidden = 0;
    for pid in processes()? {
        let id = match id_of(&format!("/proc/{pid}/ns/net")) {
            Ok(id) => id,
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                hidden += usize::from(is_program(pid));
                continue;
            }
            // It ended meanwhile.
            Err(_) => continue,
        };
        let place = *at.entry(id).or_insert_with(|| {
            found.push(Namespace { id, ..Namespace::default() });
            found.len() - 1
        });
        found[place].pid.get_or_insert(pid);
    }
    for namespace in &mut found {
        let Some(pid) = namespace.pid else { continue };
        let owner = owner::owner(&Host::Live, pid);
        (namespace.unit, namespace.container) = (owner.unit(), owner.container());
        namespace.comm = owner.comm;
    }
    label(&mut found);
    Ok(Found { all: found, hidden })
}

impl Namespace {
    /// The way into it, if it is still there.
    pub fn place(&self) -> Result<Place, Error> {
        let reference = match (&self.name, self.pid) {
            _ if self.is_here => return Ok(Place::here()),
            (Some(name), _) => name.clone(),
            (None, Some(pid)) => format!("pid:{pid}"),
            (None, None) => return Err(gone()),
        };
        let place = Place::find(&reference)?;
        // The process may have ended, and another one have its number; the name may stand for another namespace.
        if place.inode().map(u64::from) == Some(self.id.1) { Ok(place) } else { Err(gone()) }
    }
}

/// It was there, and is no longer.
pub fn gone() -> Error {
    Error::usage("gone before the window ended").hint("look again: it may have a new name")
}

fn id_of(path: &str) -> io::Result<Id> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The names of `ip netns`. A file on another device is left of one that was unmounted.
fn named(device: u64) -> BTreeMap<String, Id> {
    let entries = std::fs::read_dir(NAMED).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok().filter(|name| name != place::ALL)?;
        let path: PathBuf = entry.path();
        let id = id_of(path.to_str()?).ok()?;
        (id.0 == device).then_some((name, id))
    };
    entries.filter_map(one).collect()
}

/// The numbers of all processes, the lowest first: mostly the oldest.
fn processes() -> io::Result<Vec<u32>> {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut all: Vec<u32> = std::fs::read_dir("/proc")?.flatten().filter_map(number).collect();
    all.sort_unstable();
    Ok(all)
}

/// A thread of the kernel has no command line, and no namespace of its own.
fn is_program(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Digits of a container's id that people use.
const SHORT_ID: usize = 12;

fn label(all: &mut [Namespace]) {
    for namespace in all.iter_mut() {
        namespace.label = word_for(namespace);
    }
    let mut count: HashMap<String, usize> = HashMap::new();
    for namespace in all.iter() {
        *count.entry(namespace.label.clone()).or_default() += 1;
    }
    for namespace in all.iter_mut().filter(|namespace| count.get(&namespace.label).is_some_and(|&count| count > 1)) {
        namespace.label.push_str(&format!(" net:[{}]", namespace.id.1));
    }
}

/// A unit that is no service stands for a login or a container's scope: then the process tells more.
fn word_for(namespace: &Namespace) -> String {
    let service = namespace.unit.as_ref().filter(|unit| unit.ends_with(".service"));
    match (&namespace.name, &namespace.container, service, &namespace.comm, namespace.pid) {
        (Some(name), ..) => text::printable(name.as_bytes()),
        _ if namespace.is_here => "(here)".into(),
        (_, Some(container), ..) => format!("container {}", &container[..SHORT_ID.min(container.len())]),
        (_, _, Some(service), ..) => service.clone(),
        (_, _, _, Some(comm), Some(pid)) => format!("{comm}[{pid}]"),
        _ => format!("net:[{}]", namespace.id.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(of: impl Fn(&mut Namespace)) -> Namespace {
        let mut namespace = Namespace { id: (4, 7), pid: Some(12), comm: Some("sleep".into()), ..Namespace::default() };
        of(&mut namespace);
        namespace
    }

    #[test]
    fn each_is_called_by_what_people_know_it_by() {
        let id = "4f3a".repeat(16);
        let label = |of: fn(&mut Namespace)| word_for(&made(of));
        assert_eq!(label(|_| ()), "sleep[12]");
        assert_eq!(label(|n| n.unit = Some("session-3.scope".into())), "sleep[12]");
        assert_eq!(label(|n| n.unit = Some("dnsd.service".into())), "dnsd.service");
        assert_eq!(word_for(&made(|n| n.container = Some(id.clone()))), "container 4f3a4f3a4f3a");
        assert_eq!(word_for(&made(|n| (n.name, n.container) = (Some("web".into()), Some(id.clone())))), "web");
        assert_eq!(label(|n| n.is_here = true), "(here)");
        assert_eq!(word_for(&Namespace { id: (4, 7), ..Namespace::default() }), "net:[7]");
    }

    #[test]
    fn no_two_have_the_same_label() {
        let unit = |id| made(|n| (n.id, n.unit) = ((4, id), Some("dnsd.service".into())));
        let mut all = [unit(1), unit(2), made(|n| n.name = Some("web".into()))];
        label(&mut all);
        assert_eq!(all.map(|n| n.label), ["dnsd.service net:[1]", "dnsd.service net:[2]", "web"]);
    }

    #[test]
    fn ours_is_found_first_and_once() {
        let found = find().unwrap();
        assert!(found.all[0].is_here && found.all.iter().filter(|namespace| namespace.is_here).count() == 1);
        assert_eq!(place::inode().map(u64::from), Some(found.all[0].id.1));
        assert!(found.all[0].place().unwrap().is_here());
    }

    #[test]
    fn a_number_that_another_process_has_now_is_not_the_namespace() {
        let other = made(|n| (n.id, n.pid) = ((4, 1), Some(std::process::id())));
        assert_eq!(other.place().unwrap_err().to_string(), "gone before the window ended");
    }
}
