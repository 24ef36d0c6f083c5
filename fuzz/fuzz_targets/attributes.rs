//! Netlink attributes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::netlink::attributes;

fuzz_target!(|bytes: &[u8]| {
    // Each has a header of four bytes.
    let length: usize = attributes(bytes).map(|(_, value)| value.len() + 4).sum();
    assert!(length <= bytes.len());
});
