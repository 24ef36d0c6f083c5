//! Next hops that do not answer, or late, and a neighbour table without room.
//!
//! Oracle: the sender knows how many datagrams it handed over or was refused, and the peer's socket how many came.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::guard;
use crate::lab::{CLIENT_DEVICE, Family, Lab, Namespace, SERVER_DEVICE};
use crate::need::Need;
use crate::qdisc::tell_errors;
use crate::report::Finding;
use crate::sending::{Told, lost, observe};
use crate::tune::{run, text};

const PORT: u16 = 8110;
const SIZE: usize = 900;
const DROPS: &str = "neighbour-unresolved-drops";
const FULL: &str = "neighbour-table-full";
const LIMIT: &str = "net/ipv4/neigh/default/gc_thresh3";

pub fn cases() -> Vec<Case> {
    let (plain, filtered) = (&[Need::Namespaces], &[Need::Namespaces, Need::Nft]);
    let alone = &[Need::Namespaces, Need::MachineWide];
    vec![
        Case::new("neighbour::dead_v4", plain, |_| dead(Family::V4)),
        Case::new("neighbour::dead_v6", plain, |_| dead(Family::V6)),
        Case::new("neighbour::many_dead", plain, many_dead),
        Case::new("neighbour::answers_late", filtered, answers_late),
        Case::new("neighbour::answers_late_loop", filtered, answers_late_loop),
        Case::new("neighbour::table_full", alone, table_full),
        Case::new("neighbour::table_full_loop", alone, table_full_loop),
    ]
}

/// Another network behind the same devices, in which nobody but the two ends is.
fn network() -> Outcome<Lab> {
    let lab = Lab::new()?;
    for (end, device, last) in [(&lab.server, SERVER_DEVICE, 1), (&lab.client, CLIENT_DEVICE, 2)] {
        end.exec(&["ip", "addr", "add", &format!("10.78.0.{last}/24"), "dev", device])?;
        end.exec(&["ip", "addr", "add", &format!("fd00:78::{last}/64"), "dev", device, "nodad"])?;
    }
    Ok(lab)
}

/// Sends so many datagrams to each of these, and returns how often there was no room for them.
fn send(to: &[IpAddr], count: u64) -> io::Result<u64> {
    let any: IpAddr = if to[0].is_ipv4() { [0; 4].into() } else { [0_u8; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    if any.is_ipv4() {
        tell_errors(&socket)?;
    }
    let mut refused = 0;
    for to in to {
        for _ in 0..count {
            match socket.send_to(&[0; SIZE], (*to, PORT)) {
                Ok(_) => {}
                // The word of an earlier one comes back with a later one.
                Err(e) if e.kind() == ErrorKind::HostUnreachable => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => refused += 1,
                Err(e) => return Err(e),
            }
        }
    }
    Ok(refused)
}

/// Waits until the kernel has given up all next hops of this network.
fn given_up(namespace: &Namespace) -> Outcome {
    for _ in 0..100 {
        let shown = namespace.exec(&["ip", "neigh", "show", "dev", SERVER_DEVICE])?;
        if !shown.contains("INCOMPLETE") {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    again("the next hops were not given up")
}

fn found<'a, T>(told: &'a Told<T>, checks: &mut Checks, id: &str, severity: &str) -> Finding<'a> {
    let all = told.report.findings(id);
    checks.same(&format!("findings {id}"), 1, all.len());
    let finding = Finding(all.first().copied());
    checks.same(&format!("{id}: severity"), Some(severity), finding.0.and_then(|one| one["severity"].as_str()));
    finding
}

fn why<'a>(finding: &Finding<'a>) -> &'a str {
    finding.0.and_then(|one| one["why"].as_str()).unwrap_or_default()
}

/// Over IPv4 the device also counts the requests for the address, and hides as many losses; over IPv6 they are IP's.
fn dead(family: Family) -> Outcome {
    const COUNT: u64 = 400;
    const REQUESTS: u64 = 3;
    let lab = network()?;
    let hidden = if family == Family::V4 { REQUESTS } else { 0 };
    let next_hop: IpAddr =
        if family == Family::V4 { [10, 78, 0, 77].into() } else { [0xfd00, 0x78, 0, 0, 0, 0, 0, 0x77].into() };
    let told = observe(&lab.server, || {
        send(&[next_hop], COUNT)?;
        given_up(&lab.server)
    })?;
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, DROPS, "warning");
    let missing = lost(&finding).unwrap_or(0);
    let range = COUNT - hidden..=COUNT;
    checks.that(range.contains(&missing), format_args!("{missing} lost, not {} to {COUNT}", COUNT - hidden));
    let named = format!("{next_hop} on {SERVER_DEVICE}");
    checks.that(why(&finding).contains(&named), format_args!("'{named}' is not named: {}", why(&finding)));
    checks.that(finding.says_no_setting_helps(), "a longer queue wakes nobody");
    checks.that(finding.refuses("net.ipv4.neigh.DEV.unres_qlen_bytes"), "unres_qlen_bytes is not refused");
    checks.same("alarms", vec![DROPS], told.report.alarms());
    let sum = |column: &str| told.report.ledger_sum("neighbour", column).unwrap_or(0);
    checks.same("missing at the neighbour", missing, sum("lost") + sum("unexplained"));
    for stage in ["ip_out", "qdisc", "driver_tx"] {
        checks.same(&format!("lost at {stage}"), 0, told.report.ledger_sum(stage, "lost").unwrap_or(0));
    }
    told.done(checks)
}

/// Oracle: that many addresses were asked for, and nobody has one of them.
fn many_dead(_: Duration) -> Outcome {
    const HOPS: u8 = 40;
    let lab = network()?;
    let hops: Vec<IpAddr> = (100..100 + HOPS).map(|last| [10, 78, 0, last].into()).collect();
    let told = observe(&lab.server, || {
        send(&hops, 1)?;
        given_up(&lab.server)
    })?;
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, "neighbour-resolution-fails", "info");
    let failed = finding.evidence("arp_cache.res_failed");
    // The table is the machine's: others may ask in vain meanwhile.
    checks.that(failed >= Some(HOPS.into()), format_args!("{failed:?} did not answer, not {HOPS}"));
    checks.that(why(&finding).contains(&format!("and {} more", HOPS - 4)), why(&finding));
    told.done(checks)
}

/// A peer that does not hear the first request, and answers the second, a second later.
struct Late {
    lab: Lab,
    peer: UdpSocket,
    to: SocketAddr,
}

impl Late {
    const COUNT: u64 = 300;

    fn new() -> Outcome<Self> {
        let lab = network()?;
        let to = SocketAddr::new([10, 78, 0, 2].into(), PORT);
        let peer = lab.client.inside(|| UdpSocket::bind(to))?;
        peer.set_nonblocking(true)?;
        // Room for all, whatever the peer does meanwhile.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&peer, 8 << 20).map_err(io::Error::from)?;
        Ok(Late { lab, peer, to })
    }

    /// Sends a burst to it, and returns how much of that did not come.
    fn burst(&self) -> Outcome<u64> {
        const DEAF: &str = "add table arp t; add chain arp t i { type filter hook input priority 0; policy drop; }";
        let Late { lab, peer, to } = self;
        lab.client.nft(DEAF)?;
        lab.server.exec(&["ip", "neigh", "flush", "dev", SERVER_DEVICE, "to", "10.78.0.0/24"])?;
        // What waits fills the senders' buffers too, and one that waits for room would wait for the answer.
        lab.server.inside(|| (0..Self::COUNT / 50).try_for_each(|_| send(&[to.ip()], 50).map(drop)))?;
        sleep(Duration::from_millis(300));
        lab.client.nft("delete table arp t")?;
        let (mut got, mut idle) = (0, 0);
        // The second request goes out a second after the first.
        while idle < if got == 0 { 60 } else { 6 } {
            match peer.recv(&mut [0; SIZE]) {
                Ok(_) => (got, idle) = (got + 1, 0),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    idle += 1;
                    sleep(Duration::from_millis(50));
                }
                Err(e) => return Err(e.into()),
            }
        }
        match got {
            0 => again("the peer got nothing: it never answered"),
            got => Ok(Self::COUNT - got),
        }
    }
}

/// What exceeds the queue is lost.
fn answers_late(_: Duration) -> Outcome {
    let late = Late::new()?;
    let told = observe(&late.lab.server, || late.burst())?;
    if told.traffic == 0 {
        return again("the queue held all");
    }
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, DROPS, "warning");
    let said = lost(&finding).unwrap_or(0);
    // Both requests for the address are among what the device sent.
    let range = told.traffic.saturating_sub(3)..=told.traffic;
    checks.that(range.contains(&said), format_args!("{said} lost, not {range:?}"));
    told.done(checks)
}

/// Closed loop: the burst does not fit, the suggested queue holds it, the old one does not.
fn answers_late_loop(_: Duration) -> Outcome {
    let late = Late::new()?;
    let setting = format!("net/ipv4/neigh/{SERVER_DEVICE}/unres_qlen_bytes");
    let present = || late.lab.server.get(&setting);
    let old = present()?;
    if late.burst()? == 0 {
        return again("the queue held all");
    }
    let state = tempfile::tempdir()?;
    let (name, folder) = (late.lab.server.name.clone(), state.path().to_owned());
    // A window holds a whole burst, its late answer too.
    let only = setting.replace('/', ".");
    let args = ["tx", "--apply=all", "--yes", "--netns", &name, "-i", "5s", "--only", &only].map(str::to_owned);
    let program = std::thread::spawn(move || run(&folder, &args.each_ref().map(String::as_str), &[]));
    while !program.is_finished() {
        late.burst()?;
    }
    let Ok(tuned) = program.join() else { return wrong("the thread that ran the program panicked") };
    let tuned = tuned?;
    if present()? == old {
        return again(format_args!("nothing was set: {}", text(&tuned)));
    }
    let mut checks = Checks::default();
    checks.that(text(&tuned).contains("helped:"), "no verdict 'helped:'");
    checks.same("lost with the new queue", 0, late.burst()?);
    let reverted = run(state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("the setting after revert", old, present()?);
    checks.that(late.burst()? > 0, "the loss did not come back");
    checks.done(&text(&tuned))
}

/// A table that holds a few entries, some of which are the host's own.
fn crowd() -> Vec<IpAddr> {
    (100..160).map(|last| [10, 78, 0, last].into()).collect()
}

/// Oracle: the sender is told of each neighbour for which there is no room.
fn table_full(_: Duration) -> Outcome {
    let lab = network()?;
    let lowered = guard::lower(LIMIT, "8")?;
    let told = observe(&lab.server, || Ok(send(&crowd(), 1)?));
    drop(lowered);
    let told = told?;
    if told.traffic == 0 {
        return again("there was room for all");
    }
    let mut checks = Checks::default();
    let finding = found(&told, &mut checks, FULL, "critical");
    // Others of this machine may find no room meanwhile.
    checks.that(lost(&finding) >= Some(told.traffic), format_args!("{:?} lost, not {}", lost(&finding), told.traffic));
    checks.that(told.report.findings("neighbour-gc-forced").len() == 1, "no word of entries that had to go");
    told.done(checks)
}

/// Closed loop: no room, the suggested limit, room for all, the old limit, and no room again.
fn table_full_loop(_: Duration) -> Outcome {
    let lab = network()?;
    let lowered = guard::lower(LIMIT, "8")?;
    let present =
        || -> Outcome<String> { Ok(std::fs::read_to_string(format!("/proc/sys/{LIMIT}"))?.trim().to_owned()) };
    let few: Vec<IpAddr> = crowd().into_iter().take(12).collect();
    let round = || -> Outcome<u64> {
        let refused = lab.server.inside(|| send(&few, 1))?;
        lab.server.exec(&["ip", "neigh", "flush", "dev", SERVER_DEVICE, "to", "10.78.0.0/24"])?;
        Ok(refused)
    };
    if round()? == 0 {
        return again("there was room for all");
    }
    let state = tempfile::tempdir()?;
    let (name, folder) = (lab.server.name.clone(), state.path().to_owned());
    let args = ["tx", "--apply=all", "--yes", "--netns", &name, "-i", "900ms"].map(str::to_owned);
    let program = std::thread::spawn(move || run(&folder, &args.each_ref().map(String::as_str), &[]));
    while !program.is_finished() {
        round()?;
        sleep(Duration::from_millis(20));
    }
    let Ok(tuned) = program.join() else { return wrong("the thread that ran the program panicked") };
    let tuned = tuned?;
    let mut checks = Checks::default();
    checks.that(text(&tuned).contains("helped:"), "no verdict 'helped:'");
    let now: u64 = present()?.parse().unwrap_or(0);
    checks.that(now > 8, format_args!("gc_thresh3 is {now}"));
    checks.same("refused with the new limit", 0, round()?);
    let reverted = run(state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("gc_thresh3 after revert", "8".to_owned(), present()?);
    checks.that(round()? > 0, "the loss did not come back");
    drop(lowered);
    checks.done(&text(&tuned))
}
