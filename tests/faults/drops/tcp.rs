//! TCP's own losses with the probe beside the counters: the reason, the stage, the victim and the number, each once.
//!
//! Oracle: that of each fault without the probe: what the client sent and was not delivered.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::probed::rx;
use super::reasons::victim;
use crate::accept_queue::syns;
use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::kernel::Counters;
use crate::lab::Family;
use crate::need::Need;
use crate::report::{Finding, Report};
use crate::tcp_receive::{Fault, connected, hold, lost_since};

/// Reasons to which a kernel before 6.18 gave no name are taken from the place.
fn rows<'a>(report: &'a Report, reason: &str) -> Vec<&'a Value> {
    let all = report.0["drops"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(|row| row["reason"] == reason || row["likely"] == reason).collect()
}

pub fn cases() -> Vec<Case> {
    let case = |name: &str, family: Family, body: fn(Family, Duration) -> Outcome| {
        let name = format!("drops::rx_with_probes_tcp_{name}_{}", family.suffix());
        Case::with(name, &[Need::Namespaces, Need::Bpf], move |window| body(family, window))
    };
    let each = |family| {
        [case("backlog", family, backlog), case("pruned", family, pruned), case("accept_queue", family, accept_queue)]
    };
    Family::BOTH.into_iter().flat_map(each).collect()
}

fn backlog(family: Family, window: Duration) -> Outcome {
    let Fault { lab, mut server, mut client, local } = connected(family, 1)?;
    client.ask("write 100 100")?;
    let (report, lost) = rx(&lab, window, || hold(&lab, &mut server, &mut client))?;
    if lost == 0 {
        return again("nothing was lost");
    }
    let mut checks = Checks::default();
    judge(&mut checks, &report, ["SOCKET_BACKLOG", "tcp_in", "tcp-socket-backlog-drops"], lost);
    if let [row, ..] = rows(&report, "SOCKET_BACKLOG")[..] {
        victim(&mut checks, row, &server, local.parse()?, lost);
    }
    checks.done(&report)
}

fn pruned(family: Family, window: Duration) -> Outcome {
    let Fault { lab, mut server, mut client, local } = connected(family, 1)?;
    client.ask("write 60000 60000")?;
    let (report, lost) = rx(&lab, window, || {
        server.ask("shrink 2000")?;
        let before = Counters::read(&lab.client)?;
        client.ask("write 3000 100")?;
        let lost = lost_since(&lab.client, &before)?;
        server.ask("read")?;
        Ok(lost)
    })?;
    if lost == 0 {
        return again("nothing was lost");
    }
    let mut checks = Checks::default();
    judge(&mut checks, &report, ["PROTO_MEM", "tcp_in", "tcp-receive-pruned"], lost);
    if let [row, ..] = rows(&report, "PROTO_MEM")[..] {
        victim(&mut checks, row, &server, local.parse()?, lost);
    }
    checks.done(&report)
}

/// The kernel frees a SYN that it refused as one that it consumed (net/ipv4/tcp_input.c tcp_rcv_state_process()): no probe of
/// drops sees it, and the counter's number stands.
fn accept_queue(family: Family, window: Duration) -> Outcome {
    const BACKLOG: u64 = 4;
    let Fault { lab, server: _server, mut client, .. } = connected(family, 1)?;
    let local = family.server(8085).to_string();
    let server = Actor::start(&lab.server, "nsd-listener", "tcp-server", &[&local, &BACKLOG.to_string()])?;
    client.ask(&format!("fill {local} {}", BACKLOG + 1))?;
    let (report, lost) = rx(&lab, window, || {
        let before = syns(&lab.client)?;
        client.ask(&format!("burst {local} 20"))?;
        sleep(Duration::from_millis(50));
        client.ask("abandon")?;
        Ok(syns(&lab.client)? - before)
    })?;
    let mut checks = Checks::default();
    checks.same("drops for TCP_LISTEN_OVERFLOW", 0, rows(&report, "TCP_LISTEN_OVERFLOW").len());
    told_once(&mut checks, &report, ["tcp_listen", "accept-queue-overflow"], lost);
    let finding = Finding(report.findings("accept-queue-overflow").first().copied());
    let named = finding.victims().iter().any(|victim| victim["pid"].as_u64() == Some(server.pid().into()));
    checks.that(named, "the listener is not named as the victim");
    checks.done(&report)
}

/// The probe, the ledger and the finding say the same number, and none adds to another's.
fn judge(checks: &mut Checks, report: &Report, [reason, stage, rule]: [&str; 3], lost: u64) {
    let seen = rows(report, reason);
    checks.same(&format!("drops for {reason}"), lost, seen.iter().filter_map(|row| row["count"].as_u64()).sum());
    for row in seen {
        checks.same(&format!("{reason}: stage"), Some(stage), row["stage"].as_str());
        checks.same(&format!("{reason}: harm"), Some("harmful"), row["harm"].as_str());
    }
    told_once(checks, report, [stage, rule], lost);
}

fn told_once(checks: &mut Checks, report: &Report, [stage, rule]: [&str; 2], lost: u64) {
    checks.same(&format!("ledger {stage}: lost"), Some(lost), report.ledger_sum(stage, "lost"));
    checks.same("lost in all", Some(lost), report.0["totals"]["lost"].as_u64());
    let all = report.findings(rule);
    checks.same(&format!("findings {rule}"), 1, all.len());
    let said = all.first().and_then(|finding| finding["lost"].as_u64());
    checks.same(&format!("{rule}: lost"), Some(lost), said);
}
