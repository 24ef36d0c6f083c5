//! What `tx` says of recordings: ports, resets, odd segments, keys, clouds, links, settings.

use serde_json::{Value, json};

use crate::message::{self, LINKS, Link};
use crate::run::{self, finding};
use crate::schema;
use crate::tree::Samples;

fn report(samples: &Samples) -> Value {
    let run = run::verb("tx", samples.path(), &["--json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    schema::valid(&run.out)
}

fn found(report: &Value, id: &str) -> Value {
    finding(report, id).unwrap_or_else(|| panic!("{id} is not among {}", report["findings"])).clone()
}

fn why(finding: &Value) -> &str {
    finding["why"].as_str().unwrap()
}

fn suggested(finding: &Value) -> Vec<[&str; 3]> {
    let suggestions = finding["suggestions"].as_array().unwrap().iter();
    suggestions.map(|one| ["knob", "from", "to"].map(|key| one[key].as_str().unwrap())).collect()
}

/// A connection from 10.0.0.1: struct inet_diag_msg.
fn connection(state: u8, local: u16, remote: u16, left: u32) -> Vec<u8> {
    let mut fixed = vec![0; 72];
    fixed[..2].copy_from_slice(&[2, state]);
    fixed[4..6].copy_from_slice(&local.to_be_bytes());
    fixed[6..8].copy_from_slice(&remote.to_be_bytes());
    fixed[8..12].copy_from_slice(&[10, 0, 0, 1]);
    fixed[24..28].copy_from_slice(&[192, 0, 2, 7]);
    fixed[52..56].copy_from_slice(&left.to_ne_bytes());
    fixed
}

/// A host with 300 ports and these connections.
fn ports(connections: &[Vec<u8>]) -> Samples {
    let samples = Samples::quiet()
        .cell("Tcp.ActiveOpens", 5_000, 5_000)
        .setting("net/ipv4/ip_local_port_range", "40000 40299")
        .setting("net/ipv4/ip_local_reserved_ports", "")
        .setting("net/ipv4/tcp_tw_reuse", "2")
        .setting("net/ipv4/tcp_timestamps", "1");
    let sockstat = format!("sockets: used 9\nTCP: inuse {} orphan 0 tw 0 alloc 9 mem 9\n", connections.len());
    samples.write("proc/net/sockstat", [&sockstat, &sockstat]);
    let all = message::diag(connections);
    samples.write(".netlink/sock_diag/tcp_info.bin", [&all, &all]);
    samples
}

#[test]
fn ports_are_counted_by_service() {
    const TIME_WAIT: u8 = 6;
    let open = (40_000..40_200).map(|port| connection(1, port, 5432, 0));
    // Of those in TIME_WAIT, a second has passed for the first 60.
    let over =
        (40_200..40_300).map(|port| connection(TIME_WAIT, port, 5432, if port < 40_260 { 9_000 } else { 59_500 }));
    // A client of this host's own service, a listener, and connections to another service.
    let others = [connection(1, 443, 50_000, 0), connection(10, 40_010, 0, 0)];
    let elsewhere = (40_000..40_100).map(|port| connection(1, port, 80, 0));
    let all: Vec<Vec<u8>> = open.chain(over).chain(others).chain(elsewhere).collect();
    let report = report(&ports(&all));
    let short = found(&report, "ephemeral-ports-exhausted");
    assert_eq!((&short["severity"], &short["instance"]), (&json!("critical"), &json!({"socket": "192.0.2.7:5432"})));
    let words =
        "of 300 ports (40000 to 40299), connections from 10.0.0.1 to 192.0.2.7:5432 hold 300, 100 of them in TIME_WAIT";
    assert!(why(&short).starts_with(words), "{short}");
    assert_eq!(suggested(&short), [["net.ipv4.ip_local_port_range", "40000 40299", "10240 65535"]]);
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn ports_that_are_given_away_are_not_taken() {
    let over: Vec<Vec<u8>> = (40_000..40_300).map(|port| connection(6, port, 5432, 9_000)).collect();
    let samples = ports(&over);
    let short = found(&report(&samples), "ephemeral-ports-exhausted");
    assert_eq!(suggested(&short), [["net.ipv4.tcp_tw_reuse", "2", "1"]]);
    let reused = samples.setting("net/ipv4/tcp_tw_reuse", "1");
    assert_eq!(finding(&report(&reused), "ephemeral-ports-exhausted"), None);
}

#[test]
fn ports_are_not_looked_at_where_no_service_can_be_short_of_them() {
    let few: Vec<Vec<u8>> = (40_000..40_140).map(|port| connection(1, port, 5432, 0)).collect();
    let sources = |report: &Value| report["sources"].to_string().contains("sock_diag ports");
    assert!(!sources(&report(&ports(&few))));
    let many: Vec<Vec<u8>> = (40_000..40_290).map(|port| connection(1, port, 5432, 0)).collect();
    assert!(sources(&report(&ports(&many))));
    // All of them came in.
    let server = ports(&many).cell("Tcp.ActiveOpens", 3, 3);
    assert!(!sources(&report(&server)));
}

#[test]
fn resets_are_held_against_what_is_usual() {
    let told = report(&Samples::quiet().cell("Tcp.OutRsts", 100, 700).cell("Tcp.OutSegs", 1_000_000, 1_006_000));
    let resets = found(&told, "resets-sent");
    assert_eq!(resets["severity"], "info");
    assert!(why(&resets).starts_with("600 resets, 10.0 % of the segments sent, 0.01 % before"), "{resets}");
    let usual = Samples::quiet().cell("Tcp.OutRsts", 100_000, 100_600).cell("Tcp.OutSegs", 1_000_000, 1_006_000);
    assert_eq!(finding(&report(&usual), "resets-sent"), None);
}

#[test]
fn odd_segments_and_other_keys_are_told_apart() {
    let samples = Samples::quiet().grow("Tcp.InSegs", 10_000).grow("TcpExt.PAWSEstab", 300);
    let told = report(&samples.grow("TcpExt.TCPChallengeACK", 90).grow("TcpExt.TCPMD5Failure", 7));
    let odd = found(&told, "tcp-odd-segments");
    assert!(
        why(&odd).starts_with("300 had a timestamp from the past") && why(&odd).contains("; 90 were SYNs"),
        "{odd}"
    );
    let broken = found(&told, "tcp-broken-peer");
    assert_eq!((&broken["severity"], &broken["lost"]), (&json!("warning"), &json!(7)));
    let reneging = report(&Samples::quiet().grow("TcpExt.TCPSACKReneging", 1));
    assert!(why(&found(&reneging, "tcp-broken-peer")).starts_with("1 times a peer threw away"));
}

/// A network card called eth0 that sent so many bytes.
fn card(sent: u64) -> Samples {
    let samples = Samples::quiet();
    let link = |sent: u64| message::links(&[Link { kind: b"", ..Link::new(b"eth0").stat(0, 10).stat(3, sent) }]);
    samples.write(LINKS, [link(0), link(sent)]);
    samples
}

#[test]
fn a_cloud_tells_which_limit_it_is() {
    let samples = card(1_000);
    let names = ["bw_in", "bw_out", "pps", "conntrack", "linklocal"].map(|name| format!("{name}_allowance_exceeded"));
    let driver = |values: [u64; 5]| {
        let all: Vec<(&[u8], u64)> = names.iter().zip(values).map(|(name, value)| (name.as_bytes(), value)).collect();
        message::driver("ena", &all)
    };
    samples.write(".ethtool/eth0.bin", [driver([5, 5, 5, 5, 5]), driver([5, 905, 5, 45, 5])]);
    let told = report(&samples);
    let over = found(&told, "cloud-allowance-exceeded");
    assert_eq!(
        (&over["severity"], &over["lost"], &over["instance"]),
        (&json!("critical"), &json!(40), &json!({"device": "eth0"}))
    );
    let words =
        "had more sent than its bandwidth (900 packets), more connections than the cloud's firewall tracks for it (40";
    assert!(why(&over).contains(words), "{over}");
    assert_eq!(run::delta(&told, "nic.limited_connections", "eth0"), Some(40));
    samples.write(".ethtool/eth0.bin", [driver([5, 905, 5, 45, 5]), driver([5, 905, 5, 45, 5])]);
    assert_eq!(finding(&report(&samples), "cloud-allowance-exceeded"), None);
}

#[test]
fn a_full_link_is_one_with_a_wire() {
    let words = |pairs: &[(u16, u32)]| -> Vec<u8> {
        pairs.iter().flat_map(|(kind, value)| message::attribute(*kind, &value.to_ne_bytes())).collect()
    };
    let answer = |samples: &Samples, name: &str, attributes: &[(u16, u32)]| {
        let whole = message::generic(b"eth0", &words(attributes));
        samples.write(&format!(".netlink/generic/{name}.bin"), [&whole, &whole]);
    };
    // 900 Mbit/s for ten seconds, of 1,000.
    let samples = card(900 * 125_000 * 10);
    answer(&samples, "linkmodes-get", &[(5, 1_000)]);
    assert_eq!(finding(&report(&samples), "link-saturated"), None, "no ring: the speed is made up");
    answer(&samples, "rings-get", &[(2, 4_096), (6, 256)]);
    let full = found(&report(&samples), "link-saturated");
    assert_eq!(full["severity"], "info");
    assert!(why(&full).starts_with("eth0 sent 90 % of its 1000 Mbit/s"), "{full}");
    answer(&samples, "linkmodes-get", &[(5, 100)]);
    assert_eq!(finding(&report(&samples), "link-saturated"), None, "traffic shows that the speed is wrong");
}

#[test]
fn copied_settings_are_told_of_when_a_connection_is_made() {
    let copied = || {
        let samples =
            Samples::quiet().setting("net/ipv4/tcp_sack", "0").setting("net/core/netdev_max_backlog", "250000");
        samples.setting("net/core/somaxconn", "128").setting("net/ipv4/tcp_timestamps", "1")
    };
    assert_eq!(finding(&report(&copied()), "cargo-cult-settings"), None);
    let told = found(&report(&copied().grow("Tcp.ActiveOpens", 1)), "cargo-cult-settings");
    assert_eq!(suggested(&told), [["net.ipv4.tcp_sack", "0", "1"], ["net.core.somaxconn", "128", "4096"]]);
    assert_eq!(told["not"][0]["knob"], "net.core.netdev_max_backlog");
    assert_eq!(why(&told), "net.ipv4.tcp_sack = 0, net.core.somaxconn = 128, net.core.netdev_max_backlog = 250000");
}
