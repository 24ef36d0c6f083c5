//! What a driver tells by ioctl, and what its names are taken for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::ethtool::{driver, names};

fuzz_target!(|bytes: &[u8]| {
    let Some(parsed) = driver::parse(bytes) else { return };
    assert!(parsed.statistics.len() * 40 <= bytes.len());
    let [all, queues] = names::rows(b"eth0", &parsed);
    assert_eq!(all.rows.len(), 1);
    assert!(queues.rows.len() <= parsed.statistics.len());
});
