//! node_exporter read the same tree and printed what it found there: we must agree in every value.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::openmetrics::{self, Sample};
use crate::run::{self, Cell, rx};
use crate::tree::Tree;

const HOST: &str = "node-exporter";

/// What node_exporter shows of these families and we do not, by group: the send path, IP's own settings, columns that
/// are constant or tell no loss, sums of what we show in pages. `softnet.backlog_len` is not in the recorded file: a column
/// that is not there is absent with us, and 0 with node_exporter. A name that is not here must be one of ours.
const NOT_OURS: [(&str, &str); 16] = [
    ("Icmp", "OutMsgs"),
    ("Icmp6", "OutMsgs"),
    ("Ip", "Forwarding"),
    ("Ip6", "OutOctets"),
    ("IpExt", "OutOctets"),
    ("Tcp", "ActiveOpens OutSegs RetransSegs"),
    ("TcpExt", "TCPTimeouts"),
    ("Udp", "OutDatagrams SndbufErrors"),
    ("Udp6", "OutDatagrams SndbufErrors"),
    ("arp_cache", NEIGHBOUR),
    ("ndisc_cache", NEIGHBOUR),
    ("nf_conntrack", "delete delete_list entries expect_create expect_delete expect_new new searched"),
    ("sockstat", "TCP_mem_bytes UDPLITE_inuse UDP_mem_bytes"),
    ("sockstat6", "UDPLITE6_inuse"),
    ("softirqs", "BLOCK HI HRTIMER IRQ_POLL RCU SCHED TASKLET TIMER"),
    ("softnet", "backlog_len cpu_collision"),
];
const NEIGHBOUR: &str = "allocs destroys entries forced_gc_runs hash_grows periodic_gc_runs res_failed table_fulls \
                         unresolved_discards";

/// Our cell for a sample of node_exporter, by its name alone; nothing for families that are not about this path.
fn ours(sample: &Sample) -> Option<Cell> {
    let label = |key: &str| sample.labels.get(key).cloned().unwrap_or_default();
    let name = sample.name.strip_prefix("node_")?;
    let short = name.strip_suffix("_total").unwrap_or(name);
    let (id, instance) = if let Some(rest) = name.strip_prefix("netstat_") {
        (rest.replacen('_', ".", 1), String::new())
    } else if let Some(rest) = short.strip_prefix("softnet_") {
        (format!("softnet.{}", rest.replace("times_squeezed", "time_squeeze")), label("cpu"))
    } else if let Some(rest) = name.strip_prefix("sockstat_") {
        let six = rest.split('_').next().is_some_and(|line| line.ends_with('6'));
        (format!("sockstat{}.{rest}", if six { "6" } else { "" }), String::new())
    } else if let Some(rest) = name.strip_prefix("nf_conntrack_stat_") {
        (format!("nf_conntrack.{rest}"), String::new())
    } else if let Some(rest) = name.strip_prefix("nf_conntrack_entries") {
        (format!("conntrack.{}", if rest.is_empty() { "count" } else { "max" }), String::new())
    } else if short == "softirqs_functions" {
        (format!("softirqs.{}", label("type")), label("cpu"))
    } else if let Some(rest) = short.strip_prefix("lnstat_") {
        // A sample per CPU; ours is their sum.
        (format!("{}.{rest}", label("subsystem")), String::new())
    } else {
        return None;
    };
    Some((id, instance))
}

/// The values that must be found, by the name that node_exporter has for them: it shows some of them twice.
fn expected() -> BTreeMap<(String, Cell), u64> {
    let text = fs::read_to_string(Tree::recorded(HOST).join("expected-openmetrics.txt")).unwrap();
    let mut cells = BTreeMap::new();
    for sample in openmetrics::samples(&text) {
        if let Some(cell) = ours(&sample) {
            *cells.entry((sample.name.clone(), cell)).or_default() += sample.number();
        }
    }
    cells
}

#[test]
fn every_value_agrees_in_json() {
    let report = run::report(&Tree::recorded(HOST), &["--interval", "0"]);
    let cells = run::cells(&report);
    let found = |cell: &Cell| cells.get(cell).map(run::number);
    compare(found);
}

#[test]
fn every_value_agrees_in_openmetrics() {
    let run = rx(&Tree::recorded(HOST), &["--interval", "0", "--output", "openmetrics"]);
    let names: BTreeMap<String, String> =
        netstat_deep::stage::counters().map(|(_, counter)| (counter.id(), counter.metric())).collect();
    let samples: BTreeMap<Cell, u64> = openmetrics::checked(&run.out)
        .into_iter()
        .map(|sample| ((sample.name.clone(), sample.labels.values().cloned().collect()), sample.number()))
        .collect();
    compare(|(id, instance)| samples.get(&(names.get(id)?.clone(), instance.clone())).copied());
}

fn compare(found: impl Fn(&Cell) -> Option<u64>) {
    let (mut compared, mut missing) = (0, BTreeSet::new());
    for ((name, cell), value) in expected() {
        match found(&cell) {
            Some(number) => {
                assert_eq!(number, value, "{name}, {cell:?}");
                compared += 1;
            }
            None => {
                missing.insert(cell.0);
            }
        }
    }
    let not_ours =
        NOT_OURS.iter().flat_map(|(group, names)| names.split(' ').map(move |name| format!("{group}.{name}")));
    assert_eq!(missing, not_ours.collect(), "shown by node_exporter, not by us");
    assert!(compared > 85, "only {compared} values were compared");
}
