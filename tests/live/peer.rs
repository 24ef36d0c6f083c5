//! What the other tools say of a namespace.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::ground::DEVICE;

/// Values by the tool's own names.
pub type Values = BTreeMap<String, u64>;

/// `nstat`: every counter of snmp, snmp6 and netstat, under its group and name in one word.
pub fn nstat(namespace: &str) -> Values {
    let all: Value = json(namespace, &["nstat", "-a", "-z", "-s", "--json"]);
    let counters = all["kernel"].as_object().unwrap().iter();
    // A negative one (Tcp.MaxConn) is no count.
    counters.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

/// `ip -s -s link`: the statistics of our device, named as in struct rtnl_link_stats64.
pub fn link(namespace: &str) -> Values {
    let all = json(namespace, &["ip", "-s", "-s", "-j", "link", "show", "dev", DEVICE]);
    let mut values = Values::new();
    for way in ["rx", "tx"] {
        for (name, value) in all[0]["stats64"][way].as_object().unwrap() {
            let name = if name == "multicast" { name.clone() } else { format!("{way}_{name}") };
            values.insert(name, value.as_u64().unwrap());
        }
    }
    values
}

/// A socket as `ss` shows it.
#[derive(Debug, PartialEq)]
pub struct Socket {
    /// Bytes or connections in its queue.
    pub queue: u64,
    /// The longest accept queue of a listener.
    pub backlog: u64,
    /// The receive buffer.
    pub buffer: u64,
    /// What it lost.
    pub drops: u64,
}

/// `ss -lm`: sockets that wait for somebody, by their local address.
pub fn sockets(namespace: &str, kind: &str) -> BTreeMap<String, Socket> {
    let text = run(namespace, &["ss", "-H", "-O", "-n", "-m", "-l", kind]);
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let memory = line.split("skmem:(").nth(1)?.split(')').next()?;
        let field = |name: &str| {
            let digits = memory.split(',').find_map(|part| part.strip_prefix(name)?.parse().ok());
            digits.unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        let number = |at: usize| words[at].parse().unwrap();
        let socket = Socket { queue: number(1), backlog: number(2), buffer: field("rb"), drops: field("d") };
        Some((words[3].to_owned(), socket))
    };
    text.lines().filter_map(socket).collect()
}

fn json(namespace: &str, command: &[&str]) -> Value {
    let text = run(namespace, command);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command:?}: {error} in {text}"))
}

fn run(namespace: &str, command: &[&str]) -> String {
    let output = Command::new("ip").args(["netns", "exec", namespace]).args(command).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
