//! Neighbours and their tables, as rtnetlink tells them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::neighbour::{parse, parse_table};

fuzz_target!(|bytes: &[u8]| {
    if let Some(table) = parse_table(bytes) {
        let sheet = table.sheet();
        assert_eq!(sheet.columns.len(), sheet.rows[0].cells.len());
    }
    if let Some((_, address, _)) = parse(bytes) {
        assert!(bytes.len() >= if address.is_ipv4() { 20 } else { 32 });
    }
});
