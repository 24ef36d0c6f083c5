//! `/proc/net/softnet_stat`: hexadecimal columns without a header.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::text;
use netstat_deep_fuzz::sound;

fuzz_target!(|bytes: &[u8]| sound(bytes, &text::softnet(bytes)));
