//! Names of kernel functions.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::symbols::resolve;

fuzz_target!(|bytes: &[u8]| {
    let wanted = [0, 0x10, 0xffff_ffff_8100_0000, u64::MAX];
    let Some(names) = resolve(bytes, &wanted) else { return };
    assert!(names.len() <= wanted.len());
    assert!(names.values().all(|name| name.contains('+') && !name.contains(char::is_control)));
});
