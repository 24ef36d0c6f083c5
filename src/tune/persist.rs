//! Keeping a change over a reboot: a file in sysctl.d that holds our keys only. And who else sets a key.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::journal::Step;

const FILE: &str = "sysctl.d/90-netstat-deep.conf";
const HEAD: &str = "# Written by netstat-deep; 'netstat-deep revert' removes what it wrote.\n";
/// Where systemd-sysctl looks besides /etc/sysctl.d. A file of the same name in an earlier folder hides a later one
/// (sysctl.d(5)).
const OTHER_FOLDERS: [&str; 3] = ["/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];

/// A line of a file that sets a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Setter {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The value that it sets.
    pub value: String,
}

/// Our file below `etc`.
pub fn file(etc: &Path) -> PathBuf {
    etc.join(FILE)
}

/// Writes the keys of `steps` into our file, beside those that are there.
pub fn keep(etc: &Path, steps: &[&Step]) -> io::Result<PathBuf> {
    let mut entries = ours(etc)?;
    for step in steps {
        let why = format!("{} (was {})", step.findings.join(", "), step.from);
        entries.insert(step.knob.clone(), (why, step.to.clone()));
    }
    put(etc, &entries)
}

/// Takes the keys of `steps` out of our file; an empty file is removed. Returns how many there were.
pub fn forget(etc: &Path, steps: &[&Step]) -> io::Result<usize> {
    let mut entries = ours(etc)?;
    let before = entries.len();
    entries.retain(|knob, _| !steps.iter().any(|step| step.knob == *knob));
    let removed = before - entries.len();
    if removed == 0 {
        return Ok(0);
    }
    if entries.is_empty() {
        fs::remove_file(file(etc))?
    } else {
        put(etc, &entries).map(drop)?
    }
    Ok(removed)
}

/// The keys in our file: why, and the value.
fn ours(etc: &Path) -> io::Result<BTreeMap<String, (String, String)>> {
    let text = match fs::read_to_string(file(etc)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let mut entries = BTreeMap::new();
    let mut why = String::new();
    for line in text.lines() {
        match (line.strip_prefix("# "), line.split_once('=')) {
            (Some(comment), _) => why = comment.to_owned(),
            (None, Some((knob, value))) => {
                entries.insert(knob.trim().to_owned(), (std::mem::take(&mut why), value.trim().to_owned()));
            }
            (None, None) => {}
        }
    }
    Ok(entries)
}

/// Replaces the file as a whole: a boot in between finds the old or the new one.
fn put(etc: &Path, entries: &BTreeMap<String, (String, String)>) -> io::Result<PathBuf> {
    let path = file(etc);
    let folder = path.parent().unwrap_or(etc);
    fs::create_dir_all(folder)?;
    let new = path.with_extension("conf.new");
    let mut out = File::create(&new)?;
    out.write_all(HEAD.as_bytes())?;
    for (knob, (why, value)) in entries {
        writeln!(out, "\n# {why}\n{knob} = {value}")?;
    }
    out.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(path)
}

/// Every line that sets one of `knobs` at boot, in the order in which they act: the last one wins. Our own file is left
/// out.
pub fn setters(etc: &Path, knob: &str) -> Vec<Setter> {
    let own = file(etc);
    let folders = [etc.join("sysctl.d")].into_iter().chain(OTHER_FOLDERS.map(PathBuf::from));
    let mut files: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|ending| ending == "conf") {
                files.entry(entry.file_name()).or_insert(entry.path());
            }
        }
    }
    // sysctl(8) and Debian's link 99-sysctl.conf read it last.
    let all = files.into_values().chain([etc.join("sysctl.conf")]).filter(|path| *path != own);
    all.flat_map(|path| lines_of(&path, knob)).collect()
}

fn lines_of(path: &Path, knob: &str) -> Vec<Setter> {
    // `net/core/somaxconn`, `-net.core.somaxconn` (ignore errors) and blanks round the sign are all taken.
    let normal = |key: &str| key.trim().trim_start_matches('-').replace('/', ".");
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let setter = |(at, line): (usize, &str)| {
        let (key, value) = line.split_once('=').filter(|_| !line.trim_start().starts_with(['#', ';']))?;
        let found = normal(key) == knob.replace('/', ".");
        found.then(|| Setter { path: path.to_owned(), line: at + 1, value: value.trim().to_owned() })
    };
    text.lines().enumerate().filter_map(setter).collect()
}

#[cfg(test)]
mod tests {
    use super::super::apply::tests::change;
    use super::*;

    #[test]
    fn only_our_keys_are_kept_and_forgotten() {
        let etc = tempfile::tempdir().unwrap();
        let (first, _) = change(&["net.core.somaxconn", "net.core.rmem_max"]);
        let steps: Vec<&Step> = first.steps.iter().collect();
        let path = keep(etc.path(), &steps[..1]).unwrap();
        keep(etc.path(), &steps[1..]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("net.core.somaxconn = 2") && text.contains("net.core.rmem_max = 2"), "{text}");
        assert_eq!(forget(etc.path(), &steps[..1]).unwrap(), 1);
        assert!(!fs::read_to_string(&path).unwrap().contains("somaxconn"));
        assert_eq!(forget(etc.path(), &steps).unwrap(), 1);
        assert!(!path.exists(), "an empty file is removed");
        assert_eq!(forget(etc.path(), &steps).unwrap(), 0);
    }

    #[test]
    fn others_that_set_a_key_are_named_with_their_line() {
        let etc = tempfile::tempdir().unwrap();
        let folder = etc.path().join("sysctl.d");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("10-a.conf"), "# net.core.rmem_max = 1\nnet/core/rmem_max=5\n").unwrap();
        fs::write(folder.join("50-b.conf"), "\n-net.core.rmem_max = 7\n").unwrap();
        fs::write(folder.join("note.txt"), "net.core.rmem_max = 9\n").unwrap();
        let found: Vec<(usize, String)> =
            setters(etc.path(), "net.core.rmem_max").into_iter().map(|s| (s.line, s.value)).collect();
        assert_eq!(found, [(2, "5".into()), (2, "7".into())]);
    }
}
