//! A whole recording, through the whole program: the input is cut at its NUL bytes, and each piece is a file of the tree.

#![no_main]

use std::fs;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use netstat_deep::cli::{Cli, Verb};
use netstat_deep::command::rx;
use netstat_deep::source::groups::DOORS;
use tempfile::TempDir;

/// Besides the text tables: what a recording is called, how long it lasted, and the settings that the rules look at.
const MORE: [&str; 7] = [
    "proc/uptime",
    "proc/sys/kernel/hostname",
    "proc/sys/net/core/rmem_default",
    "proc/sys/net/core/somaxconn",
    "proc/sys/net/core/netdev_max_backlog",
    ".netlink/route/getlink.bin",
    ".netlink/sock_diag/udp4.bin",
];

static TREE: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn files() -> impl Iterator<Item = &'static str> {
    DOORS.iter().map(|door| door.path).chain(MORE)
}

fuzz_target!(|bytes: &[u8]| {
    let mut pieces = bytes.split(|&b| b == 0);
    for sample in ["before", "after"] {
        for file in files() {
            let path = TREE.path().join(sample).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match pieces.next() {
                Some(piece) => fs::write(path, piece).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
    }
    for (root, format) in [
        (TREE.path().to_owned(), "table"),
        (TREE.path().to_owned(), "openmetrics"),
        (TREE.path().join("after"), "json"),
    ] {
        let words = ["netstat-deep", "rx", "-vv", "--output", format, "--root"];
        let words = words.into_iter().map(Into::into).chain([root.into_os_string()]);
        let Verb::Rx(args) = Cli::parse_from(words).verb else { unreachable!("rx was asked for") };
        let mut out = Vec::new();
        rx::run(&args, &mut out, &AtomicBool::new(false)).unwrap();
        let text = String::from_utf8(out).unwrap();
        // The program colours on a terminal only, outside of the library: its own escapes are the only ones.
        let bare = text.replace('\u{1b}', "");
        assert!(format == "table" || bare.len() == text.len(), "an escape in {format}");
        assert!(!bare.contains(|c: char| c.is_control() && c != '\n'), "{bare:?}");
    }
});
