//! `/proc/net/netlink`, `/proc/net/raw`: a header and a line per socket, added up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::lists;
use netstat_deep_fuzz::sound;

fuzz_target!(|bytes: &[u8]| sound(bytes, &lists::column_sums(bytes)));
