//! A host that sends on, and loses some of it: refused by its firewall, or too big for the way on.
//!
//! The client sends to a network behind itself, by way of the server.
//!
//! Oracle: datagrams sent. Exact: all but those of the open port must be lost, each once.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};

use crate::case::{Case, Checks, Outcome};
use crate::lab::{CLIENT_DEVICE, Family, Lab, SERVER_DEVICE, batch};
use crate::need::Need;
use crate::observe::observe;
use crate::{sending, tool};

const OPEN: u16 = 5070;
const FORBIDDEN: u16 = 5071;
const EACH: u64 = 80;

pub fn cases() -> Vec<Case> {
    let too_big = |family: Family| {
        let name = format!("forward::too_big_{}", family.suffix());
        Case::with(name, &[Need::Namespaces], move |window| too_big(family, window))
    };
    let told = |family: Family| {
        let name = format!("forward::told_of_an_mtu_{}", family.suffix());
        Case::with(name, &[Need::Namespaces], move |window| told(family, window))
    };
    let refused = Case::new("forward::refused_v4", &[Need::Namespaces, Need::Nft], refused);
    let on_send = || Case::new("forward::refused_on_send", &[Need::Namespaces, Need::Nft], refused_on_send);
    let all = Family::BOTH.map(too_big).into_iter().chain(Family::BOTH.map(told));
    all.chain([refused, on_send(), on_send().with_probes()]).collect()
}

/// The network behind the client, and how it is written.
fn behind(family: Family) -> (IpAddr, &'static str) {
    match family {
        Family::V4 => (IpAddr::from([10, 79, 0, 1]), "10.79.0.0/24"),
        Family::V6 => (IpAddr::from([0xfd00, 0x79, 0, 0, 0, 0, 0, 1]), "fd00:79::/64"),
    }
}

/// A server that sends on what is for the network behind the client.
fn router(family: Family, mtu: &str) -> Outcome<Lab> {
    let lab = Lab::new()?;
    let (_, network) = behind(family);
    batch(&lab.client.name, &[format!("route add {network} via {} dev {CLIENT_DEVICE}", family.server(0).ip())])?;
    batch(&lab.server.name, &[format!("route add {network} via {} dev {SERVER_DEVICE} {mtu}", family.client())])?;
    match family {
        Family::V4 => {
            lab.server.set("net/ipv4/ip_forward", "1")?;
            lab.server.set("net/ipv4/conf/all/send_redirects", "0")?;
            lab.server.set(&format!("net/ipv4/conf/{SERVER_DEVICE}/send_redirects"), "0")?;
        }
        Family::V6 => lab.server.set("net/ipv6/conf/all/forwarding", "1")?,
    }
    Ok(lab)
}

/// Sends so many datagrams of that size to a port behind, whatever is known of the path's MTU.
fn send(lab: &Lab, family: Family, port: u16, size: usize) -> Outcome<u64> {
    let sent = lab.client.inside(|| {
        let socket = UdpSocket::bind((family.client(), 0))?;
        match family {
            Family::V4 => sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
            Family::V6 => sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
        }
        let to = SocketAddr::new(behind(family).0, port);
        Ok((0..EACH).filter(|_| socket.send_to(&vec![0x55; size], to).is_ok()).count())
    })?;
    Ok(sent as u64)
}

fn too_big(family: Family, window: Duration) -> Outcome {
    let lab = router(family, "mtu lock 1280")?;
    let seen = observe(&lab.server, window, || {
        send(&lab, family, OPEN, 100)?;
        send(&lab, family, FORBIDDEN, 1400)
    })?;
    let mut checks = Checks::default();
    checks.same("sent", EACH, seen.told);
    seen.ledger(&mut checks, "forward", EACH);
    checks.same("lost in all", Some(EACH), seen.report.0["totals"]["lost"].as_u64());
    checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    checks.done(&seen.report)
}

/// The other side of it: the sender's host, which is told once, and uses that when it sends again.
fn told(family: Family, window: Duration) -> Outcome {
    let lab = router(family, "mtu lock 1280")?;
    let to = SocketAddr::new(behind(family).0, FORBIDDEN);
    // Kept open: the kernel learns from a message about a socket of its own only.
    let socket = lab.client.inside(|| UdpSocket::bind((family.client(), 0)))?;
    let seen = observe(&lab.client, window, || {
        socket.send_to(&[0x55; 1400], to)?;
        std::thread::sleep(Duration::from_millis(100));
        Ok(socket.send_to(&[0x55; 1400], to)?)
    })?;
    let mut checks = Checks::default();
    let all = seen.report.findings("path-mtu-events");
    checks.same("findings", 1, all.len());
    let why = all.first().and_then(|finding| finding["why"].as_str()).unwrap_or_default();
    let path = format!("the path to {} takes 1280 bytes", to.ip());
    checks.that(why.contains(&path), format_args!("'{path}' is not said, but: {why}"));
    checks.done(&seen.report)
}

/// No counter tells of these; that they did not leave is seen all the same.
fn refusing() -> Outcome<Lab> {
    let lab = router(Family::V4, "")?;
    lab.server.nft(&format!(
        "add table inet t; add chain inet t f {{ type filter hook forward priority 0; }}; \
         add rule inet t f udp dport {FORBIDDEN} counter drop"
    ))?;
    Ok(lab)
}

/// `tx` misses them too, where IP was to send them; the probe tells that the firewall has them.
fn refused_on_send(_: Duration) -> Outcome {
    let lab = refusing()?;
    let told = sending::observe(&lab.server, || {
        send(&lab, Family::V4, OPEN, 100)?;
        send(&lab, Family::V4, FORBIDDEN, 100)
    })?;
    let mut checks = Checks::default();
    checks.same("sent", EACH, told.traffic);
    let found = ["lost", "unexplained"].map(|column| told.report.ledger_sum("ip_out", column).unwrap_or(0));
    checks.same("lost and unexplained", if tool::probing() { [EACH, 0] } else { [0, EACH] }, found);
    told.done(checks)
}

fn refused(window: Duration) -> Outcome {
    let lab = refusing()?;
    let seen = observe(&lab.server, window, || {
        send(&lab, Family::V4, OPEN, 100)?;
        send(&lab, Family::V4, FORBIDDEN, 100)
    })?;
    let mut checks = Checks::default();
    let totals = &seen.report.0["totals"];
    checks.same("sent", EACH, seen.told);
    checks.same("unexplained", Some(EACH), totals["unexplained"].as_u64());
    let delivered = totals["delivered"].as_u64();
    // Neighbour discovery and the like are delivered too.
    checks.that(delivered.is_some_and(|it| (EACH..2 * EACH).contains(&it)), format_args!("delivered {delivered:?}"));
    checks.done(&seen.report)
}
