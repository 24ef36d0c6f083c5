//! Connections that could send more, or send again for nothing: `tcp-limited-by-send-buffer`, `tcp-limited-by-peer-window`,
//! `tcp-segments-refused-locally`, `tcp-retransmits-spurious`, `tcp-reordering`, `tcp-goodput-low`.
//!
//! ```text
//! client  vc 10.77.0.1 <-> vd ==relay== va <-> vb 10.77.0.2  server, which is looked at and sends
//! ```
//!
//! Oracles: what ss shows of the same connection, the kernel's own counters, and what the relay and the firewall did.

mod loops;
mod paths;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{CLIENT_DEVICE, CLIENT_MAC, Family, Lab, Namespace, SERVER_DEVICE, SERVER_MAC, batch, ip};
use crate::need::Need;
use crate::report::Finding;
use crate::send_path::{MUTE, counted};
use crate::sending::{Told, observe};

const PORT: u16 = 8091;
const BUFFER: &str = "tcp-limited-by-send-buffer";
const WINDOW: &str = "tcp-limited-by-peer-window";
const REFUSED: &str = "tcp-segments-refused-locally";
/// How long a bulk transfer goes on.
const BULK: Duration = Duration::from_millis(1500);

pub fn cases() -> Vec<Case> {
    let (plain, nft) = (&[Need::Namespaces], &[Need::Namespaces, Need::Nft]);
    vec![
        Case::new("senders::send_buffer", plain, send_buffer),
        Case::new("senders::own_send_buffer", plain, own_send_buffer),
        Case::new("senders::send_buffer_loop", plain, loops::send_buffer_loop),
        Case::new("senders::send_buffer_cap_loop", &[Need::Namespaces, Need::MachineWide], loops::send_buffer_cap_loop),
        Case::new("senders::peer_window", plain, peer_window),
        Case::new("senders::slow_reader", plain, slow_reader),
        Case::new("senders::refused_locally", nft, refused_locally),
        Case::new("senders::gathered_writes", plain, gathered_writes),
        Case::new("senders::sent_again", nft, paths::sent_again),
        Case::new("senders::reordering", plain, paths::reordering),
        Case::new("senders::late_acknowledgements", plain, paths::late_acknowledgements),
        Case::new("senders::held_in_this_host", plain, paths::held_in_this_host),
        Case::new("senders::quiet_and_idle", plain, paths::quiet_and_idle),
        Case::new("senders::congestion_control", plain, paths::congestion_control),
    ]
}

/// Two hosts with a relay between them.
struct Path {
    lab: Lab,
    relay: Actor,
}

impl Path {
    /// A path that is so many microseconds long, one way. Without segmentation offload, which a relay can't pass on.
    fn new(delay: u64) -> Outcome<Self> {
        let lab = Lab::new()?;
        let client = lab.client.name.as_str();
        ip(&["-n", client, "link", "add", "vc", "address", CLIENT_MAC, "type", "veth", "peer", "name", "vd"])?;
        batch(
            client,
            &[
                format!("addr flush dev {CLIENT_DEVICE}"),
                format!("link set {CLIENT_DEVICE} address 02:00:00:77:00:0a gso_max_segs 1"),
                "link set vc up gso_max_segs 1".into(),
                "link set vd up".into(),
                "addr add 10.77.0.1/30 dev vc".into(),
                format!("neigh replace 10.77.0.2 lladdr {SERVER_MAC} nud permanent dev vc"),
            ],
        )?;
        lab.server.exec(&["ip", "link", "set", "dev", SERVER_DEVICE, "gso_max_segs", "1"])?;
        // What goes through a relay must have its checksum.
        for (end, device) in [(&lab.server, SERVER_DEVICE), (&lab.client, "vc")] {
            end.exec(&["ethtool", "-K", device, "tx", "off", "gro", "off"])?;
        }
        // What another one makes of such a path is its own affair; this one every namespace may have.
        lab.server.set("net/ipv4/tcp_congestion_control", "reno")?;
        let mut relay = Actor::start(&lab.client, "nsd-relay", "relay", &["vd", CLIENT_DEVICE])?;
        relay.ask(&format!("delay {delay}"))?;
        Ok(Path { lab, relay })
    }

    /// Connections of the server begin with a window that holds far more than small buffers: in slow start the kernel blames
    /// a window below twice what is on its way, whatever else holds it back (tcp_is_cwnd_limited(), include/net/tcp.h).
    fn large_window(&self) -> Outcome {
        let route = format!("route replace 10.77.0.0/30 dev {SERVER_DEVICE} src 10.77.0.2 initcwnd 100");
        batch(&self.lab.server.name, &[route])
    }

    /// A reader that takes all there is.
    fn reader(&self) -> Outcome<Actor> {
        let mut reader = Actor::start(&self.lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
        reader.tell("sink")?;
        Ok(reader)
    }
}

fn address() -> SocketAddr {
    SocketAddr::new(Family::V4.client(), PORT)
}

/// A connection that spreads its packets over time, at 20 MB/s. One that does not sends its last segment before it waits for
/// room, and the kernel looks for the reason only when it sends (tcp_cwnd_validate(), net/ipv4/tcp_output.c).
fn paced() -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address())?;
    let rate = 20_000_000_u32;
    // SAFETY: the value is an unsigned int, as long as is said.
    let result = unsafe {
        let value = (&raw const rate).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, value, 4)
    };
    if result == 0 { Ok(stream) } else { Err(std::io::Error::last_os_error()) }
}

/// Sends for so long; the connection stays open. What it has to send is never little.
fn bulk(stream: &mut TcpStream, time: Duration) -> Outcome {
    let (end, block) = (Instant::now() + time, vec![0x55; 256 << 10]);
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    while Instant::now() < end {
        match stream.write(&block) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends nothing for so long.
fn idle(milliseconds: u64) -> Outcome {
    sleep(Duration::from_millis(milliseconds));
    Ok(())
}

/// What ss shows behind `name:` of the only connection, in milliseconds.
fn shown_by_ss(namespace: &Namespace, name: &str) -> Outcome<u64> {
    let shown = namespace.exec(&["ss", "-tinH", "dport", &format!("= :{PORT}")])?;
    let word = shown.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
    match word.and_then(|word| word.split("ms").next()?.parse().ok()) {
        Some(number) => Ok(number),
        None => again(format_args!("ss shows no {name}: {shown}")),
    }
}

/// The only finding of this id: its victim is this process, its first number that of ss.
fn found<'a, T>(
    told: &'a Told<T>,
    checks: &mut Checks,
    id: &str,
    severity: &str,
    number: Option<(&str, u64)>,
) -> Finding<'a> {
    let all = told.report.findings(id);
    checks.same(&format!("findings {id}"), 1, all.len());
    let finding = Finding(all.first().copied());
    checks.same(&format!("{id}: severity"), Some(severity), finding.0.and_then(|one| one["severity"].as_str()));
    let own = u64::from(std::process::id());
    checks.same(&format!("{id}: victim"), Some(own), finding.victims().first().and_then(|one| one["pid"].as_u64()));
    if let Some((name, milliseconds)) = number {
        let shown = finding.evidence(&format!("tcp_info.{name}")).unwrap_or(0);
        checks.same(&format!("{name} in ms"), milliseconds, shown / 1000);
    }
    finding
}

/// Of these rules, none says anything.
fn silent<T>(told: &Told<T>, checks: &mut Checks, ids: &[&str]) {
    ids.iter().for_each(|id| checks.same(&format!("findings {id}"), 0, told.report.findings(id).len()));
}

/// A buffer that holds less than a round trip of 20 ms takes.
fn send_buffer(_: Duration) -> Outcome {
    let path = Path::new(10_000)?;
    let server = &path.lab.server;
    server.set("net/ipv4/tcp_wmem", "4096 16384 32768")?;
    path.large_window()?;
    let _reader = path.reader()?;
    let told = observe(server, || {
        let mut stream = paced()?;
        bulk(&mut stream, BULK)?;
        // Until nothing is on its way any more.
        sleep(Duration::from_millis(300));
        Ok((stream, shown_by_ss(server, "sndbuf_limited")?))
    })?;
    let mut checks = Checks::default();
    let shown = Some(("sndbuf_limited", told.traffic.1));
    let finding = found(&told, &mut checks, BUFFER, "warning", shown);
    finding.raises(&mut checks, "net.ipv4.tcp_wmem", "4096 16384 32768", "netns");
    checks.that(finding.refuses("net.core.wmem_max"), "net.core.wmem_max should be refused");
    silent(&told, &mut checks, &[WINDOW, REFUSED, "tcp-goodput-low"]);
    told.done(checks)
}

/// The same by the application's own wish.
fn own_send_buffer(_: Duration) -> Outcome {
    let path = Path::new(10_000)?;
    let server = &path.lab.server;
    path.large_window()?;
    let _reader = path.reader()?;
    // Of a connection that is new it is not known whether the kernel lets its buffer grow.
    let mut stream = server.inside(paced)?;
    sockopt::set_socket_send_buffer_size(&stream, 16_000)?;
    let told = observe(server, || {
        bulk(&mut stream, BULK)?;
        sleep(Duration::from_millis(300));
        shown_by_ss(server, "sndbuf_limited")
    })?;
    let mut checks = Checks::default();
    let shown = Some(("sndbuf_limited", told.traffic));
    let finding = found(&told, &mut checks, BUFFER, "warning", shown);
    checks.same("suggestions SO_SNDBUF", 1, finding.suggestion("SO_SNDBUF").len());
    checks.that(finding.refuses("net.ipv4.tcp_wmem"), "net.ipv4.tcp_wmem should be refused");
    told.done(checks)
}

/// A reader whose buffer is small for a round trip of 20 ms.
fn peer_window(_: Duration) -> Outcome {
    let path = Path::new(10_000)?;
    let server = &path.lab.server;
    let mut reader = Actor::start(&path.lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
    reader.ask("shrink 16000")?;
    reader.tell("sink")?;
    let told = observe(server, || {
        let mut stream = TcpStream::connect(address())?;
        bulk(&mut stream, BULK)?;
        sleep(Duration::from_millis(300));
        Ok((stream, shown_by_ss(server, "rwnd_limited")?))
    })?;
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, WINDOW, "info", Some(("rwnd_limited", told.traffic.1)));
    checks.that(finding.refuses("net.ipv4.tcp_wmem"), "net.ipv4.tcp_wmem should be refused");
    says(&mut checks, &finding, "bytes allows");
    silent(&told, &mut checks, &[BUFFER, REFUSED, "tcp-goodput-low"]);
    told.done(checks)
}

fn says(checks: &mut Checks, finding: &Finding, words: &str) {
    let why = finding.0.and_then(|finding| finding["why"].as_str()).unwrap_or_default();
    checks.that(why.contains(words), format_args!("not '{words}': {why}"));
}

/// A peer that does not read at all: its window is closed, and that is no refusal of this host.
fn slow_reader(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut reader = Actor::start(&lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
    reader.ask("shrink 16000")?;
    let mut stream = lab.server.inside(|| TcpStream::connect(address()))?;
    reader.ask("accept")?;
    let told = observe(&lab.server, || bulk(&mut stream, BULK))?;
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, WINDOW, "info", None);
    says(&mut checks, &finding, "window is closed");
    checks.that(finding.says_no_setting_helps(), "only the peer's application helps");
    silent(&told, &mut checks, &[BUFFER, REFUSED, "tcp-goodput-low"]);
    told.done(checks)
}

/// A firewall of this host drops what an established connection sends. Oracle: the rule's own counter, and that the kernel
/// counts no retransmission. Without the rule all arrives, and nothing is said any more.
fn refused_locally(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut reader = Actor::start(&lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
    let mut stream = lab.server.inside(|| TcpStream::connect(address()))?;
    reader.ask("accept")?;
    lab.server.nft(MUTE)?;
    lab.server.nft("insert rule inet t o tcp dport 8091 counter drop")?;
    let told = observe(&lab.server, || {
        stream.write_all(&[0x55; 4_000])?;
        sleep(Duration::from_millis(1200));
        Ok(())
    })?;
    let dropped = counted(&lab.server)?;
    if dropped < 2 {
        return again(format_args!("only {dropped} segments were dropped"));
    }
    let mut checks = Checks::default();
    checks.same("sent again", 0, told.grew("Tcp.RetransSegs"));
    let finding = found(&told, &mut checks, REFUSED, "warning", None);
    let tries = finding.evidence("tcp_info.probes").unwrap_or(0);
    checks.that((1..=dropped).contains(&tries), format_args!("{tries} attempts, {dropped} segments dropped"));
    checks.that(finding.says_no_setting_helps(), "no setting helps");
    checks.same("other alarms", vec![REFUSED], told.report.alarms());
    // Stuck for longer, it is seen in a window in which it sends nothing, too.
    let later = observe(&lab.server, || idle(300))?;
    found(&later, &mut checks, REFUSED, "warning", None);
    lab.server.nft("delete table inet t")?;
    stream.write_all(&[0x55; 4_000])?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut read = 0;
    while read < 8_000 && Instant::now() < deadline {
        read += reader.ask("read")?;
        sleep(Duration::from_millis(50));
    }
    checks.same("bytes that came without the rule", 8_000, read);
    let mended = observe(&lab.server, || idle(300))?;
    silent(&mended, &mut checks, &[REFUSED]);
    told.done(checks)
}

/// Small writes that are held back until they fill a segment wait for the same timer, with an open window.
fn gathered_writes(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut reader = Actor::start(&lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
    let mut stream = lab.server.inside(|| TcpStream::connect(address()))?;
    reader.ask("accept")?;
    sockopt::set_tcp_cork(&stream, true)?;
    let ended = AtomicBool::new(false);
    // One of them waits whenever the program looks, also when the window ends.
    let told = std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> std::io::Result<()> {
            while !ended.load(Ordering::Relaxed) {
                stream.write_all(&[0x55; 10])?;
                sleep(Duration::from_millis(5));
            }
            Ok(())
        });
        let told = observe(&lab.server, || {
            sleep(Duration::from_millis(800));
            Ok(())
        });
        ended.store(true, Ordering::Relaxed);
        match writer.join() {
            Ok(wrote) => wrote?,
            Err(_) => return wrong("the writer panicked"),
        }
        told
    })?;
    let mut checks = Checks::default();
    silent(&told, &mut checks, &[REFUSED, WINDOW, BUFFER]);
    told.done(checks)
}
