//! The kernel's own counters, read inside a namespace without the program under test.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use crate::case::Outcome;
use crate::lab::Namespace;

/// Counter ids as in the reports (`Udp.RcvbufErrors`, `softnet.dropped`); a device's counter has `@DEVICE` behind it.
#[derive(Clone, Debug, Default)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    pub fn read(namespace: &Namespace) -> Outcome<Self> {
        Ok(namespace.inside(|| {
            let mut all = Self::default();
            all.pairs(&net("snmp")?);
            all.pairs(&net("netstat")?);
            all.lines(&net("snmp6")?);
            all.devices(&net("dev")?);
            let softnet = net("softnet_stat")?;
            all.column("softnet.dropped", &softnet, 1, 0);
            all.column("softnet.time_squeeze", &softnet, 2, 0);
            all.column("softnet.flow_limit_count", &softnet, 10, 0);
            all.socket_drops(&net("udp")?);
            // Absent on a kernel without connection tracking, or without its /proc files.
            if let Ok(text) = net("stat/nf_conntrack") {
                for (place, name) in text.lines().next().unwrap_or_default().split_whitespace().enumerate() {
                    all.column(&format!("nf_conntrack.{name}"), &text, place, 1);
                }
            }
            Ok(all)
        })?)
    }

    /// How much `counter` grew since `before`; a counter that this kernel lacks did not grow.
    pub fn since(&self, before: &Self, counter: &str) -> u64 {
        self.get(counter).wrapping_sub(before.get(counter))
    }

    pub fn get(&self, counter: &str) -> u64 {
        self.0.get(counter).copied().unwrap_or(0)
    }

    /// `Udp: InDatagrams NoPorts` above `Udp: 1 2`.
    fn pairs(&mut self, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks_exact(2) {
            let (Some((group, names)), Some((_, values))) = (pair[0].split_once(": "), pair[1].split_once(": ")) else {
                continue;
            };
            for (name, value) in names.split(' ').zip(values.split(' ')) {
                self.put(format!("{group}.{name}"), value);
            }
        }
    }

    /// `Udp6InDatagrams 1`: the group ends with its 6.
    fn lines(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some((group, name)), Some(value)) = (words.next().and_then(|w| w.split_once('6')), words.next()) {
                self.put(format!("{group}6.{name}"), value);
            }
        }
    }

    /// `eth0: BYTES PACKETS ERRORS DROPPED ...`, receiving first.
    fn devices(&mut self, text: &str) {
        for (device, values) in text.lines().filter_map(|line| line.split_once(':')) {
            let values: Vec<&str> = values.split_whitespace().collect();
            for (name, column) in [("rx_dropped", 3), ("tx_dropped", 11)] {
                if let Some(value) = values.get(column) {
                    self.put(format!("link.{name}@{}", device.trim()), value);
                }
            }
        }
    }

    /// What all IPv4 UDP sockets that there are have lost: the last word of each line.
    fn socket_drops(&mut self, text: &str) {
        let drops = text.lines().skip(1).filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        self.0.insert("udp.drops".into(), drops.sum());
    }

    /// The sum over the CPUs of one hexadecimal column.
    fn column(&mut self, id: &str, text: &str, column: usize, headings: usize) {
        let cells = text.lines().skip(headings).filter_map(|line| line.split_whitespace().nth(column));
        let sum = cells.filter_map(|cell| u64::from_str_radix(cell, 16).ok()).sum();
        self.0.insert(id.to_owned(), sum);
    }

    fn put(&mut self, id: String, value: &str) {
        if let Ok(value) = value.parse() {
            self.0.insert(id, value);
        }
    }
}

/// Handshakes that wait for the client's last ACK.
pub fn half_open(namespace: &Namespace) -> Outcome<u64> {
    in_state(namespace, &["03"])
}

/// TCP sockets in one of these states (include/net/tcp_states.h).
fn in_state(namespace: &Namespace, states: &[&str]) -> Outcome<u64> {
    let is = |line: &&str| line.split_whitespace().nth(3).is_some_and(|state| states.contains(&state));
    let of = |text: &str| text.lines().filter(is).count() as u64;
    Ok(namespace.inside(|| Ok(of(&net("tcp")?) + of(&net("tcp6")?)))?)
}

/// Connections that no process holds any more, with data or the end of it still to send: FIN_WAIT1, LAST_ACK, CLOSING.
pub fn orphans(namespace: &Namespace) -> Outcome<u64> {
    in_state(namespace, &["04", "09", "0B"])
}

/// Below `thread-self`: `/proc/net` is the main thread's namespace.
fn net(file: &str) -> io::Result<String> {
    fs::read_to_string(format!("/proc/thread-self/net/{file}"))
}
