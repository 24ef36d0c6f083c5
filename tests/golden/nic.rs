//! What network devices tell of themselves: driver statistics, ethtool, netdev. Findings, suggestions, the ledger.

use serde_json::{Value, json};

use crate::message::{self, LINKS, Link};
use crate::run::{self, delta, finding, line};
use crate::schema;
use crate::tree::Samples;

/// A network card called eth0: its rx_packets, rx_dropped and rx_missed_errors in both samples.
fn card(packets: [u64; 2], dropped: [u64; 2], missed: [u64; 2]) -> Samples {
    let samples = Samples::quiet();
    let links = [0, 1].map(|at| {
        let stats = Link::new(b"eth0").stat(0, packets[at]).stat(6, dropped[at]).stat(15, missed[at]);
        message::links(&[Link { kind: b"", ..stats }])
    });
    samples.write(LINKS, links);
    samples
}

/// The driver's statistics in both samples.
fn driver(samples: &Samples, driver: &str, names: &[(&str, [u64; 2])]) {
    let one = |at: usize| {
        let statistics: Vec<(&[u8], u64)> = names.iter().map(|(name, values)| (name.as_bytes(), values[at])).collect();
        message::driver(driver, &statistics)
    };
    samples.write(".ethtool/eth0.bin", [one(0), one(1)]);
}

fn answer(samples: &Samples, name: &str, attributes: [Vec<u8>; 2]) {
    let whole = attributes.map(|attributes| message::generic(b"eth0", &attributes));
    samples.write(&format!(".netlink/generic/{name}.bin"), whole);
}

fn words(pairs: &[(u16, u32)]) -> Vec<u8> {
    pairs.iter().flat_map(|(kind, value)| message::attribute(*kind, &value.to_ne_bytes())).collect()
}

/// ETHTOOL_A_RINGS_RX_MAX is 2, ETHTOOL_A_RINGS_RX 6.
fn rings(samples: &Samples, now: u32, most: u32) {
    answer(samples, "rings-get", [words(&[(2, most), (6, now)]), words(&[(2, most), (6, now)])]);
}

fn report(samples: &Samples) -> Value {
    run::report(samples.path(), &[])
}

fn found(report: &Value, id: &str) -> Value {
    finding(report, id).unwrap_or_else(|| panic!("{id} is not among {}", report["findings"])).clone()
}

#[test]
fn a_ring_that_overflows_wants_a_longer_one() {
    let samples = card([0, 95_000], [0, 0], [0, 5_000]);
    rings(&samples, 256, 4096);
    let report = report(&samples);
    let full = found(&report, "nic-ring-overflow");
    assert_eq!(
        (&full["severity"], &full["lost"], &full["instance"]),
        (&json!("critical"), &json!(5000), &json!({"device": "eth0"}))
    );
    let suggestion = &full["suggestions"][0];
    assert_eq!([&suggestion["knob"], &suggestion["from"], &suggestion["to"]], ["ring.rx", "256", "512"]);
    assert_eq!((&suggestion["risk"], &suggestion["scope"]), (&json!("high"), &json!("device")));
    assert_eq!(
        (&suggestion["command"], &suggestion["undo"]),
        (&json!("ethtool -G eth0 rx 512"), &json!("ethtool -G eth0 rx 256"))
    );
    assert_eq!(line(&report, "ring").unwrap()["lost"], 5000);
}

#[test]
fn a_ring_at_its_longest_is_left_alone() {
    let samples = card([0, 95_000], [0, 0], [0, 5_000]);
    rings(&samples, 4096, 4096);
    let full = found(&report(&samples), "nic-ring-overflow");
    assert!(full["suggestions"].as_array().unwrap().is_empty() && full["no_setting_helps"].is_string(), "{full}");
}

#[test]
fn what_the_driver_counts_again_is_not_lost_again() {
    let samples = card([0, 95_000], [0, 0], [0, 5_000]);
    driver(&samples, "mlx5_core", &[("rx_out_of_buffer", [70, 5_070]), ("rx_prio0_discards", [0, 900])]);
    let report = report(&samples);
    assert_eq!(found(&report, "nic-ring-overflow")["lost"], 5000);
    assert_eq!(line(&report, "ring").unwrap()["lost"], 5000);
    assert_eq!(delta(&report, "nic.rx_ring_full", "eth0"), Some(5000));
}

/// Linux 6.18 puts what the port discarded into rx_dropped, with what nobody wanted.
#[test]
fn ring_losses_in_rx_dropped_are_losses() {
    let samples = card([0, 95_000], [0, 500], [0, 40]);
    driver(&samples, "mlx5_core", &[("rx_out_of_buffer", [0, 40]), ("rx_discards_phy", [0, 400])]);
    let report = report(&samples);
    assert_eq!(line(&report, "ring").unwrap()["lost"], 440);
    assert_eq!(line(&report, "ingress").unwrap()["unwanted"], 100);
    assert_eq!(found(&report, "nic-ring-overflow")["lost"], 440);
}

/// ena only tells that the ring was empty; what came meanwhile is in rx_dropped, with what XDP dropped on purpose.
#[test]
fn a_ring_that_was_empty_lost_what_the_device_dropped() {
    let samples = card([0, 95_000], [0, 500], [0, 0]);
    driver(&samples, "ena", &[("queue_0_rx_empty_rx_ring", [0, 3]), ("queue_0_rx_xdp_drop", [0, 60])]);
    let lossy = report(&samples);
    assert_eq!(found(&lossy, "nic-ring-overflow")["lost"], 440);
    assert_eq!(line(&lossy, "ring").unwrap()["lost"], 440);
    driver(&samples, "ena", &[("queue_0_rx_empty_rx_ring", [3, 3]), ("queue_0_rx_xdp_drop", [0, 60])]);
    let calm = report(&samples);
    assert_eq!(line(&calm, "ingress").unwrap()["unwanted"], 500);
    assert_eq!(finding(&calm, "nic-ring-overflow"), None);
}

#[test]
fn frames_that_nobody_wanted_stay_unwanted() {
    let samples = card([0, 95_000], [0, 500], [0, 0]);
    driver(&samples, "mlx5_core", &[("rx_out_of_buffer", [9, 9]), ("rx_discards_phy", [9, 9])]);
    let report = report(&samples);
    assert_eq!(line(&report, "ingress").unwrap()["unwanted"], 500);
    assert_eq!(finding(&report, "nic-ring-overflow"), None);
}

/// vmxnet3 counts in no counter of the device what found no buffer, under the same names for each queue.
#[test]
fn duplicate_names_lose_no_queue() {
    let samples = card([0, 100], [0, 3], [0, 0]);
    let queue = |number: u64, lost: u64, dropped: u64| {
        [
            ("Rx Queue#", [number, number]),
            ("  pkts rx OOB", [10, 10 + lost]),
            ("  drv dropped rx total", [0, dropped]),
            ("", [5, 5]),
        ]
    };
    driver(&samples, "vmxnet3", &[queue(0, 5, 3), queue(1, 6, 0)].concat());
    let report = report(&samples);
    assert_eq!(delta(&report, "nic.rx_ring_full", "eth0"), Some(11));
    assert_eq!(delta(&report, "nic_queue.rx_ring_full", "eth0rx-1"), Some(6));
    assert_eq!(line(&report, "ring").unwrap()["lost"], 11);
    assert_eq!(line(&report, "driver_rx").unwrap()["lost"], 3);
    assert!(line(&report, "ingress").is_none_or(|line| line["unwanted"] == 0));
}

#[test]
fn a_driver_that_starts_anew_loses_nothing() {
    let samples = card([0, 100], [0, 0], [0, 0]);
    driver(&samples, "igb", &[("rx_missed_errors", [9_000, 3])]);
    let report = report(&samples);
    assert_eq!(delta(&report, "nic.rx_ring_full", "eth0"), None);
    assert_eq!(finding(&report, "nic-ring-overflow"), None);
}

#[test]
fn a_driver_s_answer_that_is_cut_off_costs_its_rows_only() {
    let samples = card([0, 95_000], [0, 0], [0, 5_000]);
    samples.write(".ethtool/eth0.bin", [b"short", b"short"]);
    let report = report(&samples);
    assert_eq!(found(&report, "nic-ring-overflow")["lost"], 5000);
    let sources = report["sources"].as_array().unwrap();
    let of = sources.iter().find(|source| source["name"] == "driver statistics of eth0").unwrap();
    assert_eq!((&of["ok"], &of["reason"]), (&json!(false), &json!("the driver's answer makes no sense")));
}

#[test]
fn the_limits_of_a_cloud_are_no_setting_of_this_host() {
    let samples = card([0, 95_000], [0, 0], [0, 0]);
    driver(&samples, "ena", &[("pps_allowance_exceeded", [5, 905])]);
    let limited = found(&report(&samples), "nic-policy-drops");
    assert_eq!((&limited["severity"], &limited["lost"]), (&json!("warning"), &json!(900)));
    assert!(limited["no_setting_helps"].as_str().unwrap().contains("cloud"));
}

/// ETHTOOL_A_PAUSE_STATS is 5, in it 2 for those sent; ETHTOOL_A_FEC_STATS is 5, in it 3 for what could not be mended.
#[test]
fn pause_and_forward_error_correction() {
    let samples = card([0, 95_000], [0, 0], [0, 0]);
    let nested = |kind: u16, value: u64| message::attribute(5, &message::attribute(kind, &value.to_ne_bytes()));
    answer(&samples, "pause-get", [nested(2, 10), nested(2, 510)]);
    answer(&samples, "fec-get", [nested(3, 1), nested(3, 4)]);
    rings(&samples, 512, 4096);
    let report = report(&samples);
    let pause = found(&report, "host-sends-pause");
    assert_eq!((&pause["severity"], &pause["suggestions"][0]["to"]), (&json!("warning"), &json!("1024")));
    assert_eq!(found(&report, "fec-uncorrectable")["severity"], "warning");
    assert_eq!(delta(&report, "pause.tx_pause_frames", "eth0"), Some(500));
    assert_eq!(delta(&report, "fec.uncorrectable_blocks", "eth0"), Some(3));
}

/// IFLA_CARRIER_DOWN_COUNT.
#[test]
fn a_link_that_goes_down() {
    let samples = card([0, 95_000], [0, 0], [0, 0]);
    let link = |count: u32| message::links(&[Link { kind: b"", carrier: count, ..Link::new(b"eth0") }]);
    samples.write(LINKS, [link(3), link(4)]);
    let flap = found(&report(&samples), "link-flaps");
    assert_eq!((&flap["severity"], &flap["evidence"][0]["counter"]), (&json!("warning"), &json!("carrier.down_count")));
}

#[test]
fn devices_of_software_are_not_asked_for_driver_statistics() {
    let samples = card([0, 1], [0, 0], [0, 0]);
    let veth = || message::links(&[Link::new(b"eth0").stat(0, 5)]);
    samples.write(LINKS, [veth(), veth()]);
    let report = report(&samples);
    let asked = |source: &Value| source["name"].as_str().unwrap().starts_with("driver statistics");
    assert!(!report["sources"].as_array().unwrap().iter().any(asked));
}

/// The card is known by its place on the bus, that the driver tells.
#[test]
fn interrupts_are_those_of_the_card() {
    let samples = card([0, 95_000], [0, 0], [0, 0]);
    let mut bytes = message::driver("virtio_net", &[]);
    bytes[100..112].copy_from_slice(b"0000:00:03.0");
    samples.write(".ethtool/eth0.bin", [&bytes, &bytes]);
    let text = |count: u32| {
        format!(
            "           CPU0       CPU1\n  9:     5     6  IO-APIC  9-edge  acpi\n\
             38:  {count}  7  PCI-MSIX-0000:00:03.0  1-edge  virtio2-input.0\n"
        )
    };
    samples.write("proc/interrupts", [text(100), text(140)]);
    let report = report(&samples);
    assert_eq!(delta(&report, "interrupts.count", "eth0input.0"), Some(40));
    let others = run::cells(&report).into_keys().filter(|(id, _)| id == "interrupts.count").count();
    assert_eq!(others, 1);
}

#[test]
fn answers_that_are_torn_cost_nothing_but_themselves() {
    let nested = |value: u64| message::attribute(5, &message::attribute(2, &value.to_ne_bytes()));
    let whole = [nested(10), nested(510)].map(|attributes| message::generic(b"eth0", &attributes));
    let statistics =
        [9_u64, 909].map(|n| message::driver("igb", &[(b"rx_missed_errors", n), (b"rx_queue_0_drops", 0)]));
    for cut in (0..whole[1].len().max(statistics[1].len())).step_by(9) {
        let samples = card([0, 95_000], [0, 0], [0, 5_000]);
        let until = |bytes: &Vec<u8>| bytes[..cut.min(bytes.len())].to_vec();
        samples.write(".netlink/generic/pause-get.bin", [whole[0].clone(), until(&whole[1])]);
        samples.write(".ethtool/eth0.bin", [statistics[0].clone(), until(&statistics[1])]);
        let report = report(&samples);
        let cells = run::cells(&report);
        for (id, right) in [("pause.tx_pause_frames", 510), ("nic.rx_ring_full", 909)] {
            let seen = cells.get(&(id.into(), "eth0".into())).map(run::number);
            assert!(seen.is_none_or(|seen| seen == right), "cut at {cut}: {id} is {seen:?}");
        }
        assert_eq!(line(&report, "ring").unwrap()["lost"], 5000, "cut at {cut}");
    }
}

/// tx_dropped (7) of a card, of a veth without a carrier, and a queue that hung: sysfs tells of the card's alone.
#[test]
fn what_devices_do_not_send() {
    let samples = Samples::quiet();
    let links = [0, 40].map(|dropped| {
        let card = Link { kind: b"", ..Link::new(b"eth0").stat(1, 100 * dropped).stat(7, dropped) };
        message::links(&[card, Link::new(b"va").stat(7, 2 * dropped)])
    });
    samples.write(LINKS, links);
    let queue = "sys/class/net/eth0/queues/tx-3";
    samples.write(&format!("{queue}/tx_timeout"), ["1\n", "2\n"]);
    samples.write(&format!("{queue}/byte_queue_limits/limit"), ["3000\n", "2084\n"]);
    samples.write(&format!("{queue}/byte_queue_limits/inflight"), ["0\n", "1042\n"]);
    let report = schema::valid(&run::verb("tx", samples.path(), &["--json"]).out);
    let all: Vec<&Value> = report["findings"].as_array().unwrap().iter().collect();
    let lost = |device: &str| {
        let own = all.iter().find(|one| one["id"] == "device-send-drops" && one["instance"]["device"] == device);
        own.and_then(|one| one["lost"].as_u64())
    };
    assert_eq!((lost("eth0"), lost("va")), (Some(40), Some(80)));
    let hung = found(&report, "tx-queue-timeout");
    assert_eq!(hung["instance"], json!({"device": "eth0", "queue": "tx-3"}));
    assert_eq!(hung["evidence"][1], json!({"counter": "bql.inflight", "instance": hung["instance"], "delta": 1042}));
    assert_eq!(run::number(&run::cells(&report)[&("bql.limit".into(), "eth0tx-3".into())]), 2084);
    // rx does not read them.
    assert!(!run::cells(&run::report(samples.path(), &[])).keys().any(|(id, _)| id.starts_with("bql.")));
}
