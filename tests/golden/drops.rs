//! The screen of `drops`, made from drops that are made up: it fits, and what came from outside cannot steer a terminal.

use anstream::adapter::strip_str;
use netstat_deep::cli::{By, Format};
use netstat_deep::model::{Drop, DropFlow, DropTotals, Harm, Layer, Means, Policy, Refuser, Share, Victim};
use netstat_deep::render::drops::{View, write};
use netstat_deep::report::{Own, Report, SCHEMA, Verb};

fn drop(reason: &str, harm: Harm, count: u64) -> Drop {
    let normal = netstat_deep::stage::reason(reason, None).map_or("Nobody knows.", |(_, reason)| reason.normal);
    Drop {
        reason: reason.into(),
        reason_number: Some(6),
        subsystem: "core".into(),
        likely: None,
        harm,
        normal: normal.into(),
        stage: "virtual_devices".into(),
        location: Some("a_function_with_a_name_that_is_longer_than_all_others_of_the_kernel+0x123 [module]".into()),
        device: Some("a-long-name-15c".into()),
        netns: Some("net:[4026531840]".into()),
        netns_name: Some("a namespace of somebody who likes long names, and gives them to all".into()),
        network: Some("ipv6".into()),
        protocol: Some("udp".into()),
        direction: None,
        policy: policy(count),
        count,
        per_second: Some(count as f64),
        victims: vec![Victim {
            pid: Some(4_194_304),
            comm: Some("fifteen-letters".into()),
            unit: Some("a-service-with-a-rather-long-name-of-its-own@instance.service".into()),
            local: Some("[2001:db8:1111:2222:3333:4444:5555:6666]:65535".into()),
            lost: count,
            ..Victim::default()
        }],
        flows: vec![DropFlow {
            from: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".into(),
            to: "[2001:db8:1111:2222:3333:4444:5555:7777]:65535".into(),
            count,
        }],
        stack: vec!["bpf_prog_ours+0x1".into(), "udp_queue_rcv_one_skb+0x437".into()],
    }
}

/// Refused by a rule whose names are as long as the kernel takes them, but for one packet.
fn policy(count: u64) -> Option<Policy> {
    let refuser = Refuser {
        family: Some("inet".into()),
        table: Some("t".repeat(255)),
        chain: Some("a-chain".into()),
        handle: Some(u64::MAX),
        comment: Some("a comment of many words ".repeat(5)),
        ..Refuser::default()
    };
    Some(Policy {
        shares: vec![Share { count: count - 1, by: Means::Counter, refuser: refuser.clone() }],
        candidates: vec![refuser],
        unattributed: 1,
        note: Some("nobody knows".into()),
        ..Policy::of(Layer::Nftables, Means::Counter)
    })
}

fn report(drops: Vec<Drop>) -> Report {
    let of = |harm| drops.iter().filter(|drop| drop.harm == harm).map(|drop| drop.count).sum();
    let totals = DropTotals {
        packets: drops.iter().map(|drop| drop.count).sum(),
        harmful: of(Harm::Harmful),
        watch: of(Harm::Watch),
        harmless: of(Harm::Harmless),
        ..DropTotals::default()
    };
    Report {
        schema: SCHEMA,
        kind: Verb::Drops,
        tool_version: "0.0.0",
        host: Some("a-host-with-a-long-name.example.net".into()),
        kernel: Some("6.18.44-with-a-long-suffix".into()),
        cpus: Some(2),
        taken_at: None,
        recorded: false,
        window_seconds: Some(1.0),
        since_boot: false,
        netns: None,
        totals: None,
        ledger: None,
        stages: Vec::new(),
        findings: Vec::new(),
        drops: Some(drops),
        drop_totals: Some(totals),
        namespaces: None,
        plan: None,
        change: None,
        incidents: None,
        sources: Vec::new(),
        own: Own::default(),
    }
}

fn screen(report: &Report, by: By, harmless: bool) -> String {
    let mut out = Vec::new();
    write(report, View { format: Format::Table, by, harmless, verbose: 1 }, &mut out).unwrap();
    strip_str(std::str::from_utf8(&out).unwrap()).to_string()
}

const ALL: [By; 9] =
    [By::Reason, By::Location, By::Stage, By::Device, By::Netns, By::Process, By::Unit, By::Flow, By::Rule];

fn several() -> Report {
    report(vec![
        drop("SOCKET_RCVBUFF", Harm::Harmful, 123_456_789),
        drop("TCP_INVALID_ACK_SEQUENCE", Harm::Watch, 12),
        drop("NO_SOCKET", Harm::Harmless, 7),
    ])
}

#[test]
fn the_screen_fits_a_narrow_terminal() {
    for by in ALL {
        for line in screen(&several(), by, true).lines() {
            assert!(line.chars().count() <= 80, "{by:?}: {} in '{line}'", line.chars().count());
        }
    }
}

#[test]
fn harmless_drops_are_folded_away_but_counted() {
    let folded = screen(&several(), By::Reason, false);
    assert!(!folded.contains("NO_SOCKET") && folded.contains("7 harmless ones are folded away"), "{folded}");
    let open = screen(&several(), By::Reason, true);
    assert!(open.contains("NO_SOCKET") && !open.contains("folded away"), "{open}");
}

#[test]
fn the_parts_of_a_table_add_up_to_the_whole() {
    for by in ALL {
        let text = screen(&several(), by, true);
        let numbers = text.lines().filter(|line| ["✗ ", "! ", "· "].iter().any(|mark| line.starts_with(mark)));
        let counts = numbers.filter_map(|line| line.split_whitespace().nth(1)?.replace(',', "").parse::<u64>().ok());
        assert_eq!(counts.sum::<u64>(), 123_456_808, "{by:?}: {text}");
    }
}

#[test]
fn a_reason_of_two_protocols_has_a_line_for_each() {
    let of = |stage: &str, count| Drop { stage: stage.into(), ..drop("NO_SOCKET", Harm::Harmless, count) };
    let text = screen(&report(vec![of("udp_in", 5), of("tcp_in", 3), of("udp_in", 1)]), By::Reason, true);
    let lines: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("· ")).map(|line| line.split_whitespace().collect()).collect();
    let found: Vec<[&str; 2]> = lines.iter().map(|words| [words[1], words[5]]).collect();
    assert_eq!(found, [["6", "udp_in"], ["3", "tcp_in"]], "{text}");
}

#[test]
fn an_empty_window_says_so() {
    assert!(screen(&report(Vec::new()), By::Reason, false).contains("nothing dropped"));
}
