//! Connection tracking on kernels whose files do not tell everything: netlink does.

use std::fs;

use serde_json::json;

use crate::message::{self, CONNTRACK, CONNTRACK_FILL};
use crate::run;
use crate::tree::Samples;

// include/uapi/linux/netfilter/nfnetlink_conntrack.h
const INVALID: u16 = 4;
const INSERT_FAILED: u16 = 9;
const DROP: u16 = 10;

/// A kernel without CONFIG_NF_CONNTRACK_PROCFS.
fn without_statistics() -> Samples {
    let samples = Samples::quiet().setting("net/netfilter/nf_conntrack_count", "49");
    let samples = samples.setting("net/netfilter/nf_conntrack_max", "50");
    for sample in ["before", "after"] {
        fs::remove_file(samples.path().join(sample).join("proc/net/stat/nf_conntrack")).unwrap();
    }
    samples
}

#[test]
fn what_no_file_counts_netlink_does() {
    let samples = without_statistics();
    let cpus =
        |drop: u32| message::conntrack(&[&[(DROP, drop), (INSERT_FAILED, 0)], &[(DROP, u32::MAX), (INVALID, 5)]]);
    samples.write(CONNTRACK, [cpus(100), cpus(1_000)]);
    let report = run::report(samples.path(), &[]);
    assert_eq!(run::delta(&report, "nf_conntrack.drop", ""), Some(900));
    assert_eq!(run::delta(&report, "nf_conntrack.invalid", ""), Some(0));
    let full = run::finding(&report, "conntrack-table-full").unwrap();
    assert_eq!((&full["severity"], &full["lost"]), (&json!("critical"), &json!(900)));
}

#[test]
fn an_answer_that_is_cut_off_costs_its_own_rows() {
    let samples = without_statistics();
    let whole = message::conntrack(&[&[(DROP, 7)], &[(DROP, 9)]]);
    samples.write(CONNTRACK, [&whole[..30], &whole[..30]]);
    let report = run::report(samples.path(), &[]);
    let source =
        report["sources"].as_array().unwrap().iter().find(|one| one["name"] == "ctnetlink statistics").unwrap();
    assert!(source["reason"].is_string(), "{source}");
    // The rest of the report is there.
    assert_eq!(run::finding(&report, "conntrack-table-full").unwrap()["severity"], "critical");
}

#[test]
fn nothing_is_asked_where_nothing_is_tracked() {
    let samples = Samples::quiet();
    for sample in ["before", "after"] {
        fs::remove_file(samples.path().join(sample).join("proc/net/stat/nf_conntrack")).unwrap();
    }
    let report = run::report(samples.path(), &[]);
    assert!(
        !report["sources"].as_array().unwrap().iter().any(|one| one["name"].as_str().unwrap().starts_with("ctnetlink"))
    );
}

#[test]
fn how_full_the_table_is_netlink_tells_too() {
    let samples = Samples::quiet().grow("nf_conntrack.drop", 3);
    // CTA_STATS_GLOBAL_ENTRIES and CTA_STATS_GLOBAL_MAX_ENTRIES.
    let fill = message::conntrack(&[&[(1, 48), (2, 50)]]);
    samples.write(CONNTRACK_FILL, [&fill, &fill]);
    let full = run::report(samples.path(), &[]);
    let full = run::finding(&full, "conntrack-table-full").unwrap();
    assert_eq!((&full["severity"], &full["lost"]), (&json!("critical"), &json!(3)));
}
