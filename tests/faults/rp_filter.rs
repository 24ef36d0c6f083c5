//! `reverse-path-filter-drops`: packets from an address that the receiver would reach by another device.
//!
//! IPv4 only: IPv6 has no such sysctl (there it is a firewall rule's work).
//!
//! Oracle: datagrams sent from that address. Exact: none passes, and each is one step of IPReversePathFilter.
//! As many again come from an address whose way back is right, and all of them pass.

use std::time::Duration;

use serde_json::Value;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::lab::{CLIENT_DEVICE, Family, Lab, SERVER_DEVICE, batch};
use crate::need::Need;
use crate::observe::observe;

const RULE: &str = "reverse-path-filter-drops";
const PORT: u16 = 5003;
const EACH: u64 = 60;

pub fn cases() -> Vec<Case> {
    vec![Case::new("rp_filter::source_by_another_device_v4", &[Need::Namespaces], run)]
}

fn run(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    batch(&lab.client.name, &[format!("addr add 10.78.0.1/32 dev {CLIENT_DEVICE}")])?;
    // The way back to that address leads elsewhere.
    batch(&lab.server.name, &["route add 10.78.0.0/24 dev lo".into()])?;
    // The larger of `all` and the device's own counts, and a new namespace takes both from the machine.
    lab.server.set("net/ipv4/conf/all/rp_filter", "0")?;
    lab.server.set(&format!("net/ipv4/conf/{SERVER_DEVICE}/rp_filter"), "1")?;
    let local = Family::V4.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "1048576"])?;
    let mut right = Actor::start(&lab.client, "nsd-right", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    let mut stray = Actor::start(&lab.client, "nsd-stray", "udp-sender", &["10.78.0.1:0", "1", "any"])?;

    let order = format!("send {local} {EACH} 100 0");
    let seen = observe(&lab.server, window, || Ok((right.ask(&order)?, stray.ask(&order)?)))?;
    let (passed, lost) = seen.told;
    if reader.ask("drain")? != passed {
        return again("not all datagrams from the right address came through");
    }
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb", "Udp.RcvbufErrors"])?;
    seen.kernel_agrees("TcpExt.IPReversePathFilter", lost)?;

    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "TcpExt.IPReversePathFilter", lost);
    seen.ledger(&mut checks, "ip_in", lost);
    seen.probed(&mut checks, RULE, "IP_RPFILTER", "ip_in", lost);
    let knob = format!("net.ipv4.conf.{SERVER_DEVICE}.rp_filter");
    let all = finding.suggestion(&knob);
    checks.same(&format!("suggestions {knob}"), 1, all.len());
    let suggestion = all.first().map_or(&Value::Null, |suggestion| suggestion);
    checks.same("from", Some("1"), suggestion["from"].as_str());
    checks.same("to", Some("2"), suggestion["to"].as_str());
    checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    checks.done(&seen.report)
}
