//! Names that somebody else chose, on their way to a terminal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::text;

fuzz_target!(|bytes: &[u8]| {
    let shown = text::printable(bytes);
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(shown.len() <= 4 * bytes.len());
    assert_eq!(text::printable(shown.as_bytes()), shown, "what is printable stays as it is");
    if bytes.iter().all(|b| (b' '..=b'~').contains(b)) {
        assert_eq!(shown.as_bytes(), bytes);
    }
});
