//! Writes a recording: a folder that is made for it, with what the tapes hold as files.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::tape::{NOTES, Reel};
use crate::error::Error;

/// What a host tells of itself is not for everybody on it.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A folder for a recording. It bears its name only once all is in it: a run that is killed leaves no half of one there.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    /// Where it is written.
    part: PathBuf,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many files.
    pub files: usize,
    /// How many bytes in all.
    pub bytes: usize,
}

impl Bundle {
    /// A folder that could be made here. One that is there already is left alone.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        DirBuilder::new().create(path).and_then(|()| fs::remove_dir(path)).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::usage(format!("{shown} is there already, and is left alone"))
                .hint("give a folder that is not there yet: it is made"),
            _ => Error::usage(format!("the folder {shown} can't be made: {e}"))
                .hint("give a folder that is not there yet, where you may write"),
        })?;
        // Without a slash at its end.
        let path: PathBuf = path.components().collect();
        let mut part = path.clone().into_os_string();
        part.push(format!(".{}.part", std::process::id()));
        Ok(Bundle { path, part: part.into() })
    }

    /// Writes samples, each below a folder of its name; one without a name at the top. If that fails, nothing of it is
    /// left.
    pub fn write(self, samples: &[(&str, &Reel)]) -> Result<Written, Error> {
        let failed = |e: io::Error| {
            Error::usage(format!("the recording can't be written to {}: {e}", self.path.display()))
                .hint("nothing of it is kept; make room, or give another folder with --bundle")
        };
        DirBuilder::new().mode(FOLDER_MODE).create(&self.part).map_err(failed)?;
        self.fill(samples).map_err(|e| {
            // What can't be taken away stays beside the place that the error names.
            let _ = fs::remove_dir_all(&self.part);
            failed(e)
        })
    }

    fn fill(&self, samples: &[(&str, &Reel)]) -> io::Result<Written> {
        let mut written = Written::default();
        for (name, reel) in samples {
            sample(&self.part.join(name), reel, &mut written)?;
        }
        renameat_with(CWD, &self.part, CWD, &self.path, RenameFlags::NOREPLACE)?;
        Ok(written)
    }
}

fn sample(top: &Path, reel: &Reel, written: &mut Written) -> io::Result<()> {
    let notes = serde_json::to_vec_pretty(&reel.notes)?;
    let files = reel.files.iter().map(|(path, bytes)| (path.as_str(), bytes));
    // A recorded tree has a folder proc, whatever could be read.
    folder(&top.join("proc"))?;
    for (path, bytes) in files.chain([(NOTES, &notes)]) {
        let path = top.join(path);
        path.parent().map_or(Ok(()), folder)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        file.write_all(bytes)?;
        written.files += 1;
        written.bytes += bytes.len();
    }
    Ok(())
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Host;

    fn reel(files: &[(&str, &[u8])]) -> Reel {
        let files = files.iter().map(|(path, bytes)| ((*path).into(), bytes.to_vec()));
        Reel { files: files.collect(), ..Reel::default() }
    }

    #[test]
    fn what_is_written_is_a_recorded_tree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle/");
        let samples = ["1", "2"].map(|uptime| reel(&[("proc/uptime", uptime.as_bytes())]));
        let written = Bundle::new(&path).unwrap().write(&[("before", &samples[0]), ("after", &samples[1])]).unwrap();
        assert_eq!(written.files, 4);
        let mut bytes = Vec::new();
        for (host, uptime) in Host::recorded(&path).unwrap().iter().zip(["1", "2"]) {
            host.read("proc/uptime", &mut bytes).unwrap();
            assert_eq!(bytes, uptime.as_bytes());
        }
    }

    #[test]
    fn a_folder_that_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine"), "precious").unwrap();
        assert_eq!(Bundle::new(folder.path()).unwrap_err().exit_code(), 2);
        assert_eq!(std::fs::read(folder.path().join("mine")).unwrap(), b"precious");
    }

    #[test]
    fn a_folder_that_came_in_between_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        let bundle = Bundle::new(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(bundle.write(&[("", &reel(&[("proc/uptime", b"1")]))]).is_err());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_fails_half_way_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        // A file can't be a folder as well.
        let broken = reel(&[("proc/a", b""), ("proc/a/b", b"")]);
        let error = Bundle::new(&path).unwrap().write(&[("", &broken)]).unwrap_err();
        assert!(error.to_string().contains("can't be written"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
