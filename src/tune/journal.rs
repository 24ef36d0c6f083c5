//! What was changed, on disk before it is changed: one file per change, replaced as a whole at every step, so that a
//! process killed at any instant leaves either the old or the new text. One writer at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::change::VERSION;
pub use super::change::{Change, Loser, Namespace, State, Step, new_change};
use crate::error::Error;

/// Where changes are kept, unless --state-dir says otherwise.
pub const DEFAULT: &str = "/var/lib/netstat-deep/journal";

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
    /// True if its copy is whole: then nothing is lost.
    pub copied: bool,
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Damaged { path, why, copied } = self;
        let instead = if *copied { "; its copy is used" } else { ", and is left as it is" };
        write!(f, "{} can't be read{instead}: {why}", path.display())
    }
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

    /// Puts a change on disk, twice: when this returns it is there, whatever happens next. The copy is written first, so
    /// it never knows less than the file that it stands in for.
    pub fn put(&self, change: &Change) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(change)?;
        text.push(b'\n');
        self.replace(&copy_name(change.id), &text)?;
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
    ids.dedup();
    for id in ids {
        let open = |path: &Path| std::fs::read(path).map_err(|e| e.to_string()).and_then(|bytes| parse(&bytes, id));
        let path = folder.join(file_name(id));
        match open(&path) {
            Ok(change) => changes.push(change),
            Err(why) => {
                let copy = open(&folder.join(copy_name(id))).ok();
                damaged.push(Damaged { path, why, copied: copy.is_some() });
                changes.extend(copy);
            }
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

pub(super) fn file_name(id: u64) -> String {
    format!("{id:06}.json")
}

fn copy_name(id: u64) -> String {
    format!("{id:06}.copy")
}

fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let number = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let (number, ending) = name.to_str()?.split_once('.')?;
        matches!(ending, "json" | "copy").then_some(number.parse().ok()?)
    };
    Ok(entries.flatten().filter_map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Scope, SettingFile};

    fn change() -> Change {
        let step = Step {
            knob: "net.core.somaxconn".into(),
            file: SettingFile::sysctl("net/core/somaxconn"),
            from: "8".into(),
            to: "128".into(),
            findings: vec!["accept-queue-overflow".into()],
            why: "room".into(),
            state: State::Writing,
            ..Step::empty(Scope::Netns)
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
    fn a_journal_cut_anywhere_loses_no_step() {
        let folder = tempfile::tempdir().unwrap();
        Journal::open(folder.path()).unwrap().put(&change()).unwrap();
        let path = folder.path().join("000001.json");
        let text = std::fs::read(&path).unwrap();
        for length in 0..text.len() - 1 {
            std::fs::write(&path, &text[..length]).unwrap();
            let (changes, damaged) = read(folder.path()).unwrap();
            assert_eq!(changes, [change()], "cut at {length}");
            assert!(damaged.len() == 1 && damaged[0].copied);
            assert_eq!(std::fs::read(&path).unwrap().len(), length, "the file is kept");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(folder.path()).unwrap().0, [change()]);
    }

    #[test]
    fn a_journal_of_which_both_files_are_cut_is_reported_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_vec_pretty(&change()).unwrap();
        for length in 0..text.len() {
            for name in ["000001.json", "000001.copy"] {
                std::fs::write(folder.path().join(name), &text[..length]).unwrap();
            }
            let (changes, damaged) = read(folder.path()).unwrap();
            assert!(changes.is_empty(), "cut at {length}");
            assert!(damaged.len() == 1 && !damaged[0].copied);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_changes() {
        let (changes, damaged) = read(Path::new("/nonexistent/journal")).unwrap();
        assert!(changes.is_empty() && damaged.is_empty());
    }
}
