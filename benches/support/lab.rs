//! Two namespaces joined by a veth pair, and tools that watch them.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const SENDER: &str = "nsdbench-a";
pub const RECEIVER: &str = "nsdbench-b";

/// The namespaces, gone again at the end.
pub struct Lab;

impl Lab {
    pub fn new() -> Self {
        let lab = Lab;
        for line in [
            format!("netns add {SENDER}"),
            format!("netns add {RECEIVER}"),
            format!("link add va netns {SENDER} type veth peer name vb netns {RECEIVER}"),
            format!("-n {SENDER} addr add 10.79.0.1/30 dev va"),
            format!("-n {RECEIVER} addr add 10.79.0.2/30 dev vb"),
            format!("-n {SENDER} link set va up"),
            format!("-n {RECEIVER} link set vb up"),
        ] {
            run("ip", &line.split(' ').collect::<Vec<_>>());
        }
        std::thread::sleep(Duration::from_millis(500));
        lab
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [SENDER, RECEIVER] {
            let _gone_already = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

pub fn run(tool: &str, args: &[&str]) {
    let status = Command::new(tool).args(args).status();
    assert!(status.is_ok_and(|status| status.success()), "{tool} {args:?} failed");
}

/// A tool that watches drops, until it is dropped.
pub struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Tool {
    pub fn start(program: &str, args: &[&str]) -> Self {
        let child = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let tool = Tool(child.unwrap_or_else(|e| panic!("{program}: {e}")));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !tool.files().contains("prog_id:") {
            assert!(Instant::now() < deadline, "{program} attaches nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(700));
        tool
    }

    /// What the kernel tells of its open files.
    pub fn files(&self) -> String {
        let files = std::fs::read_dir(format!("/proc/{}/fdinfo", self.0.id())).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
