//! `poll-budget-exhausted`: a budget of one packet, so that every run of the receive softirq that takes one stops with it
//! used up.
//!
//! Oracle: the kernel's own counter of such stops while datagrams were sent, all of which came through. It is the whole
//! machine's, so the program, which watches longer, counts as many at least. Nothing is lost by it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::guard;
use crate::kernel::Counters;
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::observe;
use crate::report::Finding;

const RULE: &str = "poll-budget-exhausted";
const PORT: u16 = 5031;

pub fn cases() -> Vec<Case> {
    vec![Case::with("poll_budget::of_one_packet", &[Need::Namespaces, Need::MachineWide], run)]
}

fn run(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let local = Family::V4.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "67108864"])?;
    reader.ask("greedy")?;
    let source = SocketAddr::new(Family::V4.client(), 0).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])?;
    let lowered = guard::lower("net/core/netdev_budget", 1)?;
    let seen = observe(&lab.server, window, || {
        let before = Counters::read(&lab.server)?;
        let sent = sender.ask(&format!("send {local} 1000 100 100"))?;
        let stops = Counters::read(&lab.server)?.since(&before, "softnet.time_squeeze");
        Ok((sent, stops))
    });
    drop(lowered);
    let seen = seen?;
    let (sent, stops) = seen.told;
    if reader.ask("drain")? != sent || stops < 100 {
        return again(format_args!("{stops} stops of {sent} datagrams, or some were lost"));
    }
    let mut checks = Checks::default();
    let all = seen.report.findings(RULE);
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    let counted = finding.evidence("softnet.time_squeeze");
    checks.that(counted >= Some(stops), format_args!("{counted:?} stops in the finding, {stops} by the kernel"));
    // No packet was lost, so it is a remark; but which limit it is can be told.
    checks.same("alarms", Vec::<&str>::new(), seen.report.alarms());
    finding.raises(&mut checks, "net.core.netdev_budget", "1", "machine");
    checks.done(&seen.report)
}
