//! `conntrack-table-full`: more flows than `nf_conntrack_max`.
//!
//! Oracle: datagrams sent less datagrams read. Exact: only the receiver's namespace tracks connections, only these
//! datagrams reach it, and a packet without an entry is dropped and counted once. (An entry evicted early changes
//! which packets get one, not how each is counted.)

use std::net::SocketAddr;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome};
use crate::guard;
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::observe;

const RULE: &str = "conntrack-table-full";
const PORT: u16 = 5002;
const LIMIT: u32 = 50;

/// A rule that asks for the state of a connection is what turns tracking on in a namespace.
const TRACK: &str = "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
                     add rule inet t i ct state new counter accept";

pub fn cases() -> Vec<Case> {
    let case = |family: Family| {
        let needs = &[Need::Namespaces, Need::Nft, Need::Conntrack, Need::MachineWide];
        let name = format!("conntrack::table_full_{}", family.suffix());
        Case::with(name, needs, move |window| run(family, window))
    };
    Family::BOTH.map(case).into()
}

fn run(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(TRACK)?;
    let local = family.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "67108864"])?;
    let source = SocketAddr::new(family.client(), 0).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "500", "any"])?;

    // Each source port is a flow, and each flow sends twice.
    let lowered = guard::lower("net/netfilter/nf_conntrack_max", LIMIT)?;
    let seen = observe(&lab.server, window, || sender.ask(&format!("send {local} 1000 100 100")));
    drop(lowered);
    let seen = seen?;
    let lost = seen.told.saturating_sub(reader.ask("drain")?);
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb", &family.udp("RcvbufErrors")])?;
    seen.kernel_agrees("nf_conntrack.drop", lost)?;

    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "nf_conntrack.drop", lost);
    seen.ledger(&mut checks, "conntrack", lost);
    seen.probed(&mut checks, RULE, "NETFILTER_DROP", "netfilter", lost);
    // Shows in the namespace, but read-only: it is the whole machine's.
    finding.raises(&mut checks, "net.netfilter.nf_conntrack_max", &LIMIT.to_string(), "machine");
    checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    checks.done(&seen.report)
}
