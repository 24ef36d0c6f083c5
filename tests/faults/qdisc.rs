//! A device's queue drops, and what leaves IP and reaches no device.
//!
//! Oracle: the sender knows how many datagrams it handed over, and the peer's socket how many it got.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

use crate::backlog::Flood;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{CLIENT_DEVICE, Family, Lab, SERVER_DEVICE};
use crate::need::Need;
use crate::sending::{Told, lost, observe};
use crate::tune::{run, text};

const PORT: u16 = 8100;
const COUNT: u64 = 100;
const SIZE: usize = 900;

pub fn cases() -> Vec<Case> {
    let (plain, deaf) = (&[Need::Namespaces], &[Need::Namespaces, Need::Nft]);
    let mut cases = vec![
        Case::new("qdisc::sender_is_told", plain, sender_is_told),
        Case::new("qdisc::class_of_htb", plain, class_of_htb),
        Case::new("qdisc::limit", plain, limit),
        Case::new("qdisc::output_rule", deaf, output_rule),
        Case::new("qdisc::as_tc_says", plain, as_tc_says),
        Case::new("qdisc::requeues", deaf, requeues),
        Case::new("qdisc::ipsec_without_keys", plain, ipsec_without_keys),
    ];
    cases.extend(Family::BOTH.map(|family| {
        let body = if family == Family::V4 { |_| shaper(Family::V4) } else { |_| shaper(Family::V6) };
        Case::new(format!("qdisc::shaper_{}", family.suffix()), plain, body)
    }));
    cases
}

/// A shaper that holds three packets.
const SHAPER: &str = "tbf rate 1mbit burst 2000 limit 3000";

/// A peer that listens, and a queue in front of the observed host's device.
struct Queue {
    lab: Lab,
    peer: UdpSocket,
    to: SocketAddr,
}

impl Queue {
    fn new(family: Family, qdisc: &str) -> Outcome<Self> {
        let lab = Lab::new()?;
        let queue = format!("tc qdisc add dev {SERVER_DEVICE} root handle 1: {qdisc}");
        lab.server.exec(&queue.split(' ').collect::<Vec<_>>())?;
        let to = SocketAddr::new(family.client(), PORT);
        let peer = lab.client.inside(|| UdpSocket::bind(to))?;
        peer.set_nonblocking(true)?;
        Ok(Queue { lab, peer, to })
    }

    /// What the peer has got since it was asked last, once the queue is empty.
    fn got(&self) -> Outcome<u64> {
        let mut got = 0;
        let mut empty = false;
        loop {
            match self.peer.recv(&mut [0; SIZE]) {
                Ok(_) => got += 1,
                Err(e) if e.kind() == ErrorKind::WouldBlock && empty => return Ok(got),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    empty =
                        self.lab.server.exec(&["tc", "-s", "qdisc", "show", "dev", SERVER_DEVICE])?.contains(" 0b 0p");
                    sleep(Duration::from_millis(50));
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Sends so many datagrams at once, and returns how many the peer did not get.
    fn burst(&self, count: u64) -> Outcome<u64> {
        let to = self.to;
        self.lab.server.inside(|| send(to, count, false))?;
        Ok(count - self.got()?)
    }
}

/// Lets the socket's owner hear what went wrong with a datagram.
pub fn tell_errors(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `on` lives through the call, and `length` is its size.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, libc::IP_RECVERR, (&raw const on).cast(), length) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends, and returns how many times there was no buffer.
fn send(to: SocketAddr, count: u64, wants_errors: bool) -> io::Result<u64> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    if wants_errors {
        tell_errors(&socket)?;
    }
    let mut refused = 0;
    for _ in 0..count {
        match socket.send_to(&[0; SIZE], to) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => refused += 1,
            Err(e) => return Err(e),
        }
    }
    Ok(refused)
}

/// The ledger knows of each loss once, at the queue, and of nothing else.
fn at_the_queue<T>(told: &Told<T>, checks: &mut Checks, dropped: u64) {
    let stages = ["ip_out", "neighbour", "egress", "driver_tx"];
    checks.same("lost at the qdisc", Some(dropped), told.report.ledger_sum("qdisc", "lost"));
    for stage in stages {
        checks.same(&format!("lost at {stage}"), 0, told.report.ledger_sum(stage, "lost").unwrap_or(0));
    }
    checks.same("lost in all", Some(dropped), told.report.0["totals"]["lost"].as_u64());
    checks.same("unexplained", Vec::<String>::new(), told.report.unexplained());
}

fn shaper(family: Family) -> Outcome {
    let queue = Queue::new(family, SHAPER)?;
    let to = queue.to;
    let told = observe(&queue.lab.server, || send(to, COUNT, false).map_err(Into::into))?;
    let dropped = COUNT - queue.got()?;
    if dropped == 0 {
        return again("the shaper held all");
    }
    let mut checks = Checks::default();
    checks.same("errors of the sender", 0, told.traffic);
    let finding = found(&told, &mut checks, "qdisc-drops", "qdisc.drops", dropped);
    checks.same("whose", Some(SERVER_DEVICE), finding.0.and_then(|one| one["instance"]["device"].as_str()));
    checks.that(finding.refuses("net.core.netdev_max_backlog"), "netdev_max_backlog is not refused");
    found(&told, &mut checks, "udp-send-fails", &family.udp("SndbufErrors"), dropped);
    checks.same("alarms", vec!["qdisc-drops", "udp-send-fails"], sorted(told.report.alarms()));
    at_the_queue(&told, &mut checks, dropped);
    told.done(checks)
}

fn found<'a, T>(
    told: &'a Told<T>,
    checks: &mut Checks,
    id: &str,
    counter: &str,
    dropped: u64,
) -> crate::report::Finding<'a> {
    let all = told.report.findings(id);
    checks.same(&format!("findings {id}"), 1, all.len());
    let finding = crate::report::Finding(all.first().copied());
    checks.same(&format!("{id}: lost"), Some(dropped), lost(&finding));
    checks.same(&format!("{id}: {counter}"), Some(dropped), finding.evidence(counter));
    finding
}

fn sorted(mut alarms: Vec<&str>) -> Vec<&str> {
    alarms.sort_unstable();
    alarms
}

/// With IP_RECVERR the sender hears of each datagram that a full queue refuses; the counters are the same.
fn sender_is_told(_: Duration) -> Outcome {
    let queue = Queue::new(Family::V4, SHAPER)?;
    let to = queue.to;
    let told = observe(&queue.lab.server, || send(to, COUNT, true).map_err(Into::into))?;
    let dropped = COUNT - queue.got()?;
    if dropped == 0 {
        return again("the shaper held all");
    }
    let mut checks = Checks::default();
    checks.same("errors of the sender", dropped, told.traffic);
    found(&told, &mut checks, "udp-send-fails", "Udp.SndbufErrors", dropped);
    at_the_queue(&told, &mut checks, dropped);
    told.done(checks)
}

/// The class counts the packet and so does its qdisc: it is lost once.
fn class_of_htb(_: Duration) -> Outcome {
    let queue = Queue::new(Family::V4, "htb default 10")?;
    let server = &queue.lab.server;
    let tc = |words: &str| server.exec(&[&["tc"], &words.split(' ').collect::<Vec<_>>()[..]].concat()).map(drop);
    tc(&format!("class add dev {SERVER_DEVICE} parent 1: classid 1:10 htb rate 1mbit burst 2000 cburst 2000"))?;
    tc(&format!("qdisc add dev {SERVER_DEVICE} parent 1:10 handle 10: pfifo limit 3"))?;
    let to = queue.to;
    let told = observe(server, || send(to, COUNT, false).map_err(Into::into))?;
    let dropped = COUNT - queue.got()?;
    if dropped == 0 {
        return again("the class held all");
    }
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, "qdisc-drops", "qdisc.drops", dropped);
    let why = finding.0.and_then(|one| one["why"].as_str()).unwrap_or_default();
    checks.that(why.contains("htb 1:10") || why.contains("pfifo 10:"), format_args!("the class is not named: {why}"));
    checks.that(finding.says_no_setting_helps(), "the classes are up to whoever made them");
    at_the_queue(&told, &mut checks, dropped);
    told.done(checks)
}

/// Closed loop: a burst, the suggested limit, no loss of the same burst, the old limit, and the loss is back.
fn limit(_: Duration) -> Outcome {
    const BURST: u64 = 60;
    let queue = Queue::new(Family::V4, "tbf rate 20mbit burst 2000 limit 20000")?;
    if queue.burst(BURST)? == 0 {
        return again("the shaper held all");
    }
    let present = || -> Outcome<String> {
        let shown = queue.lab.server.exec(&["tc", "-d", "-j", "qdisc", "show", "dev", SERVER_DEVICE, "root"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown).map_err(io::Error::other)?;
        Ok(shown[0]["options"].to_string())
    };
    let old = present()?;
    let state = tempfile::tempdir()?;
    let (name, folder) = (queue.lab.server.name.clone(), state.path().to_owned());
    // Nothing that is the machine's: others run beside this.
    let only = ["--only", "qdisc.limit"];
    let args = ["tx", "--apply=all", "--yes", "--netns", &name, "-i", "900ms", only[0], only[1]].map(str::to_owned);
    let program = std::thread::spawn(move || run(&folder, &args.each_ref().map(String::as_str), &[]));
    while !program.is_finished() {
        queue.burst(BURST)?;
    }
    let Ok(tuned) = program.join() else { return wrong("the thread that ran the program panicked") };
    let tuned = tuned?;
    let mut checks = Checks::default();
    checks.that(text(&tuned).contains("helped:"), "no verdict 'helped:'");
    checks.that(present()? != old, "the limit is what it was");
    checks.same("lost with the new limit", 0, queue.burst(BURST)?);
    let reverted = run(state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("the qdisc after revert", old, present()?);
    checks.that(queue.burst(BURST)? > 0, "the loss did not come back");
    checks.done(&text(&tuned))
}

/// IP asks the firewall before it counts a packet as given to a device. UDP's senders are told; TCP's retransmission is
/// not even sent, and no counter knows of it.
fn output_rule(_: Duration) -> Outcome {
    const MUTE: &str = "add table inet t; add chain inet t o { type filter hook output priority 0; }; \
                        add rule inet t o meta l4proto udp drop";
    let lab = Lab::new()?;
    lab.server.nft(MUTE)?;
    let to = SocketAddr::new(Family::V4.client(), PORT);
    let told = observe(&lab.server, || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let refused = (0..COUNT)
            .filter(|_| socket.send_to(&[0; SIZE], to).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied));
        Ok(refused.count() as u64)
    })?;
    let mut checks = Checks::default();
    checks.same("errors of the sender", COUNT, told.traffic);
    checks.same("lost at ip_out", Some(COUNT), told.report.ledger_sum("ip_out", "lost"));
    checks.same("lost in all", Some(COUNT), told.report.0["totals"]["lost"].as_u64());
    checks.same("unexplained", Vec::<String>::new(), told.report.unexplained());
    told.done(checks)
}

/// Every number of the queue is tc's.
fn as_tc_says(_: Duration) -> Outcome {
    let queue = Queue::new(Family::V4, SHAPER)?;
    // Else the kernel looks for routers meanwhile.
    queue.lab.server.set("net/ipv6/conf/all/disable_ipv6", "1")?;
    queue.burst(COUNT)?;
    let tc = || queue.lab.server.exec(&["tc", "-s", "-j", "qdisc", "show", "dev", SERVER_DEVICE, "root"]);
    let before = tc()?;
    let told = observe(&queue.lab.server, || Ok(()))?;
    let shown = tc()?;
    if before != shown {
        return again("the kernel sent something of its own");
    }
    let shown: serde_json::Value = serde_json::from_str(&shown).map_err(io::Error::other)?;
    let mut checks = Checks::default();
    let stages = told.report.0["stages"].as_array().cloned().unwrap_or_default();
    let ours = stages.iter().find(|one| one["stage"] == "qdisc" && one["instance"]["qdisc"] == "tbf 1:");
    let ours = ours.map(|one| &one["counters"]);
    for name in ["bytes", "packets", "drops", "requeues", "overlimits", "qlen", "backlog"] {
        let value = ours.map(|all| &all[&format!("qdisc.{name}")]);
        let value = value.and_then(|one| one["total"].as_u64().or(one["value"].as_u64()));
        checks.same(name, shown[0][name].as_u64(), value);
    }
    told.done(checks)
}

/// The peer's device is too slow for what is sent: its ring is full, and the driver does not take what the queue gives it.
/// Nothing is lost by that: with a queue in front, a veth asks for the packet again (since 6.16).
fn requeues(_: Duration) -> Outcome {
    let Flood { lab, mut reader, mut sender, send } = Flood::new(Family::V4)?;
    lab.server.exec(&["ethtool", "-K", SERVER_DEVICE, "gro", "on"])?;
    // Else veth hands packets over without its ring (veth_skb_is_eligible_for_gro() in drivers/net/veth.c).
    lab.client.exec(&["ethtool", "-K", CLIENT_DEVICE, "tso", "off"])?;
    let of_thread = "echo 0 > queues/rx-0/rps_cpus; echo 1 > threaded";
    lab.server.exec(&["sh", "-c", &format!("cd /sys/class/net/{SERVER_DEVICE}; {of_thread}")])?;
    lab.client.exec(&[
        "tc",
        "qdisc",
        "add",
        "dev",
        CLIENT_DEVICE,
        "root",
        "handle",
        "1:",
        "pfifo",
        "limit",
        "100000",
    ])?;
    let shown = || -> Outcome<u64> {
        let shown = lab.client.exec(&["tc", "-s", "-j", "qdisc", "show", "dev", CLIENT_DEVICE, "root"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown).map_err(io::Error::other)?;
        shown[0]["requeues"].as_u64().map_or_else(|| wrong("tc tells no requeues"), Ok)
    };
    let told = observe(&lab.client, || {
        let sent = sender.ask(&send)?;
        let mut read = reader.ask("drain")?;
        for _ in 0..200 {
            if read == sent {
                break;
            }
            sleep(Duration::from_millis(50));
            read = reader.ask("drain")?;
        }
        Ok([sent, read])
    })?;
    let [sent, read] = told.traffic;
    let requeued = shown()?;
    if requeued < sent / 50 {
        return again(format_args!("{requeued} requeues of {sent} packets"));
    }
    let mut checks = Checks::default();
    checks.same("datagrams that came", sent, read);
    let all = told.report.findings("driver-busy-requeues");
    let finding = crate::report::Finding(all.first().copied());
    checks.same("requeues", Some(requeued), finding.evidence("qdisc.requeues"));
    checks.same("severity", Some("info"), finding.0.and_then(|one| one["severity"].as_str()));
    checks.same("lost", Some(0), told.report.0["totals"]["lost"].as_u64());
    told.done(checks)
}

/// A policy wants all protected, and nobody made the keys: IP has counted the packet when IPsec refuses it.
fn ipsec_without_keys(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let (from, to) = (Family::V4.server(0).ip().to_string(), Family::V4.client().to_string());
    let policy =
        format!("ip xfrm policy add src {from} dst {to} dir out tmpl src {from} dst {to} proto esp mode transport");
    if lab.server.exec(&policy.split(' ').collect::<Vec<_>>()).is_err() {
        return again("this kernel has no IPsec");
    }
    let to = SocketAddr::new(Family::V4.client(), PORT);
    let told = observe(&lab.server, || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // The first asks for the keys, and hears that there are none yet.
        for _ in 0..COUNT {
            let _ = socket.send_to(&[0; SIZE], to);
        }
        Ok(())
    })?;
    // The namespace is new, and so are its counters.
    let counted = lab.server.inside(|| std::fs::read_to_string("/proc/thread-self/net/xfrm_stat"))?;
    let refused =
        counted.lines().find_map(|line| line.strip_prefix("XfrmOutNoStates")?.trim().parse().ok()).unwrap_or(0);
    if refused == 0 {
        return again("IPsec refused nothing");
    }
    let mut checks = Checks::default();
    checks.same("lost at ip_out", Some(refused), told.report.ledger_sum("ip_out", "lost"));
    checks.same("unexplained", Vec::<String>::new(), told.report.unexplained());
    told.done(checks)
}
