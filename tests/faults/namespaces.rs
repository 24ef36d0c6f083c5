//! Whose counters these are: each run sees its own namespace, by whatever name it was given.
//!
//! Oracle: datagrams sent to a port that nobody listens on. Exact: each is one step of Udp.NoPorts.

use std::os::linux::fs::MetadataExt;
use std::time::Duration;

use serde_json::Value;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::lab::{Family, Lab, Namespace};
use crate::need::Need;
use crate::observe::side_by_side;
use crate::report::Report;
use crate::tool;

const CLOSED: u16 = 5007;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces];
    let mut all = vec![
        Case::new("namespaces::name_path_and_pid_agree", needs, spellings),
        Case::new("namespaces::unknown_name", needs, unknown),
    ];
    for family in Family::BOTH {
        let name = format!("namespaces::two_in_parallel_{}", family.suffix());
        all.push(Case::with(name, needs, move |window| parallel(family, window)));
    }
    all
}

/// Two programs at the same time.
fn parallel(family: Family, window: Duration) -> Outcome {
    let (one, two) = (Lab::new()?, Lab::new()?);
    let (mut to_one, mut to_two) = (sender(&one, family)?, sender(&two, family)?);
    let (reports, sent) = side_by_side([&one.server.name, &two.server.name], window, || {
        Ok([knock(&mut to_one, family, 100)?, knock(&mut to_two, family, 250)?])
    })?;
    if sent != [100, 250] {
        return again(format_args!("sent {sent:?}"));
    }
    let mut checks = Checks::default();
    for ((report, sent), lab) in reports.iter().zip(sent).zip([&one, &two]) {
        own_counts(&mut checks, report, &family.udp("NoPorts"), sent, &lab.server)?;
    }
    checks.done(&format_args!("{}\n{}", reports[0], reports[1]))
}

/// One namespace, three programs at the same time, three ways to say which.
fn spellings(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut client = sender(&lab, Family::V4)?;
    let inside = Actor::start(&lab.server, "nsd-inside", "tcp-client", &[])?;
    let pid = format!("pid:{}", inside.pid());
    let names = [lab.server.name.as_str(), &lab.server.path(), &pid];
    let (reports, sent) = side_by_side(names, window, || knock(&mut client, Family::V4, 100))?;
    let mut checks = Checks::default();
    for report in &reports {
        own_counts(&mut checks, report, "Udp.NoPorts", sent, &lab.server)?;
        checks.same("cookie", &reports[0].0["netns"]["cookie"], &report.0["netns"]["cookie"]);
    }
    let netns: Vec<&Value> = reports.iter().map(|report| &report.0["netns"]).collect();
    checks.done(&format_args!("{netns:?}\n{}", reports[0]))
}

/// A usage error: one line for what failed, one for what to do.
fn unknown(window: Duration) -> Outcome {
    let ended = tool::start("nsdf-no-such-namespace", window)?.end()?;
    let mut checks = Checks::default();
    checks.same("exit code", Some(2), ended.status.code());
    checks.same("lines on stderr", 2, ended.stderr.lines().filter(|line| !line.trim().is_empty()).count());
    checks.that(ended.stderr.contains("nsdf-no-such-namespace"), "stderr should name the namespace");
    checks.same("stdout", "", ended.stdout.as_str());
    checks.done(&ended.stderr)
}

fn sender(lab: &Lab, family: Family) -> Outcome<Actor> {
    let source = std::net::SocketAddr::new(family.client(), 0).to_string();
    Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])
}

fn knock(sender: &mut Actor, family: Family, count: u64) -> Outcome<u64> {
    sender.ask(&format!("send {} {count} 100 0", family.server(CLOSED)))
}

fn own_counts(checks: &mut Checks, report: &Report, counter: &str, sent: u64, namespace: &Namespace) -> Outcome {
    checks.same(counter, Some(sent), report.delta(counter));
    // Nobody here asked for them: unwanted, not lost.
    checks.same("ledger udp_in: unwanted", Some(sent), report.ledger_sum("udp_in", "unwanted"));
    checks.that(report.ledger_sum("udp_in", "lost").unwrap_or(0) == 0, "ledger udp_in: nothing was lost");
    let inode = std::fs::metadata(namespace.path())?.st_ino();
    checks.same("netns.id", Some(format!("net:[{inode}]").as_str()), report.0["netns"]["id"].as_str());
    Ok(())
}
