//! What a firewall rule drops is in no counter of the IP layer: it must show as unexplained, to the packet, and raise
//! none of the findings that would send the operator elsewhere.
//!
//! Oracle: datagrams sent to the forbidden port, which the rule's own counter confirms.

use std::net::SocketAddr;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::kernel::Counters;
use crate::lab::{CLIENT_DEVICE, Family, Lab, Namespace};
use crate::need::Need;
use crate::observe::observe;

const OPEN: u16 = 5004;
const FORBIDDEN: u16 = 5005;
const EACH: u64 = 50;
const OTHER_CAUSES: [&str; 5] = [
    "udp-receive-buffer-overflow",
    "accept-queue-overflow",
    "backlog-overflow",
    "conntrack-table-full",
    "reverse-path-filter-drops",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    /// Nothing but the test's own packets: exact.
    Silent,
    /// The hellos of a new IPv6 link in the same window, dropped as silently as the firewall's packets by a host that
    /// is not in their groups. No counter tells the two apart, so here the ledger's own `uncertainty` is the bound.
    New,
}

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces, Need::Nft];
    let case = |(name, family, link): (&str, Family, Link)| {
        Case::with(format!("firewall::{name}"), needs, move |window| run(family, link, window))
    };
    [
        ("input_drop_v4", Family::V4, Link::Silent),
        ("input_drop_v6", Family::V6, Link::Silent),
        ("input_drop_beside_hellos_v4", Family::V4, Link::New),
    ]
    .map(case)
    .into()
}

fn run(family: Family, link: Link, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    // No connection tracking: the rule looks at the port only.
    lab.server.nft(&format!(
        "add table inet t; add chain inet t i {{ type filter hook input priority 0; }}; \
         add rule inet t i udp dport {FORBIDDEN} counter drop"
    ))?;
    let local = family.server(OPEN).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "1048576"])?;
    let source = SocketAddr::new(family.client(), 0).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])?;
    if link == Link::Silent {
        wait_for_silence(&lab)?;
    }

    let seen = observe(&lab.server, window, || {
        let allowed = sender.ask(&format!("send {local} {EACH} 100 0"))?;
        Ok((allowed, sender.ask(&format!("send {} {EACH} 100 0", family.server(FORBIDDEN)))?))
    })?;
    let (allowed, dropped) = seen.told;
    let received = reader.ask("drain")?;
    let counted = lab.server.exec(&["nft", "list", "ruleset"])?;
    if received != allowed || !counted.contains(&format!("packets {dropped} ")) {
        return again(format_args!("{received} of {allowed} received; the rule counts: {counted}"));
    }
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb"])?;
    let hellos = seen.grew("Ip6.InMcastPkts");
    if (hellos == 0) != (link == Link::Silent) {
        return again(format_args!("{hellos} hellos in the window"));
    }

    let mut checks = Checks::default();
    let found: Vec<&str> = OTHER_CAUSES.into_iter().filter(|id| !seen.report.findings(id).is_empty()).collect();
    checks.same("findings of another cause", vec![], found);
    let unexplained = seen.report.ledger_sum("ip_in", "unexplained");
    let width = seen.report.ledger_sum("ip_in", "uncertainty").unwrap_or(0);
    checks.that(width < dropped, format_args!("ledger ip_in: uncertainty {width} hides {dropped} packets"));
    let bound = if link == Link::Silent { 0 } else { width };
    checks.that(
        unexplained.is_some_and(|unexplained| unexplained.abs_diff(dropped) <= bound),
        format_args!("ledger ip_in: unexplained: expected {dropped} (+- {bound}), found {unexplained:?}"),
    );
    if link == Link::Silent {
        // Half of what came in.
        let finding = seen.finding(&mut checks, "input-unaccounted", "ledger.unexplained", dropped);
        checks.that(finding.says_no_setting_helps(), "that a firewall rule is nobody's setting should be said");
    }
    checks.done(&seen.report)
}

/// A new IPv6 link says hello to its multicast groups for some seconds.
fn wait_for_silence(lab: &Lab) -> Outcome {
    lab.client.set(&format!("net/ipv6/conf/{CLIENT_DEVICE}/router_solicitations"), "0")?;
    for _ in 0..8 {
        let before = hellos(&lab.server)?;
        // Longer than the longest pause between two of them (one second, for an address to be tried out).
        std::thread::sleep(Duration::from_millis(1200));
        if before == hellos(&lab.server)? {
            return Ok(());
        }
    }
    again("the new link does not fall silent")
}

fn hellos(server: &Namespace) -> Outcome<u64> {
    Ok(Counters::read(server)?.get("Ip6.InMcastPkts"))
}
