//! Messages of ethtool and netdev generic netlink, as one device's answer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::ethtool::{hash, rss, settings, statistics};
use netstat_deep::source::netdev::{self, Names};

fuzz_target!(|bytes: &[u8]| {
    // A setting takes an attribute of five bytes at least, and a statistic one of its own.
    assert!(statistics::cells(bytes) <= 22 * bytes.len());
    for (path, value) in settings::any(bytes) {
        assert!(path.starts_with("ethtool/") && !value.is_empty() && value.len() <= 20);
    }
    let names: Names = [(1, b"eth0".to_vec())].into();
    if let Some((_, cells)) = netdev::queue_statistics(bytes, &names) {
        assert!(cells.iter().flatten().count() * 5 <= bytes.len());
    }
    netdev::napi(bytes);
    netdev::queue(bytes);
    assert!(rss::parse(bytes).values().sum::<u64>() * 4 <= bytes.len() as u64);
    assert!(hash::parse(bytes).count() * 16 <= bytes.len());
});
