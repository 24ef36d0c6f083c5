//! Every counter on every kernel: there with its own column's value if the kernel has the column, else absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use netstat_deep::source::groups::DOORS;
use netstat_deep::stage::RECEIVE;

use crate::numbered::Numbers;
use crate::run::{self, Cell};
use crate::tree::Tree;

/// Files that no tree holds, with their header.
const UNRECORDED: [(&str, &str); 11] = [
    (
        "proc/net/tls_stat",
        "TlsCurrTxSw 0\nTlsCurrRxSw 0\nTlsCurrTxDevice 0\nTlsCurrRxDevice 0\nTlsTxSw 0\nTlsRxSw 0\nTlsTxDevice 0\n\
         TlsRxDevice 0\nTlsDecryptError 0\nTlsRxDeviceResync 0\nTlsDecryptRetry 0\nTlsRxNoPadViolation 0\n\
         TlsRxRekeyOk 0\nTlsRxRekeyError 0\nTlsTxRekeyOk 0\nTlsTxRekeyError 0\nTlsRxRekeyReceived",
    ),
    ("proc/net/stat/synproxy", "entries\t\tsyn_received\tcookie_invalid\tcookie_valid\tcookie_retrans\tconn_reopened"),
    (
        "proc/net/stat/rt_cache",
        "entries  in_hit in_slow_tot in_slow_mc in_no_route in_brd in_martian_dst in_martian_src out_hit out_slow_tot \
         out_slow_mc gc_total gc_ignored gc_goal_miss gc_dst_overflow in_hlist_search out_hlist_search",
    ),
    (
        "proc/net/xfrm_stat",
        "XfrmOutBundleGenError 0\n\
         XfrmOutBundleCheckError 0\n\
         XfrmOutNoStates 0\n\
         XfrmOutStateProtoError 0\n\
         XfrmOutStateModeError 0\n\
         XfrmOutStateSeqError 0\n\
         XfrmOutStateExpired 0\n\
         XfrmOutPolBlock 0\n\
         XfrmOutPolDead 0\n\
         XfrmOutPolError 0\n\
         XfrmOutStateInvalid 0\n\
         XfrmInError 0\n\
         XfrmInBufferError 0\n\
         XfrmInHdrError 0\n\
         XfrmInNoStates 0\n\
         XfrmInStateProtoError 0\n\
         XfrmInStateModeError 0\n\
         XfrmInStateSeqError 0\n\
         XfrmInStateExpired 0\n\
         XfrmInStateMismatch 0\n\
         XfrmInStateInvalid 0\n\
         XfrmInTmplMismatch 0\n\
         XfrmInNoPols 0\n\
         XfrmInPolBlock 0\n\
         XfrmInPolError 0\n\
         XfrmOutError 0\n\
         XfrmFwdHdrError 0",
    ),
    (
        "proc/net/protocols",
        "protocol  size sockets  memory press maxhdr  slab module\n\
         UDPv6 1 2 3 NI 0 yes kernel\nPING 1 2 -1 NI 0 yes kernel\nUDP 1 2 3 NI 0 yes kernel\nTCP 1 2 3 no 192 yes kernel",
    ),
    ("proc/net/netlink", "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode"),
    ("proc/net/raw", "sl local_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode ref pointer drops"),
    ("proc/net/raw6", "sl local_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode ref pointer drops"),
    ("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0"),
    ("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg300=0.00 total=0"),
    ("proc/pressure/irq", "full avg10=0.00 avg60=0.00 avg300=0.00 total=0"),
];

/// The recorded hosts that have whole files.
pub fn hosts() -> Vec<String> {
    let kernels = fs::read_dir(Tree::recorded("kernels")).unwrap();
    let mut hosts: Vec<String> =
        kernels.map(|entry| format!("kernels/{}", entry.unwrap().file_name().to_str().unwrap())).collect();
    hosts.push("node-exporter".into());
    hosts.sort();
    hosts
}

fn declared() -> BTreeSet<String> {
    netstat_deep::stage::counters().map(|(_, counter)| counter.id()).collect()
}

/// Those that `rx` shows: the send path's are not its own.
fn of_rx() -> BTreeSet<String> {
    RECEIVE.iter().flat_map(|stage| stage.counters).map(|counter| counter.id()).collect()
}

/// A copy of a host in which every number differs, and what must be shown of it.
fn numbered(host: &str) -> (Tree, BTreeMap<Cell, u64>) {
    let tree = Tree::copy(host);
    for (file, header) in UNRECORDED {
        tree.write(file, format!("{header}\n0\n0\n"));
    }
    let numbers = Numbers::fill(&tree);
    let declared = declared();
    (tree, numbers.cells.into_iter().filter(|((id, _), _)| declared.contains(id)).collect())
}

#[test]
fn every_counter_shows_its_own_column() {
    for host in hosts() {
        let (tree, mut expected) = numbered(&host);
        let of_rx = of_rx();
        expected.retain(|(id, _), _| of_rx.contains(id));
        assert_eq!(shown(&run::report(tree.path(), &[])), expected, "{host}");
        assert!(expected.len() > 180, "{host}: only {} values", expected.len());
    }
}

#[test]
fn a_column_that_is_zero_is_there_and_one_that_is_not_is_absent() {
    for host in hosts().iter().filter(|host| host.starts_with("kernels")) {
        let of_rx = of_rx();
        let columns = Numbers::fill(&Tree::copy(host)).cells.into_keys();
        let expected: BTreeSet<Cell> = columns.filter(|(id, _)| of_rx.contains(id)).collect();
        let shown = shown(&run::report(&Tree::recorded(host), &[]));
        assert_eq!(shown.keys().cloned().collect::<BTreeSet<_>>(), expected, "{host}");
    }
}

#[test]
fn every_declared_counter_exists_on_some_kernel() {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for host in hosts() {
        found.extend(numbered(&host).1.into_keys().map(|(id, _)| id));
    }
    // Devices come by netlink and ioctl, in no file of a recorded tree.
    let in_a_file = |id: &str| {
        let groups = DOORS.iter().flat_map(|door| door.groups);
        id.split_once('.').is_some_and(|(start, _)| groups.into_iter().any(|group| group.id == start))
    };
    let never: Vec<String> = declared().into_iter().filter(|id| !found.contains(id) && in_a_file(id)).collect();
    assert!(never.is_empty(), "no kernel has a column of that name: {never:?}");
}

/// What came with a kernel, and what went: a name that is misspelt here would be absent everywhere.
#[test]
fn columns_come_and_go() {
    let oldest = shown(&run::report(&Tree::recorded("kernels/5.10.0"), &[]));
    let newest = shown(&run::report(&Tree::recorded("kernels/7.3.4"), &[]));
    let has = |cells: &BTreeMap<Cell, u64>, id: &str| cells.keys().any(|(shown, _)| shown == id);
    for (id, old, new) in [
        ("TcpExt.BeyondWindow", false, true),
        ("TcpExt.TCPAOBad", false, true),
        ("Udp.MemErrors", false, true),
        ("softnet.input_qlen", false, true),
        ("softnet.backlog_len", true, true),
        ("UdpLite.InErrors", true, false),
        ("UdpLite6.InErrors", true, false),
        ("nf_conntrack.chainlength", false, true),
        ("TcpExt.ListenDrops", true, true),
    ] {
        assert_eq!((has(&oldest, id), has(&newest, id)), (old, new), "{id}");
    }
}

fn shown(report: &serde_json::Value) -> BTreeMap<Cell, u64> {
    run::cells(report).into_iter().map(|(cell, value)| (cell, run::number(&value))).collect()
}
