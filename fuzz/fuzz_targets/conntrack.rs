//! Connection tracking's statistics as ctnetlink tells them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::conntrack::{fill_sheet, parse, parse_fill, sheet};

fuzz_target!(|bytes: &[u8]| {
    if let Some(counted) = parse(bytes) {
        assert!(counted.values.iter().flatten().all(|value| *value <= u64::from(u32::MAX)));
        assert_eq!(sheet(&[counted]).rows[0].cells.len(), sheet(&[]).columns.len());
    }
    if let Some(fill) = parse_fill(bytes) {
        assert_eq!(fill_sheet(fill).rows[0].cells, [Some(fill.0), fill.1]);
    }
});
