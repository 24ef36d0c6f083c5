//! `/proc/net/snmp` and `netstat`: a header and its values.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::text;
use netstat_deep_fuzz::sound;

fuzz_target!(|bytes: &[u8]| sound(bytes, &text::headed_pairs(bytes)));
