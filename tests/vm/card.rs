//! What needs a driver of real cards, a bond or a tunnel, which not every kernel has: played inside the guest, on the cards
//! that QEMU emulates; judged outside.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command};

use netstat_deep::command::panel::Switches;
use netstat_deep::model::{Instance, SettingFile, Tree};
use netstat_deep::source::Host;
use netstat_deep::source::ethtool::driver::{Asker, parse};
use netstat_deep::source::place::Place;
use netstat_deep::stage::knobs;
use netstat_deep::tune::apply::apply;
use netstat_deep::tune::journal::{Change, DEFAULT, Journal, Step, new_change};
use netstat_deep::tune::revert::revert;
use serde_json::{Value, json};

use crate::boot::Guest;
use crate::drops::{Ready, during};
use crate::guest::{BROADCAST, PORT, SEGMENTS, from_peer, in_namespace, program, shell};
use crate::judge::{Judge, same, valid};

pub const ALL: [(&str, Judge); 4] = [
    ("card_statistics", |boot| statistics(boot.guest()?)),
    ("card_restarts", |boot| restarts(boot.guest()?)),
    ("bond_standby_frames", |boot| standby(boot.guest()?)),
    ("tunnel_cell_overflow", |boot| tunnel(boot.guest()?)),
];

/// Three cards on one wire: two of this host, one of another.
const CARDS: &str = "\
modprobe vmxnet3
sysctl -wq net.ipv6.conf.default.disable_ipv6=1
ip netns add wire
for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /sys/class/net/eth2 ] && break; sleep 1; done
for card in eth0 eth1 eth2; do sysctl -wq net.ipv6.conf.$card.disable_ipv6=1; done
ip link set eth1 netns wire
ip netns exec wire sysctl -wq net.ipv6.conf.all.disable_ipv6=1
ip -n wire addr add 10.81.0.2/24 dev eth1
ip -n wire link set eth1 up
ip link set eth0 up
sleep 1";

const BOND: &str = "\
modprobe bonding
[ -e /sys/class/net/bond0 ] || ip link add bond0 type bond
ip link set bond0 down
echo active-backup >/sys/class/net/bond0/bonding/mode
sysctl -wq net.ipv6.conf.bond0.disable_ipv6=1
for card in eth0 eth2; do ip link set $card down; ip link set $card master bond0; done
ip addr add 10.81.0.1/24 dev bond0
ip link set bond0 up
sleep 2
ip netns exec wire ping -c 1 -W 5 10.81.0.1 >/dev/null";

/// Through a veth that polls for itself, so that only the tunnel's own queue is as short as that of a CPU. What is sent in
/// one call comes in as many packets (drivers/net/veth.c veth_skb_is_eligible_for_gro()).
const TUNNEL: &str = "\
modprobe vxlan
ip link add vx type vxlan id 7 local 10.78.0.1 remote 10.78.0.2 dstport 4789
ip -n peer link add vx type vxlan id 7 local 10.78.0.2 remote 10.78.0.1 dstport 4789
ip addr add 10.80.0.1/24 dev vx
ip -n peer addr add 10.80.0.2/24 dev vx
ip link set vx up
ip -n peer link set vx up
ethtool -K va gro on
ip netns exec peer ethtool -K vx tx-udp-segmentation off
ip netns exec peer ethtool -K vb tso off tx-udp-segmentation off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off
ip netns exec peer ping -c 1 -W 5 10.80.0.1 >/dev/null
sysctl -wq net.core.netdev_max_backlog=10";

const BROADCASTS: u64 = 200;
/// Calls, and datagrams in each.
const BURSTS: [u64; 2] = [5, 60];

/// The largest receive ring is longer than this, and what it begins with shorter.
const RING: &str = "2048";

pub fn play() {
    shell(CARDS);
    told_by_the_driver();
    ring();
    shell(BOND);
    let counters = ["rx", "--json", "--probes", "off", "-i", "300s"];
    during("bond", program(&counters), at_once, || in_namespace("wire", &[BROADCAST, &BROADCASTS.to_string()]));
    shell(TUNNEL);
    let reader = UdpSocket::bind(("10.80.0.1", PORT)).unwrap();
    let probes = ["rx", "--json", "--probes", "on", "-i", "300s"];
    let [calls, each] = BURSTS.map(|number| number.to_string());
    let before = backlog_drops();
    during("tunnel", program(&probes), Child::holds_probe, || from_peer(&[SEGMENTS, &calls, &each]));
    reader.set_nonblocking(true).unwrap();
    let received = std::iter::repeat_with(|| reader.recv(&mut [0; 200])).take_while(Result::is_ok).count() as u64;
    let truth = json!({"lost": BURSTS[0] * BURSTS[1] - received, "backlog": backlog_drops() - before});
    fs::write("/out/tunnel-truth.json", truth.to_string()).unwrap();
    shell("sysctl -wq net.core.netdev_max_backlog=1000; ip link del vx");
}

/// The second column of /proc/net/softnet_stat, of all CPUs.
fn backlog_drops() -> u64 {
    let text = fs::read_to_string("/proc/net/softnet_stat").unwrap();
    text.lines().map(|line| u64::from_str_radix(line.split(' ').nth(1).unwrap(), 16).unwrap()).sum()
}

pub fn at_once(_: &Child) -> bool {
    true
}

/// Every name, in the same order, and every value; of a quiet card, twice to be sure.
fn told_by_the_driver() {
    let theirs = || {
        let output = Command::new("ethtool").args(["-S", "eth0"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = |line: &str| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.trim().to_owned(), value.trim().parse::<u64>().ok()?))
        };
        text.lines().filter_map(line).collect::<Vec<_>>()
    };
    let (before, bytes, after) = (theirs(), Asker::new(&Host::Live).unwrap().ask(b"eth0").unwrap(), theirs());
    let driver = parse(&bytes).unwrap();
    let ours = driver.statistics.iter().map(|(name, value)| json!([String::from_utf8_lossy(name.trim_ascii()), value]));
    let truth = json!({"ours": ours.collect::<Vec<_>>(), "before": before, "after": after,
        "driver": String::from_utf8_lossy(driver.name)});
    fs::write("/out/card.json", truth.to_string()).unwrap();
}

/// The length of the receive ring, set by somebody else and by this program, while it watches.
fn ring() {
    let shown = || {
        let output = Command::new("ethtool").args(["-g", "eth0"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The maximum stands above the present value.
        text.lines().rev().find_map(|line| line.strip_prefix("RX:")).unwrap_or_default().trim().to_owned()
    };
    let began = shown();
    let watching = || program(&["rx", "--json", "--probes", "off", "-i", "300s"]);
    during("restart-other", watching(), at_once, || shell("ethtool -G eth0 rx 512; sleep 1"));
    let (_, knob) = knobs().find(|(_, knob)| knob.id == "ring.rx").unwrap();
    let instance = Instance::device("eth0");
    let step = Step {
        knob: knob.id.into(),
        instance: instance.to_string(),
        file: SettingFile { tree: Tree::Ethtool, path: knob.path_of(&instance) },
        from: "512".into(),
        to: RING.into(),
        ..Step::empty(knob.scope)
    };
    let home = Place::here_pinned();
    let panel = Switches { home: &home, place: Some(&home) };
    let journal = Journal::open(Path::new(DEFAULT)).map_err(|e| e.to_string()).unwrap();
    let mut change = Change { steps: vec![step], ..new_change(1) };
    during("restart-own", watching(), at_once, || {
        apply(&mut change, &panel, &journal).unwrap();
        shell("sleep 1");
    });
    let applied = shown();
    revert(&mut change, &panel, &journal, |_| true);
    let truth = json!({"began": began, "applied": applied, "reverted": shown()});
    fs::write("/out/ring.json", truth.to_string()).unwrap();
}

fn statistics(guest: &Guest) -> Result<(), String> {
    let truth = guest.json("card.json")?;
    same(&truth["driver"], &"vmxnet3".into())?;
    let list = |name: &str| truth[name].as_array().cloned().unwrap_or_default();
    let (ours, before, after) = (list("ours"), list("before"), list("after"));
    if ours.len() < 20 {
        return Err(format!("only {} statistics", ours.len()));
    }
    same(&before.len(), &after.len())?;
    // ethtool prints the heading of each queue's as a value, too, and cuts a name at a colon of its own.
    let name = |row: &Value| row[0].as_str().unwrap_or_default().to_owned();
    same(&ours.iter().map(name).collect::<Vec<_>>(), &before.iter().map(name).collect())?;
    for ((own, low), high) in ours.iter().zip(&before).zip(&after) {
        let [own_value, low, high] = [own, low, high].map(|row| row[1].as_u64());
        if !(low..=high).contains(&own_value) {
            return Err(format!("{}: {own_value:?}, ethtool says {low:?} and {high:?}", name(own)));
        }
    }
    Ok(())
}

/// A link that goes down is an alarm if somebody else did it, and a remark that says so if it was this program.
fn restarts(guest: &Guest) -> Result<(), String> {
    let truth = guest.json("ring.json")?;
    same(&[&truth["applied"], &truth["reverted"]], &[&RING.into(), &"512".into()])?;
    for (name, severity, ours) in [("restart-other", "warning", false), ("restart-own", "info", true)] {
        let report = guest.json(&format!("{name}.json"))?;
        let finding = found(name, &report, "link-flaps")?;
        same(&(name, &finding["severity"]), &(name, &severity.into()))?;
        same(&finding["instance"]["device"], &"eth0".into())?;
        same(&finding["evidence"][0]["delta"], &1.into())?;
        let why = finding["why"].as_str().unwrap_or_default();
        same(&(why, why.contains("this program set ring.rx")), &(why, ours))?;
    }
    Ok(())
}

/// What everybody on the wire gets reaches both members, and one of them has no use for it.
fn standby(guest: &Guest) -> Result<(), String> {
    let report = guest.json("bond.json")?;
    let finding = found("bond", &report, "bond-standby-frames")?;
    same(&finding["evidence"][0]["delta"], &BROADCASTS.into())?;
    same(&finding["severity"], &"info".into())?;
    same(&report["totals"]["lost"], &0.into())
}

fn tunnel(guest: &Guest) -> Result<(), String> {
    let (report, truth) = (guest.json("tunnel.json")?, guest.json("tunnel-truth.json")?);
    if truth["lost"] == 0 {
        return Err("the tunnel lost nothing".into());
    }
    // Before 5.13 a veth has no poll of its own: the CPU's queue, as short, is in the way and loses them.
    if truth["backlog"] != 0 {
        same(&truth["backlog"], &truth["lost"])?;
        return same(&found("tunnel", &report, "tunnel-cell-overflow").is_err(), &true);
    }
    let finding = found("tunnel", &report, "tunnel-cell-overflow")?;
    same(&finding["lost"], &truth["lost"])?;
    same(&finding["severity"], &"warning".into())?;
    same(&finding["suggestions"][0]["knob"], &"net.core.netdev_max_backlog".into())?;
    let unexplained = report["totals"]["unexplained"].as_u64().unwrap_or(0);
    same(&unexplained, &0)
}

pub fn found<'a>(name: &str, report: &'a Value, id: &str) -> Result<&'a Value, String> {
    valid(name, report)?;
    let findings = report["findings"].as_array().ok_or("no findings")?;
    findings.iter().find(|finding| finding["id"] == id).ok_or_else(|| format!("{name}: no {id} among {findings:#?}"))
}

/// One call of so many datagrams, cut apart on its way out (UDP_SEGMENT): they arrive together.
pub fn segments(calls: u64, each: usize) {
    let size: libc::c_int = 100;
    let socket = UdpSocket::bind(("10.80.0.2", 0)).unwrap();
    socket.connect(("10.80.0.1", PORT)).unwrap();
    let (level, option, value) = (libc::SOL_UDP, libc::UDP_SEGMENT, &raw const size);
    // SAFETY: the value is an int, as long as is said.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.cast(), 4) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    for _ in 0..calls {
        socket.send(&vec![0; size as usize * each]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Datagrams to everybody on the wire.
pub fn broadcast(times: u64) {
    let socket = UdpSocket::bind(("10.81.0.2", 0)).unwrap();
    socket.set_broadcast(true).unwrap();
    for _ in 0..times {
        socket.send_to(&[0; 64], ("10.81.0.255", PORT)).unwrap();
    }
}
