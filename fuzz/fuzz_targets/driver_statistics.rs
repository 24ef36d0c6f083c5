//! What a driver tells by ioctl, and what its names are taken for; and the lines of /proc/interrupts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::ethtool::{driver, names};
use netstat_deep::source::interrupts::{Card, rows};

fuzz_target!(|bytes: &[u8]| {
    let card = Card { device: b"eth0".to_vec(), bus: b"0:3".to_vec(), irqs: Vec::new() };
    assert!(rows(bytes, &[card]).rows.len() <= bytes.split(|&b| b == b'\n').count());
    let Some(parsed) = driver::parse(bytes) else { return };
    assert!(parsed.statistics.len() * 40 <= bytes.len());
    let [all, queues] = names::rows(b"eth0", &parsed);
    assert!(all.rows.len() <= 1);
    assert!(queues.rows.len() <= parsed.statistics.len());
});
