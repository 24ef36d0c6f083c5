//! Programs at devices and filters of traffic control, as rtnetlink tells them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::bpf_programs::{device, filter};

fuzz_target!(|bytes: &[u8]| {
    if let Some(device) = device(bytes) {
        assert!(!device.name.is_empty() && !device.name.contains(&0) && device.name.len() <= bytes.len());
        assert!(device.xdp.len() * 8 <= bytes.len());
    }
    if let Some(filter) = filter(bytes) {
        assert!(!filter.kind.is_empty() && filter.preference <= u32::from(u16::MAX));
        assert!(filter.kind == "bpf" || (filter.program.is_none() && filter.name.is_none()));
    }
});
