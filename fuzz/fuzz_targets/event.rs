//! A single drop as the kernel's ring gives it, and the packet in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::probe::event::{ends, parse};

fuzz_target!(|bytes: &[u8]| {
    let _ = ends(bytes);
    let Some(event) = parse(bytes) else { return };
    assert!(event.link.len() + event.packet.len() <= bytes.len());
    assert!(event.device.len() <= 16 && !event.device.contains(&0));
    let _ = ends(&event.packet);
});
