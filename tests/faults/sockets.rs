//! `sockets`: a socket's numbers are those that `ss -tinmea` shows of it, and those that its peer knows.
//!
//! Oracles: datagrams sent less received; ss, read before and after, of each socket that stood still in between.

mod bad_input;
mod choice;
mod path;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use serde_json::Value;

use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{Family, Lab, Namespace};
use crate::need::Need;
use crate::report::Report;
use crate::tool;

const PORT: u16 = 8090;
/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for family in Family::BOTH {
        let of = |name: &str| format!("sockets::{name}_{}", family.suffix());
        let needs = &[Need::Namespaces];
        all.push(Case::with(of("lost_datagrams"), needs, move |window| datagrams(family, window)));
        all.push(Case::with(of("slow_reader_as_ss_says"), needs, move |_| reader(family)));
        all.push(Case::with(of("full_accept_queue"), needs, move |_| accept_queue(family)));
        all.push(Case::with(of("sent_again"), &[Need::Namespaces, Need::Nft], move |_| sent_again(family)));
        all.push(Case::with(of("small_send_buffer"), needs, move |_| send_buffer(family)));
        all.push(Case::with(of("held_by_its_send_buffer"), needs, move |window| path::send_buffer(family, window)));
        all.push(Case::with(of("networks"), &[Need::Namespaces, Need::Nft], move |_| path::networks(family)));
        all.push(Case::with(of("of_a_device"), needs, move |_| choice::device(family)));
    }
    all.push(Case::new("sockets::recorded", &[Need::Namespaces], recorded));
    all.push(Case::new("sockets::no_room", &[Need::Namespaces], bad_input::no_room));
    all.push(Case::new("sockets::come_and_go", &[Need::Namespaces], bad_input::come_and_go));
    all.push(Case::new("sockets::names", &[Need::Namespaces], bad_input::names));
    all.push(Case::new("sockets::check", &[Need::Namespaces], choice::check));
    all.push(Case::new("sockets::quiet", &[Need::Namespaces], quiet));
    all
}

/// A buffer overflows within the window. What was lost before it does not count.
fn datagrams(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let to = family.server(PORT);
    let (reader, sender) = (
        lab.server.inside(|| UdpSocket::bind(to))?,
        lab.client.inside(|| UdpSocket::bind(SocketAddr::new(family.client(), 0)))?,
    );
    sockopt::set_socket_recv_buffer_size(&reader, 8192)?;
    let flood = |count: u64| (0..count).try_for_each(|_| sender.send_to(&[7; 1000], to).map(drop));
    flood(100)?;
    let before = read_all(&reader)?;
    if before == 0 {
        return again("nothing came before the window");
    }
    let run = tool::start_with(&["sockets", "--json", "--netns", &lab.server.path()], window)?;
    std::thread::sleep(window / 2);
    let began = Timestamp::now();
    flood(200)?;
    let ended = Timestamp::now();
    let report = run.report()?;
    let (from, to_) = report.window()?;
    if began < from || ended > to_ {
        return again("the datagrams were not sent within the window");
    }
    let lost = 200 - read_all(&reader)?;
    let row = row(&report, &to.to_string());
    let mut checks = Checks::default();
    checks.that(lost > 0, "nothing was lost");
    checks.same("lost in the window", Some(lost), row["drops"].as_u64());
    checks.same("lost in its life", Some(lost + 100 - before), row["drops_total"].as_u64());
    checks.same("lost by all", Some(lost), report.0["drops"].as_u64());
    checks.same("trouble", "\"drops\"", &row["troubles"][0].to_string());
    checks.same("process", Some(u64::from(std::process::id())), row["pid"].as_u64());
    checks.same("who set the buffer", "\"application\"", &row["receive_buffer"]["set_by"].to_string());
    checks.done(&report)
}

fn read_all(socket: &UdpSocket) -> Outcome<u64> {
    socket.set_nonblocking(true)?;
    let (mut count, mut buffer) = (0, [0; 2000]);
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A connection whose server reads nothing: both ends are what ss says.
fn reader(family: Family) -> Outcome {
    let lab = Lab::new()?;
    let (client, server) = connection(&lab, family, None)?;
    fill(&client)?;
    // A second after the last byte came it is unread for long enough.
    wait_for("unread for a second", || {
        let report = life(&lab.server, &[])?;
        Ok(row(&report, &server.local_addr()?.to_string())["troubles"][0] == "unread")
    })?;
    let report = agree(&lab.server, &[&server])?;
    let mut checks = Checks::default();
    let local = server.local_addr()?.to_string();
    let found = row(&report, &local);
    // What the sender probes the window with may come in between, and then it is young again.
    if found["unread_milliseconds"].as_u64() < Some(1000) {
        return again(format_args!("unread for {} ms", found["unread_milliseconds"]));
    }
    let by_age = life(&lab.server, &["--by", "age", "--state", "established", "--port", &PORT.to_string()])?;
    checks.same("first by age", local.as_str(), by_age.0["sockets"][0]["local"].as_str().unwrap_or_default());
    let sending = agree(&lab.client, &[&client])?;
    let found = row(&sending, &client.local_addr()?.to_string());
    let troubles = found["troubles"].to_string();
    checks.that(troubles.contains("peer-window-closed"), format_args!("its sender's trouble: {troubles}"));
    checks.that(found["tcp"]["window_limited"].as_f64() > Some(0.2), "its sender is held by the window");
    checks.done(&sending)
}

/// Queues that are full: of four by the application's own wish, of eight by the namespace's limit.
fn accept_queue(family: Family) -> Outcome {
    let lab = Lab::new()?;
    lab.server.set("net/core/somaxconn", "8")?;
    let mut checks = Checks::default();
    let mut held = Vec::new();
    for (port, backlog, limit, binds) in [(PORT, 4, 4, "application"), (PORT + 1, 1024, 8, "somaxconn")] {
        let at = family.server(port);
        let domain = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let listener = lab.server.inside(|| {
            let socket = socket_with(domain, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            bind(&socket, &at)?;
            listen(&socket, backlog)?;
            Ok(TcpListener::from(socket))
        })?;
        // One more than the limit has room.
        for _ in 0..=limit {
            held.push(lab.client.inside(|| TcpStream::connect_timeout(&at, PATIENCE))?);
        }
        let report = life(&lab.server, &[])?;
        let found = row(&report, &at.to_string());
        let queue = &found["accept_queue"];
        checks.same("its length", Some(limit + 1), queue["length"].as_u64());
        checks.same("its limit", Some(limit), queue["limit"].as_u64());
        checks.same("what binds", binds, queue["bound_by"].as_str().unwrap_or_default());
        checks.same("trouble", "accept-queue-full", found["troubles"][0].as_str().unwrap_or_default());
        let ss = lab.server.exec(&["ss", "-HOltn", "sport", "=", &port.to_string()])?;
        let words: Vec<&str> = ss.split_whitespace().collect();
        let [length, limit] = [limit + 1, limit].map(|number| number.to_string());
        checks.that(words[1..3] == [&length, &limit], format_args!("ss says {ss}"));
        drop(listener);
    }
    checks.done(&"")
}

/// Every tenth segment is dropped by the peer's firewall.
fn sent_again(family: Family) -> Outcome {
    let lab = Lab::new()?;
    // Only segments with data: the handshake passes.
    let rule = format!("tcp dport {PORT} meta length > 500 numgen inc mod 10 0 drop");
    lab.server.nft(&format!("table inet t {{ chain c {{ type filter hook input priority 0; {rule}; }}; }}"))?;
    let (mut client, server) = connection(&lab, family, None)?;
    let reading = std::thread::spawn(move || -> std::io::Result<TcpStream> {
        std::io::copy(&mut (&server), &mut std::io::sink())?;
        Ok(server)
    });
    client.set_write_timeout(Some(PATIENCE))?;
    client.write_all(&vec![7; 2 << 20])?;
    wait_for("all was acknowledged", || {
        let report = life(&lab.client, &["--by", "sent"])?;
        Ok(row(&report, &client.local_addr()?.to_string())["unacknowledged"] == 0)
    })?;
    let report = agree(&lab.client, &[&client])?;
    let found = row(&report, &client.local_addr()?.to_string());
    let mut checks = Checks::default();
    checks.that(found["troubles"].to_string().contains("retransmits"), format_args!("{}", found["troubles"]));
    checks.that(found["tcp"]["retransmitted_total"].as_u64() > Some(0), "sent again");
    let group = &report.0["congestion"][0];
    checks.same("all connections", Some(1), group["connections"].as_u64());
    checks.same("by all", found["tcp"]["retransmitted"].as_u64(), group["retransmitted"].as_u64());
    checks.done(&report)?;
    drop(client);
    match reading.join() {
        Ok(read) => read.map(drop).map_err(Into::into),
        Err(_) => wrong("the reader panicked"),
    }
}

/// A sender whose buffer holds less than the path could take.
fn send_buffer(family: Family) -> Outcome {
    let lab = Lab::new()?;
    let (mut client, server) = connection(&lab, family, Some(4096))?;
    let reading = std::thread::spawn(move || std::io::copy(&mut (&server), &mut std::io::sink()));
    client.set_write_timeout(Some(PATIENCE))?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        client.write_all(&[7; 64 << 10])?;
    }
    let report = life(&lab.client, &["--by", "sent"])?;
    let found = row(&report, &client.local_addr()?.to_string());
    let mut checks = Checks::default();
    checks.same("who set it", "application", found["send_buffer"]["set_by"].as_str().unwrap_or_default());
    checks.that(found["tcp"]["acknowledged_bytes"].as_u64() > Some(0), "it sends");
    let busy = found["tcp"]["busy_milliseconds"].as_u64();
    let ss = lab.client.exec(&["ss", "-HOtin"])?;
    checks.that(busy > Some(0) && ss.contains("busy:"), format_args!("busy {busy:?}, ss says {ss}"));
    checks.done(&report)?;
    drop(client);
    drop(reading.join());
    Ok(())
}

/// A recording tells of the same socket and loss, and a redacted one not where it was.
fn recorded(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let to = Family::V4.server(PORT);
    let reader = lab.server.inside(|| UdpSocket::bind(to))?;
    let sender = lab.client.inside(|| UdpSocket::bind("0.0.0.0:0"))?;
    sockopt::set_socket_recv_buffer_size(&reader, 8192)?;
    let folder = tempfile::tempdir()?;
    let mut checks = Checks::default();
    for (name, flag) in [("plain", None), ("redacted", Some("--redact"))] {
        let bundle = folder.path().join(name);
        let bundle = bundle.to_str().unwrap_or_default();
        let args = ["record", "--json", "--bundle", bundle, "--netns", &lab.server.path()];
        let run = tool::start_with(&[&args[..], flag.as_slice()].concat(), window)?;
        std::thread::sleep(window / 2);
        let began = Timestamp::now();
        (0..100).try_for_each(|_| sender.send_to(&[7; 1000], to).map(drop))?;
        let (report, ended) = (run.report()?, Timestamp::now());
        let lost = 100 - read_all(&reader)?;
        let (from, _) = report.window()?;
        if began < from || lost == 0 {
            return again(format_args!("{lost} were lost, from {began} on; the window from {from} to {ended}"));
        }
        let replayed = tool::start_with(&["sockets", "--json", "--root", bundle], Duration::from_secs(1))?.report()?;
        checks.same("lost", Some(lost), replayed.0["drops"].as_u64());
        let local = replayed.0["sockets"][0]["local"].to_string();
        checks.same("its address is kept", flag.is_none(), local.contains(&to.to_string()));
        checks.that(local.contains(&PORT.to_string()), format_args!("its port: {local}"));
    }
    checks.done(&"")
}

/// An idle connection and a listener are in no trouble.
fn quiet(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let (_client, _server) = connection(&lab, Family::V4, None)?;
    let run = tool::start_with(&["sockets", "--json", "--netns", &lab.server.path()], window)?;
    let report = run.report()?;
    let mut checks = Checks::default();
    checks.same("in trouble", Some(0), report.0["ranked"].as_u64());
    checks.same("consistent", Some(true), report.0["consistent"].as_bool());
    let tool = env!("CARGO_BIN_EXE_netstat-deep");
    let screen = lab.server.exec(&[tool, "sockets", "--interval", "100ms"])?;
    checks.that(screen.contains("none in trouble") && screen.contains("established 1"), &screen);
    checks.that(screen.lines().all(|line| line.chars().count() <= 80), &screen);
    let none = lab.server.exec(&[tool, "sockets", "-i", "0", "--json", "--state", "syn-sent"])?;
    checks.that(none.contains("\"states\":[]"), &none);
    let ours = std::process::id().to_string();
    let all = lab.server.exec(&[tool, "sockets", "-i", "0", "--json", "--pid", &ours, "--by", "sent"])?;
    checks.that(all.contains("\"state\":\"established\""), &all);
    checks.done(&report)
}

/// A connection from the client's namespace to the server's, the sender's buffer of that size.
fn connection(lab: &Lab, family: Family, send_buffer: Option<usize>) -> Outcome<(TcpStream, TcpStream)> {
    let at = family.server(PORT);
    let listener = lab.server.inside(|| TcpListener::bind(at))?;
    let client = lab.client.inside(|| TcpStream::connect_timeout(&at, PATIENCE))?;
    if let Some(bytes) = send_buffer {
        sockopt::set_socket_send_buffer_size(&client, bytes)?;
    }
    let (server, _) = listener.accept()?;
    Ok((client, server))
}

/// Sends until nothing more is taken for a while.
fn fill(mut stream: &TcpStream) -> Outcome {
    stream.set_write_timeout(Some(Duration::from_millis(300)))?;
    loop {
        match stream.write(&[7; 64 << 10]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> Outcome<bool>) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > end {
            return again(format_args!("it never came to be {what}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// What `sockets` says of the sockets' whole lives.
fn life(namespace: &Namespace, args: &[&str]) -> Outcome<Report> {
    let path = namespace.path();
    let args = [&["sockets", "--json", "--netns", &path], args].concat();
    tool::start_with(&args, Duration::ZERO)?.report()
}

/// A socket among the first, by its own end; nothing if it is not among them.
fn row(report: &Report, local: &str) -> Value {
    let rows = report.0["sockets"].as_array().into_iter().flatten();
    rows.into_iter().find(|row| row["local"] == local).cloned().unwrap_or(Value::Null)
}

/// What ss shows of each TCP socket, by its cookie.
fn ss(namespace: &Namespace) -> Outcome<Vec<(u64, String)>> {
    let text = namespace.exec(&["ss", "-HOtinmea"])?;
    let of = |line: &str| Some((u64::from_str_radix(word(line, "sk:")?, 16).ok()?, line.to_owned()));
    Ok(text.lines().filter_map(of).collect())
}

/// The word behind a name.
fn word<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split([' ', ',', '(', ')']).find_map(|word| word.strip_prefix(name))
}

/// The report, once ss says the same of these sockets before and after it, and agrees.
fn agree(namespace: &Namespace, sockets: &[&TcpStream]) -> Outcome<Report> {
    for _ in 0..20 {
        let before = ss(namespace)?;
        let report = life(namespace, &["--by", "sent"])?;
        let ranked = life(namespace, &[])?;
        let after = ss(namespace)?;
        let received = life(namespace, &["--by", "received"])?;
        let mut stood = 0;
        let mut checks = Checks::default();
        for socket in sockets {
            let local = socket.local_addr()?.to_string();
            let found = [&report, &received].map(|report| row(report, &local)).into_iter().find(|row| !row.is_null());
            let Some(found) = found else { return wrong(format_args!("{local} is not there: {report}")) };
            let cookie = found["cookie"].as_u64().unwrap_or(0);
            let of = |lines: &[(u64, String)]| lines.iter().find(|(other, _)| *other == cookie).cloned();
            let (Some((_, line)), Some((_, then))) = (of(&before), of(&after)) else { continue };
            if still(&line) != still(&then) {
                continue;
            }
            stood += 1;
            compare(&found, &line, &mut checks);
        }
        if stood == sockets.len() {
            checks.done(&report)?;
            return Ok(ranked);
        }
    }
    again("the sockets never stood still")
}

/// A line without what only ages.
fn still(line: &str) -> String {
    let ages = ["timer:", "lastsnd:", "lastrcv:", "lastack:", "busy:", "rwnd_limited:", "backoff:", "rto:"];
    line.split(' ').filter(|word| !ages.iter().any(|age| word.contains(age))).collect::<Vec<_>>().join(" ")
}

fn compare(row: &Value, line: &str, checks: &mut Checks) {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    let millis = |text: Option<&str>| number(text).map(|ms| (ms * 1000.0).round());
    let (receive, send, tcp) = (&row["receive_buffer"], &row["send_buffer"], &row["tcp"]);
    let again = word(line, "retrans:").and_then(|both| both.split_once('/')).map(|(_, all)| all);
    for (what, ss, ours) in [
        ("Recv-Q", number(columns.get(1).copied()), &row["unread"]),
        ("Send-Q", number(columns.get(2).copied()), &row["unacknowledged"]),
        ("rb", number(word(line, "rb")), &receive["size"]),
        ("tb", number(word(line, "tb")), &send["size"]),
        ("d", number(word(line, "d")), &row["drops_total"]),
        ("cwnd", number(word(line, "cwnd:")), &tcp["congestion_window"]),
        ("mss", number(word(line, "mss:")), &tcp["segment_bytes"]),
        ("bytes_acked", number(word(line, "bytes_acked:")).or(Some(0.0)), &tcp["acknowledged_bytes"]),
        ("bytes_received", number(word(line, "bytes_received:")).or(Some(0.0)), &tcp["received_bytes"]),
        ("retrans", number(again).or(Some(0.0)), &tcp["retransmitted_total"]),
        ("minrtt", millis(word(line, "minrtt:")), &tcp["min_rtt_microseconds"]),
        (
            "rtt",
            millis(word(line, "rtt:").and_then(|both| both.split_once('/')).map(|(rtt, _)| rtt)),
            &tcp["rtt_microseconds"],
        ),
    ] {
        checks
            .that(ss == ours.as_f64() && ss.is_some(), format_args!("{what}: ss says {ss:?}, sockets {ours}; {line}"));
    }
    let congestion = tcp["congestion"].as_str().unwrap_or("nothing");
    checks.that(columns.contains(&congestion), format_args!("{congestion} is not in {line}"));
}
