//! Recordings that no kernel made: cut off, torn, huge, or not files at all. The program lives, says what it could not
//! read, and shows no number that is not there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::message::{self, LINKS, Link, Socket, UDP4};
use crate::openmetrics;
use crate::run::{self, rx};
use crate::schema;
use crate::tree::{Samples, Tree};

const FILES: [&str; 10] = [
    "proc/stat",
    "proc/softirqs",
    "proc/net/softnet_stat",
    "proc/net/snmp",
    "proc/net/snmp6",
    "proc/net/netstat",
    "proc/net/sockstat",
    "proc/net/stat/nf_conntrack",
    "proc/net/stat/arp_cache",
    "proc/sys/net/netfilter/nf_conntrack_count",
];

/// Every format must stay whole. Returns the report.
fn survives(root: &Path) -> Value {
    openmetrics::checked(&rx(root, &["--output", "openmetrics"]).out);
    assert_eq!(rx(root, &["-vv"]).code, 0);
    run::report(root, &[])
}

fn source<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["sources"].as_array().unwrap().iter().find(|source| source["name"] == name).unwrap()
}

#[test]
fn a_tree_without_files_has_reasons_and_nothing_else() {
    let report = survives(Tree::empty().path());
    assert_eq!((&report["stages"], &report["findings"]), (&json!([]), &json!([])));
    for source in report["sources"].as_array().unwrap() {
        assert_eq!((&source["ok"], source["reason"].is_string()), (&json!(false), true), "{source}");
    }
}

#[test]
fn an_empty_file_gives_nothing() {
    for file in FILES {
        let tree = Tree::copy("node-exporter");
        tree.write(file, "");
        let status = source(&survives(tree.path()), file).clone();
        assert!(status["reason"].is_string(), "{status}");
    }
}

#[test]
fn rubbish_has_a_reason() {
    // From a congruential generator: the same on every run.
    let noise: Vec<u8> =
        (0..5000_u32).map(|n| (n.wrapping_mul(1_103_515_245).wrapping_add(12_345) >> 16) as u8).collect();
    for rubbish in [&noise[..], &[0; 4096], &[0xff; 4096], b"\n\n\n:::\n: :\n", &[b'9'; 100_000], &[b'a'; 100_000]] {
        let tree = Tree::copy("node-exporter");
        for file in FILES.into_iter().chain([LINKS, UDP4, "proc/uptime", "proc/sys/kernel/hostname"]) {
            tree.write(file, rubbish);
        }
        let report = survives(tree.path());
        for file in FILES {
            assert!(source(&report, file)["reason"].is_string(), "{file}: {}", source(&report, file));
        }
    }
}

/// A file that was cut off shows fewer counters and never a value that was not in it: only the last word, which may be
/// cut in the middle, can be wrong.
#[test]
fn a_truncated_file_shows_only_what_was_read() {
    let whole = run::cells(&run::report(&Tree::recorded("node-exporter"), &[]));
    for file in FILES {
        let tree = Tree::copy("node-exporter");
        let text = tree.read(file);
        // Cut only where a word ends.
        let ends: Vec<usize> = text.match_indices([' ', '\n']).map(|(at, _)| at).collect();
        for cut in ends.iter().step_by(ends.len() / 25 + 1) {
            tree.write(file, &text[..*cut]);
            let report = run::report(tree.path(), &[]);
            let folded = file.starts_with("proc/net/stat/");
            for (cell, value) in run::cells(&report) {
                let right = whole.get(&cell).is_some_and(|old| run::number(old) == run::number(&value));
                // A sum over the CPUs' lines that are there is smaller.
                assert!(right || folded, "{file} cut at {cut}: {cell:?} is {value}, not {:?}", whole.get(&cell));
            }
        }
    }
}

#[test]
fn a_truncated_second_sample_makes_no_loss() {
    let samples = Samples::of("node-exporter");
    for file in FILES {
        let path = samples.path().join("after").join(file);
        let whole = fs::read(&path).unwrap();
        for cut in (0..whole.len()).step_by(whole.len() / 30 + 1) {
            fs::write(&path, &whole[..cut]).unwrap();
            let report = run::report(samples.path(), &[]);
            assert_eq!(report["totals"]["lost"], 0, "{file} cut at {cut}");
            assert_eq!(report["totals"]["unexplained"], 0, "{file} cut at {cut}: {}", report["ledger"]);
            assert_eq!(report["findings"], json!([]), "{file} cut at {cut}");
            for (cell, value) in run::cells(&report) {
                assert!(matches!(value.get("delta").and_then(Value::as_u64), None | Some(0)), "{cell:?}: {value}");
            }
        }
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn the_largest_numbers_are_survived() {
    let huge = u64::MAX.to_string();
    let fill = |text: &str, word: &str| {
        let edit = |part: &str| if part.parse::<u64>().is_ok() { word.to_owned() } else { part.to_owned() };
        text.split('\n')
            .map(|line| line.split(' ').map(edit).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let samples = Samples::quiet()
        .setting("net/core/netdev_max_backlog", &huge)
        .setting("net/core/rmem_default", &huge)
        .setting("net/core/rmem_max", &huge)
        .setting("net/core/somaxconn", &huge)
        .setting("net/netfilter/nf_conntrack_max", &huge)
        .setting("net/netfilter/nf_conntrack_count", &huge);
    for file in ["proc/net/snmp", "proc/net/snmp6", "proc/net/netstat", "proc/net/sockstat"] {
        let path = samples.path().join("after").join(file);
        let text = fs::read_to_string(&path).unwrap().replace('\t', " ");
        fs::write(path, fill(&text, &huge)).unwrap();
    }
    let line = |word: &str| [word; 15].join(" ") + "\n";
    samples.write("proc/net/softnet_stat", [line("00000000"), line("7fffffff")]);
    let links = |n| {
        message::links(&[Link { stats: [n; 25], ..Link::new(b"eth0") }, Link { stats: [n; 25], ..Link::new(b"eth1") }])
    };
    samples.write(LINKS, [links(0), links(u64::MAX)]);
    let socket = |n| Socket { v6: false, port: 1, cookie: 1, queue: n, limit: n, drops: n };
    samples.write(UDP4, [0, u32::MAX].map(|n| message::sockets(&[socket(n)])));
    survives(samples.path());
    survives(&samples.path().join("after"));
}

#[test]
fn numbers_too_large_for_any_counter_are_absent() {
    let tree = Tree::copy("node-exporter");
    tree.write(
        "proc/net/snmp",
        "Udp: InDatagrams NoPorts InErrors\nUdp: 18446744073709551616 -1 99999999999999999999999\n",
    );
    let report = survives(tree.path());
    assert!(run::cells(&report).keys().all(|(id, _)| !id.starts_with("Udp.")));
}

#[test]
fn what_is_no_file_is_not_read() {
    for file in FILES {
        let tree = Tree::copy("node-exporter");
        let path = tree.path().join(file);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(source(&survives(tree.path()), file)["ok"], false, "a folder");
        fs::remove_dir(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(source(&survives(tree.path()), file)["ok"], false, "a named pipe");
        fs::remove_file(&path).unwrap();
        symlink(Tree::recorded("node-exporter").join(file), &path).unwrap();
        assert_eq!(source(&survives(tree.path()), file)["ok"], false, "a link out of the tree");
        fs::remove_file(&path).unwrap();
        symlink(&path, &path).unwrap();
        assert_eq!(source(&survives(tree.path()), file)["ok"], false, "a link to itself");
    }
}

#[test]
fn netlink_answers_that_are_torn_give_what_is_whole() {
    let whole = message::links(&[Link::new(b"eth0").stat(0, 7), Link::new(b"eth1").stat(0, 8)]);
    let tree = Tree::copy("node-exporter");
    for cut in (0..whole.len()).step_by(7) {
        tree.write(LINKS, &whole[..cut]);
        let report = run::report(tree.path(), &[]);
        let packets: Vec<u64> = run::cells(&report)
            .iter()
            .filter(|((id, _), _)| id == "link.rx_packets")
            .map(|(_, value)| run::number(value))
            .collect();
        assert!([7, 8].starts_with(&packets), "cut at {cut}: {packets:?}");
        let status = source(&report, "rtnetlink links");
        assert!(packets.len() == 2 || status["reason"].is_string(), "cut at {cut}: {status}");
    }
}

#[test]
fn a_file_that_never_ends_is_given_up() {
    let tree = Tree::copy("node-exporter");
    let file = fs::OpenOptions::new().write(true).open(tree.path().join("proc/net/snmp")).unwrap();
    file.set_len(100 << 20).unwrap();
    let run = rx(tree.path(), &["--json"]);
    let report = schema::valid(&run.out);
    let status = source(&report, "proc/net/snmp");
    assert_eq!((run.code, &status["ok"]), (0, &json!(false)));
    assert!(status["reason"].as_str().unwrap().contains("longer than"), "{status}");
}

/// A row for each CPU and a column for each line: the values that are not there must not take memory.
#[test]
fn a_short_file_takes_no_memory_for_a_long_one() {
    let tree = Tree::empty();
    tree.write("proc/softirqs", format!("{}\n{}", "CPU0 ".repeat(20_000), "NET_RX:\n".repeat(2_000)));
    let report = run::report(tree.path(), &[]);
    let most = report["self"]["max_rss_bytes"].as_u64().unwrap();
    assert!(most < 64 << 20, "{most} bytes for a file of 120,000");
}
