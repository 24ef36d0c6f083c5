//! A device, as rtnetlink tells it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::link::{FIELDS, parse, rows};

fuzz_target!(|bytes: &[u8]| {
    let Some(link) = parse(bytes) else { return };
    assert!(!link.name.is_empty() && link.name.len() <= bytes.len() && !link.name.contains(&0));
    assert!(!link.stats.is_empty() && link.stats.len() <= FIELDS.len() && link.stats.len() * 8 <= bytes.len());
    let sums_others = link.sums_others;
    assert_eq!(rows(&[link])[0].rows.len(), usize::from(!sums_others));
});
