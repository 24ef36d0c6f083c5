//! Whole netlink answers, through the client, as a recorded tree holds them.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::{Host, link, sockdiag};
use tempfile::TempDir;

static TREE: LazyLock<TempDir> = LazyLock::new(|| {
    let tree = tempfile::tempdir().unwrap();
    for folder in ["proc", ".netlink/route", ".netlink/sock_diag"] {
        fs::create_dir_all(tree.path().join(folder)).unwrap();
    }
    tree
});

fuzz_target!(|bytes: &[u8]| {
    for file in ["route/getlink.bin", "sock_diag/udp4.bin", "sock_diag/listen4.bin"] {
        fs::write(TREE.path().join(".netlink").join(file), bytes).unwrap();
    }
    let host = Host::recorded(TREE.path()).unwrap().remove(0);
    // A message takes sixteen bytes at least.
    let most = bytes.len() / 16;
    if let Ok((links, _)) = link::read(&host) {
        assert!(links.len() <= most);
    }
    if let Ok((sums, _)) = sockdiag::read(&host, None) {
        assert!(sums.udp + sums.listeners <= 2 * most as u64);
    }
});
