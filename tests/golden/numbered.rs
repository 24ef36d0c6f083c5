//! Files in which every number is another one, so that a value tells the place that it was read from. Written apart from
//! the program's own parsers: both must find the same columns.

use std::collections::BTreeMap;

use crate::run::Cell;
use crate::tree::Tree;

/// The columns of a softnet line, by the kernel's net/core/net-procfs.c softnet_seq_show(). Column 12 is the CPU.
const SOFTNET: [(usize, &str); 8] = [
    (0, "processed"),
    (1, "dropped"),
    (2, "time_squeeze"),
    (9, "received_rps"),
    (10, "flow_limit_count"),
    (11, "backlog_len"),
    (13, "input_qlen"),
    (14, "process_qlen"),
];
const SOFTNET_CPU: usize = 12;
/// The times of a `cpu` line in `/proc/stat` (fs/proc/stat.c).
const CPU_TIMES: [&str; 10] =
    ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

/// The values that a tree holds, by the ids that the program must show them under.
#[derive(Default)]
pub struct Numbers {
    next: u64,
    pub cells: BTreeMap<Cell, u64>,
}

impl Numbers {
    /// Gives every number in the tree's known files a value of its own.
    pub fn fill(tree: &Tree) -> Self {
        let mut numbers = Numbers { next: 100_000, ..Numbers::default() };
        for (file, write) in FILES {
            if tree.path().join(file).exists() {
                let text = write(&mut numbers, &tree.read(file), file);
                tree.write(file, text);
            }
        }
        numbers
    }

    /// The next value. Uneven steps: the sum of two cells is no third one.
    fn fresh(&mut self) -> u64 {
        self.next += 17 + self.next % 13;
        self.next
    }

    fn cell(&mut self, id: String, instance: &str) -> u64 {
        let value = self.fresh();
        *self.cells.entry((id, instance.into())).or_default() += value;
        value
    }
}

type Write = fn(&mut Numbers, &str, &str) -> String;

const FILES: [(&str, Write); 24] = [
    ("proc/net/snmp", headed),
    ("proc/net/netstat", headed),
    ("proc/net/snmp6", prefixed),
    ("proc/net/tls_stat", named),
    ("proc/net/sockstat", pairs),
    ("proc/net/sockstat6", pairs),
    ("proc/net/softnet_stat", softnet),
    ("proc/net/stat/nf_conntrack", per_cpu),
    ("proc/net/stat/arp_cache", per_cpu),
    ("proc/net/stat/ndisc_cache", per_cpu),
    ("proc/net/stat/rt_cache", per_cpu),
    ("proc/net/stat/synproxy", per_cpu),
    ("proc/stat", stat),
    ("proc/softirqs", softirqs),
    ("proc/net/xfrm_stat", named),
    ("proc/net/protocols", protocols),
    ("proc/net/netlink", listed),
    ("proc/net/raw", listed),
    ("proc/net/raw6", listed),
    ("proc/pressure/cpu", pressure),
    ("proc/pressure/memory", pressure),
    ("proc/pressure/irq", pressure),
    ("proc/sys/net/netfilter/nf_conntrack_count", one),
    ("proc/sys/net/netfilter/nf_conntrack_max", one),
];

fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

fn headed(numbers: &mut Numbers, text: &str, _: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let both = |pair: &[&str]| {
        let (group, names) = pair[0].split_once(": ").unwrap();
        let values: Vec<String> =
            names.split(' ').map(|name| numbers.cell(format!("{group}.{name}"), "").to_string()).collect();
        format!("{}\n{group}: {}", pair[0], values.join(" "))
    };
    joined(lines.chunks(2).map(both))
}

fn prefixed(numbers: &mut Numbers, text: &str, _: &str) -> String {
    joined(text.lines().map(|line| {
        let name = line.split_whitespace().next().unwrap();
        let (group, column) = name.split_once('6').unwrap();
        format!("{name:<32}\t{}", numbers.cell(format!("{group}6.{column}"), ""))
    }))
}

fn pairs(numbers: &mut Numbers, text: &str, file: &str) -> String {
    let group = file.rsplit('/').next().unwrap();
    joined(text.lines().map(|line| {
        let (name, rest) = line.split_once(": ").unwrap();
        let keys = rest.split(' ').step_by(2);
        let cells = keys.map(|key| format!("{key} {}", numbers.cell(format!("{group}.{name}_{key}"), "")));
        format!("{name}: {}", cells.collect::<Vec<_>>().join(" "))
    }))
}

fn softnet(numbers: &mut Numbers, text: &str, _: &str) -> String {
    joined(text.lines().enumerate().map(|(cpu, line)| {
        let cells = (0..line.split_whitespace().count()).map(|column| {
            let value = match SOFTNET.iter().find(|(at, _)| *at == column) {
                _ if column == SOFTNET_CPU => cpu as u64,
                Some((_, name)) => numbers.cell(format!("softnet.{name}"), &cpu.to_string()),
                None => numbers.fresh(),
            };
            format!("{value:08x}")
        });
        cells.collect::<Vec<_>>().join(" ")
    }))
}

/// Lines of CPUs that the program adds up.
fn per_cpu(numbers: &mut Numbers, text: &str, file: &str) -> String {
    let group = file.rsplit('/').next().unwrap();
    let header = text.lines().next().unwrap();
    let rows = text.lines().skip(1).map(|_| {
        let cells =
            header.split_whitespace().map(|name| format!("{:08x}", numbers.cell(format!("{group}.{name}"), "")));
        cells.collect::<Vec<_>>().join(" ")
    });
    joined(std::iter::once(header.to_owned()).chain(rows))
}

/// A name and its value; the group is the file's name up to its `_stat`.
fn named(numbers: &mut Numbers, text: &str, file: &str) -> String {
    let group = file.rsplit('/').next().and_then(|name| name.strip_suffix("_stat")).unwrap();
    joined(text.lines().map(|line| {
        let name = line.split_whitespace().next().unwrap();
        format!("{name:<32}\t{}", numbers.cell(format!("{group}.{name}"), ""))
    }))
}

/// Words stay as they are: they are no numbers, except `yes` and `no`, which are 1 and 0.
fn protocols(numbers: &mut Numbers, text: &str, _: &str) -> String {
    let header: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let cells = words.iter().zip(&header).skip(1).map(|(word, column)| {
            let id = format!("protocols.{}_{column}", words[0]);
            match *word {
                "yes" | "no" => {
                    numbers.cells.insert((id, String::new()), u64::from(*word == "yes"));
                    (*word).to_owned()
                }
                word if word.parse::<u64>().is_ok() => numbers.cell(id, "").to_string(),
                word => word.to_owned(),
            }
        });
        format!("{} {}", words[0], cells.collect::<Vec<_>>().join(" "))
    };
    let rows: Vec<String> = text.lines().skip(1).map(row).collect();
    joined(std::iter::once(header.join(" ")).chain(rows))
}

/// Two sockets, which the program adds up.
fn listed(numbers: &mut Numbers, text: &str, file: &str) -> String {
    let group = file.rsplit('/').next().unwrap();
    let header = text.lines().next().unwrap();
    let rows: Vec<String> = (0..2)
        .map(|_| {
            let cells = header.split_whitespace().map(|name| numbers.cell(format!("{group}.{name}"), "").to_string());
            cells.collect::<Vec<_>>().join(" ")
        })
        .collect();
    joined(std::iter::once(header.to_owned()).chain(rows))
}

fn pressure(numbers: &mut Numbers, text: &str, file: &str) -> String {
    let what = file.rsplit('/').next().unwrap();
    joined(text.lines().filter(|line| line.contains('=')).map(|line| {
        let (name, rest) = line.split_once(' ').unwrap();
        let (averages, _) = rest.rsplit_once('=').unwrap();
        format!("{name} {averages}={}", numbers.cell(format!("pressure_{what}.{name}"), ""))
    }))
}

/// A file of one number, whose name tells what it is.
fn one(numbers: &mut Numbers, _: &str, file: &str) -> String {
    let name = file.rsplit('_').next().unwrap();
    format!("{}\n", numbers.cell(format!("conntrack.{name}"), ""))
}

fn stat(numbers: &mut Numbers, text: &str, _: &str) -> String {
    joined(text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let values: Vec<String> = (1..words.len())
            .map(|at| match words[0].strip_prefix("cpu") {
                Some("") => numbers.fresh(),
                Some(cpu) => numbers.cell(format!("cpu.{}", CPU_TIMES[at - 1]), cpu),
                None if at == 1 => numbers.cell(format!("stat.{}", words[0]), ""),
                None => numbers.fresh(),
            })
            .map(|value| value.to_string())
            .collect();
        format!("{} {}", words[0], values.join(" "))
    }))
}

fn softirqs(numbers: &mut Numbers, text: &str, _: &str) -> String {
    let header = text.lines().next().unwrap().to_owned();
    let cpus: Vec<String> = header.split_whitespace().map(|word| word.trim_start_matches("CPU").to_owned()).collect();
    let rows = text.lines().skip(1).map(|line| {
        let name = line.split(':').next().unwrap();
        let cells = cpus.iter().map(|cpu| numbers.cell(format!("softirqs.{}", name.trim()), cpu).to_string());
        format!("{name}: {}", cells.collect::<Vec<_>>().join(" "))
    });
    joined(std::iter::once(header.clone()).chain(rows.collect::<Vec<_>>()))
}
