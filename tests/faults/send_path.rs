//! The send path: what this host sends and the network, or this host itself, does not let through.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::kernel::Counters;
use crate::lab::{Family, Lab, Namespace, SERVER_DEVICE};
use crate::need::Need;
use crate::report::Finding;
use crate::sending::{lost, observe};

const PORT: u16 = 8090;
const DEAF: &str = "add table inet t; add chain inet t i { type filter hook input priority 0; policy drop; }";
pub const MUTE: &str = "add table inet t; add chain inet t o { type filter hook output priority 0; policy drop; }";

pub fn cases() -> Vec<Case> {
    let (plain, deaf) = (&[Need::Namespaces], &[Need::Namespaces, Need::Nft]);
    vec![
        Case::new("send_path::healthy", plain, healthy),
        Case::new("send_path::loss_on_the_wire", deaf, loss_on_the_wire),
        Case::new("send_path::loss_in_the_own_queue", plain, loss_in_the_own_queue),
        Case::new("send_path::connects", deaf, connects),
        Case::new("send_path::blackhole", deaf, blackhole),
        Case::new("send_path::refused_again", deaf, refused_again),
        Case::new("send_path::still_queued", plain, still_queued),
        Case::new("send_path::abort", deaf, abort),
        Case::new("send_path::no_route", plain, no_route),
        Case::new("send_path::fragments", plain, fragments),
        Case::new("send_path::time_wait", plain, time_wait),
        Case::new("send_path::icmp_errors", plain, icmp_errors),
    ]
}

fn address() -> SocketAddr {
    SocketAddr::new(Family::V4.client(), PORT)
}

/// A transfer from the observed host to its peer. Without segmentation offload a packet that is dropped is one segment.
fn transfer(bytes: u64, offload: bool) -> Outcome<(Lab, impl FnOnce() -> Outcome + Send)> {
    let lab = Lab::new()?;
    if !offload {
        lab.server.exec(&["ip", "link", "set", "dev", SERVER_DEVICE, "gso_max_segs", "1"])?;
    }
    let mut reader = Actor::start(&lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "8"])?;
    let mut sender = Actor::start(&lab.server, "nsd-sender", "tcp-client", &[])?;
    let traffic = move || {
        reader.tell("sink")?;
        sender.ask(&format!("bulk {} {bytes}", address()))?;
        sender.end()?;
        reader.reply()?;
        Ok(())
    };
    Ok((lab, traffic))
}

fn healthy(_: Duration) -> Outcome {
    let (lab, traffic) = transfer(4_000_000, true)?;
    let told = observe(&lab.server, traffic)?;
    if told.grew("Tcp.RetransSegs") > 0 {
        return again("something was lost");
    }
    let mut checks = Checks::default();
    checks.that(told.grew("TcpExt.TCPOrigDataSent") > 1_000, "too little was sent");
    checks.same("findings", Some(0), told.report.0["findings"].as_array().map(Vec::len));
    let totals = &told.report.0["totals"];
    checks.that(totals["in"].as_u64() > Some(0), "nothing was to be sent");
    checks.same("lost", Some(0), totals["lost"].as_u64());
    checks.same("unexplained", Some(0), totals["unexplained"].as_u64());
    told.done(checks)
}

/// Oracle: the peer's firewall counts the segments that it drops; each must be sent again once at least.
/// Now and then one is to be sent again that still waits in this host, which another rule tells of.
fn loss_on_the_wire(_: Duration) -> Outcome {
    let (lab, traffic) = transfer(6_000_000, false)?;
    lab.client.nft(
        "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
         add rule inet t i tcp dport 8090 meta length > 1000 numgen inc mod 20 3 counter drop",
    )?;
    let told = observe(&lab.server, traffic)?;
    let dropped = counted(&lab.client)?;
    let again_sent = told.grew("Tcp.RetransSegs");
    if dropped < 100 || told.grew("TcpExt.TCPSynRetrans") > 0 {
        return again(format_args!("{dropped} dropped"));
    }
    let mut checks = Checks::default();
    checks.that(again_sent >= dropped, format_args!("{again_sent} sent again, {dropped} dropped"));
    let finding = told.found(&mut checks, "tcp-retransmits", "critical", "Tcp.RetransSegs");
    let lost = lost(&finding).unwrap_or(0);
    let twice = told.grew("TcpExt.TCPDSACKRecvSegs");
    checks.same("lost", again_sent - twice, lost);
    checks.that(lost * 100 >= dropped * 95, format_args!("{lost} lost, but {dropped} dropped"));
    told.done(checks)
}

/// Oracle: tc counts what the shaper of the sender's own device drops; the ledger has it there, and once. TCP hears of it and
/// sends the segment once more, which it does not count as sent again.
fn loss_in_the_own_queue(_: Duration) -> Outcome {
    let (lab, traffic) = transfer(3_000_000, false)?;
    let shaper = format!("tc qdisc add dev {SERVER_DEVICE} root handle 1: tbf rate 40mbit burst 3000 limit 4500");
    lab.server.exec(&shaper.split(' ').collect::<Vec<_>>())?;
    let told = observe(&lab.server, traffic)?;
    let shown = lab.server.exec(&["tc", "-s", "-j", "qdisc", "show", "dev", SERVER_DEVICE, "root"])?;
    let shown: serde_json::Value = serde_json::from_str(&shown).map_err(io::Error::other)?;
    let dropped = shown[0]["drops"].as_u64().unwrap_or(0);
    if dropped < 50 {
        return again(format_args!("{dropped} dropped"));
    }
    let mut checks = Checks::default();
    let all = told.report.findings("qdisc-drops");
    checks.same("findings qdisc-drops", 1, all.len());
    checks.same("lost", Some(dropped), lost(&Finding(all.first().copied())));
    checks.same("lost at the qdisc", Some(dropped), told.report.ledger_sum("qdisc", "lost"));
    checks.same("lost in all", Some(dropped), told.report.0["totals"]["lost"].as_u64());
    checks.same("unexplained", Vec::<String>::new(), told.report.unexplained());
    told.done(checks)
}

/// The packets of the only rule that counts.
pub fn counted(namespace: &Namespace) -> Outcome<u64> {
    let rules = namespace.exec(&["nft", "list", "ruleset"])?;
    let mut words = rules.split_whitespace().skip_while(|word| *word != "packets");
    match words.nth(1).and_then(|count| count.parse().ok()) {
        Some(count) => Ok(count),
        None => wrong(format_args!("no counter in {rules}")),
    }
}

/// Waits until a counter has grown by so much.
fn until(namespace: &Namespace, counter: &str, by: u64) -> Outcome {
    let (before, deadline) = (Counters::read(namespace)?, Instant::now() + Duration::from_secs(8));
    while Counters::read(namespace)?.since(&before, counter) < by {
        if Instant::now() > deadline {
            return again(format_args!("{counter} does not grow by {by}"));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Oracle: connects that nobody answers, each of which sends its SYN again after a second.
fn connects(_: Duration) -> Outcome {
    const COUNT: u64 = 20;
    let lab = Lab::new()?;
    lab.client.nft(DEAF)?;
    let mut client = Actor::start(&lab.server, "nsd-client", "tcp-client", &[])?;
    let told = observe(&lab.server, || {
        client.ask(&format!("burst {} {COUNT}", address()))?;
        until(&lab.server, "TcpExt.TCPSynRetrans", COUNT)?;
        client.ask("abandon")
    })?;
    let again_sent = told.grew("TcpExt.TCPSynRetrans");
    let mut checks = Checks::default();
    checks.same("connects", COUNT, told.grew("Tcp.ActiveOpens"));
    checks.that(again_sent % COUNT == 0, format_args!("{again_sent} SYNs sent again by {COUNT} connects"));
    let finding = told.only(&mut checks, "connects-retransmit", "warning", "TcpExt.TCPSynRetrans");
    checks.same("lost", Some(again_sent), lost(&finding));
    told.done(checks)
}

/// Connections whose peer stops to answer. Oracle: the kernel's own timeouts, two at least for each connection.
fn blackhole(_: Duration) -> Outcome {
    const COUNT: u64 = 10;
    let lab = Lab::new()?;
    let mut peer = Actor::start(&lab.client, "nsd-peer", "tcp-server", &[&address().to_string(), "64"])?;
    let mut client = Actor::start(&lab.server, "nsd-client", "tcp-client", &[])?;
    client.ask(&format!("fill {} {COUNT}", address()))?;
    peer.ask("accept")?;
    lab.client.nft(DEAF)?;
    let told = observe(&lab.server, || {
        client.ask("write 100 100")?;
        until(&lab.server, "TcpExt.TCPTimeouts", 3 * COUNT)
    })?;
    let mut checks = Checks::default();
    let finding = told.only(&mut checks, "tcp-timeouts-dominate", "warning", "TcpExt.TCPTimeouts");
    checks.that(finding.refuses("net.ipv4.tcp_retries2"), "net.ipv4.tcp_retries2 should be refused");
    told.done(checks)
}

/// Connections with data on its way, to a peer that does not answer and from a host that then drops what it sends itself.
/// Oracle: each connection tries again once at least, and is refused.
fn refused_again(_: Duration) -> Outcome {
    const COUNT: u64 = 10;
    let lab = Lab::new()?;
    let _peer = Actor::start(&lab.client, "nsd-peer", "tcp-server", &[&address().to_string(), "64"])?;
    let mut client = Actor::start(&lab.server, "nsd-client", "tcp-client", &[])?;
    client.ask(&format!("fill {} {COUNT}", address()))?;
    lab.client.nft(DEAF)?;
    client.ask("write 100 100")?;
    lab.server.nft(MUTE)?;
    let told = observe(&lab.server, || until(&lab.server, "TcpExt.TCPRetransFail", COUNT))?;
    let mut checks = Checks::default();
    let finding = told.found(&mut checks, "tcp-retransmit-fails", "warning", "TcpExt.TCPRetransFail");
    says_how_often(&mut checks, &finding, "TcpExt.TCPRetransFail");
    told.done(checks)
}

/// The number in the text is that of the evidence.
fn says_how_often(checks: &mut Checks, finding: &Finding, counter: &str) {
    let why = finding.0.and_then(|finding| finding["why"].as_str()).unwrap_or_default();
    let times = format!("{} times ", finding.evidence(counter).unwrap_or(0));
    checks.that(why.starts_with(&times), format_args!("not {times}: {why}"));
}

/// A queue that lets a packet of this size pass in seconds.
fn still_queued(_: Duration) -> Outcome {
    const COUNT: u64 = 10;
    let lab = Lab::new()?;
    let _peer = Actor::start(&lab.client, "nsd-peer", "tcp-server", &[&address().to_string(), "64"])?;
    let mut client = Actor::start(&lab.server, "nsd-client", "tcp-client", &[])?;
    client.ask(&format!("fill {} {COUNT}", address()))?;
    let slow = ["rate", "8kbit", "burst", "2000", "limit", "1000000"];
    let add = ["tc", "qdisc", "add", "dev", SERVER_DEVICE, "root", "tbf"];
    lab.server.exec(&[&add[..], &slow].concat())?;
    let told = observe(&lab.server, || {
        client.ask("write 1000 1000")?;
        until(&lab.server, "TcpExt.TCPSpuriousRtxHostQueues", COUNT / 2)
    })?;
    let mut checks = Checks::default();
    let (id, counter) = ("tcp-retransmit-before-send", "TcpExt.TCPSpuriousRtxHostQueues");
    let finding = told.found(&mut checks, id, "warning", counter);
    says_how_often(&mut checks, &finding, counter);
    checks.that(finding.refuses("txqueuelen"), "txqueuelen should be refused");
    told.done(checks)
}

/// Connections that give up after half a second (TCP_USER_TIMEOUT). Oracle: their number.
fn abort(_: Duration) -> Outcome {
    const COUNT: u64 = 10;
    let lab = Lab::new()?;
    let _peer = Actor::start(&lab.client, "nsd-peer", "tcp-server", &[&address().to_string(), "64"])?;
    let told = observe(&lab.server, || {
        let mut all = (0..COUNT).map(|_| TcpStream::connect(address())).collect::<io::Result<Vec<_>>>()?;
        lab.client.nft(DEAF)?;
        for stream in &mut all {
            rustix::net::sockopt::set_tcp_user_timeout(&*stream, 500)?;
            stream.write_all(&[0; 100])?;
        }
        until(&lab.server, "TcpExt.TCPAbortOnTimeout", COUNT)
    })?;
    let mut checks = Checks::default();
    checks.same("cut off", COUNT, told.grew("TcpExt.TCPAbortOnTimeout"));
    told.found(&mut checks, "connections-abort", "info", "TcpExt.TCPAbortOnTimeout");
    told.done(checks)
}

/// Oracle: datagrams for which the application got ENETUNREACH.
fn no_route(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let told = observe(&lab.server, || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let refused = (0..60).filter(|_| socket.send_to(&[0; 10], "192.0.2.1:9").is_err()).count();
        sleep(Duration::from_millis(200));
        Ok(refused as u64)
    })?;
    let mut checks = Checks::default();
    checks.same("refused", 60, told.traffic);
    checks.same("counted", told.traffic, told.grew("Ip.OutNoRoutes"));
    let finding = told.only(&mut checks, "no-route-out", "warning", "Ip.OutNoRoutes");
    checks.same("lost", Some(60), lost(&finding));
    told.done(checks)
}

/// Oracle: datagrams of 4,000 bytes, three pieces each.
fn fragments(_: Duration) -> Outcome {
    const COUNT: u64 = 60;
    let lab = Lab::new()?;
    let told = observe(&lab.server, || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        (0..COUNT).try_for_each(|_| socket.send_to(&[0; 4_000], address()).map(drop))?;
        sleep(Duration::from_millis(200));
        Ok(())
    })?;
    let mut checks = Checks::default();
    checks.same("pieces", 3 * COUNT, told.grew("Ip.FragCreates"));
    checks.same("packets cut", COUNT, told.grew("Ip.FragOKs"));
    told.only(&mut checks, "fragmenting-on-send", "warning", "Ip.FragCreates");
    told.done(checks)
}

/// Opens and closes so many connections over loopback, this end first.
fn open_and_close(count: u64) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for _ in 0..count {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
    }
    Ok(())
}

/// Oracle: connections closed, less the limit. Then the setting that the rule names is turned, and none is forgotten.
fn time_wait(_: Duration) -> Outcome {
    const LIMIT: u64 = 5;
    const COUNT: u64 = 40;
    let lab = Lab::new()?;
    lab.server.set("net/ipv4/tcp_max_tw_buckets", &LIMIT.to_string())?;
    let told = observe(&lab.server, || {
        open_and_close(COUNT)?;
        sleep(Duration::from_millis(500));
        Ok(())
    })?;
    let mut checks = Checks::default();
    checks.same("forgotten", COUNT - LIMIT, told.grew("TcpExt.TCPTimeWaitOverflow"));
    let id = "time-wait-table-full";
    let finding = told.only(&mut checks, id, "warning", "TcpExt.TCPTimeWaitOverflow");
    let knob = "net.ipv4.tcp_max_tw_buckets";
    finding.raises(&mut checks, knob, "5", "netns");
    let to = finding.suggestion(knob).first().and_then(|suggestion| suggestion["to"].as_str());
    let Some(to) = to else { return told.done(checks) };
    lab.server.set("net/ipv4/tcp_max_tw_buckets", to)?;
    let mended = observe(&lab.server, || Ok(open_and_close(COUNT)?))?;
    checks.same("forgotten with the new value", 0, mended.grew("TcpExt.TCPTimeWaitOverflow"));
    checks.same("findings with the new value", 0, mended.report.findings(id).len());
    told.done(checks)
}

/// Oracle: datagrams to a closed port: each is an ICMP error, or one that was held back.
fn icmp_errors(_: Duration) -> Outcome {
    const COUNT: u64 = 300;
    let lab = Lab::new()?;
    let to = Family::V4.server(PORT);
    let told = observe(&lab.server, || {
        lab.client.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            (0..COUNT).try_for_each(|_| socket.send_to(&[0; 10], to).map(drop))
        })?;
        sleep(Duration::from_millis(200));
        Ok(())
    })?;
    if told.grew("Udp.NoPorts") != COUNT {
        return again(format_args!("{} of {COUNT} datagrams came", told.grew("Udp.NoPorts")));
    }
    let held_back = told.grew("Icmp.OutRateLimitHost") + told.grew("Icmp.OutRateLimitGlobal");
    if held_back == 0 {
        return again("this kernel does not count errors that are held back");
    }
    let mut checks = Checks::default();
    checks.same("errors sent and held back", COUNT, told.grew("Icmp.OutDestUnreachs") + held_back);
    told.only(&mut checks, "icmp-errors-suppressed", "info", "Icmp.OutRateLimitHost");
    told.done(checks)
}
