//! What was changed, on disk before it is changed: one file per change, replaced as a whole at every step, so that a
//! process killed at any instant leaves either the old or the new text. One writer at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::Scope;

/// Where changes are kept, unless --state-dir says otherwise.
pub const DEFAULT: &str = "/var/lib/netstat-deep/journal";
const VERSION: u32 = 1;

/// One change: what one run of `--apply` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Version of this format.
    pub version: u32,
    /// Its number, counted up from 1.
    pub id: u64,
    /// The host that it was made on.
    pub host: String,
    /// /proc/sys/kernel/random/boot_id: unpersisted values are gone after a reboot.
    pub boot_id: String,
    /// When it was begun: RFC 3339, UTC.
    pub at: String,
    /// Who made it: user and, behind sudo, the user before.
    pub who: String,
    /// The network namespace in which settings of that scope were changed.
    pub netns: Namespace,
    /// Until when it must be confirmed, in seconds since boot (CLOCK_BOOTTIME, which does not jump); absent if it need
    /// not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<u64>,
    /// The folder (as /etc) in which it is kept over a reboot, or will be once it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<PathBuf>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// A network namespace, so that it can be found again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// `net:[4026531840]`: may be used again after the namespace is gone.
    pub id: Option<String>,
    /// The kernel's number for it that is never used again, since 5.14.
    pub cookie: Option<u64>,
    /// How the user called it; absent for the one we were in.
    pub reference: Option<String>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub knob: String,
    /// Its path below /proc/sys.
    pub path: String,
    /// What it governs: a machine-wide one is written from the host's own namespace.
    pub scope: Scope,
    /// Its value before.
    pub from: String,
    /// Its value after.
    pub to: String,
    /// The rules that asked for it.
    pub findings: Vec<String>,
    /// Why this value.
    pub why: String,
    /// True if it acts only on what is made after the change.
    pub waits: bool,
    /// How far it is.
    pub state: State,
    /// What it did, with the numbers; absent until that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

/// How far a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not written.
    Planned,
    /// About to be written: it may or may not have been.
    Writing,
    /// Written and read back.
    Written,
    /// Has its old value again.
    Undone,
    /// Left alone, because somebody else changed it since.
    LeftAlone,
    /// Gone with its namespace, or at a reboot.
    Gone,
}

impl Step {
    /// True if its new value may still be in force.
    pub fn open(&self) -> bool {
        matches!(self.state, State::Writing | State::Written)
    }
}

impl Change {
    /// True if any of its values may still be in force.
    pub fn open(&self) -> bool {
        self.steps.iter().any(Step::open)
    }

    /// True if it was not confirmed in time, and is still in force. `now` is in seconds since boot.
    pub fn overdue(&self, now: u64) -> bool {
        self.open() && self.confirm_by.is_some_and(|limit| limit <= now)
    }
}

/// The journal, open for one writer.
pub struct Journal {
    folder: PathBuf,
    /// Held until the journal is dropped; the kernel lets go of it when the process dies.
    _lock: File,
}

/// A file of the journal that can't be read. It is kept.
#[derive(Debug)]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl Journal {
    /// Opens the journal for writing, and makes its folder if there is none.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let failed = |e: io::Error| {
            Error::usage(format!("the journal in {} can't be written: {e}", folder.display()))
                .hint("nothing was changed; give a folder that you may write to with --state-dir")
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let path = folder.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                return Err(Error::usage(format!(
                    "another netstat-deep (process {}) is changing settings",
                    holder.trim()
                ))
                .hint("wait for it to end; nothing was changed"));
            }
            Err(e) => return Err(failed(e.into())),
        }
        // For the message above only: what counts is the lock.
        let _ = lock.set_len(0).and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()));
        let journal = Journal { folder: folder.to_owned(), _lock: lock };
        // A full disk shows now, and not in the middle of a change.
        journal.replace("probe", &[0; 64 << 10]).map_err(failed)?;
        std::fs::remove_file(journal.folder.join("probe")).map_err(failed)?;
        Ok(journal)
    }

    /// The number for a new change.
    pub fn next_id(&self) -> io::Result<u64> {
        Ok(numbers(&self.folder)?.into_iter().max().unwrap_or(0) + 1)
    }

    /// Puts a change on disk: when this returns it is there, whatever happens next.
    pub fn put(&self, change: &Change) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(change)?;
        text.push(b'\n');
        self.replace(&file_name(change.id), &text)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (new, path) = (self.folder.join(format!("{name}.new")), self.folder.join(name));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// All changes in the journal, the oldest first, and what of it can't be read.
pub fn read(folder: &Path) -> io::Result<(Vec<Change>, Vec<Damaged>)> {
    let (mut changes, mut damaged) = (Vec::new(), Vec::new());
    let mut ids = numbers(folder)?;
    ids.sort_unstable();
    for id in ids {
        let path = folder.join(file_name(id));
        match std::fs::read(&path).map_err(|e| e.to_string()).and_then(|bytes| parse(&bytes, id)) {
            Ok(change) => changes.push(change),
            Err(why) => damaged.push(Damaged { path, why }),
        }
    }
    Ok((changes, damaged))
}

/// A change from its file's text.
pub fn parse(bytes: &[u8], id: u64) -> Result<Change, String> {
    let change: Change = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if change.version != VERSION {
        return Err(format!("version {} is not known here", change.version));
    }
    if change.id != id {
        return Err(format!("it says that it is change {}", change.id));
    }
    Ok(change)
}

/// An empty change.
pub fn new_change(id: u64) -> Change {
    Change {
        version: VERSION,
        id,
        host: String::new(),
        boot_id: String::new(),
        at: String::new(),
        who: String::new(),
        netns: Namespace::default(),
        confirm_by: None,
        persist: None,
        steps: Vec::new(),
    }
}

fn file_name(id: u64) -> String {
    format!("{id:06}.json")
}

fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok();
    Ok(entries.flatten().filter_map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        let step = Step {
            knob: "net.core.somaxconn".into(),
            path: "net/core/somaxconn".into(),
            scope: Scope::Netns,
            from: "8".into(),
            to: "128".into(),
            findings: vec!["accept-queue-overflow".into()],
            why: "room".into(),
            waits: false,
            state: State::Writing,
            verdict: None,
        };
        Change { steps: vec![step], ..new_change(1) }
    }

    #[test]
    fn what_is_put_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.next_id().unwrap(), 1);
        journal.put(&change()).unwrap();
        assert_eq!(journal.next_id().unwrap(), 2);
        let (changes, damaged) = read(folder.path()).unwrap();
        assert_eq!(changes, [change()]);
        assert!(damaged.is_empty() && changes[0].open());
    }

    #[test]
    fn a_second_writer_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Journal::open(folder.path()).unwrap();
        let second = Journal::open(folder.path()).err().unwrap();
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
    }

    #[test]
    fn a_journal_cut_anywhere_is_reported_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_vec_pretty(&change()).unwrap();
        let path = folder.path().join("000001.json");
        for length in 0..text.len() {
            std::fs::write(&path, &text[..length]).unwrap();
            let (changes, damaged) = read(folder.path()).unwrap();
            assert!(changes.is_empty(), "cut at {length}");
            assert_eq!(damaged.len(), 1);
            assert_eq!(std::fs::read(&path).unwrap().len(), length);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_changes() {
        let (changes, damaged) = read(Path::new("/nonexistent/journal")).unwrap();
        assert!(changes.is_empty() && damaged.is_empty());
    }
}
