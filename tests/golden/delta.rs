//! By how much counters grew between two samples: wraps, resets, CPUs and devices that come and go, rates.

use serde_json::json;

use crate::message::{self, LINKS, Link};
use crate::run::{self, delta};
use crate::tree::{Samples, Tree, WINDOW};

const SOFTNET: &str = "proc/net/softnet_stat";

/// A softnet line of 15 columns of a CPU that processed and dropped so many.
fn cpu(cpu: u64, processed: u64, dropped: u64) -> String {
    let cells: Vec<String> = (0..15)
        .map(|column| match column {
            0 => processed,
            1 => dropped,
            12 => cpu,
            _ => 0,
        })
        .map(|cell| format!("{cell:08x}"))
        .collect();
    cells.join(" ") + "\n"
}

#[test]
fn rates_are_deltas_by_uptime() {
    let report = run::report(Samples::quiet().grow("Ip.InReceives", 120).path(), &[]);
    assert_eq!(report["window_seconds"], WINDOW);
    let cell = &run::cells(&report)[&("Ip.InReceives".into(), String::new())];
    assert_eq!(*cell, json!({"total": 1120, "delta": 120, "per_second": 12.0}));
}

#[test]
fn without_uptime_there_is_a_delta_and_no_rate() {
    let samples = Samples::quiet().grow("Ip.InReceives", 120);
    for uptime in ["", "rubbish\n", "-5 0\n", "nan nan\n"] {
        samples.write("proc/uptime", [uptime, uptime]);
        let report = run::report(samples.path(), &[]);
        assert_eq!(report.get("window_seconds"), None, "{uptime:?}");
        let cell = &run::cells(&report)[&("Ip.InReceives".into(), String::new())];
        assert_eq!(*cell, json!({"total": 1120, "delta": 120}), "{uptime:?}");
    }
}

#[test]
fn a_clock_that_runs_backwards_gives_no_rate() {
    let samples = Samples::quiet().grow("Ip.InReceives", 120);
    samples.write("proc/uptime", ["5010.00 0\n", "5000.00 0\n"]);
    assert_eq!(run::report(samples.path(), &[]).get("window_seconds"), None);
}

#[test]
fn since_boot_rates_are_totals_by_uptime() {
    let tree = Tree::copy("node-exporter");
    tree.write("proc/uptime", "100.0 50.0\n");
    let report = run::report(tree.path(), &[]);
    let cell = &run::cells(&report)[&("softnet.dropped".into(), "1".into())];
    assert_eq!(*cell, json!({"total": 41, "per_second": 0.41}));
}

#[test]
fn a_32_bit_cell_wraps() {
    let samples = Samples::quiet();
    samples.write(SOFTNET, [cpu(0, 5, 0xffff_fff0), cpu(0, 6, 0x10)]);
    assert_eq!(delta(&run::report(samples.path(), &[]), "softnet.dropped", "0"), Some(0x20));
}

#[test]
fn a_32_bit_cell_that_falls_far_was_reset() {
    let samples = Samples::quiet();
    samples.write(SOFTNET, [cpu(0, 5, 90_000), cpu(0, 6, 3)]);
    let report = run::report(samples.path(), &[]);
    assert_eq!(delta(&report, "softnet.dropped", "0"), None);
    assert_eq!(report["findings"], json!([]), "what is not known is no fault");
}

#[test]
fn a_64_bit_cell_that_falls_was_reset() {
    let samples = Samples::quiet().cell("Udp.RcvbufErrors", u64::MAX, 10).cell("Udp.InErrors", u64::MAX, 10);
    let report = run::report(samples.path(), &[]);
    assert_eq!(delta(&report, "Udp.RcvbufErrors", ""), None);
    assert_eq!(report["findings"], json!([]));
}

#[test]
fn cpus_are_matched_by_number_not_by_line() {
    let samples = Samples::quiet();
    let before = [cpu(0, 10, 0), cpu(1, 700, 0), cpu(3, 50, 0)].concat();
    let after = [cpu(0, 11, 0), cpu(2, 999, 9), cpu(3, 53, 0)].concat();
    samples.write(SOFTNET, [before, after]);
    let report = run::report(samples.path(), &[]);
    let deltas = ["0", "2", "3"].map(|cpu| delta(&report, "softnet.processed", cpu));
    assert_eq!(deltas, [Some(1), None, Some(3)], "CPU 1 went, CPU 2 came");
    assert_eq!(report["findings"], json!([]), "what the new CPU lost before it came was not lost now");
}

#[test]
fn softnet_of_every_width() {
    let columns = [
        (0, "processed"),
        (1, "dropped"),
        (2, "time_squeeze"),
        (9, "received_rps"),
        (10, "flow_limit_count"),
        (11, "backlog_len"),
        (13, "input_qlen"),
        (14, "process_qlen"),
    ];
    for width in [9_usize, 10, 11, 13, 15, 17] {
        let line = |cpu: u64, start: u64| {
            let cells = (0..width as u64).map(|column| if column == 12 { cpu } else { start + column });
            cells.map(|cell| format!("{cell:08x}")).collect::<Vec<_>>().join(" ") + "\n"
        };
        let tree = Tree::empty();
        // CPU 1 is offline: before the kernel printed numbers, the second line is the second CPU that is online.
        tree.write("proc/stat", "cpu 0\ncpu0 1 2 3 4 5 6 7\ncpu2 1 2 3 4 5 6 7\n");
        tree.write(SOFTNET, [line(0, 100), line(2, 200)].concat());
        let cells = run::cells(&run::report(tree.path(), &[]));
        for (at, name) in columns {
            for (cpu, start) in [("0", 100), ("2", 200)] {
                let shown = cells.get(&(format!("softnet.{name}"), cpu.into())).map(run::number);
                assert_eq!(shown, (at < width).then(|| start + at as u64), "{name} of CPU {cpu}, {width} columns");
            }
        }
    }
}

#[test]
fn devices_are_matched_by_name() {
    let [a, b, c] = [b"eth0", b"eth1", b"eth2"].map(|name| move |packets| Link::new(name).stat(0, packets));
    let samples = Samples::quiet();
    samples.write(LINKS, [message::links(&[a(10), b(500)]), message::links(&[b(505), c(70)])]);
    let report = run::report(samples.path(), &[]);
    assert_eq!(delta(&report, "link.rx_packets", "eth1"), Some(5));
    assert_eq!(delta(&report, "link.rx_packets", "eth2"), None);
}

#[test]
fn a_bond_s_sums_do_not_count_again() {
    let bond = |packets| Link { kind: b"bond", ..Link::new(b"bond0").stat(15, packets) };
    let links = |n| message::links(&[bond(n), Link::new(b"eth0").stat(15, n)]);
    let samples = Samples::quiet();
    samples.write(LINKS, [links(0), links(8)]);
    assert_eq!(run::line(&run::report(samples.path(), &[]), "ring").unwrap()["lost"], 8);
}

#[test]
fn a_broken_line_of_a_folded_table_gives_no_false_delta() {
    let table = |lines: [&str; 2]| format!("entries drop early_drop\n{}\n{}\n", lines[0], lines[1]);
    let samples = Samples::quiet();
    let file = "proc/net/stat/nf_conntrack";
    samples.write(file, [table(["zz", "0 5 0"]), table(["0 900 0", "0 6 0"])]);
    let known = delta(&run::report(samples.path(), &[]), "nf_conntrack.drop", "");
    assert_eq!(known, None, "the first CPU's part is not known");
}

#[test]
fn a_line_that_a_folded_table_did_not_have_gives_no_false_delta() {
    let samples = Samples::quiet();
    let file = "proc/net/stat/nf_conntrack";
    samples.write(file, ["entries drop\n0 5\n", "entries drop\n0 6\n0 900\n"]);
    assert_eq!(delta(&run::report(samples.path(), &[]), "nf_conntrack.drop", ""), None);
}
