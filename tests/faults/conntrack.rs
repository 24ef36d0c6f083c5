//! `conntrack-table-full`: more flows than `nf_conntrack_max`. `conntrack-insert-races`: two flows that source NAT gives
//! one name. `conntrack-invalid-packets`: segments of connections that never were. `conntrack-hash-small`: many flows in
//! few chains.
//!
//! Oracle: datagrams sent less datagrams read (or refused for want of a listener). Exact: only the receiver's namespace
//! tracks connections, only these datagrams reach it, and a packet without an entry is dropped and counted once. (An
//! entry evicted early changes which packets get one, not how each is counted.)

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome};
use crate::frame::{self, Wire};
use crate::guard;
use crate::kernel::Counters;
use crate::lab::{CLIENT_DEVICE, Family, Lab, SERVER_DEVICE, batch};
use crate::need::Need;
use crate::observe::observe;
use crate::tool;

const RULE: &str = "conntrack-table-full";
const PORT: u16 = 5002;
const LIMIT: u32 = 50;

/// A rule that asks for the state of a connection is what turns tracking on in a namespace.
pub const TRACK: &str = "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
                     add rule inet t i ct state new counter accept";

pub fn cases() -> Vec<Case> {
    let case = |family: Family| {
        let needs = &[Need::Namespaces, Need::Nft, Need::Conntrack, Need::MachineWide];
        let name = format!("conntrack::table_full_{}", family.suffix());
        Case::with(name, needs, move |window| run(family, window))
    };
    let tracked = &[Need::Namespaces, Need::Nft, Need::Conntrack];
    let raced = &[Need::Namespaces, Need::Nft, Need::Conntrack, Need::TwoCpus];
    let alone = &[Need::Namespaces, Need::Nft, Need::Conntrack, Need::MachineWide];
    let more = [
        Case::new("conntrack::insert_races", raced, races),
        Case::new("conntrack::invalid", tracked, invalid),
        Case::new("conntrack::hash_small", alone, hash_small),
        Case::new("conntrack::chains_too_long", alone, chains_too_long),
    ];
    Family::BOTH.map(case).into_iter().chain(more).collect()
}

/// Two clients with the same port become one address and port. NAT looks for a free port among flows that are in the table
/// already, and a flow gets there only at the end of the rules: long ones keep both packets on their way for long enough,
/// each on the CPU of its sender.
fn races(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    batch(&lab.client.name, &[format!("addr add 10.78.0.1/32 dev {CLIENT_DEVICE}")])?;
    batch(&lab.server.name, &[format!("route add 10.78.0.1/32 dev {SERVER_DEVICE}")])?;
    lab.server.set("net/ipv4/conf/all/rp_filter", "0")?;
    lab.server.set(&format!("net/ipv4/conf/{SERVER_DEVICE}/rp_filter"), "0")?;
    let rules: String = (10_000..14_000).map(|port| format!("add rule ip t p udp dport {port}\n")).collect();
    lab.server.nft_file(&format!(
        "add table ip t\nadd chain ip t p {{ type filter hook prerouting priority -150; }}\n{rules}\
         add chain ip t n {{ type nat hook input priority 100; }}\nadd rule ip t n snat to 10.99.0.1\n"
    ))?;
    let local = Family::V4.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "1048576"])?;
    let mut racers = Actor::start(&lab.client, "nsd-racers", "udp-racers", &["10.77.0.1", "10.78.0.1"])?;
    const FAILED: &str = "nf_conntrack.insert_failed";
    let seen = observe(&lab.server, window, || {
        let (begun, before) = (Instant::now(), Counters::read(&lab.server)?);
        let mut sent = 0;
        // Whether two packets meet is chance: a few times they must, of many. Each needs ports of its own.
        for port in (20_000..30_000).step_by(20) {
            if begun.elapsed() > window / 2 || Counters::read(&lab.server)?.since(&before, FAILED) >= 3 {
                break;
            }
            sent += racers.ask(&format!("race {local} 20 {port}"))?;
        }
        Ok(sent)
    })?;
    let lost = seen.told.saturating_sub(reader.ask("drain")?);
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb", "Udp.RcvbufErrors"])?;
    seen.kernel_agrees(FAILED, lost)?;

    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, "conntrack-insert-races", FAILED, lost);
    checks.that(finding.says_no_setting_helps(), "no setting helps, and that should be said");
    checks.that(finding.refuses("net.netfilter.nf_conntrack_max"), "a larger table should be refused");
    checks.same("findings of a full table", 0, seen.report.findings(RULE).len());
    // Since 5.8 the kernel counts each as a drop, too.
    if seen.grew("nf_conntrack.drop") == lost {
        seen.ledger(&mut checks, "conntrack", lost);
        checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    }
    checks.done(&seen.report)
}

/// A rule drops them, as many firewalls do: then they are missing, and the firewall's.
fn invalid(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!("{TRACK}; add rule inet t i ct state invalid counter drop"))?;
    lab.server.set("net/netfilter/nf_conntrack_tcp_loose", "0")?;
    let mut wire = Wire::new(&lab)?;
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), PORT);
    let from = |port| SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), port);
    let frames = (20_000..20_060).map(|port| frame::to_server(&frame::lone_ack(from(port), to)));
    let seen = observe(&lab.server, window, || wire.send_all(frames))?;
    seen.kernel_agrees("nf_conntrack.invalid", seen.told)?;
    let mut checks = Checks::default();
    let finding = seen.remark(&mut checks, "conntrack-invalid-packets", "nf_conntrack.invalid", seen.told);
    let loose = finding.suggestion("net.netfilter.nf_conntrack_tcp_loose");
    checks.same("suggestions nf_conntrack_tcp_loose", 1, loose.len());
    // The probe sees where they went.
    let (stage, column) = if tool::probing() { ("netfilter", "lost") } else { ("ip_in", "unexplained") };
    checks.same(&format!("ledger {stage}: {column}"), Some(seen.told), seen.report.ledger_sum(stage, column));
    checks.done(&seen.report)
}

/// Flows to closed ports count as well: an entry is made before anybody looks for a socket.
pub fn flows(sender: &mut Actor, ports: u16) -> Outcome<u64> {
    let mut sent = 0;
    for port in (0..ports).map(|n| PORT + 100 + n) {
        sent += sender.ask(&format!("send {} 500 10 0", Family::V4.server(port)))?;
    }
    Ok(sent)
}

fn hash_small(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(TRACK)?;
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "500", "any"])?;
    let lowered = guard::lower("net/netfilter/nf_conntrack_buckets", 512)?;
    let seen = observe(&lab.server, window, || flows(&mut sender, 5));
    drop(lowered);
    let seen = seen?;
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb", "nf_conntrack.drop", "nf_conntrack.chainlength"])?;
    seen.kernel_agrees("Udp.NoPorts", seen.told)?;
    let mut checks = Checks::default();
    let finding = seen.remark(&mut checks, "conntrack-hash-small", "conntrack.count", seen.told);
    finding.raises(&mut checks, "net.netfilter.nf_conntrack_buckets", "512", "machine");
    checks.done(&seen.report)
}

fn chains_too_long(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(TRACK)?;
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "500", "any"])?;
    let lowered = guard::lower("net/netfilter/nf_conntrack_buckets", 512)?;
    let seen = observe(&lab.server, window, || flows(&mut sender, 50));
    drop(lowered);
    let seen = seen?;
    let lost = seen.told.saturating_sub(seen.grew("Udp.NoPorts"));
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb"])?;
    seen.kernel_agrees("nf_conntrack.chainlength", lost)?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, "conntrack-hash-small", "nf_conntrack.chainlength", lost);
    checks.same("lost", Some(lost), finding.0.and_then(|finding| finding["lost"].as_u64()));
    finding.raises(&mut checks, "net.netfilter.nf_conntrack_buckets", "512", "machine");
    checks.same("findings of races", 0, seen.report.findings("conntrack-insert-races").len());
    checks.done(&seen.report)
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
