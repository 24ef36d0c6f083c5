//! What the program prints of each recorded host, in each format, to the letter. `BLESS=1 cargo test --test golden`
//! writes it anew; the difference then shows in git.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kernels::hosts;
use crate::message::{self, LINKS, Link, Socket, UDP4};
use crate::openmetrics;
use crate::run::{self, rx};
use crate::schema;
use crate::tree::{Samples, Tree};

#[test]
fn every_host_in_every_format() {
    let mut changed = Vec::new();
    for host in hosts().iter().map(String::as_str).chain(["procfs"]) {
        formats(&Tree::recorded(host), host, &mut changed);
    }
    formats(lossy().path(), "lossy", &mut changed);
    assert!(changed.is_empty(), "BLESS=1 accepts them:\n{}", changed.join("\n"));
}

/// A host that loses at several stages within its window.
fn lossy() -> Samples {
    let socket = |drops| Socket { v6: false, port: 53, cookie: 9, queue: 212_000, limit: 212_992, drops };
    let links = |packets, missed| message::links(&[Link::new(b"eth0").stat(0, packets).stat(15, missed)]);
    let samples = Samples::quiet()
        .grow("Ip.InReceives", 10_000)
        .grow("Ip.InDelivers", 9_700)
        .grow("nf_conntrack.drop", 200)
        .grow("TcpExt.IPReversePathFilter", 40)
        .grow("Udp.InDatagrams", 7_000)
        .grow("Udp.InErrors", 1_500)
        .grow("Udp.RcvbufErrors", 1_500)
        .grow("Udp.NoPorts", 30)
        .grow("Tcp.InSegs", 1_170)
        .grow("TcpExt.ListenDrops", 12)
        .grow("TcpExt.ListenOverflows", 12)
        .setting("net/core/rmem_default", "212992")
        .setting("net/core/rmem_max", "4194304");
    samples.write(UDP4, [0, 1_500].map(|drops| message::sockets(&[socket(drops)])));
    samples.write(LINKS, [(0, 0), (10_100, 60)].map(|(packets, missed)| links(packets, missed)));
    samples
}

fn formats(root: &Path, host: &str, changed: &mut Vec<String>) {
    let mut same = |format: &str, text: &str| changed.extend(compare(host, format, text));
    let json = stable(schema::valid(&rx(root, &["--json"]).out));
    same("json", &(serde_json::to_string_pretty(&json).unwrap() + "\n"));
    let line = rx(root, &["--jsonl"]).out;
    assert_eq!(line.find('\n'), Some(line.len() - 1), "one document, one line");
    assert_eq!(stable(schema::valid(&line)), json, "the same document in either form");
    let metrics = rx(root, &["--output", "openmetrics"]).out;
    openmetrics::checked(&metrics);
    // The help texts are the declarations' own; that each family has one is checked.
    let metrics: String =
        metrics.lines().filter(|line| !line.starts_with("# HELP")).map(|l| format!("{l}\n")).collect();
    same("openmetrics", &metrics);
    let table = rx(root, &[]).out;
    narrow(&table);
    let counters = rx(root, &["-v"]).out;
    narrow(&counters);
    same("table", &format!("{table}\n$ -v\n{counters}"));
}

/// Without what differs from run to run and from release to release.
fn stable(mut report: Value) -> Value {
    report["self"] = json!({});
    report["tool_version"] = json!("");
    for source in report["sources"].as_array_mut().unwrap() {
        source["microseconds"] = json!(0);
    }
    report
}

/// The narrowest terminal that people still use has 80 columns. A command is one line, that it can be copied.
pub fn narrow(table: &str) {
    for line in table.lines().filter(|line| !line.starts_with("        sysctl ")) {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

/// The first line that is not as it was.
pub fn compare(host: &str, format: &str, text: &str) -> Option<String> {
    let name = format!("{}.{format}", host.replace('/', "-"));
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden/expected", &name].iter().collect();
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, text).unwrap();
        return None;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(text.lines()).position(|(old, new)| old != new);
    let at = differs.unwrap_or_else(|| expected.lines().count().min(text.lines().count()));
    let show = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
    (expected != text).then(|| format!("{name}:{}\n  - {}\n  + {}", at + 1, show(&expected), show(text)))
}

#[test]
fn what_is_volatile_is_blanked_and_nothing_else() {
    let report = run::report(&Tree::recorded("node-exporter"), &[]);
    let stable = stable(report.clone());
    assert_eq!(report["stages"], stable["stages"]);
    assert_eq!(report["findings"], stable["findings"]);
}
