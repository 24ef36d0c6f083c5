//! `device-send-drops`: packets that got as far as a device, which threw them away. And the setting of the only one that has a
//! setting, a tun device: a closed loop.
//!
//! Nobody but the test sends: IPv6, which has something to say by itself, is off where loss is counted.

use std::fs::File;
use std::io::{self, Read};
use std::net::UdpSocket;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::drops::ring::{DEVICE, tun};
use crate::lab::{CLIENT_DEVICE, Family, Lab, Namespace, SERVER_DEVICE, batch};
use crate::need::Need;
use crate::report::Finding;
use crate::sending::{Told, lost, observe};
use crate::tune::{run, text};

const RULE: &str = "device-send-drops";
const PORT: u16 = 8110;

pub fn cases() -> Vec<Case> {
    let plain = &[Need::Namespaces];
    vec![
        Case::new("send_devices::peer_down", plain, peer_down),
        Case::new("send_devices::program_gone", plain, program_gone),
        Case::new("send_devices::ring_full", &[Need::Namespaces, Need::Nft, Need::Ethtool, Need::TwoCpus], ring_full),
        Case::new("send_devices::txqueuelen_loop", plain, txqueuelen_loop),
    ]
}

fn lab() -> Outcome<Lab> {
    let lab = Lab::new()?;
    lab.client.set("net/ipv6/conf/all/disable_ipv6", "1")?;
    lab.client.set("net/ipv6/conf/default/disable_ipv6", "1")?;
    Ok(lab)
}

/// Sends so many datagrams; returns for how many the socket saw no error.
fn send(namespace: &Namespace, to: &str, count: u64) -> Outcome<u64> {
    Ok(namespace.inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        Ok((0..count).filter(|_| socket.send_to(&[0x55; 100], to).is_ok()).count() as u64)
    })?)
}

/// The one finding, of this device, with as many packets as the oracle knows to be lost.
fn check<'a, T>(told: &'a Told<T>, checks: &mut Checks, device: &str, severity: &str, oracle: u64) -> Finding<'a> {
    let all = told.report.findings(RULE);
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    let part = |key: &str| finding.0.and_then(|finding| finding[key].as_str()).unwrap_or_default();
    checks.same("severity", severity, part("severity"));
    checks.same("device", Some(device), finding.0.and_then(|finding| finding["instance"]["device"].as_str()));
    checks.same("lost", Some(oracle), lost(&finding));
    checks.same("evidence", Some(oracle), finding.evidence("link.tx_dropped"));
    finding
}

fn says(checks: &mut Checks, finding: &Finding, words: &str) {
    let why = finding.0.and_then(|finding| finding["why"].as_str()).unwrap_or_default();
    checks.that(why.contains(words), format_args!("not '{words}': {why}"));
}

/// The other end of the veth is down. Oracle: datagrams sent without an error, of which none can arrive.
fn peer_down(_: Duration) -> Outcome {
    const COUNT: u64 = 60;
    let lab = lab()?;
    batch(&lab.server.name, &[format!("link set {SERVER_DEVICE} down")])?;
    let to = Family::V4.server(PORT).to_string();
    let told = observe(&lab.client, || send(&lab.client, &to, COUNT))?;
    if told.grew("link.tx_dropped@va") == 0 {
        return again("this kernel does not count what is sent without a carrier");
    }
    let mut checks = Checks::default();
    checks.same("sent without an error", COUNT, told.traffic);
    let finding = check(&told, &mut checks, CLIENT_DEVICE, "warning", COUNT);
    says(&mut checks, &finding, "no carrier");
    checks.that(finding.says_no_setting_helps(), "that no setting helps should be said");
    checks.same("alarms", vec![RULE], told.report.alarms());
    told.done(checks)
}

/// A tun device that nobody has open. Oracle: datagrams sent.
fn program_gone(_: Duration) -> Outcome {
    const COUNT: u64 = 40;
    let lab = lab()?;
    lab.client.exec(&["ip", "tuntap", "add", "dev", DEVICE, "mode", "tun"])?;
    tun_up(&lab.client, 500)?;
    let told = observe(&lab.client, || send(&lab.client, "10.79.0.2:7", COUNT))?;
    if told.grew(&format!("link.tx_dropped@{DEVICE}")) == 0 {
        return again("this kernel does not count what is sent without a carrier");
    }
    let mut checks = Checks::default();
    let finding = check(&told, &mut checks, DEVICE, "warning", COUNT);
    says(&mut checks, &finding, "no carrier");
    let fix = finding.0.and_then(|finding| finding["no_setting_helps"].as_str()).unwrap_or_default();
    checks.that(fix.contains("no program"), format_args!("not 'no program': {fix}"));
    told.done(checks)
}

fn tun_up(namespace: &Namespace, length: u64) -> Outcome {
    batch(
        &namespace.name,
        &[
            format!("link set {DEVICE} txqueuelen {length}"),
            format!("addr add 10.79.0.1/30 dev {DEVICE}"),
            format!("link set {DEVICE} up"),
        ],
    )
}

/// The other end polls, with a long list of firewall rules in its way: 256 packets find room.
/// Oracle: datagrams sent less datagrams read, by a reader whose buffer holds them all.
fn ring_full(_: Duration) -> Outcome {
    const COUNT: u64 = 3_000;
    let lab = lab()?;
    lab.server.exec(&["ethtool", "-K", SERVER_DEVICE, "gro", "on"])?;
    // drivers/net/veth.c veth_skb_is_eligible_for_gro(): else its packets do not take that way.
    lab.client.exec(&["ethtool", "-K", CLIENT_DEVICE, "tso", "off"])?;
    // On another CPU than the sender.
    lab.server.exec(&["sh", "-c", &format!("echo 1 > /sys/class/net/{SERVER_DEVICE}/threaded")])?;
    let rules: String = (10_000..26_000).map(|port| format!("add rule inet t i udp dport {port}\n")).collect();
    let chain = "add table inet t\nadd chain inet t i { type filter hook input priority 0; }\n";
    lab.server.nft_file(&format!("{chain}{rules}"))?;
    let to = Family::V4.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&to, "force", "67108864"])?;
    reader.ask("greedy")?;
    let told = observe(&lab.client, || {
        send(&lab.client, &to, COUNT)?;
        // What is in the ring takes its time.
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    })?;
    let oracle = COUNT - reader.ask("drain")?;
    match told.grew("link.tx_dropped@va") {
        0 => return again("the other end kept up"),
        grew if grew != oracle => return again(format_args!("{grew} counted, {oracle} lost")),
        _ => {}
    }
    let mut checks = Checks::default();
    let finding = check(&told, &mut checks, CLIENT_DEVICE, "critical", oracle);
    says(&mut checks, &finding, "no room in its ring");
    checks.that(finding.refuses("txqueuelen"), "txqueuelen should be refused");
    checks.that(finding.says_no_setting_helps(), "that no setting helps should be said");
    told.done(checks)
}

/// Bursts for a tun device that is emptied after each.
struct Bursts {
    lab: Lab,
    tun: File,
}

impl Bursts {
    const EACH: u64 = 200;

    fn new(length: u64) -> Outcome<Self> {
        let lab = lab()?;
        let tun = lab.client.inside(tun)?;
        rustix::fs::fcntl_setfl(&tun, rustix::fs::OFlags::NONBLOCK)?;
        tun_up(&lab.client, length)?;
        Ok(Bursts { lab, tun })
    }

    /// Sends one; returns how many were found in the ring then.
    fn burst(&mut self) -> Outcome<u64> {
        send(&self.lab.client, "10.79.0.2:7", Self::EACH)?;
        let fetched = std::iter::repeat_with(|| self.tun.read(&mut [0; 256])).take_while(io::Result::is_ok);
        Ok(fetched.count() as u64)
    }

    /// What is lost in a few.
    fn lost(&mut self) -> Outcome<u64> {
        (0..5).try_fold(0, |lost, _| Ok(lost + Self::EACH - self.burst()?))
    }

    fn length(&self) -> Outcome<String> {
        let path = format!("/sys/class/net/{DEVICE}/tx_queue_len");
        Ok(self.lab.client.exec(&["cat", &path])?.trim().to_owned())
    }
}

/// Oracle: datagrams sent less those found in the ring.
fn txqueuelen_loop(_: Duration) -> Outcome {
    let mut bursts = Bursts::new(10)?;
    let mut checks = Checks::default();
    checks.same("lost in five bursts", 5 * (Bursts::EACH - 10), bursts.lost()?);
    let state = tempfile::tempdir()?;
    let (name, folder) = (bursts.lab.client.name.clone(), state.path().to_owned());
    let args = ["tx", "--apply=all", "--only", "txqueuelen", "--yes", "--netns"];
    let program = std::thread::spawn(move || run(&folder, &[&args[..], &[&name, "-i", "900ms"]].concat(), &[]));
    while !program.is_finished() {
        bursts.burst()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    let Ok(tuned) = program.join() else { return wrong("the thread that ran the program panicked") };
    let tuned = tuned?;
    checks.that(text(&tuned).contains("helped:"), "no verdict 'helped:'");
    checks.same("txqueuelen", "256".to_owned(), bursts.length()?);
    checks.same("lost with it", 0, bursts.lost()?);
    let reverted = run(state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("txqueuelen after revert", "10".to_owned(), bursts.length()?);
    checks.that(bursts.lost()? > 0, "the loss did not come back");
    // And what the rule says of it.
    let client = &bursts.lab.client;
    let told = observe(client, || send(client, "10.79.0.2:7", Bursts::EACH))?;
    let finding = check(&told, &mut checks, DEVICE, "critical", Bursts::EACH - 10);
    finding.raises(&mut checks, "txqueuelen", "10", "device");
    checks.done(&text(&tuned))
}
