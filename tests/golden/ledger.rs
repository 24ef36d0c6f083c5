//! The ledger of two samples: what is missing, what explains it, and what must not be counted twice.

use serde_json::{Value, json};

use crate::message::{self, LINKS, Link, Socket, UDP4};
use crate::run::{self, line};
use crate::tree::Samples;

fn solved(samples: &Samples) -> Value {
    run::report(samples.path(), &[])
}

/// Fields of a ledger line, absent ones as null.
fn of(report: &Value, stage: &str, fields: &[&str]) -> Vec<Value> {
    let line = line(report, stage).unwrap_or_else(|| panic!("no line for {stage} in {}", report["ledger"]));
    fields.iter().map(|field| line[*field].clone()).collect()
}

#[test]
fn a_quiet_host_loses_nothing() {
    let report = solved(&Samples::quiet());
    let totals = json!({"in": 0, "delivered": 0, "lost": 0, "unwanted": 0, "queued": 0, "unexplained": 0});
    assert_eq!(report["totals"], totals);
    assert_eq!(report["findings"], json!([]));
    assert_eq!(report["since_boot"], false);
}

#[test]
fn what_came_in_and_was_counted_by_nobody_is_unexplained() {
    let report = solved(&Samples::quiet().grow("Ip.InReceives", 100).grow("Ip.InDelivers", 90));
    assert_eq!(of(&report, "ip_in", &["in", "out", "lost", "unexplained"]), [100, 90, 0, 10]);
    assert_eq!((&report["totals"]["unexplained"], &report["totals"]["delivered"]), (&json!(10), &json!(90)));
}

#[test]
fn both_ip_versions_and_forwarding_balance() {
    let report = solved(
        &Samples::quiet()
            .grow("Ip.InReceives", 100)
            .grow("Ip.InDelivers", 60)
            .grow("Ip.ForwDatagrams", 30)
            .grow("Ip.InHdrErrors", 4)
            .grow("Ip.InAddrErrors", 6)
            .grow("Ip6.InReceives", 50)
            .grow("Ip6.InDelivers", 41)
            .grow("Ip6.OutForwDatagrams", 7)
            .grow("Ip6.InNoRoutes", 2)
            .grow("Ip.OutTransmits", 30)
            .grow("Ip6.OutTransmits", 7),
    );
    let fields = ["in", "out", "lost", "unwanted", "unexplained"];
    assert_eq!(of(&report, "ip_in", &fields), [150, 138, 6, 6, 0]);
}

/// As this kernel counts, a packet is sent on before the firewall and its size stop it.
#[test]
fn what_was_sent_on_and_did_not_leave_is_lost_or_unexplained() {
    let router = || Samples::quiet().grow("Ip.InReceives", 100).grow("Ip.ForwDatagrams", 100);
    let report = solved(&router().grow("Ip.OutTransmits", 60).grow("Ip.FragFails", 10));
    assert_eq!(of(&report, "ip_in", &["in", "out", "unexplained"]), [100, 100, 0]);
    assert_eq!(of(&report, "forward", &["lost", "unexplained"]), [10, 30]);
    let totals = ["in", "delivered", "lost", "unexplained"].map(|field| report["totals"][field].as_u64().unwrap());
    assert_eq!(totals, [100, 60, 10, 30]);
    // What this host made itself may be what did not leave.
    let report = solved(&router().grow("Ip.OutRequests", 30).grow("Ip.OutTransmits", 105));
    assert_eq!(report["totals"]["unexplained"], 0);
    let report = solved(&router().grow("Ip.OutRequests", 30).grow("Ip.OutTransmits", 95));
    assert_eq!(of(&report, "forward", &["unexplained", "uncertainty"]), [35, 30]);
    // Fragments leave one by one: nothing can be said.
    let report = solved(&router().grow("Ip.OutTransmits", 150).grow("Ip.FragFails", 10));
    assert_eq!((&report["totals"]["lost"], &report["totals"]["unexplained"]), (&json!(0), &json!(0)));
}

#[test]
fn where_only_what_leaves_counts_as_sent_on_the_rest_is_missing_before() {
    let old = Samples::of("kernels/6.1.0");
    let report = solved(&old.grow("Ip.InReceives", 100).grow("Ip.ForwDatagrams", 90).grow("Ip.FragFails", 10));
    assert_eq!(of(&report, "ip_in", &["in", "out", "unexplained"]), [100, 90, 0]);
    assert_eq!(of(&report, "forward", &["lost"]), [10]);
}

#[test]
fn conntrack_explains_at_most_what_is_missing() {
    let missing = || Samples::quiet().grow("Ip.InReceives", 100).grow("Ip.InDelivers", 90);
    // Its counter also holds packets that this host wanted to send.
    for (dropped, explained) in [(4, 4), (10, 10), (30, 10)] {
        let report = solved(&missing().grow("nf_conntrack.drop", dropped));
        assert_eq!(of(&report, "conntrack", &["lost"]), [explained], "{dropped} dropped");
        assert_eq!(of(&report, "ip_in", &["unexplained"]), [10 - explained], "{dropped} dropped");
        assert_eq!(report["totals"]["lost"], explained);
    }
    let all_there = Samples::quiet().grow("Ip.InReceives", 90).grow("Ip.InDelivers", 90);
    let report = solved(&all_there.grow("nf_conntrack.drop", 5));
    assert_eq!(report["totals"]["lost"], 0, "nothing that came in is missing");
}

#[test]
fn listen_drops_are_lost_at_the_listener() {
    let report = solved(
        &Samples::quiet()
            .grow("Ip.InReceives", 100)
            .grow("Ip.InDelivers", 100)
            .grow("Tcp.InSegs", 100)
            .grow("TcpExt.ListenDrops", 7)
            .grow("TcpExt.ListenOverflows", 5)
            .grow("TcpExt.TCPRcvQDrop", 3),
    );
    assert_eq!(of(&report, "tcp_listen", &["in", "out", "lost"]), [100, 93, 7]);
    assert_eq!(of(&report, "tcp_in", &["in", "out", "lost"]), [93, 90, 3]);
    assert_eq!((&report["totals"]["lost"], &report["totals"]["delivered"]), (&json!(10), &json!(90)));
}

#[test]
fn parts_of_a_sum_are_not_added_to_it() {
    let report = solved(
        &Samples::quiet()
            .grow("Ip.InReceives", 100)
            .grow("Ip.InDelivers", 98)
            .grow("Ip.InHdrErrors", 2)
            .grow("IpExt.InCsumErrors", 2)
            .grow("Udp.InDatagrams", 68)
            .grow("Udp.InErrors", 20)
            .grow("Udp.RcvbufErrors", 15)
            .grow("Udp.InCsumErrors", 3)
            .grow("Udp.MemErrors", 2)
            .grow("Udp.NoPorts", 10),
    );
    assert_eq!(of(&report, "udp_in", &["in", "out", "lost", "unwanted"]), [98, 68, 20, 10]);
    assert_eq!(report["totals"]["lost"], 22);
}

#[test]
fn fragments_that_were_put_together_are_not_lost() {
    let whole = Samples::quiet()
        .grow("Ip.InReceives", 30)
        .grow("Ip.ReasmReqds", 20)
        .grow("Ip.ReasmOKs", 10)
        .grow("Ip.InDelivers", 20);
    let report = solved(&whole);
    assert_eq!(of(&report, "ip_in", &["in", "out", "lost", "unexplained"]), [30, 20, 0, 0]);
    assert_eq!((&report["totals"]["lost"], &report["totals"]["delivered"]), (&json!(0), &json!(20)));
    let broken = Samples::quiet()
        .grow("Ip6.InReceives", 34)
        .grow("Ip6.ReasmReqds", 24)
        .grow("Ip6.ReasmOKs", 10)
        .grow("Ip6.ReasmFails", 2)
        .grow("Ip6.InDelivers", 20);
    assert_eq!(of(&solved(&broken), "ip_in", &["in", "out", "lost", "unexplained"]), [34, 20, 2, 0]);
}

#[test]
fn nothing_balances_with_a_counter_that_was_reset() {
    let samples = Samples::quiet().cell("Ip.InReceives", 5000, 10).grow("Ip.InDelivers", 90);
    let report = solved(&samples);
    assert_eq!(run::delta(&report, "Ip.InReceives", ""), None);
    assert_eq!(run::delta(&report, "Ip.InDelivers", ""), Some(90));
    assert_eq!(of(&report, "ip_in", &["unexplained"]), [Value::Null]);
    assert_eq!(report["totals"]["unexplained"], 0);
}

#[test]
fn what_is_not_known_is_not_shown_as_zero() {
    let samples = Samples::quiet().cell("Ip.InReceives", 5000, 10).grow("Ip.InDelivers", 90);
    assert_eq!(of(&solved(&samples), "ip_in", &["in"]), [Value::Null]);
}

#[test]
fn a_device_s_drops_are_the_backlog_s_as_far_as_that_lost_any() {
    let device = |dropped| message::links(&[Link::new(b"veth0").stat(6, dropped)]);
    let samples = Samples::quiet();
    samples.write(LINKS, [device(100), device(140)]);
    let softnet = |dropped: u64| format!("00000000 {dropped:08x}{}\n", " 00000000".repeat(13));
    samples.write("proc/net/softnet_stat", [softnet(7), softnet(32)]);
    let report = solved(&samples);
    assert_eq!(of(&report, "backlog", &["lost"]), [25]);
    assert_eq!(of(&report, "ingress", &["unwanted"]), [15]);
}

#[test]
fn a_ring_s_losses_came_before_ip() {
    let device = |packets, missed| message::links(&[Link::new(b"eth0").stat(0, packets).stat(15, missed)]);
    let samples = Samples::quiet().grow("Ip.InReceives", 80).grow("Ip.InDelivers", 80);
    samples.write(LINKS, [device(5000, 3), device(5080, 23)]);
    let report = solved(&samples);
    assert_eq!(of(&report, "ring", &["lost"]), [20]);
    let totals = ["in", "delivered", "lost"].map(|field| report["totals"][field].as_u64().unwrap());
    assert_eq!(totals, [100, 80, 20]);
}

#[test]
fn what_waits_in_a_socket_is_queued_and_neither_lost_nor_read() {
    let held = |queue| message::sockets(&[Socket { v6: false, port: 53, cookie: 1, queue, limit: 212_992, drops: 0 }]);
    let samples = Samples::quiet().grow("Ip.InReceives", 50).grow("Ip.InDelivers", 50).grow("Udp.InDatagrams", 30);
    samples.write(UDP4, [held(0), held(20 * 768)]);
    let report = solved(&samples);
    assert_eq!(of(&report, "udp_in", &["in", "out", "lost", "queued"]), [50, 30, 0, 20]);
    assert_eq!((&report["totals"]["delivered"], &report["totals"]["queued"]), (&json!(30), &json!(20)));
}

#[test]
fn since_boot_there_is_no_ledger() {
    let report = run::report(&crate::tree::Tree::recorded("node-exporter"), &["--interval", "0"]);
    assert_eq!((report.get("ledger"), report.get("totals")), (None, None));
    assert_eq!(report["since_boot"], true);
}
