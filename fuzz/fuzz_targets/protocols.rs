//! `/proc/net/protocols`: a header and a line per protocol.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::lists;
use netstat_deep_fuzz::sound;

fuzz_target!(|bytes: &[u8]| sound(bytes, &lists::protocols(bytes)));
