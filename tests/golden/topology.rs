//! `topology` on recorded machines that no test has at hand: NUMA nodes, cards of several drivers, irqbalance, narrow slots.

use std::sync::LazyLock;

use jsonschema::Validator;
use netstat_deep::generate;
use serde_json::{Value, json};

use crate::message::{self, LINKS, Link, attribute};
use crate::openmetrics;
use crate::run::verb;
use crate::snapshots::{compare, narrow};
use crate::tree::{Samples, Tree};

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(&generate::topology_schema()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

/// A machine with one card, eth0.
struct Machine {
    samples: Samples,
    cpus: usize,
}

/// What an interrupt is called, its number, and the CPUs that it goes to.
type Vector<'a> = (&'a str, u32, &'a str);

impl Machine {
    /// So many CPUs, of which each was so long in softirqs in the window, in percent.
    fn new(softirq: &[u64]) -> Self {
        let machine = Machine { samples: Samples::quiet(), cpus: softirq.len() };
        machine.both("sys/devices/system/cpu/online", &format!("0-{}", machine.cpus - 1));
        let stat = |at: u64| {
            // 1000 ticks are the ten seconds of the window.
            let line = |(cpu, share): (usize, &u64)| format!("cpu{cpu} 0 0 0 0 0 0 {} 0 0 0\n", at * share * 10);
            format!("cpu 0 0 0 0 0 0 0 0 0 0\n{}", softirq.iter().enumerate().map(line).collect::<String>())
        };
        machine.samples.write("proc/stat", [stat(0), stat(1)]);
        let columns =
            |of: &dyn Fn(u64) -> u64| softirq.iter().map(|share| format!(" {:>10}", of(*share))).collect::<String>();
        let head: String = (0..machine.cpus).map(|cpu| format!(" {:>10}", format!("CPU{cpu}"))).collect();
        let runs = |at: u64| format!("{head}\n  NET_RX: {}\n", columns(&|share| at * share * 1000));
        machine.samples.write("proc/softirqs", [runs(0), runs(1)]);
        machine
    }

    fn both(&self, file: &str, text: &str) {
        self.samples.write(file, [format!("{text}\n"), format!("{text}\n")]);
    }

    /// Nodes, each with its CPUs.
    fn nodes(self, nodes: &[&str]) -> Self {
        self.both("sys/devices/system/node/online", &format!("0-{}", nodes.len() - 1));
        for (node, cpus) in nodes.iter().enumerate() {
            self.both(&format!("sys/devices/system/node/node{node}/cpulist"), cpus);
        }
        self
    }

    /// The card: its driver, its place on the bus, and what `ethtool -S` says in both samples.
    fn card(self, driver: &str, bus: &str, statistics: &[(String, [u64; 2])]) -> Self {
        let link = |packets: u64| message::links(&[Link { kind: b"", ..Link::new(b"eth0").stat(0, packets) }]);
        self.samples.write(LINKS, [link(0), link(1_000_000)]);
        let answers = [0, 1].map(|at| {
            let named: Vec<(&[u8], u64)> =
                statistics.iter().map(|(name, values)| (name.as_bytes(), values[at])).collect();
            let mut bytes = message::driver(driver, &named);
            bytes[100..100 + bus.len()].copy_from_slice(bus.as_bytes());
            bytes
        });
        self.samples.write(".ethtool/eth0.bin", answers);
        self
    }

    /// The queues: RPS and XPS masks.
    fn queues(self, rps: &[&str], xps: &[&str]) -> Self {
        for (n, mask) in rps.iter().enumerate() {
            self.both(&format!("sys/class/net/eth0/queues/rx-{n}/rps_cpus"), mask);
            self.both(&format!("sys/class/net/eth0/queues/rx-{n}/rps_flow_cnt"), "0");
        }
        for (n, mask) in xps.iter().enumerate() {
            self.both(&format!("sys/class/net/eth0/queues/tx-{n}/xps_cpus"), mask);
            self.both(&format!("sys/class/net/eth0/queues/tx-{n}/tx_timeout"), "0");
        }
        self
    }

    /// Its interrupts, as /proc/interrupts and /proc/irq have them.
    fn interrupts(self, chip: &str, vectors: &[Vector]) -> Self {
        let head: String = (0..self.cpus).map(|cpu| format!("       CPU{cpu}")).collect();
        let text = |at: u64| {
            let line = |(name, irq, _): &Vector| {
                format!("{irq:>4}:{} {chip} {irq}-edge {name}\n", format!(" {:>9}", at * 10_000).repeat(self.cpus))
            };
            format!("{head}\n{}NMI: {}\n", vectors.iter().map(line).collect::<String>(), " 0".repeat(self.cpus))
        };
        self.samples.write("proc/interrupts", [text(0), text(1)]);
        for (_, irq, cpus) in vectors {
            self.both(&format!("proc/irq/{irq}/smp_affinity_list"), cpus);
            self.both(&format!("proc/irq/{irq}/effective_affinity_list"), cpus);
        }
        self
    }

    /// To which queue each entry of the table leads.
    fn table(self, entries: &[u32]) -> Self {
        let words = [0x38, u32::try_from(entries.len()).unwrap()];
        let bytes: Vec<u8> = words.iter().chain(entries).flat_map(|word| word.to_ne_bytes()).collect();
        self.samples.write(".ethtool/eth0.rss.bin", [&bytes, &bytes]);
        self
    }

    fn run(&self, args: &[&str]) -> crate::run::Run {
        verb("topology", self.samples.path(), args)
    }

    fn document(&self, args: &[&str]) -> Value {
        let run = self.run(&[&["--json"], args].concat());
        assert_eq!(run.code, 0, "{}", run.err);
        valid(&run.out)
    }
}

fn valid(text: &str) -> Value {
    let document: Value = serde_json::from_str(text).unwrap();
    let errors: Vec<String> = VALIDATOR.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    document
}

fn counted(pattern: &str, ends: &[[u64; 2]]) -> Vec<(String, [u64; 2])> {
    ends.iter().enumerate().map(|(n, ends)| (pattern.replace('#', &n.to_string()), *ends)).collect()
}

fn found<'d>(document: &'d Value, id: &str) -> Vec<&'d Value> {
    document["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == id).collect()
}

fn queue<'d>(document: &'d Value, name: &str) -> &'d Value {
    document["devices"][0]["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == name).unwrap()
}

/// Turns of a knob, as `of: from to`.
fn turns(finding: &Value) -> Vec<String> {
    let turn = |suggestion: &Value| {
        let [queue, from, to] = [&suggestion["instance"]["queue"], &suggestion["from"], &suggestion["to"]];
        [queue, from, to].map(|word| word.as_str().unwrap().to_owned()).join(" ")
    };
    finding["suggestions"].as_array().unwrap().iter().map(turn).collect()
}

/// Two nodes, CPU 7 set apart; mlx5 on node 0 in a narrow slot; one interrupt on the other node, one on CPU 7; irqbalance
/// beside a mask set by hand.
fn crooked() -> Machine {
    let mut statistics = counted("rx#_packets", &[[0, 700_000], [5, 100_005], [0, 100_000], [0, 100_000]]);
    statistics.extend(counted("tx#_packets", &[[0, 10_000]; 4]));
    let machine = Machine::new(&[90, 10, 0, 0, 0, 5, 0, 0])
        .nodes(&["0-3", "4-7"])
        .card("mlx5_core", "0000:3b:00.0", &statistics)
        .queues(&["0f", "00", "00", "00"], &["01", "02", "04", "08"])
        .interrupts(
            "IR-PCI-MSIX-0000:3b:00.0",
            &[
                ("mlx5_async0@pci:0000:3b:00.0", 59, "0-7"),
                ("mlx5_comp0@pci:0000:3b:00.0", 60, "0"),
                ("mlx5_comp1@pci:0000:3b:00.0", 61, "1"),
                ("mlx5_comp2@pci:0000:3b:00.0", 62, "5"),
                ("mlx5_comp3@pci:0000:3b:00.0", 63, "3"),
            ],
        )
        .table(&[0, 1, 2, 3].repeat(32));
    machine.both("sys/devices/system/cpu/isolated", "3");
    for (file, value) in [
        ("numa_node", "0"),
        ("current_link_width", "8"),
        ("max_link_width", "16"),
        ("current_link_speed", "8.0 GT/s PCIe"),
        ("max_link_speed", "16.0 GT/s PCIe"),
    ] {
        machine.both(&format!("sys/bus/pci/devices/0000:3b:00.0/{file}"), value);
    }
    machine.both("sys/class/net/eth0/speed", "100000");
    machine.both("run/irqbalance/irqbalance700.sock", "");
    machine.both("proc/700/comm", "irqbalance");
    Machine { samples: machine.samples.cell("Tcp.CurrEstab", 500, 500), ..machine }
}

#[test]
fn a_crooked_machine_in_every_format() {
    let machine = crooked();
    let mut changed = Vec::new();
    let table = machine.run(&[]).out;
    narrow(&table);
    assert!(!table.contains('\x1b') && !table.lines().any(|line| line.ends_with(' ')), "{table}");
    changed.extend(compare("topology", "table", &table));
    let mut json = machine.document(&[]);
    json["self"] = json!({});
    json["tool_version"] = json!("");
    for source in json["sources"].as_array_mut().unwrap() {
        source["microseconds"] = json!(0);
    }
    changed.extend(compare("topology", "json", &(serde_json::to_string_pretty(&json).unwrap() + "\n")));
    let metrics = machine.run(&["-o", "openmetrics"]).out;
    openmetrics::checked(&metrics);
    changed.extend(compare("topology", "openmetrics", &metrics));
    assert!(changed.is_empty(), "BLESS=1 accepts them:\n{}", changed.join("\n"));
}

#[test]
fn a_machine_with_nodes_is_laid_out() {
    let document = crooked().document(&[]);
    assert_eq!(document["kind"], "topology");
    let device = &document["devices"][0];
    assert_eq!((&device["driver"], &device["node"]), (&json!("mlx5_core"), &json!(0)));
    assert_eq!((&device["pcie"]["lanes"], &device["pcie"]["most_lanes"]), (&json!(8), &json!(16)));
    assert_eq!(document["irqbalance"], 700);
    let rx = queue(&document, "rx-2");
    assert_eq!((&rx["irq"], &rx["rss_entries"]), (&json!(62), &json!(32)));
    assert_eq!(rx["packets_per_second"].as_f64(), Some(10_000.0));
    let nodes: Vec<u64> =
        document["cpus"].as_array().unwrap().iter().map(|cpu| cpu["node"].as_u64().unwrap()).collect();
    assert_eq!(nodes, [0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(
        (&document["cpus"][3]["isolated"], &document["cpus"][0]["softirq_percent"]),
        (&json!(true), &json!(90.0))
    );
}

#[test]
fn what_is_crooked_is_told_with_what_mends_it() {
    let document = crooked().document(&[]);
    let conflicts = found(&document, "conflicting-settings");
    let whys: Vec<&str> = conflicts.iter().map(|finding| finding["why"].as_str().unwrap()).collect();
    for words in [
        "CPU 5 of another NUMA node than 0",
        "CPU 3, which was set apart",
        "gives packets to CPU 3",
        "irqbalance[700]",
        "8 PCIe lanes of 8",
    ] {
        assert!(whys.iter().any(|why| why.contains(words)), "'{words}' is not in {whys:#?}");
    }
    assert_eq!(conflicts.len(), 5, "{whys:#?}");
    // To CPUs of the card's own node, of which 3 is set apart.
    assert_eq!(turns(conflicts[0]), ["62 5 2"]);
    assert_eq!(turns(conflicts[1]), ["63 3 2"]);
    assert_eq!(turns(conflicts[2]), ["rx-0 0f 07"]);
    assert_eq!(found(&document, "rx-queues-uneven")[0]["severity"], "warning");
    assert_eq!(found(&document, "softirq-on-one-cpu")[0]["severity"], "warning");
}

/// Interrupts that are known by the device's name alone; the driver takes no part in netdev netlink.
fn on_one_cpu() -> Machine {
    let vectors: Vec<(String, u32)> = (0..4).map(|n| (format!("eth0-TxRx-{n}"), 40 + n)).collect();
    let vectors: Vec<Vector> = vectors.iter().map(|(name, irq)| (name.as_str(), *irq, "0")).collect();
    let mut statistics = counted("rx_queue_#_packets", &[[0, 200_000]; 4]);
    statistics.extend(counted("tx_queue_#_packets", &[[0, 800_000], [7, 7], [7, 7], [7, 7]]));
    Machine::new(&[95, 1, 0, 2])
        .card("ixgbe", "", &statistics)
        .queues(&["0"; 4], &["f", "0", "0", "0"])
        .interrupts("PCI-MSI", &vectors)
}

#[test]
fn interrupts_known_by_name_are_spread_over_idle_cpus() {
    let document = on_one_cpu().document(&[]);
    assert_eq!((&queue(&document, "rx-3")["irq"], &queue(&document, "tx-3")["irq"]), (&json!(43), &json!(43)));
    let busy = found(&document, "softirq-on-one-cpu");
    assert_eq!(turns(busy[0]), ["41 0 1", "42 0 2", "43 0 3"]);
    assert_eq!(busy[0]["suggestions"][0]["command"], "echo 1 > /proc/irq/41/smp_affinity_list");
    let sent = found(&document, "tx-queues-uneven");
    assert_eq!(turns(sent[0]), ["tx-0 f 1", "tx-1 0 2", "tx-2 0 4", "tx-3 0 8"]);
    assert_eq!(sent[0]["evidence"][0]["counter"], "nic_queue.tx_packets");
}

/// Before 6.10 or so a line of /proc/interrupts does not tell the card's place, and virtio's names tell of no device.
#[test]
fn interrupts_of_virtio_are_found_by_sysfs_on_old_kernels() {
    let machine = Machine::new(&[5, 5])
        .card("virtio_net", "0000:00:03.0", &counted("rx_queue_#_packets", &[[0, 5_000]]))
        .queues(&["0"], &["0"])
        .interrupts(
            "PCI-MSI",
            &[("virtio0-req.0", 30, "0"), ("virtio3-input.0", 38, "1"), ("virtio3-output.0", 39, "0")],
        );
    for irq in [37, 38, 39] {
        machine.both(&format!("sys/bus/pci/devices/0000:00:03.0/msi_irqs/{irq}"), "msix");
    }
    let document = machine.document(&[]);
    assert_eq!((&queue(&document, "rx-0")["irq"], &queue(&document, "tx-0")["irq"]), (&json!(38), &json!(39)));
    let vectors = document["devices"][0]["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 2, "{vectors:#?}");
    assert_eq!(vectors[0]["per_second"].as_f64(), Some(2000.0));
}

/// NETDEV_A_NAPI_IFINDEX, _ID, _IRQ; NETDEV_A_QUEUE_ID, _IFINDEX, _TYPE, _NAPI_ID.
#[test]
fn netdev_netlink_knows_better_than_names() {
    let words = |pairs: &[(u16, u32)]| -> Vec<u8> {
        pairs.iter().flat_map(|(kind, value)| attribute(*kind, &value.to_ne_bytes())).collect()
    };
    let machine = on_one_cpu();
    let napis = message::family(&[words(&[(1, 0), (2, 513), (3, 42)])]);
    let queues = message::family(&[words(&[(1, 0), (2, 0), (3, 0), (4, 513)])]);
    machine.samples.write(".netlink/generic/napi-get.bin", [&napis, &napis]);
    machine.samples.write(".netlink/generic/queue-get.bin", [&queues, &queues]);
    let document = machine.document(&[]);
    assert_eq!((&queue(&document, "rx-0")["napi"], &queue(&document, "rx-0")["irq"]), (&json!(513), &json!(42)));
    assert_eq!(queue(&document, "rx-1")["irq"], 41);
}

/// The handle of mq, TC_H_ROOT, and what hangs below it.
#[test]
fn packets_of_transmit_queues_are_those_of_mq() {
    let machine = on_one_cpu().card("r8169", "", &[]);
    let counts = |first: u32| {
        let child = |n: u32, packets: u32| (0, 0x8001_0000 | (n + 1), &b"pfifo_fast\0"[..], packets);
        message::qdiscs(&[
            (0x8001_0000, u32::MAX, b"mq\0", first),
            child(0, first),
            child(1, 9),
            child(2, 9),
            child(3, 9),
        ])
    };
    machine.samples.write(".netlink/route/getqdisc.bin", [counts(1_000), counts(801_000)]);
    let document = machine.document(&[]);
    assert_eq!(queue(&document, "tx-0")["packets_per_second"].as_f64(), Some(80_000.0));
    let sent = found(&document, "tx-queues-uneven");
    assert_eq!(
        (&sent[0]["evidence"][0]["counter"], &sent[0]["evidence"][0]["delta"]),
        (&json!("mq.packets"), &json!(800_000))
    );
}

#[test]
fn checks_filters_and_lines() {
    let machine = on_one_cpu();
    assert_eq!(machine.run(&["--check=warning"]).code, 1);
    assert_eq!(machine.run(&["--check"]).code, 0, "nothing critical");
    let ignored = machine.run(&["--check=info", "--ignore", "softirq-on-one-cpu", "--ignore", "tx-queues-uneven:eth0"]);
    assert_eq!(ignored.code, 0, "{}", ignored.out);
    let lines = machine.run(&["--jsonl"]).out;
    assert_eq!(lines.lines().count(), 1);
    valid(&lines);
    let wrong = machine.run(&["--dev", "eth1"]);
    assert!(
        wrong.code == 2 && wrong.err.contains("there is no device 'eth1'") && wrong.err.contains("eth0"),
        "{}",
        wrong.err
    );
    assert_eq!(machine.document(&["--dev", "eth0"])["devices"].as_array().unwrap().len(), 1);
}

#[test]
fn one_sample_has_no_rates_and_says_so() {
    let machine = crooked();
    let run = verb("topology", &machine.samples.path().join("after"), &["--json"]);
    let document = valid(&run.out);
    assert_eq!(document.get("window_seconds"), None);
    assert_eq!(queue(&document, "rx-0").get("packets_per_second"), None);
    let severities = document["findings"].as_array().unwrap().iter().map(|finding| &finding["severity"]);
    assert!(severities.clone().all(|severity| severity == "info") && severities.count() >= 5);
    assert!(verb("topology", &machine.samples.path().join("after"), &[]).out.contains("no rates"));
}

#[test]
fn a_recording_without_devices_says_what_to_do() {
    let run = verb("topology", &Tree::recorded("node-exporter"), &[]);
    assert!(run.code == 2 && run.err.lines().count() == 2 && run.err.contains("record"), "{}", run.err);
}

/// What is torn costs what it would have told, and nothing else.
#[test]
fn torn_answers_cost_only_themselves() {
    let machine = on_one_cpu();
    let table = [0x38_u32, 4, 0, 1, 2, 3].iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    let qdiscs = message::qdiscs(&[(0, u32::MAX, b"mq\0", 5), (0, 1, b"fq\0", 5)]);
    for cut in (0..qdiscs.len()).step_by(7) {
        machine.samples.write(".ethtool/eth0.rss.bin", [&table[..cut.min(table.len())]; 2]);
        machine.samples.write(".netlink/route/getqdisc.bin", [&qdiscs[..cut]; 2]);
        let document = machine.document(&[]);
        assert_eq!(queue(&document, "rx-3")["irq"], 43, "cut at {cut}");
        assert_eq!(found(&document, "tx-queues-uneven").len(), 1, "cut at {cut}");
    }
    for file in [
        "proc/irq/40/effective_affinity_list",
        "sys/devices/system/cpu/online",
        "sys/class/net/eth0/queues/rx-0/rps_cpus",
    ] {
        machine.samples.write(file, [b"\xff\x00,-9-\n"; 2]);
        machine.document(&[]);
    }
}
