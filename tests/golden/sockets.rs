//! `sockets` on recorded answers: every number and word of what is wrong, on old kernels, and on answers that make no sense.

use std::sync::LazyLock;

use jsonschema::Validator;
use netstat_deep::model::Transport;
use netstat_deep::sockets::limits::Limits;
use netstat_deep::sockets::{By, Wanted, Watch};
use netstat_deep::source::Host;
use serde_json::{Value, json};

use crate::message::{attribute, diag};
use crate::openmetrics;
use crate::run::verb;
use crate::snapshots::{compare, narrow};
use crate::tree::{Samples, Tree};

const TCP: &str = ".netlink/sock_diag/tcp_info.bin";
const UDP: &str = ".netlink/sock_diag/udp4_all.bin";

/// A socket as the kernel tells it.
#[derive(Clone)]
struct Diag {
    v6: bool,
    state: u8,
    timer: [u8; 2],
    ports: [u16; 2],
    remote: [u8; 4],
    cookie: u32,
    queues: [u32; 2],
    /// rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, optmem, backlog, drops
    memory: [u32; 9],
    /// struct tcp_info by the offsets of its fields.
    info: Vec<(usize, u64, usize)>,
    length: usize,
    congestion: &'static [u8],
}

fn connection(cookie: u32) -> Diag {
    Diag {
        v6: false,
        state: 1,
        timer: [0; 2],
        ports: [443, 50_000],
        remote: [192, 0, 2, 7],
        cookie,
        queues: [0; 2],
        memory: [0, 131_072, 0, 87_040, 0, 0, 0, 0, 0],
        // snd_mss, the three ages, rtt, cwnd, min_rtt, snd_wnd
        info: [(16, 1448), (44, 10), (52, 10), (56, 10), (68, 30_000), (80, 10), (148, 20_000), (228, 65_535)]
            .map(|(at, value)| (at, value, 4))
            .to_vec(),
        length: 248,
        congestion: b"cubic\0",
    }
}

impl Diag {
    fn with(mut self, fields: &[(usize, u64, usize)]) -> Self {
        self.info.extend(fields);
        self
    }

    fn payload(&self) -> Vec<u8> {
        let mut fixed = vec![0; 72];
        fixed[0] = if self.v6 { 10 } else { 2 };
        fixed[1] = self.state;
        fixed[2..4].copy_from_slice(&self.timer);
        fixed[4..6].copy_from_slice(&self.ports[0].to_be_bytes());
        fixed[6..8].copy_from_slice(&self.ports[1].to_be_bytes());
        fixed[8..12].copy_from_slice(&[10, 0, 0, 1]);
        fixed[24..28].copy_from_slice(&self.remote);
        for (at, word) in [(44, self.cookie), (56, self.queues[0]), (60, self.queues[1]), (64, 1000), (68, self.cookie)]
        {
            fixed[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        fixed.extend(attribute(7, &self.memory.map(u32::to_ne_bytes).concat()));
        let mut info = vec![0; self.length];
        for (at, value, bytes) in self.info.iter().filter(|(at, _, bytes)| at + bytes <= self.length) {
            info[*at..at + bytes].copy_from_slice(&value.to_ne_bytes()[..*bytes]);
        }
        if self.length > 0 {
            fixed.extend(attribute(2, &info));
            fixed.extend(attribute(4, self.congestion));
        }
        fixed
    }
}

fn udp(drops: u32) -> Diag {
    let memory = [212_000, 212_992, 0, 212_992, 0, 0, 0, 0, drops];
    Diag { state: 7, ports: [53, 0], queues: [212_000, 0], memory, length: 0, ..connection(90) }
}

fn listener(port: u16, cookie: u32, queue: [u32; 2]) -> Diag {
    Diag { state: 10, ports: [port, 0], remote: [0; 4], queues: queue, length: 0, ..connection(cookie) }
}

fn samples(before: &[Diag], after: &[Diag], udp: [Diag; 2]) -> Samples {
    let of = |all: &[Diag]| diag(&all.iter().map(Diag::payload).collect::<Vec<_>>());
    let samples = Samples::quiet()
        .setting("net/core/somaxconn", "128")
        .setting("net/core/rmem_default", "212992")
        .setting("net/core/wmem_default", "212992")
        .setting("net/ipv4/tcp_rmem", "4096\t131072\t6291456")
        .setting("net/ipv4/tcp_wmem", "4096\t16384\t4194304")
        .setting("net/ipv4/ip_local_port_range", "32768\t60999");
    samples.write(TCP, [of(before), of(after)]);
    samples.write(UDP, udp.map(|one| of(&[one])));
    samples.write(".sockets", ["hidden 0\n1 4242\n90 4242\n", "hidden 0\n1 4242\n90 4242\n"]);
    samples.write("proc/4242/comm", ["na\x1b[31mme\n"; 2]);
    samples.write("proc/4242/cgroup", ["0::/system.slice/web.service\n"; 2]);
    samples
}

/// data_segs_out, total_retrans
fn sent(segments: u64, again: u64) -> [(usize, u64, usize); 2] {
    [(156, segments, 4), (100, again, 4)]
}

/// busy, held by the window, held by the send buffer: microseconds
fn held(times: [u64; 3]) -> [(usize, u64, usize); 3] {
    [(168, times[0], 8), (176, times[1], 8), (184, times[2], 8)]
}

/// A host with one socket of each trouble.
fn troubled() -> Samples {
    let resends = |segments, again| connection(1).with(&sent(segments, again));
    let window = |times| connection(2).with(&held(times));
    let buffer = |times| connection(3).with(&held(times));
    let unread = Diag { queues: [5000, 0], ..connection(4) }.with(&[(52, 4200, 4)]);
    let refused = Diag { timer: [4, 0], queues: [0, 9000], ..connection(5) }.with(&[(144, 9000, 4)]);
    let closed = Diag { cookie: 6, ..refused.clone() }.with(&[(228, 0, 4)]);
    let silent = Diag { timer: [1, 5], queues: [0, 9000], ..connection(7) };
    let slow = connection(8).with(&[(68, 250_000, 4), (120, 500, 8), (160, 8_000_000_000, 8), (148, 20_000, 4)]);
    let listeners = [listener(80, 20, [129, 128]), listener(81, 21, [3, 5]), listener(82, 22, [0, 4096])];
    let over = (0..4000_u16).map(|n| Diag {
        state: 6,
        ports: [32_768 + n, 5432],
        remote: [10, 0, 0, 9],
        length: 0,
        ..connection(0)
    });
    let rest: Vec<Diag> = [unread, refused, closed, silent].into_iter().chain(listeners).chain(over).collect();
    let before = [resends(1000, 10), window([0; 3]), buffer([0; 3]), connection(8)];
    let after = [resends(3000, 110), window([1_000_000, 700_000, 0]), buffer([1_000_000, 0, 300_000]), slow];
    samples(&[&before[..], &rest].concat(), &[&after[..], &rest].concat(), [udp(u32::MAX), udp(1499)])
}

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/man/netstat-deep-sockets-1.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

fn report(samples: &std::path::Path, args: &[&str]) -> Value {
    let run = verb("sockets", samples, &[&["--json"], args].concat());
    assert_eq!(run.code, 0, "{}", run.err);
    let document: Value = serde_json::from_str(&run.out).unwrap();
    let errors: Vec<String> = VALIDATOR.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    document
}

#[test]
fn a_host_with_each_trouble_in_every_format() {
    let samples = troubled();
    let all = ["--top", "20"];
    let mut changed = Vec::new();
    let table = verb("sockets", samples.path(), &all).out + &verb("sockets", samples.path(), &["-v", "--top", "1"]).out;
    narrow(&table);
    assert!(!table.contains('\x1b'), "no escape of a foreign name, no colour in a pipe");
    changed.extend(compare("sockets", "table", &table));
    let mut json = report(samples.path(), &all);
    json["self"] = json!({});
    json["tool_version"] = json!("");
    for source in json["sources"].as_array_mut().unwrap() {
        source["microseconds"] = json!(0);
    }
    changed.extend(compare("sockets", "json", &(serde_json::to_string_pretty(&json).unwrap() + "\n")));
    let metrics = verb("sockets", samples.path(), &["-o", "openmetrics"]).out;
    openmetrics::checked(&metrics);
    changed.extend(compare("sockets", "openmetrics", &metrics));
    assert!(changed.is_empty(), "BLESS=1 accepts them:\n{}", changed.join("\n"));
}

#[test]
fn each_trouble_is_found() {
    let report = report(troubled().path(), &["--top", "20"]);
    let troubles: Vec<&str> =
        report["sockets"].as_array().unwrap().iter().filter_map(|row| row["troubles"][0].as_str()).collect();
    assert_eq!(
        troubles,
        [
            "drops",
            "accept-queue-full",
            "segments-refused",
            "unanswered",
            "peer-window-closed",
            "accept-queue-filling",
            "unread",
            "peer-window-limited",
            "send-buffer-limited",
            "retransmits",
            "rtt-inflated"
        ]
    );
    // The counter has 32 bits, and wrapped.
    assert_eq!((&report["sockets"][0]["drops"], &report["drops"]), (&json!(1500), &json!(1500)));
    assert_eq!(report["sockets"][0]["unit"], "web.service");
    assert_eq!(report["destinations"][0]["used"], 4000);
    assert_eq!(report["congestion"][0]["beyond_send_limit"], 1);
}

#[test]
fn filters_leave_the_rest_out() {
    let samples = troubled();
    let count = |args: &[&str]| {
        let report = report(samples.path(), args);
        report["states"].as_array().unwrap().iter().map(|state| state["count"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(count(&["--port", "5432"]), 4000);
    assert_eq!(count(&["--transport", "udp"]), 1);
    assert_eq!((count(&["--pid", "4242"]), count(&["--unit", "web"]), count(&["--unit", "web.service"])), (2, 2, 2));
    let none = verb("sockets", samples.path(), &["--pid", "1"]);
    assert!(none.code == 2 && none.err.contains("no socket of process 1"), "{}", none.err);
    assert_eq!(report(samples.path(), &["--top", "2"])["sockets"].as_array().unwrap().len(), 2);
    let ranked = report(samples.path(), &["--by", "retrans"]);
    assert_eq!((&ranked["sockets"][0]["cookie"], &ranked["ranked"]), (&json!(1), &json!(1)));
    assert_eq!(ranked["sockets"][0]["tcp"]["retransmitted_share"], 0.05);
}

#[test]
fn a_state_is_asked_for_in_the_recording_too() {
    let report = report(troubled().path(), &["--state", "listen"]);
    assert_eq!(report["states"].as_array().unwrap().len(), 1, "{}", report["states"]);
}

#[test]
fn an_old_kernel_tells_less_and_nothing_is_made_up() {
    let old = |segments, again| Diag { length: 104, ..connection(1) }.with(&sent(segments, again));
    let samples = samples(&[old(0, 10)], &[old(0, 20)], [udp(0), udp(0)]);
    let report = report(samples.path(), &["--by", "queue", "--transport", "tcp"]);
    assert_eq!(report["congestion"][0]["connections"], 1);
    for column in ["min_rtt_microseconds", "inflation_percent", "delivery_rate", "retransmitted_ppm"] {
        assert!(report["congestion"][0].get(column).is_none(), "{column}");
    }
}

#[test]
fn a_disturbed_or_broken_dump_is_said_to_be() {
    let samples = troubled();
    let mut bytes = diag(&[connection(1).payload(), vec![1, 2, 3], connection(2).payload()]);
    // NLM_F_DUMP_INTR
    bytes[6] |= 0x10;
    samples.write(TCP, [bytes.clone(), bytes]);
    let report = report(samples.path(), &["--transport", "tcp"]);
    assert_eq!(report["consistent"], false);
    assert_eq!(report["states"][0]["count"], 2);
    assert!(report["sources"][0]["reason"].as_str().unwrap().contains("1 messages"), "{}", report["sources"]);
}

#[test]
fn only_the_windows_on_both_sides_of_a_disturbed_dump_are_marked() {
    let samples = troubled();
    let quiet = diag(&[connection(1).payload()]);
    let mut disturbed = quiet.clone();
    disturbed[6] |= 0x10;
    samples.write(TCP, [disturbed, quiet]);
    let hosts = Host::recorded(samples.path()).unwrap_or_default();
    let [disturbed, quiet] = &hosts[..] else { panic!("{} samples", hosts.len()) };
    let limits = Limits::read(quiet, Limits::machine(quiet));
    let wanted =
        Wanted { transports: vec![Transport::Tcp], states: u32::MAX, port: None, inodes: None, by: By::Drops, top: 1 };
    let mut watch = Watch::new(wanted, limits);
    watch.begin(quiet).unwrap();
    let marked = [quiet, disturbed, quiet, quiet].map(|host| watch.end(host, true, None).unwrap().dumped.disturbed);
    assert_eq!(marked, [false, true, true, false]);
}

#[test]
fn a_recording_without_sockets_says_what_to_do() {
    let run = verb("sockets", &Tree::recorded("node-exporter"), &[]);
    assert_eq!(run.code, 3);
    assert!(run.err.lines().count() == 2 && run.err.contains("recording"), "{}", run.err);
}
