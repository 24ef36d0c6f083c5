//! What the user may ask for: exit codes, `--check`, `--ignore`, `--thresholds`, `--dev`, and what is refused.

use serde_json::json;

use crate::message::{self, LINKS, Link};
use crate::run::{self, rx};
use crate::tree::{Samples, Tree};

/// Ten datagrams a second lost to wrong reverse paths: a warning.
fn warned() -> Samples {
    Samples::quiet().grow("TcpExt.IPReversePathFilter", 100)
}

/// Half of what arrives is lost in the backlog: critical.
fn critical() -> Samples {
    let samples = Samples::quiet().setting("net/core/netdev_max_backlog", "1000");
    let softnet = |n: u64| format!("{n:08x} {n:08x}{}\n", " 00000000".repeat(13));
    samples.write("proc/net/softnet_stat", [softnet(0), softnet(5000)]);
    samples
}

#[test]
fn check_exits_with_1_at_its_severity_and_above() {
    let (warned, critical, quiet) = (warned(), critical(), Samples::quiet());
    for (samples, args, code) in [
        (&quiet, &["--check=info"][..], 0),
        (&warned, &[], 0),
        (&warned, &["--check"], 0),
        (&warned, &["--check=critical"], 0),
        (&warned, &["--check=warning"], 1),
        (&warned, &["--check=info"], 1),
        (&critical, &[], 0),
        (&critical, &["--check"], 1),
        (&critical, &["--check=warning"], 1),
    ] {
        for format in ["table", "json", "openmetrics"] {
            let run = rx(samples.path(), &[args, &["--output", format]].concat());
            assert_eq!(run.code, code, "{args:?}");
            assert!(!run.out.is_empty(), "a check prints its report too");
        }
    }
}

#[test]
fn since_boot_no_finding_is_above_info() {
    // So many that any window with them would be critical.
    let samples = critical();
    let line = format!("00ffffff 00ffffff{}\n", " 00000000".repeat(13));
    samples.write("proc/net/softnet_stat", [line.replace('f', "0"), line]);
    assert_eq!(run::report(samples.path(), &[])["findings"][0]["severity"], "critical");
    let after = samples.path().join("after");
    assert_eq!(["--check=warning", "--check=info"].map(|check| rx(&after, &[check]).code), [0, 1]);
    let finding = &run::report(&after, &[])["findings"][0];
    assert_eq!(finding["severity"], "info");
    assert!(finding["title"].as_str().unwrap().ends_with("(since boot)"));
}

#[test]
fn what_is_ignored_is_neither_shown_nor_checked() {
    let samples = critical();
    let report = run::report(samples.path(), &["--ignore", "backlog-overflow", "--check"]);
    assert_eq!(report["findings"], json!([]));
    for other in ["reverse-path-filter-drops", "backlog-overflow:eth7"] {
        assert_eq!(rx(samples.path(), &["--ignore", other, "--check"]).code, 1, "{other}");
    }
}

#[test]
fn limits_can_be_set_otherwise() {
    let samples = critical();
    let file = samples.path().join("limits.toml");
    let path = file.to_str().unwrap();
    for (limits, severity) in [
        ("[backlog-overflow]\nwarning_per_second = 1e9\n", "info"),
        ("[backlog-overflow]\ncritical_percent = 99.0\n", "warning"),
        ("[backlog-overflow]\ncritical_percent = 1\n", "critical"),
    ] {
        std::fs::write(&file, limits).unwrap();
        let report = run::report(samples.path(), &["--thresholds", path]);
        assert_eq!(report["findings"][0]["severity"], severity, "{limits}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_two_lines() {
    let samples = warned();
    samples.write(LINKS, [message::links(&[Link::new(b"eth0")]), message::links(&[Link::new(b"eth0")])]);
    let limits = |text: &str| {
        let file = samples.path().join("limits.toml");
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let good = limits("[backlog-overflow]\n");
    assert_eq!(rx(samples.path(), &["--dev", "eth0", "--thresholds", &good]).code, 0);
    let bad = limits("[backlog-overflow]\nnonsense = 1\n");
    for args in [
        &["--dev", "eth1"][..],
        &["--thresholds", "/nonexistent/limits"],
        &["--thresholds", &bad],
        &["--ignore", "no-such-rule"],
        &["--check=dreadful"],
        &["--netns", "pid:1"],
        &["--probes", "on"],
        &["--json", "--jsonl"],
        &["--output", "xml"],
        &["--interval", "1y"],
        &["--no-such-flag"],
    ] {
        let run = rx(samples.path(), args);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}");
        assert_eq!(run.err.lines().count(), 2, "{args:?}: what failed, and what to do: {}", run.err);
    }
    assert!(rx(samples.path(), &["--dev", "eth1"]).err.contains("eth0"), "says what there is");
}

#[test]
fn a_device_that_is_chosen_leaves_out_the_others() {
    let links = |n| message::links(&[Link::new(b"eth0").stat(15, n), Link::new(b"eth1").stat(15, 5 * n)]);
    let samples = Samples::quiet();
    samples.write(LINKS, [links(0), links(10)]);
    assert_eq!(run::line(&run::report(samples.path(), &[]), "ring").unwrap()["lost"], 60);
    assert_eq!(run::line(&run::report(samples.path(), &["--dev", "eth0"]), "ring").unwrap()["lost"], 10);
}

#[test]
fn what_is_no_tree_is_refused() {
    let tree = Tree::empty();
    tree.write("file", "");
    for root in ["file", "proc", "nothing"] {
        let run = rx(&tree.path().join(root), &[]);
        assert_eq!((run.code, run.err.lines().count()), (2, 2), "{root}: {}", run.err);
    }
}

#[test]
fn nothing_of_this_host_gets_into_the_report_of_another() {
    let report = run::report(Samples::quiet().path(), &[]);
    for field in ["host", "kernel", "taken_at", "netns"] {
        assert_eq!(report.get(field), None, "{field}");
    }
    let samples = Samples::quiet().setting("kernel/hostname", "web-01").setting("kernel/osrelease", "6.18.15");
    let report = run::report(samples.path(), &[]);
    assert_eq!((&report["host"], &report["kernel"]), (&json!("web-01"), &json!("6.18.15")));
}
