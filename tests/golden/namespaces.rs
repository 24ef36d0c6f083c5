//! Every network namespace of a host, in each format: made here, for a recording holds one namespace.

use anstream::adapter::strip_str;
use netstat_deep::cli::Format;
use netstat_deep::diagnose::diagnose;
use netstat_deep::ledger;
use netstat_deep::model::{Counter, Instance, Observed, SourceStatus};
use netstat_deep::render::{self, Look};
use netstat_deep::report::namespaces::{NetnsReport, rank};
use netstat_deep::report::{Netns, Own, Report, SCHEMA, Verb, stage_counters};
use netstat_deep::source::namespaces::Namespace;
use netstat_deep::stage::{RECEIVE, Way, counters};
use serde_json::{Value, json};

use crate::openmetrics;
use crate::schema;
use crate::snapshots::{compare, narrow};

fn counter(id: &str) -> &'static Counter {
    counters().map(|(_, counter)| counter).find(|counter| counter.id() == id).expect(id)
}

/// A host by these counters.
fn report(grown: &[(&str, u64)], dropped_on_a_cpu: u64) -> Report {
    let quiet = Observed::quiet().with_at(counter("softnet.dropped"), Instance::Cpu { cpu: 0 }, dropped_on_a_cpu);
    let seen = grown.iter().fold(quiet, |seen, (id, by)| seen.with(counter(id), *by));
    let (lines, totals) = ledger::solve(Way::Receive, &seen.changes, None, &mut []);
    Report {
        schema: SCHEMA,
        kind: Verb::Rx,
        tool_version: "",
        host: Some("web-01".into()),
        kernel: Some("6.18.5".into()),
        cpus: Some(2),
        taken_at: None,
        window_seconds: seen.changes.seconds,
        since_boot: false,
        recorded: false,
        netns: Some(Netns::default()),
        totals: Some(totals),
        ledger: Some(lines),
        stages: stage_counters(RECEIVE, &seen.changes),
        findings: diagnose(&Way::Receive.rules(), &seen),
        drops: None,
        drop_totals: None,
        incidents: None,
        sources: Vec::new(),
        namespaces: None,
        plan: None,
        change: None,
        own: Own::default(),
    }
}

/// Our own, some that are quiet, one that loses, one whose unit is known, and those that can't be looked at.
fn host() -> Report {
    let called = |label: &str, inode| Namespace { id: (4, inode), label: label.into(), ..Namespace::default() };
    let named = |name: &str, inode| Namespace { name: Some(name.into()), ..called(name, inode) };
    let busy = [("Ip.InReceives", 1_200), ("Ip.InDelivers", 1_200), ("Udp.InDatagrams", 1_200)];
    let lossy = [
        ("Ip.InReceives", 12_345),
        ("Ip.InDelivers", 12_300),
        ("Udp.InDatagrams", 11_900),
        ("Udp.InErrors", 400),
        ("Udp.RcvbufErrors", 400),
    ];
    let here = Namespace { is_here: true, ..called("(here)", 100) };
    let (one, shared) = NetnsReport::take(&here, report(&busy, 25));
    let unit = Namespace { unit: Some("dnsd.service".into()), pid: Some(812), ..called("dnsd.service", 101) };
    let container = Namespace { container: Some("4f3a".repeat(16)), ..called("container 4f3a4f3a4f3a", 102) };
    let mut all = vec![
        one,
        NetnsReport::take(&named("web", 103), report(&lossy, 25)).0,
        NetnsReport::take(&unit, report(&[("Ip.InReceives", 60), ("Ip.InDelivers", 60), ("Udp.NoPorts", 3)], 0)).0,
        NetnsReport::take(&container, report(&[], 0)).0,
        NetnsReport::unseen(
            &named("a-name-that-is-longer-than-there-is-room", 104),
            "gone before the window ended".into(),
        ),
        NetnsReport::unseen(&named("secret", 105), "not permitted: needs CAP_SYS_ADMIN".into()),
    ];
    for n in 0..10 {
        all.push(NetnsReport::take(&named(&format!("tenant-{n}"), 200 + n), report(&[], 0)).0);
    }
    rank(&mut all);
    let reason = Some("that of 1 process may not be seen: needs CAP_SYS_PTRACE".into());
    let sources = vec![SourceStatus { name: "network namespaces".into(), ok: true, reason, microseconds: 0 }];
    Report { namespaces: Some(all), sources, ..shared }
}

fn rendered(report: &Report, format: Format, verbose: u8) -> String {
    let mut out = Vec::new();
    render::write(report, Look { format, verbose }, &mut out).unwrap();
    strip_str(&String::from_utf8(out).unwrap()).to_string()
}

#[test]
fn every_namespace_has_its_line() {
    let report = host();
    let mut changed = Vec::new();
    let mut same = |format: &str, text: &str| changed.extend(compare("namespaces", format, text));
    let table = rendered(&report, Format::Table, 0);
    let all = rendered(&report, Format::Table, 1);
    narrow(&table);
    narrow(&all);
    same("table", &format!("{table}\n$ -v\n{all}"));
    let json = schema::valid(&rendered(&report, Format::Jsonl, 0));
    same("json", &(serde_json::to_string_pretty(&json).unwrap() + "\n"));
    let metrics = rendered(&report, Format::Openmetrics, 0);
    openmetrics::checked(&metrics);
    let metrics: String =
        metrics.lines().filter(|line| !line.starts_with("# HELP")).map(|line| format!("{line}\n")).collect();
    same("openmetrics", &metrics);
    assert!(changed.is_empty(), "BLESS=1 accepts them:\n{}", changed.join("\n"));
}

#[test]
fn what_the_machine_counts_stands_once_and_what_a_namespace_lost_with_it() {
    let report = serde_json::to_value(host()).unwrap();
    let of = |scope: &str, stages: &Value| {
        stages.as_array().is_some_and(|all| all.iter().any(|stage| stage["scope"] == scope))
    };
    assert!(of("cpu", &report["stages"]) && !of("netns", &report["stages"]));
    let namespaces = report["namespaces"].as_array().unwrap();
    assert!(namespaces.iter().all(|one| !of("cpu", &one["stages"])));
    assert_eq!(namespaces[0]["label"], json!("web"));
    assert_eq!(namespaces[0]["findings"][0]["id"], json!("udp-receive-buffer-overflow"));
    let backlog = |findings: &Value| findings.as_array().unwrap().iter().filter(|f| f["stage"] == "backlog").count();
    assert_eq!(backlog(&report["findings"]), 1);
    assert_eq!(namespaces.iter().map(|one| backlog(&one["findings"])).sum::<usize>(), 0);
}
