//! Trees of recorded files: those in `hosts/`, and copies of them with other values.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder of our own with `proc` in it, gone when dropped.
pub struct Tree(TempDir);

impl Tree {
    /// Where the recorded host lies.
    pub fn recorded(host: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hosts").join(host)
    }

    /// A tree without a file.
    pub fn empty() -> Self {
        let tree = Tree(tempfile::tempdir().unwrap());
        fs::create_dir(tree.path().join("proc")).unwrap();
        tree
    }

    /// A copy of a recorded host.
    pub fn copy(host: &str) -> Self {
        let tree = Self::empty();
        copy_files(&Self::recorded(host), tree.path());
        tree
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        put(self.path(), file, bytes);
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).unwrap()
    }
}

/// Two samples of one host, ten seconds apart.
pub struct Samples(TempDir);

/// Seconds between the samples, by `/proc/uptime`.
pub const WINDOW: f64 = 10.0;
/// What a counter that grows begins with.
const START: u64 = 1000;

impl Samples {
    /// Two equal copies of a recorded host.
    pub fn of(host: &str) -> Self {
        let samples = Samples(tempfile::tempdir().unwrap());
        for sample in ["before", "after"] {
            copy_files(&Tree::recorded(host), &samples.path().join(sample));
        }
        samples.write("proc/uptime", ["5000.00 9000.00\n", "5010.00 9010.00\n"]);
        samples
    }

    /// Two equal copies of the kernel that most tests use: every column is there, every value zero.
    pub fn quiet() -> Self {
        Self::of("kernels/6.18.15")
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file of both samples.
    pub fn write(&self, file: &str, bytes: [impl AsRef<[u8]>; 2]) {
        for (sample, bytes) in ["before", "after"].iter().zip(bytes) {
            put(&self.path().join(sample), file, bytes);
        }
    }

    /// Gives a setting below `/proc/sys` this value.
    pub fn setting(self, path: &str, value: &str) -> Self {
        self.write(&format!("proc/sys/{path}"), [value, value].map(|value| format!("{value}\n")));
        self
    }

    /// Lets a counter grow.
    pub fn grow(self, id: &str, by: u64) -> Self {
        self.cell(id, START, START + by)
    }

    /// Sets a counter in both samples.
    pub fn cell(self, id: &str, before: u64, after: u64) -> Self {
        for (sample, value) in [("before", before), ("after", after)] {
            let (file, edit) = place(id);
            let path = self.path().join(sample).join(file);
            let text = fs::read_to_string(&path).unwrap();
            let edited = edit(&text, id, value).unwrap_or_else(|| panic!("{file} of this kernel has no {id}"));
            fs::write(path, edited).unwrap();
        }
        self
    }
}

type Edit = fn(&str, &str, u64) -> Option<String>;

/// Which file a counter is in, and how that is written.
fn place(id: &str) -> (&'static str, Edit) {
    match id.split_once('.').unwrap().0 {
        "Ip" | "Icmp" | "Tcp" | "Udp" | "UdpLite" => ("proc/net/snmp", under_header),
        "TcpExt" | "IpExt" => ("proc/net/netstat", under_header),
        "Ip6" | "Icmp6" | "Udp6" | "UdpLite6" => ("proc/net/snmp6", after_name),
        "nf_conntrack" => ("proc/net/stat/nf_conntrack", hexadecimal),
        other => panic!("the test does not know where {other} is"),
    }
}

fn under_header(text: &str, id: &str, value: u64) -> Option<String> {
    let (group, name) = id.split_once('.')?;
    let (head, is_row) = (format!("{group}: "), |line: &&str| line.starts_with(&format!("{group}: ")));
    let [names, row] = text.lines().filter(is_row).collect::<Vec<_>>()[..] else { return None };
    let at = names.split(' ').position(|word| word == name)?;
    let mut words: Vec<String> = row.split(' ').map(str::to_owned).collect();
    words[at] = value.to_string();
    let new = words.join(" ");
    assert!(new.starts_with(&head));
    Some(text.replace(&format!("{row}\n"), &format!("{new}\n")))
}

fn after_name(text: &str, id: &str, value: u64) -> Option<String> {
    let name = id.replace('.', "");
    let old = text.lines().find(|line| line.split_whitespace().next() == Some(name.as_str()))?;
    Some(text.replace(old, &format!("{name:<32}\t{value}")))
}

/// In the line of the first CPU.
fn hexadecimal(text: &str, id: &str, value: u64) -> Option<String> {
    let name = id.split_once('.')?.1;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines[0].split_whitespace().position(|word| word == name)?;
    let mut words: Vec<String> = lines[1].split_whitespace().map(str::to_owned).collect();
    words[at] = format!("{value:08x}");
    lines[1] = words.join(" ");
    Some(lines.join("\n") + "\n")
}

fn put(root: &Path, file: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_files(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
