//! Prometheus' node_exporter with the collectors that read what `rx` and `tx` read, if it is installed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "prometheus-node-exporter";
const COLLECTORS: [&str; 12] = [
    "arp",
    "conntrack",
    "interrupts",
    "netclass",
    "netdev",
    "netstat",
    "pressure",
    "qdisc",
    "sockstat",
    "softnet",
    "stat",
    "udp_queues",
];

/// It listens on loopback alone, until it is dropped.
pub struct Exporter {
    child: Child,
    port: u16,
}

impl Exporter {
    /// None if it is not installed, or does not answer.
    pub fn start() -> Option<Self> {
        // A port that is free now.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port();
        let mut command = Command::new(PROGRAM);
        command.args(["--collector.disable-defaults".to_owned(), format!("--web.listen-address=127.0.0.1:{port}")]);
        command.args(COLLECTORS.map(|name| format!("--collector.{name}")));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let exporter = Exporter { child, port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(exporter)
    }

    /// CPU time that it takes for one scrape, in microseconds; its threads end with it.
    pub fn scrape(&self) -> u64 {
        let before = self.cpu();
        let mut answer = Vec::new();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("node_exporter listens");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("node_exporter takes a request");
        stream.read_to_end(&mut answer).expect("node_exporter answers");
        assert!(answer.windows(12).any(|part| part == b"node_netstat"), "node_exporter tells nothing of the network");
        (self.cpu() - before) / 1_000
    }

    /// Time on a CPU of all its threads, in nanoseconds: the first number of schedstat.
    fn cpu(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let time = |path: std::path::PathBuf| {
            std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.filter_map(|task| time(task.path())).sum()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
