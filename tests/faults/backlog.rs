//! `backlog-overflow`: more packets for one CPU's backlog than `net.core.netdev_max_backlog` lets wait there.
//!
//! A veth packet waits in the backlog of the CPU that sends it and is taken from there at once. So the sender is
//! bound to CPU 0 and the receiving end steers its packets to CPU 1, which a long list of firewall rules makes slower
//! than the sender. None of the rules matches.
//!
//! Oracle: datagrams sent less datagrams read, by a reader whose buffer holds them all. Exact for the device (one
//! packet lost is one step of its rx_dropped). A lower bound for softnet.dropped: that one is the whole machine's, and
//! so is the lowered limit.

use std::net::SocketAddr;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome};
use crate::guard;
use crate::lab::{Family, Lab, SERVER_DEVICE};
use crate::need::Need;
use crate::observe::observe;
use crate::report::Finding;

const RULE: &str = "backlog-overflow";
const PORT: u16 = 5001;
pub const LIMIT: u32 = 16;
const RULES: u16 = 1000;

pub fn cases() -> Vec<Case> {
    let case = |family: Family| {
        let needs = &[Need::Namespaces, Need::Nft, Need::TwoCpus, Need::MachineWide];
        let name = format!("backlog::small_limit_{}", family.suffix());
        Case::with(name, needs, move |window| run(family, window))
    };
    let needs = &[Need::Namespaces, Need::Nft, Need::TwoCpus, Need::MachineWide];
    Family::BOTH.map(case).into_iter().chain([Case::new("backlog::flow_limit", needs, flow_limit)]).collect()
}

/// One flow is shed once the queue is half full, so the queue never fills: each packet lost is one step of
/// flow_limit_count. The limit needs 128 packets to see that one flow makes most of them; half the queue is longer.
fn flow_limit(window: Duration) -> Outcome {
    let Flood { lab, mut reader, mut sender, send } = Flood::new(Family::V4)?;
    let lowered = guard::lower_all(&[("net/core/netdev_max_backlog", "400"), ("net/core/flow_limit_cpu_bitmap", "1")])?;
    let seen = observe(&lab.server, window, || sender.ask(&send));
    drop(lowered);
    let seen = seen?;
    let lost = seen.told.saturating_sub(reader.ask("drain")?);
    seen.only_as_planned(&["Udp.RcvbufErrors"])?;
    seen.kernel_agrees("link.rx_dropped@vb", lost)?;
    seen.kernel_agrees("softnet.flow_limit_count", lost)?;
    seen.kernel_agrees("softnet.dropped", lost)?;

    let mut checks = Checks::default();
    let finding = seen.remark(&mut checks, "elephant-flow-shed", "softnet.flow_limit_count", lost);
    checks.same("lost", Some(lost), finding.0.and_then(|finding| finding["lost"].as_u64()));
    checks.same("findings of a full backlog", 0, seen.report.findings(RULE).len());
    seen.ledger(&mut checks, "backlog", lost);
    let mask = finding.suggestion("net.core.flow_limit_cpu_bitmap");
    checks.same("suggested masks", 1, mask.len());
    checks.that(mask.first().is_some_and(|mask| mask["from"] == "1" && mask["to"] == "0"), "CPU 0 should be taken out");
    checks.that(finding.says_no_setting_helps(), "that it is meant should be said");
    checks.done(&seen.report)
}

/// A sender that the receiver's CPU can't keep up with, once [`LIMIT`] holds.
pub struct Flood {
    pub lab: Lab,
    pub reader: Actor,
    pub sender: Actor,
    /// What to ask of the sender.
    pub send: String,
}

impl Flood {
    pub fn new(family: Family) -> Outcome<Self> {
        let lab = Lab::new()?;
        let mask = format!("echo 2 > /sys/class/net/{SERVER_DEVICE}/queues/rx-0/rps_cpus");
        lab.server.exec(&["sh", "-c", &mask])?;
        let rules: Vec<String> =
            (10_000..10_000 + RULES).map(|port| format!("add rule inet t i udp dport {port}")).collect();
        let chain = "add table inet t; add chain inet t i { type filter hook input priority 0; }";
        lab.server.nft(&format!("{chain}; {}", rules.join("; ")))?;
        let local = family.server(PORT).to_string();
        let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "67108864"])?;
        reader.ask("greedy")?;
        let source = SocketAddr::new(family.client(), 0).to_string();
        let sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "0"])?;
        Ok(Flood { lab, reader, sender, send: format!("send {local} 5000 100 0") })
    }
}

fn run(family: Family, window: Duration) -> Outcome {
    let Flood { lab, mut reader, mut sender, send } = Flood::new(family)?;
    // Lowered for the whole of the window: the program reads the setting at its end.
    let lowered = guard::lower("net/core/netdev_max_backlog", LIMIT)?;
    let seen = observe(&lab.server, window, || sender.ask(&send));
    drop(lowered);
    let seen = seen?;
    let lost = seen.told.saturating_sub(reader.ask("drain")?);
    seen.only_as_planned(&[&family.udp("RcvbufErrors")])?;
    seen.kernel_agrees("link.rx_dropped@vb", lost)?;

    let mut checks = Checks::default();
    let all = seen.report.findings(RULE);
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    let evidence = finding.evidence("softnet.dropped");
    checks.that(evidence >= Some(lost), format_args!("softnet.dropped {evidence:?} is less than the {lost} lost"));
    seen.ledger(&mut checks, "backlog", lost);
    seen.probed(&mut checks, RULE, "CPU_BACKLOG", "backlog", lost);
    // A namespace does not have this setting: only the whole machine has.
    finding.raises(&mut checks, "net.core.netdev_max_backlog", &LIMIT.to_string(), "machine");
    checks.done(&seen.report)
}
