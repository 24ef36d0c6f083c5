//! What a path does to those who send over it: reordering, acknowledgements that come late, a queue of their own host.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::{BULK, Path, address, bulk, found, idle, says, silent};
use crate::actor::Actor;
use crate::case::{Checks, Outcome, again, wrong};
use crate::lab::{Lab, SERVER_DEVICE};
use crate::send_path::counted;
use crate::sending::observe;
use crate::tool;

/// Each tenth segment comes 4 ms late. Oracle: those that the relay held back, and the kernel's own counters.
pub fn reordering(_: Duration) -> Outcome {
    const RULE: &str = "tcp-reordering";
    let mut path = Path::new(5_000)?;
    path.lab.server.set("net/ipv4/tcp_max_reordering", "4")?;
    path.relay.ask("late 10 4000")?;
    let _reader = path.reader()?;
    let told = observe(&path.lab.server, || {
        let mut stream = TcpStream::connect(address())?;
        bulk(&mut stream, BULK)?;
        sleep(Duration::from_millis(200));
        Ok(stream)
    })?;
    let late = path.relay.ask("late 0 0")?;
    let counted = ["SACKReorder", "TSReorder"].iter().map(|name| told.grew(&format!("TcpExt.TCP{name}"))).sum::<u64>();
    if late < 50 || counted < 50 {
        return again(format_args!("{late} segments were late, {counted} times the kernel saw it"));
    }
    let mut checks = Checks::default();
    checks.that(counted <= late, format_args!("{counted} times, but only {late} segments were late"));
    let finding = found(&told, &mut checks, RULE, "info", None);
    let shown = ["SACKReorder", "TSReorder"].iter().filter_map(|name| finding.evidence(&format!("TcpExt.TCP{name}")));
    checks.same("times", counted, shown.sum());
    finding.raises(&mut checks, "net.ipv4.tcp_max_reordering", "4", "netns");
    // Where a connection may go farther, the setting is not what binds.
    path.lab.server.set("net/ipv4/tcp_max_reordering", "300")?;
    told.done(checks)
}

/// The peer's firewall drops each twentieth segment of a connection that stays. Oracle: the firewall's counter.
pub fn sent_again(_: Duration) -> Outcome {
    const RULE: &str = "tcp-retransmits";
    let lab = Lab::new()?;
    lab.server.exec(&["ip", "link", "set", "dev", SERVER_DEVICE, "gso_max_segs", "1"])?;
    lab.client.nft(
        "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
         add rule inet t i tcp dport 8091 meta length > 1000 numgen inc mod 20 3 counter drop",
    )?;
    let mut reader = Actor::start(&lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
    reader.tell("sink")?;
    let told = observe(&lab.server, || {
        let mut stream = TcpStream::connect(address())?;
        bulk(&mut stream, BULK)?;
        sleep(Duration::from_millis(300));
        Ok(stream)
    })?;
    let dropped = counted(&lab.client)?;
    if dropped < 100 || told.grew("TcpExt.TCPSynRetrans") > 0 || told.grew("TcpExt.TCPOrigDataSent") < 1_000 {
        return again(format_args!("{dropped} segments were dropped"));
    }
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, RULE, "critical", None);
    let lost = finding.0.and_then(|finding| finding["lost"].as_u64());
    let own = finding.victims().first().and_then(|victim| victim["lost"].as_u64());
    checks.same("lost by the only connection", lost, own);
    checks.that(lost >= Some(dropped * 95 / 100), format_args!("{lost:?} lost, but {dropped} dropped"));
    told.done(checks)
}

/// All acknowledgements wait for longer than the retransmission timeout, and then come after all: nothing was lost.
pub fn late_acknowledgements(_: Duration) -> Outcome {
    const RULE: &str = "tcp-retransmits-spurious";
    const COUNT: u64 = 8;
    let mut path = Path::new(2_000)?;
    let mut reader = Actor::start(&path.lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
    let server = &path.lab.server;
    let streams = server.inside(|| (0..COUNT).map(|_| TcpStream::connect(address())).collect::<Result<Vec<_>, _>>())?;
    reader.ask("accept")?;
    let relay = &mut path.relay;
    let told = observe(server, || {
        for _ in 0..2 {
            relay.ask("hold 700")?;
            streams.iter().try_for_each(|mut stream| stream.write_all(&[0x55; 10_000]))?;
            sleep(Duration::from_millis(900));
            reader.ask("read")?;
        }
        Ok(())
    })?;
    let (timeouts, undone) = (told.grew("TcpExt.TCPTimeouts"), told.grew("TcpExt.TCPLossUndo"));
    if timeouts < COUNT || undone < COUNT {
        return again(format_args!("{timeouts} timeouts, of which {undone} were undone"));
    }
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, RULE, "info", None);
    checks.same("undone", Some(undone), finding.evidence("TcpExt.TCPLossUndo"));
    says(&mut checks, &finding, "were for nothing");
    says(&mut checks, &finding, "the delay of the path jumps");
    checks.that(finding.refuses("net.ipv4.tcp_dsack"), "net.ipv4.tcp_dsack should be refused");
    told.done(checks)
}

/// A shaper of this host is what holds back a connection whose window had grown before. Oracle: the shaper's rate.
pub fn held_in_this_host(_: Duration) -> Outcome {
    const RULE: &str = "tcp-goodput-low";
    const BYTES_A_SECOND: u64 = 250_000;
    let path = Path::new(10_000)?;
    let server = &path.lab.server;
    let _reader = path.reader()?;
    let mut stream = server.inside(|| TcpStream::connect(address()))?;
    bulk(&mut stream, BULK)?;
    let add = ["tc", "qdisc", "add", "dev", SERVER_DEVICE, "root", "tbf"];
    server.exec(&[&add[..], &["rate", "2mbit", "burst", "3000", "limit", "1000000"]].concat())?;
    let stop = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                bulk(&mut stream, Duration::from_millis(100))?;
            }
            Ok(())
        });
        // What was on its way before is through.
        sleep(Duration::from_millis(300));
        let told = observe(server, || idle(1500));
        stop.store(true, Ordering::Relaxed);
        let sent: Outcome = sender.join().unwrap_or_else(|_| wrong("the sender panicked"));
        sent.and(told)
    })?;
    if told.grew("Tcp.RetransSegs") > 0 {
        return again("something was lost");
    }
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, RULE, "info", None);
    let per_second = finding.0.and_then(|finding| finding["evidence"][0]["per_second"].as_f64()).unwrap_or(0.0);
    let most = BYTES_A_SECOND as f64 * 1.1;
    checks.that(per_second > 0.0 && per_second < most, format_args!("{per_second} bytes/s through {BYTES_A_SECOND}"));
    checks.that(finding.says_no_setting_helps(), "no setting of TCP helps");
    silent(&told, &mut checks, &["tcp-limited-by-send-buffer", "tcp-limited-by-peer-window"]);
    told.done(checks)
}

/// Connections on which nothing happens are not looked at.
pub fn quiet_and_idle(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let _reader = Actor::start(&lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
    let mut stream = lab.server.inside(|| TcpStream::connect(address()))?;
    stream.write_all(b"once")?;
    let looked = |told: &crate::sending::Told<()>| {
        let sources = told.report.0["sources"].as_array();
        sources.is_some_and(|all| all.iter().any(|source| source["name"] == "sock_diag with tcp_info"))
    };
    let quiet = observe(&lab.server, || idle(200))?;
    if quiet.grew("Tcp.OutSegs") > 0 {
        return again("it was not idle");
    }
    let mut checks = Checks::default();
    checks.that(!looked(&quiet), "connections were looked at, though nothing was sent");
    checks.same("findings", Some(0), quiet.report.0["findings"].as_array().map(Vec::len));
    let busy = observe(&lab.server, || Ok(stream.write_all(b"again")?))?;
    checks.that(looked(&busy), "connections were not looked at, though something was sent");
    checks.same("findings of one write", Some(0), busy.report.0["findings"].as_array().map(Vec::len));
    quiet.done(checks)
}

/// The setting acts on new connections, as it says: read back from the connections themselves, and as ss shows them.
pub fn congestion_control(_: Duration) -> Outcome {
    const SETTING: &str = "net/ipv4/tcp_congestion_control";
    let lab = Lab::new()?;
    let _reader = Actor::start(&lab.client, "nsd-reader", "tcp-server", &[&address().to_string(), "64"])?;
    let connect = || lab.server.inside(|| TcpStream::connect(address()));
    let mut checks = Checks::default();
    let mut open = Vec::new();
    // A namespace may take only what the machine allows it; reno is always among that.
    let usual = lab.server.get(SETTING)?;
    open.push((usual.as_str(), connect()?));
    lab.server.set(SETTING, "reno")?;
    open.push(("reno", connect()?));
    let args = ["sockets", "--json", "--netns", &lab.server.name, "--by", "rtt"];
    let report = tool::start_with(&args, Duration::ZERO)?.report()?;
    let shown = lab.server.exec(&["ss", "-tinOH"])?;
    for (name, stream) in &open {
        let local = stream.local_addr()?.to_string();
        let rows = report.0["sockets"].as_array().into_iter().flatten();
        let row = rows.into_iter().find(|row| row["local"] == local.as_str());
        checks.same(&local, Some(*name), row.and_then(|row| row["tcp"]["congestion"].as_str()));
        let line = shown.lines().find(|line| line.contains(&local)).unwrap_or_default();
        checks.that(line.split(' ').any(|word| word == *name), format_args!("ss does not show {name}: {line}"));
    }
    checks.done(&report)
}
