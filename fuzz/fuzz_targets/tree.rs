//! A recording with some of its files replaced, through the whole program.
//!
//! The input is a list of files: which one (a byte), how long (two bytes), and what it holds. The others are as a golden
//! host has them.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use netstat_deep::cli::{Cli, Verb};
use netstat_deep::command::path;
use netstat_deep::stage::Way;
use netstat_deep::source::groups::DOORS;
use tempfile::TempDir;

const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/hosts/node-exporter");
/// Besides the text tables: what a recording is called, how long it lasted, the settings that the rules look at, and whose
/// the sockets are.
const MORE: [&str; 16] = [
    ".recording.json",
    ".sockets",
    "proc/1/comm",
    "proc/1/cgroup",
    "proc/uptime",
    "proc/sys/kernel/hostname",
    "proc/sys/net/core/rmem_default",
    "proc/sys/net/core/somaxconn",
    "proc/sys/net/core/netdev_max_backlog",
    ".netlink/route/getlink.bin",
    ".netlink/sock_diag/udp4.bin",
    ".netlink/generic/stats-get.bin",
    ".netlink/generic/pause-get.bin",
    ".netlink/generic/rings-get.bin",
    ".netlink/generic/qstats-get.bin",
    ".ethtool/eth0.bin",
];

static TREE: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
/// Every file of both samples, and what the golden host has in it.
static FILES: LazyLock<Vec<(String, Option<Vec<u8>>)>> = LazyLock::new(|| {
    let names = || DOORS.iter().map(|door| door.path).chain(MORE);
    let both = ["before", "after"].into_iter().flat_map(|sample| names().map(move |name| (sample, name)));
    both.map(|(sample, name)| (format!("{sample}/{name}"), fs::read(Path::new(HOST).join(name)).ok())).collect()
});

fn put(at: usize, bytes: Option<&[u8]>) {
    let path = TREE.path().join(&FILES[at].0);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match bytes {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None => drop(fs::remove_file(path)),
    }
}

fn show(root: &Path, format: &str) {
    let words = ["netstat-deep", "rx", "-vv", "--output", format, "--root"];
    let words = words.into_iter().map(Into::into).chain([root.as_os_str().to_owned()]);
    let Verb::Rx(args) = Cli::parse_from(words).verb else { unreachable!("rx was asked for") };
    let mut out = Vec::new();
    path::run(Way::Receive, &args, &mut out, &AtomicBool::new(false)).unwrap();
    let text = String::from_utf8(out).unwrap();
    // The table's colours are taken out by the program, not by the library.
    let plain = if format == "table" { text.replace('\u{1b}', "") } else { text };
    assert!(!plain.contains(|c: char| c.is_control() && c != '\n'), "{plain:?}");
}

fuzz_target!(|bytes: &[u8]| {
    for (at, (_, golden)) in FILES.iter().enumerate() {
        put(at, golden.as_deref());
    }
    let mut rest = bytes;
    while let [file, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        put(usize::from(*file) % FILES.len(), Some(&tail[..length]));
        rest = &tail[length..];
    }
    show(TREE.path(), "table");
    show(TREE.path(), "openmetrics");
    show(&TREE.path().join("after"), "json");
});
