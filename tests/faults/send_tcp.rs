//! What TCP answers to segments that are not as they should be: resets, challenges, or nothing at all.
//!
//! Oracle: segments put on the wire by hand, or connects that were refused. Exact: each is one step of one counter.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::frame::{self, ACK, SYN, Wire};
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::sending::{lost, observe};

const PORT: u16 = 8091;
const COUNT: u64 = 60;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces];
    vec![
        Case::new("send_tcp::resets", needs, resets),
        Case::new("send_tcp::own_resets", needs, own_resets),
        Case::new("send_tcp::syns_in_the_middle", needs, syns_in_the_middle),
        Case::new("send_tcp::outside_of_the_window", needs, outside_of_the_window),
        Case::new("send_tcp::unasked_signatures", needs, unasked_signatures),
    ]
}

/// Oracle: connects that were refused, each by a reset.
fn resets(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let told = observe(&lab.server, || {
        let refused = |_: &u64| {
            let connected = TcpStream::connect(Family::V4.server(PORT));
            connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        Ok(lab.client.inside(|| Ok((0..COUNT).filter(refused).count() as u64))?)
    })?;
    let mut checks = Checks::default();
    checks.same("refused", COUNT, told.traffic);
    checks.same("counted", COUNT, told.grew("Tcp.OutRsts"));
    let finding = told.only(&mut checks, "resets-sent", "info", "Tcp.OutRsts");
    checks.that(finding.says_no_setting_helps(), "a setting is said to help");
    says(&mut checks, finding.0, "60 answered segments that fit no connection");
    told.done(checks)
}

/// A server that closes its connections without reading what came. Oracle: their number.
fn own_resets(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let told = observe(&lab.server, || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        for _ in 0..COUNT {
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            let (server, _) = listener.accept()?;
            client.write_all(&[7; 100])?;
            // Data over loopback is there when the write returns.
            drop(server);
        }
        Ok(())
    })?;
    if told.grew("TcpExt.TCPAbortOnClose") != COUNT {
        return again("something was read, or came late");
    }
    let mut checks = Checks::default();
    let finding = told.only(&mut checks, "resets-sent", "info", "Tcp.OutRsts");
    checks.same("cut off here", Some(COUNT), finding.evidence("TcpExt.TCPAbortOnClose"));
    says(&mut checks, finding.0, "60 of them cut off connections of applications here");
    told.done(checks)
}

fn says(checks: &mut Checks, finding: Option<&serde_json::Value>, words: &str) {
    let why = finding.and_then(|finding| finding["why"].as_str()).unwrap_or_default();
    checks.that(why.contains(words), format_args!("not '{words}': {why}"));
}

/// A connection from the client, and the client's end of it.
fn connection(lab: &Lab) -> Outcome<([Actor; 2], SocketAddrV4, [u32; 2])> {
    let local = Family::V4.server(PORT).to_string();
    let mut server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "64"])?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    client.ask(&format!("fill {local} 1"))?;
    if server.ask("accept")? != 1 {
        return again("no connection was there to accept");
    }
    let (numbers, port) = (server.ask("numbers")?, server.ask("port")?);
    let IpAddr::V4(ip) = Family::V4.client() else { return wrong("the client has no IPv4 address") };
    let end = SocketAddrV4::new(ip, u16::try_from(port)?);
    // What the server expects next is what the client sends next.
    Ok(([server, client], end, [numbers as u32, (numbers >> 32) as u32]))
}

fn server() -> SocketAddrV4 {
    SocketAddrV4::new(SERVER, PORT)
}

/// Oracle: SYNs within a connection; each is challenged, or would be if one had not been a moment ago.
fn syns_in_the_middle(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let (_ends, from, numbers) = connection(&lab)?;
    let mut wire = Wire::new(&lab)?;
    let frame = frame::to_server(&frame::segment(from, server(), numbers, SYN, &[], &[]));
    let told = observe(&lab.server, || {
        let sent = wire.send(COUNT, &frame)?;
        sleep(Duration::from_millis(100));
        Ok(sent)
    })?;
    let mut checks = Checks::default();
    checks.same("counted by the kernel", told.traffic, told.grew("TcpExt.TCPSYNChallenge"));
    let (challenged, skipped) = ("TcpExt.TCPChallengeACK", "TcpExt.TCPACKSkippedChallenge");
    let finding = told.only(&mut checks, "tcp-odd-segments", "info", challenged);
    let of = |counter: &str| finding.evidence(counter).unwrap_or(0);
    checks.same("challenged and held back", COUNT, of(challenged) + of(skipped));
    says(&mut checks, finding.0, "60 were SYNs or resets in the middle of a connection");
    checks.that(finding.refuses("net.ipv4.tcp_timestamps"), "net.ipv4.tcp_timestamps should be refused");
    told.done(checks)
}

/// Oracle: acknowledgements far outside of the window. The first may be answered, and one every half second.
fn outside_of_the_window(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    // So long that none but the first is answered, however slow this machine is.
    lab.server.set("net/ipv4/tcp_invalid_ratelimit", "60000")?;
    let (_ends, from, [next, ack]) = connection(&lab)?;
    let mut wire = Wire::new(&lab)?;
    let odd = frame::segment(from, server(), [next.wrapping_add(1 << 30), ack], ACK, &[], &[]);
    let frame = frame::to_server(&odd);
    let told = observe(&lab.server, || {
        let sent = wire.send(COUNT, &frame)?;
        sleep(Duration::from_millis(100));
        Ok(sent)
    })?;
    let mut checks = Checks::default();
    let counter = "TcpExt.TCPACKSkippedSeq";
    checks.same("held back, of those sent", told.traffic - 1, told.grew(counter));
    let finding = told.only(&mut checks, "tcp-odd-segments", "info", counter);
    checks.same("told", Some(COUNT - 1), finding.evidence(counter));
    says(&mut checks, finding.0, "outside of the window");
    told.done(checks)
}

/// Oracle: SYNs with an MD5 signature to a listener that has no key.
fn unasked_signatures(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let _server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&server().to_string(), "64"])?;
    let mut wire = Wire::new(&lab)?;
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 40_000);
    // Kind 19, 18 bytes, the signature, and two to fill up (RFC 2385).
    let option = [&[19, 18][..], &[0xab; 16], &[1, 1]].concat();
    let frame = frame::to_server(&frame::segment(from, server(), [1, 0], SYN, &option, &[]));
    let told = observe(&lab.server, || {
        let sent = wire.send(COUNT, &frame)?;
        sleep(Duration::from_millis(100));
        Ok(sent)
    })?;
    let counter = "TcpExt.TCPMD5Unexpected";
    if told.grew(counter) == 0 {
        return again("this kernel knows no MD5 signatures");
    }
    let mut checks = Checks::default();
    checks.same("counted", told.traffic, told.grew(counter));
    let finding = told.only(&mut checks, "tcp-broken-peer", "warning", counter);
    checks.same("lost", Some(COUNT), lost(&finding));
    told.done(checks)
}
