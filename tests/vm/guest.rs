//! Inside the guest: a fault of known size, and what the program and the kernel say of it.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

/// The first argument of this binary inside the guest; behind it, nothing or [`SEND`].
pub const FLAG: &str = "--guest";
const SEND: &str = "send";
pub const SENT: u64 = 2000;
const PORT: u16 = 5300;

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

/// What this binary does when it is started in a guest. Whatever goes wrong ends it, and is seen outside.
pub fn play() {
    if std::env::args().nth(2).as_deref() == Some(SEND) {
        return send();
    }
    assert!(Command::new("sh").args(["-ec", PEER]).status().unwrap().success(), "no peer");
    overflow();
    keep("since-boot.json", &["rx", "--json", "--interval", "0"]);
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

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new("netstat-deep");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// More datagrams than a receive buffer holds, to a reader that sleeps until all are sent: what it then finds there was
/// not lost.
fn overflow() {
    let reader = UdpSocket::bind(("10.78.0.1", PORT)).unwrap();
    let watching = program(&["rx", "--json", "--interval", "4s"]).spawn().unwrap();
    sleep(Duration::from_millis(1500));
    let begin = Timestamp::now();
    let own = std::env::current_exe().unwrap();
    let sender = ["netns", "exec", "peer", own.to_str().unwrap(), FLAG, SEND];
    assert!(Command::new("ip").args(sender).status().unwrap().success(), "nothing sent");
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

fn send() {
    let socket = UdpSocket::bind(("10.78.0.2", 0)).unwrap();
    socket.connect(("10.78.0.1", PORT)).unwrap();
    for _ in 0..SENT {
        assert_eq!(socket.send(&[0; 64]).unwrap(), 64);
    }
}
