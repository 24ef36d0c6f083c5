//! `fragment-reassembly-fails`: packets whose fragments never become whole, for each of two reasons.
//!
//! Oracle: lone first fragments put on the wire by hand, each of a packet of its own. Exact: each that was let in fails
//! once when its time is over, and each that was refused fails at once; what waits is in `sockstat`.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use crate::case::{Case, Checks, Outcome, again};
use crate::frame::{self, Ipv4, UDP, Wire};
use crate::lab::Lab;
use crate::need::Need;
use crate::observe::observe;

const RULE: &str = "fragment-reassembly-fails";
const LIMIT: &str = "net.ipv4.ipfrag_high_thresh";
const EACH: u16 = 40;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces];
    vec![
        Case::new("fragments::never_whole", needs, never_whole).seconds(4),
        Case::new("fragments::memory_used_up", needs, memory_used_up),
    ]
}

/// The first of two fragments of so many packets.
pub fn lone(count: u16) -> impl Iterator<Item = Vec<u8>> {
    let first = |id| {
        let header = Ipv4::new(Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2), UDP);
        frame::to_server(&Ipv4 { id, more: true, ..header }.packet(&[0x55; 64]))
    };
    (1..=count).map(first)
}

fn never_whole(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.set("net/ipv4/ipfrag_time", "1")?;
    let mut wire = Wire::new(&lab)?;
    let seen = observe(&lab.server, window, || {
        let sent = wire.send_all(lone(EACH))?;
        // The kernel's timer has a resolution of a few milliseconds.
        sleep(Duration::from_millis(1400));
        Ok(sent)
    })?;
    seen.kernel_agrees("Ip.ReasmReqds", seen.told)?;
    seen.kernel_agrees("Ip.ReasmTimeout", seen.told)?;
    seen.kernel_agrees("Ip.ReasmFails", seen.told)?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "Ip.ReasmFails", seen.told);
    checks.that(finding.says_no_setting_helps(), "no setting helps against fragments that never come");
    checks.that(finding.refuses(LIMIT), format_args!("{LIMIT} should be refused: there was room"));
    seen.ledger(&mut checks, "ip_in", seen.told);
    checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    checks.done(&seen.report)
}

fn memory_used_up(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.set("net/ipv4/ipfrag_low_thresh", "4096")?;
    lab.server.set("net/ipv4/ipfrag_high_thresh", "16384")?;
    let mut wire = Wire::new(&lab)?;
    let seen = observe(&lab.server, window, || {
        let sent = wire.send_all(lone(EACH))?;
        Ok(sent - waiting(&lab)?)
    })?;
    let refused = seen.told;
    seen.kernel_agrees("Ip.ReasmFails", refused)?;
    seen.only_as_planned(&["Ip.ReasmTimeout"])?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "Ip.ReasmFails", refused);
    finding.raises(&mut checks, LIMIT, "16384", "netns");
    seen.ledger(&mut checks, "ip_in", refused);
    checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    checks.done(&seen.report)
}

/// Packets that wait for their other fragments.
fn waiting(lab: &Lab) -> Outcome<u64> {
    let text = lab.server.inside(|| std::fs::read_to_string("/proc/thread-self/net/sockstat"))?;
    let count = text.lines().find_map(|line| line.strip_prefix("FRAG: inuse ")?.split(' ').next()?.parse().ok());
    count.map_or_else(|| again("no count of waiting fragments"), Ok)
}
