//! `syn-queue-cookies` and `syn-queue-drops`: a SYN queue that is full of handshakes whose last ACK never comes, because
//! the client's firewall drops the answers to its SYNs.
//!
//! Oracle: SYNs that the client's namespace sent, less the handshakes that the kernel lists as half-open; for real clients,
//! the connects that came through. Exact: each SYN beyond the queue is one cookie, or one drop. All within a second, after
//! which SYNs would be sent again.

use std::time::Duration;

use crate::accept_queue::syns;
use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::kernel::half_open;
use crate::lab::{Family, Lab, Namespace};
use crate::need::Need;
use crate::observe::{Seen, check_victim, observe};

const PORT: u16 = 8081;
const BACKLOG: u64 = 16;
const BURST: u64 = 60;
/// Fewer than the backlog, so that the accept queue has room for them.
const REAL: u64 = 10;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces, Need::Nft];
    let case = |name: &str, family: Family, body: fn(Family, Duration) -> Outcome| {
        Case::with(format!("syn_queue::{name}_{}", family.suffix()), needs, move |window| body(family, window))
    };
    let each = |family| {
        [
            case("cookies_for_real_clients", family, real),
            case("cookies_for_forged_syns", family, forged),
            case("drops_without_cookies", family, drops),
        ]
    };
    Family::BOTH.into_iter().flat_map(each).collect()
}

/// The client never learns of the answers to its SYNs.
pub fn deaf(client: &Namespace) -> Outcome {
    client.nft(
        "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
         add rule inet t i tcp flags & (syn|ack) == syn|ack drop",
    )
}

struct Fault {
    lab: Lab,
    server: Actor,
    client: Actor,
    local: String,
}

fn fault(family: Family) -> Outcome<Fault> {
    let lab = Lab::new()?;
    deaf(&lab.client)?;
    let local = family.server(PORT).to_string();
    let server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, &BACKLOG.to_string()])?;
    let client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    Ok(Fault { lab, server, client, local })
}

/// Connects of which none comes through; gives the SYNs that found the queue full.
pub fn burst(lab: &Lab, client: &mut Actor, local: &str) -> Outcome<u64> {
    let before = syns(&lab.client)?;
    client.ask(&format!("burst {local} {BURST}"))?;
    let (sent, taken) = (syns(&lab.client)? - before, half_open(&lab.server)?);
    // None is sent again.
    client.ask("abandon")?;
    Ok(sent.saturating_sub(taken))
}

/// What must not be blamed: the accept queue is as good as empty, and no cause is told twice.
fn nothing_else<T>(seen: &Seen<T>, checks: &mut Checks) {
    for rule in ["accept-queue-overflow", "accept-queue-nearly-full", "listen-drops-other"] {
        checks.same(&format!("findings {rule}"), 0, seen.report.findings(rule).len());
    }
}

fn real(family: Family, window: Duration) -> Outcome {
    let Fault { lab, server: _server, mut client, local } = fault(family)?;
    let seen = observe(&lab.server, window, || {
        client.ask(&format!("burst {local} {}", BACKLOG + 1))?;
        // Answers that come late are refused by the client, and their handshakes are over.
        client.ask("abandon")?;
        lab.client.nft("flush ruleset")?;
        client.ask(&format!("fill {local} {REAL}"))
    })?;
    seen.kernel_agrees("TcpExt.TCPReqQFullDoCookies", REAL)?;
    seen.kernel_agrees("TcpExt.SyncookiesRecv", seen.told)?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, "syn-queue-cookies", "TcpExt.TCPReqQFullDoCookies", REAL);
    checks.same("cookies that came back", Some(REAL), finding.evidence("TcpExt.SyncookiesRecv"));
    checks.same("lost", Some(0), finding.0.and_then(|finding| finding["lost"].as_u64()));
    checks.that(finding.refuses("net.ipv4.tcp_max_syn_backlog"), "tcp_max_syn_backlog should be refused");
    checks.that(finding.says_no_setting_helps(), "only the application, or nobody, can make this queue longer");
    nothing_else(&seen, &mut checks);
    checks.done(&seen.report)
}

fn forged(family: Family, window: Duration) -> Outcome {
    let Fault { lab, server, mut client, local } = fault(family)?;
    let seen = observe(&lab.server, window, || burst(&lab, &mut client, &local))?;
    let sent = seen.told;
    seen.kernel_agrees("TcpExt.TCPReqQFullDoCookies", sent)?;
    if seen.grew("TcpExt.SyncookiesSent") != sent {
        return again("cookies were sent twice");
    }
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, "syn-queue-cookies", "TcpExt.TCPReqQFullDoCookies", sent);
    checks.same("cookies that came back", Some(0), finding.evidence("TcpExt.SyncookiesRecv"));
    checks.that(finding.says_no_setting_helps(), "a flood is no matter of a setting");
    checks.that(finding.refuses("net.core.somaxconn"), "net.core.somaxconn should be refused");
    check_victim(&mut checks, &finding, &server, &local, 0);
    nothing_else(&seen, &mut checks);
    checks.done(&seen.report)
}

fn drops(family: Family, window: Duration) -> Outcome {
    let Fault { lab, server, mut client, local } = fault(family)?;
    lab.server.set("net/ipv4/tcp_syncookies", "0")?;
    let seen = observe(&lab.server, window, || burst(&lab, &mut client, &local))?;
    let lost = seen.told;
    seen.kernel_agrees("TcpExt.TCPReqQFullDrop", lost)?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, "syn-queue-drops", "TcpExt.TCPReqQFullDrop", lost);
    seen.ledger(&mut checks, "tcp_listen", lost);
    check_victim(&mut checks, &finding, &server, &local, lost);
    finding.raises(&mut checks, "net.ipv4.tcp_syncookies", "0", "netns");
    checks.that(finding.refuses("net.ipv4.tcp_max_syn_backlog"), "tcp_max_syn_backlog should be refused");
    nothing_else(&seen, &mut checks);
    checks.done(&seen.report)
}
