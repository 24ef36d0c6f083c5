//! `listen-drops-other`: new connections dropped although neither queue of the listener is full.
//!
//! Oracle: SYNs that the client's namespace sent, less the handshakes that the kernel lists as half-open. Exact: each SYN
//! dropped is one step of ListenDrops. All within a second, after which SYNs would be sent again.

use std::time::Duration;

use crate::accept_queue::syns;
use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome};
use crate::lab::{CLIENT_DEVICE, Family, Lab, batch};
use crate::need::Need;
use crate::observe::{Seen, check_victim, observe};
use crate::report::Finding;
use crate::syn_queue::{burst, deaf};

const RULE: &str = "listen-drops-other";
const PORT: u16 = 8082;
const COUNT: u64 = 30;

pub fn cases() -> Vec<Case> {
    let each = |family: Family| {
        let name = |name: &str| format!("listen_drops::{name}_{}", family.suffix());
        [
            Case::with(name("max_syn_backlog"), &[Need::Namespaces, Need::Nft], move |window| reserve(family, window)),
            Case::with(name("no_route_back"), &[Need::Namespaces], move |window| no_route(family, window)),
        ]
    };
    Family::BOTH.into_iter().flat_map(each).collect()
}

/// The last quarter of the places is kept for clients that are known, and none is.
fn reserve(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    deaf(&lab.client)?;
    lab.server.set("net/ipv4/tcp_syncookies", "0")?;
    lab.server.set("net/ipv4/tcp_max_syn_backlog", "16")?;
    let local = family.server(PORT).to_string();
    let server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "128"])?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let seen = observe(&lab.server, window, || burst(&lab, &mut client, &local))?;
    let mut checks = Checks::default();
    let finding = judge(&seen, &mut checks, &server, &local)?;
    finding.raises(&mut checks, "net.ipv4.tcp_max_syn_backlog", "16", "netns");
    checks.that(finding.refuses("net.core.somaxconn"), "net.core.somaxconn should be refused");
    checks.done(&seen.report)
}

/// The client's SYNs come from an address to which the server has no route.
fn no_route(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let (far, bits) = if family == Family::V4 { ("10.99.0.1", 32) } else { ("fd00:99::1", 128) };
    batch(&lab.client.name, &[format!("addr add {far}/{bits} dev {CLIENT_DEVICE} nodad")])?;
    // All that goes to the server is sent from there.
    let server = family.server(0).ip();
    batch(&lab.client.name, &[format!("route replace {server}/{bits} dev {CLIENT_DEVICE} src {far}")])?;
    let local = family.server(PORT).to_string();
    let server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "128"])?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let seen = observe(&lab.server, window, || {
        let before = syns(&lab.client)?;
        client.ask(&format!("burst {local} {COUNT}"))?;
        client.ask("abandon")?;
        Ok(syns(&lab.client)? - before)
    })?;
    let mut checks = Checks::default();
    let finding = judge(&seen, &mut checks, &server, &local)?;
    let no_routes = if family == Family::V4 { "Ip.OutNoRoutes" } else { "Ip6.OutNoRoutes" };
    checks.that(finding.evidence(no_routes) >= Some(seen.told), format_args!("{no_routes} is no evidence"));
    checks.that(finding.says_no_setting_helps(), "a missing route is no matter of a setting");
    checks.done(&seen.report)
}

fn judge<'a>(seen: &'a Seen<u64>, checks: &mut Checks, server: &Actor, local: &str) -> Outcome<Finding<'a>> {
    let lost = seen.told;
    seen.only_as_planned(&[
        "softnet.dropped",
        "link.rx_dropped@vb",
        "TcpExt.ListenOverflows",
        "TcpExt.TCPReqQFullDrop",
    ])?;
    seen.kernel_agrees("TcpExt.ListenDrops", lost)?;
    let finding = seen.finding(checks, RULE, "TcpExt.ListenDrops", lost);
    seen.ledger(checks, "tcp_listen", lost);
    check_victim(checks, &finding, server, local, lost);
    Ok(finding)
}
