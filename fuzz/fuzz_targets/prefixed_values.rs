//! `/proc/net/snmp6`: a name and its value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::text;
use netstat_deep_fuzz::sound;

fuzz_target!(|bytes: &[u8]| sound(bytes, &text::prefixed_values(bytes)));
