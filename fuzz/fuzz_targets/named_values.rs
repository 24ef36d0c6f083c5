//! `/proc/net/xfrm_stat`: a name and a value a line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::lists;
use netstat_deep_fuzz::sound;

fuzz_target!(|bytes: &[u8]| sound(bytes, &lists::named_values(bytes)));
