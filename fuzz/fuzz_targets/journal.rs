//! The journal of changes, which a crash may have torn.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::tune::journal;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(change) = journal::parse(bytes, 7) {
        assert_eq!(change.id, 7, "a file tells of the change that it is named for");
    }
});
