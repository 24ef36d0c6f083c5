//! A qdisc or a class, as rtnetlink tells it, with what only its kind counts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::qdisc::{Names, parse, tables};

fuzz_target!(|bytes: &[u8]| {
    let Some(qdisc) = parse(bytes) else { return };
    assert!(!qdisc.kind.is_empty() && qdisc.kind.len() <= bytes.len());
    let names = Names::from([(qdisc.index, b"eth0".to_vec())]);
    let rows: usize = tables(&[qdisc], &names).iter().map(|table| table.rows.len()).sum();
    assert!(rows <= 2);
});
