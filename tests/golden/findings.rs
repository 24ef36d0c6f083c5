//! Each rule on a recording of its fault: the severity, the knob that binds, and those that do not.

use serde_json::{Value, json};

use crate::message::{self, LINKS, LISTEN4, Link, Socket, UDP4, UDP6};
use crate::openmetrics;
use crate::run::{self, finding, rx};
use crate::tree::Samples;

fn found(samples: &Samples, id: &str) -> Value {
    let report = run::report(samples.path(), &[]);
    finding(&report, id).unwrap_or_else(|| panic!("{id} is not among {}", report["findings"])).clone()
}

/// Each suggestion as knob, from, to.
fn suggested(finding: &Value) -> Vec<[String; 3]> {
    let text = |suggestion: &Value, field: &str| suggestion[field].as_str().unwrap().to_owned();
    let suggestions = finding["suggestions"].as_array().unwrap();
    suggestions.iter().map(|one| ["knob", "from", "to"].map(|field| text(one, field))).collect()
}

/// The knob's new value; it must be the only one that is suggested, from this value.
fn raised(finding: &Value, knob: &str, from: u64) -> u64 {
    let [[name, old, new]] = &suggested(finding)[..] else { panic!("not one suggestion: {finding}") };
    assert_eq!((name.as_str(), old), (knob, &from.to_string()));
    let new = new.parse().unwrap();
    assert!(new > from, "{finding}");
    new
}

fn refused(finding: &Value) -> Vec<&str> {
    finding["not"].as_array().into_iter().flatten().map(|one| one["knob"].as_str().unwrap()).collect()
}

#[test]
fn a_full_backlog_wants_a_longer_one() {
    let samples = Samples::quiet().setting("net/core/netdev_max_backlog", "1000");
    let softnet = |processed: u64, dropped: u64| format!("{processed:08x} {dropped:08x}{}\n", " 00000000".repeat(13));
    samples.write("proc/net/softnet_stat", [softnet(0, 0), softnet(100_000, 5_000)]);
    let full = found(&samples, "backlog-overflow");
    assert_eq!(
        (&full["severity"], &full["lost"], &full["scope"]),
        (&json!("critical"), &json!(5000), &json!("machine"))
    );
    assert_eq!(raised(&full, "net.core.netdev_max_backlog", 1000), 2048);
    let suggestion = &full["suggestions"][0];
    assert_eq!(suggestion["command"], "sysctl -w net.core.netdev_max_backlog=2048");
    assert_eq!(suggestion["undo"], "sysctl -w net.core.netdev_max_backlog=1000");
}

#[test]
fn a_flow_that_is_shed_on_purpose_wants_no_longer_queue() {
    let samples = Samples::quiet().setting("net/core/netdev_max_backlog", "1000");
    let samples = samples.setting("net/core/flow_limit_cpu_bitmap", "3");
    let softnet = |n: u64| format!("{n:08x} {n:08x}{} {n:08x}{}\n", " 00000000".repeat(8), " 00000000".repeat(4));
    samples.write("proc/net/softnet_stat", [softnet(0), softnet(500)]);
    let shed = found(&samples, "elephant-flow-shed");
    assert_eq!((&shed["severity"], &shed["lost"]), (&json!("info"), &json!(500)));
    assert_eq!(suggested(&shed), [["net.core.flow_limit_cpu_bitmap", "3", "2"]]);
    assert!(shed["no_setting_helps"].is_string(), "{shed}");
    assert_eq!(finding(&run::report(samples.path(), &[]), "backlog-overflow"), None);
}

/// A device's counters, by their place in struct rtnl_link_stats64: rx_packets, rx_dropped, rx_nohandler,
/// rx_otherhost_dropped.
fn device(counts: [(usize, u64); 2]) -> Samples {
    let samples = Samples::quiet();
    let links = |counts: [(usize, u64); 2]| {
        message::links(&[counts.into_iter().fold(Link::new(b"eth1"), |link, (at, count)| link.stat(at, count))])
    };
    samples.write(LINKS, [links(counts.map(|(at, _)| (at, 7))), links(counts.map(|(at, count)| (at, 7 + count)))]);
    samples
}

#[test]
fn frames_that_nobody_asked_for_are_remarks_and_no_loss() {
    for (at, id, counter) in [
        (6, "unknown-protocol-frames", "link.rx_dropped"),
        (23, "bond-standby-frames", "link.rx_nohandler"),
        (24, "frames-for-other-hosts", "link.rx_otherhost_dropped"),
    ] {
        let samples = device([(0, 1_000), (at, 60)]);
        let remark = found(&samples, id);
        assert_eq!((&remark["severity"], &remark["lost"]), (&json!("info"), &json!(0)), "{id}");
        assert_eq!(remark["instance"], json!({"device": "eth1"}));
        let evidence = &remark["evidence"][0];
        assert_eq!((&evidence["counter"], &evidence["delta"]), (&json!(counter), &json!(60)));
        assert_eq!(run::report(samples.path(), &[])["totals"]["lost"], 0);
    }
}

#[test]
fn a_device_that_proc_does_not_show_is_named() {
    let samples = device([(0, 1_000), (1, 0)]);
    let listed = |names: &[&str]| {
        let lines: String = names.iter().map(|name| format!("{name:>6}: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n")).collect();
        format!("Inter-|   Receive\n face |bytes    packets errs drop\n{lines}")
    };
    for (names, hidden) in [(&["eth1"][..], false), (&[], true), (&["eth1", "lo"], true)] {
        samples.write("proc/net/dev", [listed(names), listed(names)]);
        let report = run::report(samples.path(), &[]);
        assert_eq!(finding(&report, "interfaces-hidden").is_some(), hidden, "{names:?}");
    }
    samples.write("proc/net/dev", [listed(&[]), listed(&[])]);
    let warning = found(&samples, "interfaces-hidden");
    assert_eq!((&warning["severity"], &warning["instance"]), (&json!("warning"), &json!({"device": "eth1"})));
    assert!(warning["why"].as_str().unwrap().contains("/proc/net/dev does not"), "{warning}");
}

/// Two million datagrams read, 9,000 lost by one socket whose buffer has this size.
fn udp(buffer: u32) -> Samples {
    let socket = |drops| Socket { v6: true, port: 53, cookie: 5, queue: 0, limit: buffer, drops };
    let samples = Samples::quiet()
        .grow("Udp6.InDatagrams", 2_000_000)
        .grow("Udp6.InErrors", 9_000)
        .grow("Udp6.RcvbufErrors", 9_000)
        .setting("net/core/rmem_default", "212992")
        .setting("net/core/rmem_max", "4194304");
    samples.write(UDP4, [message::sockets(&[]), message::sockets(&[])]);
    samples.write(UDP6, [100, 9_100].map(|drops| message::sockets(&[socket(drops)])));
    samples
}

#[test]
fn a_default_buffer_wants_a_larger_default() {
    let full = found(&udp(212_992), "udp-receive-buffer-overflow");
    assert_eq!((&full["severity"], &full["lost"]), (&json!("critical"), &json!(9000)));
    assert_eq!(full["instance"], json!({"socket": "[::]:53"}));
    assert_eq!((&full["victims"][0]["local"], &full["victims"][0]["lost"]), (&json!("[::]:53"), &json!(9000)));
    raised(&full, "net.core.rmem_default", 212_992);
    // Two snapshots say nothing of the time between them.
    assert!(full["why"].as_str().unwrap().contains("in between is not known"), "{full}");
    assert_eq!(refused(&full), ["net.core.rmem_max"]);
}

#[test]
fn a_buffer_that_was_cut_off_wants_a_higher_maximum() {
    let full = found(&udp(8_388_608), "udp-receive-buffer-overflow");
    raised(&full, "net.core.rmem_max", 4_194_304);
    assert!(refused(&full).contains(&"net.core.rmem_default"));
}

#[test]
fn a_buffer_of_the_application_s_own_is_the_application_s() {
    let full = found(&udp(65_536), "udp-receive-buffer-overflow");
    raised(&full, "SO_RCVBUF", 32_768);
    assert_eq!(full["suggestions"][0]["appliable"], false);
    assert!(full["no_setting_helps"].is_string() && refused(&full).contains(&"net.core.rmem_default"), "{full}");
}

#[test]
fn wrong_checksums_are_no_full_buffer() {
    let samples = Samples::quiet().grow("Udp.InErrors", 500).grow("Udp.InCsumErrors", 500);
    let wrong = found(&samples, "udp-checksum-errors");
    assert_eq!((&wrong["severity"], &wrong["lost"]), (&json!("warning"), &json!(500)));
    assert!(wrong["no_setting_helps"].is_string(), "{wrong}");
    assert_eq!(finding(&run::report(samples.path(), &[]), "udp-receive-buffer-overflow"), None);
}

/// A socket that loses for each of two causes: two findings of one rule, each with its own losses.
#[test]
fn two_causes_are_two_findings_and_two_different_metrics() {
    let samples = udp(212_992).grow("Udp.InErrors", 5_000).grow("Udp.RcvbufErrors", 5_000);
    let own = |drops| Socket { v6: false, port: 514, cookie: 6, queue: 0, limit: 65_536, drops };
    samples.write(UDP4, [0, 5_000].map(|drops| message::sockets(&[own(drops)])));
    let report = run::report(samples.path(), &[]);
    let mut lost: Vec<u64> =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["lost"].as_u64().unwrap()).collect();
    lost.sort_unstable();
    assert_eq!(lost, [5_000, 9_000]);
    openmetrics::checked(&rx(samples.path(), &["--output", "openmetrics"]).out);
}

/// Forty connections in ten seconds turned away by a listener with this backlog.
fn listener(backlog: u32) -> Samples {
    let socket = |drops| Socket { v6: false, port: 443, cookie: 8, queue: backlog + 1, limit: backlog, drops };
    let samples = Samples::quiet()
        .grow("TcpExt.ListenDrops", 40)
        .grow("TcpExt.ListenOverflows", 40)
        .grow("Tcp.PassiveOpens", 900)
        .setting("net/core/somaxconn", "128");
    samples.write(LISTEN4, [2, 42].map(|drops| message::sockets(&[socket(drops)])));
    samples.write(UDP4, [message::sockets(&[]), message::sockets(&[])]);
    samples
}

#[test]
fn an_accept_queue_as_long_as_somaxconn_wants_more_of_that() {
    let full = found(&listener(128), "accept-queue-overflow");
    assert_eq!((&full["severity"], &full["lost"]), (&json!("warning"), &json!(40)));
    assert_eq!(full["instance"], json!({"socket": "0.0.0.0:443"}));
    raised(&full, "net.core.somaxconn", 128);
}

#[test]
fn an_accept_queue_shorter_than_somaxconn_is_the_application_s() {
    let full = found(&listener(16), "accept-queue-overflow");
    let [[knob, from, to]] = &suggested(&full)[..] else { panic!("{full}") };
    assert!(!knob.starts_with("net."), "{knob} does not bind");
    assert_eq!((from.as_str(), to.parse::<u64>().unwrap() > 16), ("16", true));
    assert_eq!(full["suggestions"][0]["appliable"], false);
    assert!(refused(&full).contains(&"net.core.somaxconn"));
}

/// A table that holds so many of a hundred entries.
fn table(count: &str) -> Samples {
    let samples = Samples::quiet().setting("net/netfilter/nf_conntrack_max", "100");
    samples.write("proc/sys/net/netfilter/nf_conntrack_count", [count, count]);
    samples
}

#[test]
fn a_full_conntrack_table_wants_a_larger_one() {
    let full = found(&table("100").grow("nf_conntrack.drop", 30), "conntrack-table-full");
    assert_eq!((&full["severity"], &full["lost"]), (&json!("critical"), &json!(30)));
    assert_eq!(raised(&full, "net.netfilter.nf_conntrack_max", 100), 256);
    assert_eq!(found(&table("80"), "conntrack-table-full")["severity"], "warning");
    assert_eq!(run::report(table("50").path(), &[])["findings"], json!([]));
}

#[test]
fn a_conntrack_table_with_room_wants_no_larger_one() {
    let roomy = found(&table("3").grow("nf_conntrack.drop", 30), "conntrack-table-full");
    assert_eq!((&roomy["severity"], suggested(&roomy).len()), (&json!("info"), 0));
}

#[test]
fn what_can_not_be_read_is_not_said_of_the_conntrack_table() {
    let unknown = found(&Samples::quiet().grow("nf_conntrack.drop", 30), "conntrack-table-full");
    assert!(!unknown.to_string().contains("has room"), "{unknown}");
}

#[test]
fn strict_filtering_is_suggested_to_be_loose_where_the_traffic_is() {
    let samples = Samples::quiet()
        .grow("TcpExt.IPReversePathFilter", 200)
        .setting("net/ipv4/conf/all/rp_filter", "0")
        .setting("net/ipv4/conf/eth0/rp_filter", "0")
        .setting("net/ipv4/conf/eth1.7/rp_filter", "1")
        .setting("net/ipv4/conf/eth2/rp_filter", "1");
    // eth2 is strict too, but nothing came in there.
    let one = |n: u64| {
        let all = [Link::new(b"eth0").stat(0, n), Link::new(b"eth1.7").stat(0, n), Link::new(b"eth2")];
        message::links(&all)
    };
    samples.write(LINKS, [one(100), one(900)]);
    let strict = found(&samples, "reverse-path-filter-drops");
    assert_eq!((&strict["severity"], &strict["lost"]), (&json!("warning"), &json!(200)));
    assert_eq!(suggested(&strict), [["net.ipv4.conf.eth1/7.rp_filter", "1", "2"].map(String::from)]);
}

#[test]
fn a_slow_trickle_is_information() {
    let samples = Samples::quiet().grow("TcpExt.IPReversePathFilter", 1);
    samples.write("proc/uptime", ["1000.0 0\n", "1060.0 0\n"]);
    assert_eq!(found(&samples, "reverse-path-filter-drops")["severity"], "info");
}
