//! An exception of a route, as the kernel or a recording gives it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::path_mtu::parse;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse(bytes);
});
