//! Frames and packets that nobody here asked for, or that make no sense: remarks, each with its count, and no alarm.
//!
//! Oracle: frames put on the wire by hand. Exact: each is one step of one counter.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::case::{Case, Checks, Outcome, again};
use crate::frame::{self, Wire};
use crate::lab::{Lab, SERVER_DEVICE};
use crate::need::Need;
use crate::observe::{Seen, observe};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Set aside for experiments (IEEE 802).
const UNKNOWN_TYPE: u16 = 0x88b5;
const EACH: u64 = 60;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces];
    vec![
        Case::new("strays::unknown_protocol", needs, unknown_protocol),
        Case::new("strays::other_host", needs, other_host),
        Case::new("strays::bad_header", needs, bad_header),
        Case::new("strays::not_for_us", needs, not_for_us),
        Case::new("strays::martian", needs, martian),
        Case::new("strays::no_listener", needs, no_listener),
    ]
}

fn address(ip: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ip, port)
}

/// Sends `frame` within a window on the server.
fn seen(window: Duration, count: u64, frame: &[u8]) -> Outcome<Seen<u64>> {
    let lab = Lab::new()?;
    lab.server.set("net/ipv4/ip_forward", "0")?;
    let mut wire = Wire::new(&lab)?;
    observe(&lab.server, window, || wire.send(count, frame))
}

/// Nothing here is anybody's loss.
fn no_alarm(checks: &mut Checks, seen: &Seen<u64>) {
    checks.same("alarms", vec![], seen.report.alarms());
    checks.same("lost in all", Some(0), seen.report.0["totals"]["lost"].as_u64());
}

/// It looks like a loss on the device, and is none.
fn unknown_protocol(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut wire = Wire::new(&lab)?;
    let frame = frame::to_server(&[0; 50]);
    let frame = [&frame[..12], &UNKNOWN_TYPE.to_be_bytes(), &frame[14..]].concat();
    let seen = observe(&lab.server, window, || wire.send(EACH, &frame))?;
    seen.only_as_planned(&["softnet.dropped"])?;
    seen.kernel_agrees("link.rx_dropped@vb", seen.told)?;
    let mut checks = Checks::default();
    let remark = seen.remark(&mut checks, "unknown-protocol-frames", "link.rx_dropped", seen.told);
    let device = remark.0.and_then(|finding| finding["instance"]["device"].as_str());
    checks.same("device", Some(SERVER_DEVICE), device);
    checks.same("ledger ingress: unwanted", Some(seen.told), seen.report.ledger_sum("ingress", "unwanted"));
    no_alarm(&mut checks, &seen);
    checks.done(&seen.report)
}

fn other_host(window: Duration) -> Outcome {
    let packet = frame::udp(address(CLIENT, 5030), address(SERVER, 5030), 0);
    let seen = seen(window, EACH, &frame::to_other(&packet))?;
    if seen.report.delta("link.rx_otherhost_dropped").is_none() {
        return again("this kernel does not count frames for other hosts");
    }
    let mut checks = Checks::default();
    seen.remark(&mut checks, "frames-for-other-hosts", "link.rx_otherhost_dropped", seen.told);
    checks.same("ledger ingress: unwanted", Some(seen.told), seen.report.ledger_sum("ingress", "unwanted"));
    no_alarm(&mut checks, &seen);
    checks.done(&seen.report)
}

/// A header shorter than any may be. Lost, but nothing that this host could do.
fn bad_header(window: Duration) -> Outcome {
    let mut packet = frame::udp(address(CLIENT, 5030), address(SERVER, 5030), 0);
    packet[0] = 0x44;
    let seen = seen(window, EACH, &frame::to_server(&packet))?;
    seen.kernel_agrees("Ip.InHdrErrors", seen.told)?;
    let mut checks = Checks::default();
    let remark = seen.remark(&mut checks, "bad-ip-headers", "Ip.InHdrErrors", seen.told);
    checks.that(remark.says_no_setting_helps(), "no setting helps, and that should be said");
    seen.ledger(&mut checks, "ip_in", seen.told);
    checks.same("alarms", vec![], seen.report.alarms());
    checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    checks.done(&seen.report)
}

fn not_for_us(window: Duration) -> Outcome {
    let packet = frame::udp(address(CLIENT, 5030), address(Ipv4Addr::new(10, 99, 0, 1), 5030), 0);
    let seen = seen(window, EACH, &frame::to_server(&packet))?;
    seen.kernel_agrees("Ip.InAddrErrors", seen.told)?;
    let mut checks = Checks::default();
    // 60 in two seconds: above the noise.
    let finding = seen.finding(&mut checks, "packets-not-for-us", "Ip.InAddrErrors", seen.told);
    checks.that(finding.refuses("net.ipv4.ip_forward"), "forwarding should be refused");
    checks.same("ledger ip_in: unwanted", Some(seen.told), seen.report.ledger_sum("ip_in", "unwanted"));
    checks.same("lost in all", Some(0), seen.report.0["totals"]["lost"].as_u64());
    checks.done(&seen.report)
}

/// Whoever else is on the machine may meet some too, so the evidence is a lower bound; what is missing in this namespace
/// is exact.
fn martian(window: Duration) -> Outcome {
    let packet = frame::udp(address(Ipv4Addr::new(127, 0, 0, 1), 5030), address(SERVER, 5030), 0);
    let seen = seen(window, EACH, &frame::to_server(&packet))?;
    let mut checks = Checks::default();
    let evidence = seen.report.delta("rt_cache.in_martian_src");
    let Some(martians) = evidence.filter(|martians| *martians >= seen.told) else {
        return again(format_args!("{} sent, but in_martian_src is {evidence:?}", seen.told));
    };
    seen.remark(&mut checks, "martian-packets", "rt_cache.in_martian_src", martians);
    let missing = seen.remark(&mut checks, "input-unaccounted", "ledger.unexplained", seen.told);
    let why = missing.0.and_then(|finding| finding["why"].as_str()).unwrap_or_default();
    checks.that(why.contains("martian-packets"), format_args!("the reason does not point to martian-packets: {why}"));
    checks.same("alarms", vec![], seen.report.alarms());
    checks.done(&seen.report)
}

/// More than a hundred a second in the longest window that a try may have.
fn no_listener(window: Duration) -> Outcome {
    let packet = frame::udp(address(CLIENT, 5030), address(SERVER, 5031), 0);
    let seen = seen(window, 2_000, &frame::to_server(&packet))?;
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb"])?;
    seen.kernel_agrees("Udp.NoPorts", seen.told)?;
    let mut checks = Checks::default();
    seen.remark(&mut checks, "udp-no-listener", "Udp.NoPorts", seen.told);
    checks.same("ledger udp_in: unwanted", Some(seen.told), seen.report.ledger_sum("udp_in", "unwanted"));
    no_alarm(&mut checks, &seen);
    checks.done(&seen.report)
}
