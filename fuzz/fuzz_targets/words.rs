//! The small readers: numbers, CPUs, uptime, and text made safe to print.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::text;

fuzz_target!(|bytes: &[u8]| {
    let _ = (text::online_cpus(bytes), text::first_number(bytes));
    assert!(text::uptime(bytes).is_none_or(|seconds| seconds.is_finite() && seconds > 0.0));
    for shown in [text::printable(bytes), text::one_blank(bytes)] {
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
});
