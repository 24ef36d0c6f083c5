//! `/proc/net/tls_stat`: a name and its value on each line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::text;
use netstat_deep_fuzz::sound;

fuzz_target!(|bytes: &[u8]| sound(bytes, &text::named_values(bytes)));
