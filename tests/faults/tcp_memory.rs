//! What all TCP sockets share: `tcp-memory-pressure`, `tcp-orphans`, and the memory limit of a cgroup in
//! `tcp-receive-queue-drops`.

use std::thread::sleep;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::cgroup::Cgroup;
use crate::guard;
use crate::kernel::{Counters, orphans};
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::{check_victim, observe};
use crate::report::Finding;
use crate::tcp_receive::{Fault, connected, connected_in, lost_since, many_small_segments};

const PORT: u16 = 8084;
/// Of the whole machine, for the time of a case.
const MAX_ORPHANS: u64 = 80;

pub fn cases() -> Vec<Case> {
    let alone = &[Need::Namespaces, Need::MachineWide];
    let deaf = &[Need::Namespaces, Need::Nft, Need::MachineWide];
    vec![
        Case::new("tcp_memory::pressure", alone, pressure),
        Case::new("tcp_memory::refused_by_the_cgroup", &[Need::Namespaces, Need::TcpCgroup], refused_by_the_cgroup)
            .seconds(4),
        Case::new("tcp_memory::many_orphans", deaf, |window| many_orphans(MAX_ORPHANS / 3, "warning", window)),
        Case::new("tcp_memory::most_orphans", deaf, |window| many_orphans(MAX_ORPHANS * 3 / 4, "critical", window)),
        Case::new("tcp_memory::too_many_orphans", deaf, too_many_orphans),
    ]
}

/// tcp_mem with a pressure of 16 pages and the machine's own limit.
pub fn low_pressure() -> Outcome<String> {
    let present = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem")?;
    Ok(format!("16 16 {}", present.split_whitespace().nth(2).unwrap_or_default()))
}

/// Oracle: the kernel's own tcp_mem, and what the client's kernel took and nobody read: that much is held at least.
fn pressure(window: Duration) -> Outcome {
    const RULE: &str = "tcp-memory-pressure";
    let low = low_pressure()?;
    let _guard = guard::lower("net/ipv4/tcp_mem", &low)?;
    let Fault { lab, server, mut client, .. } = connected(Family::V4, 60)?;
    let seen = observe(&lab.server, window, || {
        let taken = client.ask("write 1000000 60000")?;
        sleep(Duration::from_millis(300));
        Ok(taken)
    })?;
    let pages = seen.told / 4096;
    if pages < 64 {
        return again(format_args!("only {pages} pages were written"));
    }
    let mut checks = Checks::default();
    let all = seen.report.findings(RULE);
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    checks.same("severity", Some("warning"), finding.0.and_then(|finding| finding["severity"].as_str()));
    let held = finding.evidence("sockstat.TCP_mem");
    checks.that(held >= Some(pages), format_args!("{held:?} pages held, but {pages} were written"));
    let times = seen.grew("TcpExt.TCPMemoryPressures");
    checks.same("times under pressure", times, finding.evidence("TcpExt.TCPMemoryPressures").unwrap_or(0));
    finding.raises(&mut checks, "net.ipv4.tcp_mem", &low, "machine");
    let named = finding.victims().iter().any(|victim| victim["pid"].as_u64() == Some(server.pid().into()));
    checks.that(named, "the server is not named as one that holds most");
    checks.that(finding.refuses("net.core.rmem_max"), "net.core.rmem_max should be refused");
    checks.done(&seen.report)
}

/// A server in a cgroup that lets its sockets hold 16 KiB; the buffer of its connection has room for more.
///
/// Oracle: segments that the client sent, again ones too, less those that were delivered.
fn refused_by_the_cgroup(window: Duration) -> Outcome {
    const RULE: &str = "tcp-receive-queue-drops";
    let cgroup = Cgroup::new(16 << 10)?;
    let lab = many_small_segments(Family::V4)?;
    let Fault { lab, mut server, mut client, local } =
        connected_in(lab, Family::V4, 1, |server| cgroup.take(server.pid()))?;
    let first = client.ask("write 100 100")?;
    let seen = observe(&lab.server, window, || {
        let before = Counters::read(&lab.client)?;
        // They wait together while the server keeps its socket, and are looked at one after the other.
        server.tell("hold 100")?;
        sleep(Duration::from_millis(30));
        let mut left = first + client.ask("write 4000 20")?;
        left -= server.reply()?;
        // What was lost is sent again until it arrives.
        cgroup.limit(1 << 30)?;
        for _ in 0..60 {
            left -= server.ask("read")?;
            if left == 0 {
                break;
            }
            sleep(Duration::from_millis(50));
        }
        lost_since(&lab.client, &before)
    })?;
    let counted = seen.grew("TcpExt.TCPRcvQDrop") + seen.grew("TcpExt.TCPOFODrop");
    if seen.told == 0 || seen.told != counted || cgroup.most()? < 16 << 10 {
        return again(format_args!("{} segments were lost, the kernel counts {counted}", seen.told));
    }
    seen.only_as_planned(&["TcpExt.TCPBacklogDrop", "TcpExt.RcvPruned"])?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "TcpExt.TCPRcvQDrop", seen.grew("TcpExt.TCPRcvQDrop"));
    seen.ledger(&mut checks, "tcp_in", seen.told);
    check_victim(&mut checks, &finding, &server, &local, seen.told);
    checks.same("findings tcp-receive-pruned", 0, seen.report.findings("tcp-receive-pruned").len());
    checks.that(finding.says_no_setting_helps(), "it is the cgroup's limit");
    checks.that(finding.refuses("net.ipv4.tcp_rmem"), "net.ipv4.tcp_rmem should be refused");
    checks.done(&seen.report)
}

/// Connections with data that the peer never acknowledges: its firewall drops all that comes. The observed host is the one
/// that opens and closes them.
pub struct Closer {
    pub lab: Lab,
    peer: Actor,
    pub closer: Actor,
}

/// Orphans outlive their namespace's name: the peer hears them again, so that they end.
impl Drop for Closer {
    fn drop(&mut self) {
        let ended = || {
            self.lab.client.nft("flush ruleset")?;
            for _ in 0..50 {
                if orphans(&self.lab.server)? == 0 {
                    return Ok(true);
                }
                sleep(Duration::from_millis(100));
            }
            Outcome::Ok(false)
        };
        if !matches!(ended(), Ok(true)) {
            eprintln!("orphans are left, to {}", self.peer.comm());
        }
    }
}

pub fn unheard(connections: u64) -> Outcome<Closer> {
    let lab = Lab::new()?;
    let peer = std::net::SocketAddr::new(Family::V4.client(), PORT).to_string();
    let mut server = Actor::start(&lab.client, "nsd-peer", "tcp-server", &[&peer, "1024"])?;
    let mut closer = Actor::start(&lab.server, "nsd-closer", "tcp-client", &[])?;
    closer.ask(&format!("fill {peer} {connections}"))?;
    server.ask("accept")?;
    lab.client.nft("add table inet t; add chain inet t i { type filter hook input priority 0; policy drop; }")?;
    closer.ask("write 100 100")?;
    Ok(Closer { lab, peer: server, closer })
}

/// Oracle: connections that were closed, and that the kernel still lists.
fn many_orphans(count: u64, severity: &str, window: Duration) -> Outcome {
    let _guard = guard::lower("net/ipv4/tcp_max_orphans", MAX_ORPHANS)?;
    let mut fault = unheard(count)?;
    let seen = observe(&fault.lab.server, window, || {
        fault.closer.ask("hangup all")?;
        // The kernel counts them ten times a second.
        sleep(Duration::from_millis(150));
        orphans(&fault.lab.server)
    })?;
    if seen.told != count {
        return again(format_args!("of {count} closed connections {} are orphans", seen.told));
    }
    let mut checks = Checks::default();
    let finding = judge(&mut checks, &seen.report, severity);
    let held = finding.evidence("sockstat.TCP_orphan");
    checks.that(held >= Some(count), format_args!("{held:?} orphans, but there were {count}"));
    checks.done(&seen.report)
}

/// Oracle: connections that were closed, less those that the kernel still lists: each was reset, and is one step of
/// TCPAbortOnMemory.
fn too_many_orphans(window: Duration) -> Outcome {
    const COUNT: u64 = MAX_ORPHANS + 60;
    let _guard = guard::lower("net/ipv4/tcp_max_orphans", MAX_ORPHANS)?;
    let mut fault = unheard(COUNT)?;
    let seen = observe(&fault.lab.server, window, || {
        fault.closer.ask(&format!("hangup {}", MAX_ORPHANS + 10))?;
        sleep(Duration::from_millis(150));
        fault.closer.ask("hangup all")?;
        sleep(Duration::from_millis(150));
        Ok(())
    })?;
    let reset = COUNT - orphans(&fault.lab.server)?;
    let after = Counters::read(&fault.lab.server)?;
    if after.get("TcpExt.TCPAbortOnMemory") != seen.after.get("TcpExt.TCPAbortOnMemory") {
        return again("some were reset after the window");
    }
    seen.kernel_agrees("TcpExt.TCPAbortOnMemory", reset)?;
    let mut checks = Checks::default();
    let finding = judge(&mut checks, &seen.report, "critical");
    checks.same("connections that were reset", Some(reset), finding.evidence("TcpExt.TCPAbortOnMemory"));
    checks.that(finding.refuses("net.ipv4.tcp_fin_timeout"), "net.ipv4.tcp_fin_timeout should be refused");
    checks.same("findings tcp-memory-pressure", 0, seen.report.findings("tcp-memory-pressure").len());
    checks.done(&seen.report)
}

fn judge<'a>(checks: &mut Checks, report: &'a crate::report::Report, severity: &str) -> Finding<'a> {
    let all = report.findings("tcp-orphans");
    checks.same("findings tcp-orphans", 1, all.len());
    let finding = Finding(all.first().copied());
    checks.same("severity", Some(severity), finding.0.and_then(|finding| finding["severity"].as_str()));
    finding.raises(checks, "net.ipv4.tcp_max_orphans", &MAX_ORPHANS.to_string(), "machine");
    finding
}
