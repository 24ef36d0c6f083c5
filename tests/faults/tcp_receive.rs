//! TCP connections that lose at their own end, or stop their senders: `tcp-socket-backlog-drops`, `tcp-receive-pruned`,
//! `tcp-receive-queue-drops`, `tcp-zero-window-advertised`.
//!
//! Oracle: what the client's namespace knows: segments that it sent, again ones too, less those that were delivered.
//! Exact: one segment dropped is one step of the counter. Of a closed window: connections on which the client can't send
//! all that it has; each is closed once.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::thread::sleep;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::frame::{self, Wire};
use crate::kernel::Counters;
use crate::lab::{CLIENT_DEVICE, Family, Lab, Namespace, batch};
use crate::need::Need;
use crate::observe::{Seen, check_victim, observe};

const PORT: u16 = 8083;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, family: Family, body: fn(Family, Duration) -> Outcome| {
        let name = format!("tcp_receive::{name}_{}", family.suffix());
        Case::with(name, &[Need::Namespaces], move |window| body(family, window))
    };
    let each = |family| {
        [
            case("backlog_of_a_held_socket", family, |family, window| backlog(family, "", window)),
            case("backlog_of_a_small_buffer", family, |family, window| backlog(family, "shrink 30000", window)),
            case("pruned", family, pruned),
            case("collapsed", family, collapsed),
            case("window_of_a_slow_reader", family, |family, window| zero_window(family, Reader::Slow, window)),
            case("window_of_a_full_grown_buffer", family, |family, window| zero_window(family, Reader::Most, window)),
            case("window_of_an_own_buffer", family, |family, window| zero_window(family, Reader::Own, window)),
        ]
    };
    let closed = Case::new("tcp_receive::data_into_a_closed_window_v4", &[Need::Namespaces], closed_window);
    Family::BOTH.into_iter().flat_map(each).chain([closed]).collect()
}

/// A server that reads only when told to, and connections to it.
pub struct Fault {
    pub lab: Lab,
    pub server: Actor,
    pub client: Actor,
    pub local: String,
}

pub fn connected(family: Family, connections: u64) -> Outcome<Fault> {
    connected_in(many_small_segments(family)?, family, connections, |_| Ok(()))
}

/// Two hosts of which the client has many small segments on their way at once, each for itself.
pub fn many_small_segments(family: Family) -> Outcome<Lab> {
    let lab = Lab::new()?;
    let server = family.server(0).ip();
    let bits = if family == Family::V4 { 32 } else { 128 };
    batch(&lab.client.name, &[format!("route replace {server}/{bits} dev {CLIENT_DEVICE} initcwnd 4000")])?;
    lab.client.set("net/ipv4/tcp_congestion_control", "reno")?;
    lab.client.set("net/ipv4/tcp_retrans_collapse", "0")?;
    Ok(lab)
}

/// `prepare`: what is done to the server before it accepts.
pub fn connected_in(
    lab: Lab,
    family: Family,
    connections: u64,
    prepare: impl FnOnce(&mut Actor) -> Outcome,
) -> Outcome<Fault> {
    let local = family.server(PORT).to_string();
    let mut server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "64"])?;
    prepare(&mut server)?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    client.ask(&format!("fill {local} {connections}"))?;
    match server.ask("accept")? {
        all if all == connections => Ok(Fault { lab, server, client, local }),
        some => again(format_args!("only {some} of {connections} connections were there to accept")),
    }
}

/// Segments that the client sent since `before`, again ones too, less those that were delivered.
pub fn lost_since(client: &Namespace, before: &Counters) -> Outcome<u64> {
    let now = Counters::read(client)?;
    let grew = |counter: &str| now.since(before, &format!("TcpExt.{counter}"));
    let again = now.since(before, "Tcp.RetransSegs").saturating_sub(grew("TCPRetransFail"));
    Ok((grew("TCPOrigDataSent") + again).saturating_sub(grew("TCPDelivered")))
}

/// What must not be blamed.
fn nothing_else<T>(seen: &Seen<T>, checks: &mut Checks, but: &[&str]) {
    let other: Vec<&str> = seen.report.alarms().into_iter().filter(|id| !but.contains(id)).collect();
    checks.same("other alarms", vec![], other);
}

/// A process keeps the socket while more comes than the backlog takes.
fn backlog(family: Family, prepare: &str, window: Duration) -> Outcome {
    const RULE: &str = "tcp-socket-backlog-drops";
    let Fault { lab, mut server, mut client, local } = connected(family, 1)?;
    if !prepare.is_empty() {
        server.ask(prepare)?;
    }
    client.ask("write 100 100")?;
    let seen = observe(&lab.server, window, || hold(&lab, &mut server, &mut client))?;
    let lost = seen.told;
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb", "TcpExt.TCPRcvQDrop", "TcpExt.TCPOFODrop"])?;
    seen.kernel_agrees("TcpExt.TCPBacklogDrop", lost)?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "TcpExt.TCPBacklogDrop", lost);
    seen.ledger(&mut checks, "tcp_in", lost);
    check_victim(&mut checks, &finding, &server, &local, lost);
    checks.that(finding.refuses("net.core.somaxconn"), "net.core.somaxconn should be refused");
    if prepare.is_empty() {
        let from = lab.server.get("net/ipv4/tcp_rmem")?;
        let from = from.split_whitespace().collect::<Vec<_>>().join(" ");
        finding.raises(&mut checks, "net.ipv4.tcp_rmem", &from, "netns");
    } else {
        checks.same("suggestions SO_RCVBUF", 1, finding.suggestion("SO_RCVBUF").len());
        checks.that(finding.refuses("net.ipv4.tcp_rmem"), "net.ipv4.tcp_rmem should be refused");
    }
    nothing_else(&seen, &mut checks, &[RULE]);
    checks.done(&seen.report)
}

/// The server keeps its socket for a tenth of a second, in which the client sends many small segments. Ends when all have
/// arrived; gives those that were lost before.
pub fn hold(lab: &Lab, server: &mut Actor, client: &mut Actor) -> Outcome<u64> {
    let before = Counters::read(&lab.client)?;
    server.tell("hold 100")?;
    sleep(Duration::from_millis(30));
    client.ask("write 40000 20")?;
    server.reply()?;
    for _ in 0..10 {
        server.ask("read")?;
        sleep(Duration::from_millis(40));
    }
    lost_since(&lab.client, &before)
}

/// The application makes its buffer smaller than what waits in it: what the sender still may send finds no room.
fn pruned(family: Family, window: Duration) -> Outcome {
    const RULE: &str = "tcp-receive-pruned";
    const CONNECTIONS: u64 = 8;
    let Fault { lab, mut server, mut client, local } = connected(family, CONNECTIONS)?;
    client.ask("write 60000 60000")?;
    let seen = observe(&lab.server, window, || {
        server.ask("shrink 2000")?;
        let before = Counters::read(&lab.client)?;
        client.ask("write 3000 100")?;
        let lost = lost_since(&lab.client, &before)?;
        // Before they are sent again, there is room.
        server.ask("read")?;
        Ok(lost)
    })?;
    let lost = seen.told;
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb", "TcpExt.TCPBacklogDrop", "TcpExt.TCPOFODrop"])?;
    seen.kernel_agrees("TcpExt.TCPRcvQDrop", lost)?;
    seen.kernel_agrees("TcpExt.RcvPruned", lost)?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "TcpExt.RcvPruned", lost);
    seen.ledger(&mut checks, "tcp_in", lost);
    checks.same("victims", CONNECTIONS as usize, finding.victims().len());
    let of_the_server = finding.victims().iter().all(|victim| {
        (victim["pid"].as_u64(), victim["local"].as_str()) == (Some(server.pid().into()), Some(local.as_str()))
    });
    checks.that(of_the_server, "a victim is not the server's");
    let sum = finding.victims().iter().filter_map(|victim| victim["lost"].as_u64()).sum::<u64>();
    checks.same("what the victims lost", lost, sum);
    checks.same("suggestions SO_RCVBUF", 1, finding.suggestion("SO_RCVBUF").len());
    // The same loss is not told again.
    nothing_else(&seen, &mut checks, &[RULE]);
    checks.same("findings tcp-receive-queue-drops", 0, seen.report.findings("tcp-receive-queue-drops").len());
    checks.done(&seen.report)
}

/// Tiny segments into a small buffer that nobody reads: merging makes room, and nothing is lost.
///
/// Oracle: all that the client wrote is read in the end.
fn collapsed(family: Family, window: Duration) -> Outcome {
    const RULE: &str = "tcp-receive-pruned";
    let Fault { lab, mut server, mut client, .. } = connected(family, 1)?;
    server.ask("shrink 16384")?;
    let seen = observe(&lab.server, window, || {
        let before = Counters::read(&lab.client)?;
        let sent = client.ask("write 6000 8")?;
        sleep(Duration::from_millis(200));
        Ok((sent, server.ask("read")?, lost_since(&lab.client, &before)?))
    })?;
    let (sent, read, lost) = seen.told;
    if sent != read || lost != 0 || seen.grew("TcpExt.PruneCalled") == 0 {
        return again(format_args!("{sent} bytes sent, {read} read, {lost} segments lost, or nothing was merged"));
    }
    let mut checks = Checks::default();
    let all = seen.report.findings(RULE);
    checks.same("findings", 1, all.len());
    let finding = crate::report::Finding(all.first().copied());
    checks.same("severity", Some("info"), finding.0.and_then(|finding| finding["severity"].as_str()));
    checks.same("lost", Some(0), finding.0.and_then(|finding| finding["lost"].as_u64()));
    let collapsed = seen.grew("TcpExt.TCPRcvCollapsed");
    checks.same("segments merged", Some(collapsed), finding.evidence("TcpExt.TCPRcvCollapsed"));
    nothing_else(&seen, &mut checks, &["tcp-zero-window-advertised"]);
    checks.done(&seen.report)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// With a buffer that could grow, if it read.
    Slow,
    /// With a buffer that is as large as it may get.
    Most,
    /// With a buffer of its own size.
    Own,
}

fn zero_window(family: Family, reader: Reader, window: Duration) -> Outcome {
    const RULE: &str = "tcp-zero-window-advertised";
    const CONNECTIONS: u64 = 5;
    const ALL: u64 = 4_000_000;
    let lab = Lab::new()?;
    if reader == Reader::Most {
        lab.server.set("net/ipv4/tcp_rmem", "4096 65536 65536")?;
    }
    let own_buffer = |server: &mut Actor| match reader {
        Reader::Own => server.ask("shrink 20000").map(drop),
        _ => Ok(()),
    };
    let Fault { lab, server, mut client, local } = connected_in(lab, family, CONNECTIONS, own_buffer)?;
    let seen = observe(&lab.server, window, || {
        let sent = client.ask(&format!("write {ALL} 60000"))?;
        // Its own buffer takes a part; the rest is what it can't send.
        sleep(Duration::from_millis(300));
        Ok(sent)
    })?;
    if seen.told >= ALL * CONNECTIONS {
        return again("the client could send all");
    }
    seen.kernel_agrees("TcpExt.TCPToZeroWindowAdv", CONNECTIONS)?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "TcpExt.TCPToZeroWindowAdv", CONNECTIONS);
    checks.same("lost", Some(0), finding.0.and_then(|finding| finding["lost"].as_u64()));
    checks.same("victims", CONNECTIONS as usize, finding.victims().len());
    let of_the_server = finding.victims().iter().all(|victim| {
        (victim["pid"].as_u64(), victim["local"].as_str()) == (Some(server.pid().into()), Some(local.as_str()))
    });
    checks.that(of_the_server, "a victim is not the server's");
    match reader {
        Reader::Slow => {
            checks.same("appliable suggestions", vec![], finding.appliable());
            checks.that(finding.says_no_setting_helps(), "only a faster reader helps");
            checks.that(finding.refuses("net.ipv4.tcp_rmem"), "net.ipv4.tcp_rmem should be refused");
        }
        Reader::Most => finding.raises(&mut checks, "net.ipv4.tcp_rmem", "4096 65536 65536", "netns"),
        Reader::Own => {
            checks.same("suggestions SO_RCVBUF", 1, finding.suggestion("SO_RCVBUF").len());
            checks.same("appliable suggestions", vec![], finding.appliable());
        }
    }
    checks.that(finding.refuses("net.core.rmem_max"), "net.core.rmem_max should be refused");
    nothing_else(&seen, &mut checks, &[RULE]);
    checks.done(&seen.report)
}

/// A peer that does not care that the window is closed.
///
/// Oracle: segments put on the wire by hand.
fn closed_window(window: Duration) -> Outcome {
    const RULE: &str = "tcp-receive-queue-drops";
    const SENT: u64 = 60;
    let lab = Lab::new()?;
    let Fault { lab, mut server, mut client, local } = connected_in(lab, Family::V4, 1, |_| Ok(()))?;
    client.ask("write 4000000 60000")?;
    // Until the client can send no more, and its kernel asks only now and then.
    sleep(Duration::from_millis(500));
    let numbers = server.ask("numbers")?;
    let (SocketAddr::V4(to), port) = (local.parse()?, server.ask("port")? as u16) else {
        return wrong("the server has no IPv4 address");
    };
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), port);
    let segment = frame::to_server(&frame::tcp(from, to, [numbers as u32, (numbers >> 32) as u32], &[0x55; 100]));
    let mut wire = Wire::new(&lab)?;
    let seen = observe(&lab.server, window, || wire.send(SENT, &segment))?;
    // Since 6.18 what ends beyond the window is counted first, and as that; whether it was dropped is not.
    let beyond = seen.grew("TcpExt.BeyondWindow") > 0;
    let counter = if beyond { "TcpExt.BeyondWindow" } else { "TcpExt.TCPZeroWindowDrop" };
    seen.kernel_agrees(counter, seen.told)?;
    let mut checks = Checks::default();
    let finding = if beyond {
        seen.remark(&mut checks, RULE, counter, SENT)
    } else {
        seen.ledger(&mut checks, "tcp_in", SENT);
        seen.finding(&mut checks, RULE, counter, SENT)
    };
    check_victim(&mut checks, &finding, &server, &local, SENT);
    checks.that(finding.says_no_setting_helps(), "only the application's reader helps");
    checks.done(&seen.report)
}
