//! The small parsers: single numbers, `/proc/uptime`, the CPUs that are online.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::text;

fuzz_target!(|bytes: &[u8]| {
    let first = bytes.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
    let plain = first.and_then(|word| std::str::from_utf8(word).ok()).filter(|word| !word.starts_with('+'));
    assert_eq!(text::first_number(bytes), plain.and_then(|word| word.parse().ok()));
    assert!(text::uptime(bytes).is_none_or(|seconds| seconds.is_finite() && seconds > 0.0));
    assert!(text::online_cpus(bytes).len() <= bytes.split(|&b| b == b'\n').count());
});
