//! The faults of TCP: handshakes, buffers, memory, orphans.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use super::{Fault, PORT};
use crate::actor::Actor;
use crate::case::Outcome;
use crate::lab::{Family, Lab};
use crate::syn_queue::deaf;

/// SYNs whose answers nobody hears, sent once, 20 at a time.
fn half_open(lab: &Lab, counter: &'static str, setting: &'static str, backlog: &'static str) -> Outcome<Fault> {
    deaf(&lab.client)?;
    lab.server.set("net/ipv4/tcp_syncookies", "0")?;
    // A handshake is given up after a second.
    lab.server.set("net/ipv4/tcp_synack_retries", "0")?;
    let local = Family::V4.server(PORT).to_string();
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let address = local.clone();
    Ok(Fault {
        counter,
        setting,
        waits: false,
        remembers: Duration::from_secs(1),
        victim: Box::new(move |lab| Actor::start(&lab.server, "nsd-server", "tcp-server", &[&address, backlog])),
        drive: Box::new(move |_| {
            client.ask(&format!("burst {local} 20"))?;
            sleep(Duration::from_millis(80));
            client.ask("abandon").map(drop)
        }),
    })
}

pub fn syncookies(lab: &Lab) -> Outcome<Fault> {
    half_open(lab, "TcpExt.TCPReqQFullDrop", "net/ipv4/tcp_syncookies", "8")
}

/// The listener itself would let a thousand handshakes be under way.
pub fn max_syn_backlog(lab: &Lab) -> Outcome<Fault> {
    lab.server.set("net/ipv4/tcp_max_syn_backlog", "8")?;
    half_open(lab, "TcpExt.ListenDrops", "net/ipv4/tcp_max_syn_backlog", "1024")
}

/// Connections that bring more at once than the buffer takes, to a reader that pauses. They begin with what their listener
/// had when it was made.
pub fn rmem(lab: &Lab) -> Outcome<Fault> {
    lab.server.set("net/ipv4/tcp_rmem", "4096 16384 16384")?;
    let local = Family::V4.server(PORT).to_string();
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let address = local.clone();
    Ok(Fault {
        counter: "TcpExt.TCPToZeroWindowAdv",
        setting: "net/ipv4/tcp_rmem",
        waits: true,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| Actor::start(&lab.server, "nsd-server", "tcp-server", &[&address, "64"])),
        drive: Box::new(move |server| {
            client.ask(&format!("fill {local} 3"))?;
            client.ask("write 30000 30000")?;
            sleep(Duration::from_millis(80));
            server.ask("accept")?;
            server.ask("read")?;
            client.ask("hangup all")?;
            server.ask("close").map(drop)
        }),
    })
}

/// A limit a little above what TCP holds now, with the machine's own maximum.
pub fn low_pressure() -> Outcome<String> {
    let present = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem")?;
    let sockstat = std::fs::read_to_string("/proc/net/sockstat")?;
    let held = sockstat.lines().find_map(|line| line.strip_prefix("TCP:")?.rsplit(' ').next()?.parse::<u64>().ok());
    let held = held.unwrap_or(0);
    Ok(format!("{} {} {}", held + 200, held + 300, present.split_whitespace().nth(2).unwrap_or_default()))
}

/// Both ends are in the same namespace, so that it counts whichever of them sets off the pressure.
pub fn mem(lab: &Lab) -> Outcome<Fault> {
    let local = Family::V4.server(PORT).to_string();
    let mut client = Actor::start(&lab.server, "nsd-client", "tcp-client", &[])?;
    let address = local.clone();
    Ok(Fault {
        counter: "TcpExt.TCPMemoryPressures",
        setting: "net/ipv4/tcp_mem",
        waits: false,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| Actor::start(&lab.server, "nsd-server", "tcp-server", &[&address, "64"])),
        drive: Box::new(move |server| {
            client.ask(&format!("fill {local} 40"))?;
            client.ask("write 200000 60000")?;
            sleep(Duration::from_millis(40));
            client.ask("hangup all")?;
            server.ask("accept")?;
            server.ask("close")?;
            // What was closed frees its memory a little later.
            sleep(Duration::from_millis(40));
            Ok(())
        }),
    })
}

/// The peer does not hear the end of every second connection until it is said again.
pub fn max_orphans(lab: &Lab) -> Outcome<Fault> {
    lab.client.nft(
        "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
         add rule inet t i tcp flags & fin == fin numgen inc mod 2 == 0 drop",
    )?;
    let peer = SocketAddr::new(Family::V4.client(), PORT).to_string();
    let mut server = Actor::start(&lab.client, "nsd-peer", "tcp-server", &[&peer, "1024"])?;
    Ok(Fault {
        counter: "TcpExt.TCPAbortOnMemory",
        setting: "net/ipv4/tcp_max_orphans",
        waits: false,
        remembers: Duration::ZERO,
        victim: Box::new(|lab| Actor::start(&lab.server, "nsd-closer", "tcp-client", &[])),
        drive: Box::new(move |closer| {
            closer.ask(&format!("fill {peer} 40"))?;
            closer.ask("hangup all")?;
            server.ask("accept")?;
            server.ask("close")?;
            // The kernel counts orphans ten times a second.
            sleep(Duration::from_millis(110));
            Ok(())
        }),
    })
}
