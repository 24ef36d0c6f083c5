//! Inside the guest: a fault of known size, and what the program and the kernel say of it.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use jiff::Timestamp;
use netstat_deep::source::dropmon::{self, Row, Watched};
use serde_json::{Value, json};

use crate::{card, drops, fexit, queues, seccomp};

/// The first argument of this binary inside the guest; behind it, nothing or what to do for the scenario: a word, the
/// number of datagrams to send to a port without reader, or the address and port and the number for others.
pub const FLAG: &str = "--guest";
pub const SEND: &str = "send";
pub const FEW: &str = "few";
pub const BROADCAST: &str = "broadcast";
pub const SEGMENTS: &str = "segments";
pub const NO_BPF: &str = "no-bpf";
const WATCH: &str = "watch";
pub const SENT: u64 = 2000;
pub const KNOCKS: u64 = 30;
pub const FLOOD: u64 = 40_000;
pub const PORT: u16 = 5300;

/// The kernel's own words, kept to compare.
pub const FILES: [&str; 3] = ["snmp", "netstat", "snmp6"];

/// Another machine, as the network sees it.
const PEER: &str = "\
ip netns add peer
ip link add va type veth peer name vb netns peer
ip addr add 10.78.0.1/30 dev va
ip link set va up
ip -n peer addr add 10.78.0.2/30 dev vb
ip -n peer link set vb up
ping -c 1 -W 5 10.78.0.2 >/dev/null";

fn argument(at: usize) -> u64 {
    std::env::args().nth(at).unwrap_or_default().parse().unwrap()
}

/// What this binary does when it is started in a guest. Whatever goes wrong ends it, and is seen outside.
pub fn play() {
    match std::env::args().nth(2).as_deref() {
        Some(SEND) => return send(),
        Some(WATCH) => {
            let _killed_before = dropmon::watch(Duration::from_secs(60), &AtomicBool::new(false));
            return;
        }
        Some(BROADCAST) => return card::broadcast(argument(3)),
        Some(SEGMENTS) => return card::segments(argument(3), argument(4) as usize),
        Some(FEW) => drops::become_with_few(&std::env::args().skip(3).collect::<Vec<_>>()),
        Some(NO_BPF) => panic!("{}", seccomp::become_without_bpf("netstat-deep", std::env::args().skip(3))),
        Some(knocks) => {
            let [to, times] = [knocks, &std::env::args().nth(3).unwrap_or_default()].map(str::to_owned);
            return match to.parse() {
                Ok(times) => knock(SocketAddr::from(([10, 78, 0, 1], PORT)), times),
                Err(_) => knock(to.parse().unwrap(), times.parse().unwrap()),
            };
        }
        None => {}
    }
    shell(PEER);
    overflow();
    drop_monitor();
    drops::play();
    fexit::play();
    card::play();
    queues::play();
    keep("doctor.json", &["doctor", "--json"]);
    fs::copy("/sys/kernel/tracing/available_events", "/out/events").unwrap();
    keep("since-boot.json", &["rx", "--json", "--interval", "0"]);
    keep("since-boot-tx.json", &["tx", "--json", "--interval", "0"]);
    for file in FILES {
        fs::copy(format!("/proc/net/{file}"), format!("/out/{file}")).unwrap();
    }
}

/// Keeps what the program prints.
fn keep(name: &str, arguments: &[&str]) {
    let output = program(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "netstat-deep {}: {}, {said}", arguments.join(" "), output.status);
    fs::write(format!("/out/{name}"), output.stdout).unwrap();
}

pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new("netstat-deep");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// More datagrams than a receive buffer holds, to a reader that sleeps until all are sent: what it then finds there was
/// not lost.
fn overflow() {
    let reader = UdpSocket::bind(("10.78.0.1", PORT)).unwrap();
    let watching = program(&["rx", "--json", "--probes", "off", "--interval", "4s"]).spawn().unwrap();
    sleep(Duration::from_millis(1500));
    let begin = Timestamp::now();
    from_peer(&[SEND]);
    let end = Timestamp::now();
    let output = watching.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write("/out/window.json", output.stdout).unwrap();
    reader.set_nonblocking(true).unwrap();
    let received = std::iter::repeat_with(|| reader.recv(&mut [0; 64])).take_while(Result::is_ok).count() as u64;
    let truth = json!({"begin": begin.to_string(), "end": end.to_string(), "lost": SENT - received,
        "pid": std::process::id()});
    fs::write("/out/truth.json", truth.to_string()).unwrap();
}

/// What the drop monitor tells of datagrams that a full receive buffer refuses, and of others to a port without reader.
fn drop_monitor() {
    let watching = Watching::start();
    let reader = UdpSocket::bind(("10.78.0.1", PORT)).unwrap();
    from_peer(&[SEND]);
    reader.set_nonblocking(true).unwrap();
    let received = std::iter::repeat_with(|| reader.recv(&mut [0; 64])).take_while(Result::is_ok).count() as u64;
    drop(reader);
    from_peer(&[&KNOCKS.to_string()]);
    let watched = watching.end();
    // More than the kernel's queues hold.
    let watching = Watching::start();
    from_peer(&[&FLOOD.to_string()]);
    let flooded = watching.end();
    let ours =
        flooded.rows.iter().filter(|row| row.packet.ethertype == Some(0x0800) && row.packet.protocol == Some(17));
    let counted: u64 = ours.map(|row| row.count).sum();
    let row = |row: &Row| {
        json!({"location": row.packet.location, "reason": row.packet.reason, "in_port": row.packet.in_port,
            "ethertype": row.packet.ethertype, "protocol": row.packet.protocol, "count": row.count})
    };
    let rows: Vec<Value> = watched.rows.iter().map(row).collect();
    let told = json!({"rows": rows, "lost": watched.lost, "bad": watched.bad,
        "complete": watched.complete && flooded.complete, "overflown": SENT - received,
        "flood": [counted, flooded.lost], "device": fs::read_to_string("/sys/class/net/va/ifindex").unwrap().trim()});
    fs::write("/out/dropmon.json", told.to_string()).unwrap();
    // One that was killed leaves it on, and the next one takes it over.
    let killed = own().arg(FLAG).arg(WATCH).spawn().map(|mut child| {
        sleep(Duration::from_millis(700));
        child.kill().unwrap();
        child.wait().unwrap()
    });
    killed.unwrap();
    dropmon::watch(Duration::from_millis(100), &AtomicBool::new(false)).unwrap();
    // While somebody uses it, it is left alone.
    let mut other = own().arg(FLAG).arg(WATCH).spawn().unwrap();
    sleep(Duration::from_millis(700));
    let refused = dropmon::watch(Duration::from_millis(100), &AtomicBool::new(false));
    fs::write("/out/dropmon-busy", format!("{:?}", refused.map_err(|e| e.kind()))).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
}

/// The drop monitor, watched on a thread until told to end.
struct Watching(Arc<AtomicBool>, JoinHandle<io::Result<Watched>>);

impl Watching {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || dropmon::watch(Duration::from_secs(60), &seen));
        sleep(Duration::from_millis(700));
        Watching(stop, thread)
    }

    fn end(self) -> Watched {
        self.0.store(true, Ordering::Relaxed);
        self.1.join().unwrap().unwrap()
    }
}

pub fn own() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

pub fn from_peer(what: &[&str]) {
    in_namespace("peer", what);
}

pub fn in_namespace(name: &str, what: &[&str]) {
    let own = std::env::current_exe().unwrap();
    let sender = ["netns", "exec", name, own.to_str().unwrap(), FLAG];
    assert!(Command::new("ip").args(sender).args(what).status().unwrap().success(), "nothing sent");
}

/// A script that sets up something.
pub fn shell(script: &str) {
    assert!(Command::new("sh").args(["-ec", script]).status().unwrap().success(), "failed: {script}");
}

fn knock(to: SocketAddr, times: u64) {
    let any = if to.is_ipv4() { SocketAddr::from(([0; 4], 0)) } else { SocketAddr::from(([0; 16], 0)) };
    let socket = UdpSocket::bind(any).unwrap();
    for _ in 0..times {
        // Not connected: it would hear that the port is closed. A sender's own firewall may refuse.
        let _ = socket.send_to(&[0; 64], to);
    }
}

fn send() {
    let socket = UdpSocket::bind(("10.78.0.2", 0)).unwrap();
    socket.connect(("10.78.0.1", PORT)).unwrap();
    for _ in 0..SENT {
        assert_eq!(socket.send(&[0; 64]).unwrap(), 64);
    }
}
