//! The probe beside the counters of `rx`: what no counter knows is told, and nothing is counted twice.
//!
//! Oracle: datagrams sent less datagrams read.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use super::{attached, valid};
use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::cgroup::Cgroup;
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::inside;
use crate::report::{Finding, Report};
use crate::tool;

const OPEN: u16 = 5060;
const FORBIDDEN: u16 = 5061;
const EACH: u64 = 60;

pub fn cases() -> Vec<Case> {
    let both = |name: &'static str, needs: &'static [Need], body: fn(Family, Duration) -> Outcome| {
        Family::BOTH.map(|family| {
            let name = format!("drops::rx_with_probes_{name}_{}", family.suffix());
            Case::with(name, needs, move |window| body(family, window))
        })
    };
    let firewall = both("firewall", &[Need::Namespaces, Need::Nft, Need::Bpf], firewall);
    let cgroup =
        Case::new("drops::rx_with_probes_cgroup_limit", &[Need::Namespaces, Need::Bpf, Need::TcpCgroup], cgroup_limit);
    firewall.into_iter().chain([cgroup]).collect()
}

pub fn rx<T>(lab: &Lab, window: Duration, traffic: impl FnOnce() -> Outcome<T>) -> Outcome<(Report, T)> {
    let args = ["rx", "--json", "--probes", "on", "--netns", &lab.server.name];
    // The counters are read for the first time after the probes are attached.
    let begun = |run: &tool::Run| attached(run).map(|()| sleep(Duration::from_millis(300)));
    let ([report], told) = inside([tool::start_with(&args, window)], begun, traffic)?;
    valid(&report.0)?;
    Ok((report, told))
}

/// Without probes these are unexplained; with them they are lost at the firewall, and nothing is left to explain.
fn firewall(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table inet t; add chain inet t i {{ type filter hook input priority 0; }}; \
         add rule inet t i udp dport {FORBIDDEN} counter drop comment \"no entry\""
    ))?;
    let local = family.server(OPEN).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "1048576"])?;
    let source = SocketAddr::new(family.client(), 0).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])?;
    let (report, (allowed, dropped)) = rx(&lab, window, || {
        let allowed = sender.ask(&format!("send {local} {EACH} 100 0"))?;
        Ok((allowed, sender.ask(&format!("send {} {EACH} 100 0", family.server(FORBIDDEN)))?))
    })?;
    let received = reader.ask("drain")?;
    if received != allowed {
        return again(format_args!("{received} of {allowed} received"));
    }
    let mut checks = Checks::default();
    checks.same("ledger netfilter: lost", Some(dropped), report.ledger_sum("netfilter", "lost"));
    let unexplained = report.ledger_sum("ip_in", "unexplained").unwrap_or(0);
    checks.same("ledger ip_in: unexplained", 0, unexplained);
    let all = report.findings("firewall-drops");
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    checks.same("evidence", Some(dropped), finding.evidence("drop.NETFILTER_DROP"));
    let why = finding.0.and_then(|finding| finding["why"].as_str()).unwrap_or_default();
    checks.that(why.contains("nft inet t i handle 2 \"no entry\""), format_args!("the rule is not named: {why}"));
    checks.that(finding.says_no_setting_helps(), "it is not said that no setting helps");
    checks.done(&report)
}

/// A server in a cgroup that allows it 16 KiB of TCP memory reads what a client sends.
///
/// Oracle: the cgroup's own memory.kmem.tcp.max_usage_in_bytes, which reaches the limit where memory was refused (what
/// must not fail is charged all the same).
const TCP_BYTES: u32 = 16 << 10;

fn cgroup_limit(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let cgroup = Cgroup::new(TCP_BYTES)?;
    let local = Family::V4.server(OPEN).to_string();
    let mut server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "16"])?;
    cgroup.take(server.pid())?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let (report, ()) = rx(&lab, window, || {
        server.tell("sink")?;
        client.tell(&format!("bulk {local} 4000000"))?;
        sleep(Duration::from_millis(500));
        Ok(())
    })?;
    let most = cgroup.most()?;
    drop((server, client));
    if most < TCP_BYTES.into() {
        return again(format_args!("the cgroup refused nothing: it used {most} bytes at most"));
    }
    let mut checks = Checks::default();
    let all = report.findings("socket-memory-cgroup-limit");
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    checks.that(finding.evidence("drop.sock_exceed_buf_limit").is_some_and(|count| count > 0), "no evidence");
    let named = finding.victims().iter().any(|victim| victim["comm"] == "nsd-server");
    checks.that(named, "the server is not named as a victim");
    checks.done(&report)
}
