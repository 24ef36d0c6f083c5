//! Which rule of nftables refused a packet: the oracle is the number of packets sent for each rule, and what `nft` calls
//! the rules.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use super::{Seen, observe_with};
use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{Family, Lab, Namespace, SERVER_DEVICE, batch};
use crate::need::Need;
use crate::report::Report;
use crate::tool;

pub const PORT: u16 = 5050;
pub const REASON: &str = "NETFILTER_DROP";

pub fn cases() -> Vec<Case> {
    let nft = &[Need::Namespaces, Need::Bpf, Need::Nft];
    let mut cases: Vec<Case> = Vec::new();
    cases.extend(Family::BOTH.map(|family| {
        let name = format!("drops::policy_input_{}", family.suffix());
        Case::with(name, nft, move |window| input(family, window))
    }));
    cases.extend([
        Case::new("drops::policy_output", nft, output),
        Case::new("drops::policy_forward", nft, forward),
        Case::new("drops::policy_of_a_chain", nft, chain_policy),
        Case::new("drops::policy_without_counter", nft, without_counter),
        Case::new("drops::policy_counter_too_early", nft, counter_too_early),
        Case::new("drops::policy_named_counter", nft, named_counter),
        Case::new("drops::policy_shared_counter", nft, shared_counter),
        Case::new("drops::policy_across_the_window", nft, across),
        Case::new("drops::policy_conntrack_invalid", nft, conntrack_invalid),
    ]);
    cases
}

/// Sends so many datagrams to each port; those that the sender's own firewall refuses count too.
pub fn send(from: &Namespace, source: SocketAddr, to: &[(SocketAddr, u64)]) -> Outcome<u64> {
    Ok(from.inside(|| {
        let socket = UdpSocket::bind(source)?;
        for (to, count) in to {
            for _ in 0..*count {
                match socket.send_to(&[0x55; 100], to) {
                    Err(e) if e.kind() != std::io::ErrorKind::PermissionDenied => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(to.iter().map(|(_, count)| count).sum())
    })?)
}

pub fn from_client(lab: &Lab, family: Family, to: &[(u16, u64)]) -> Outcome<u64> {
    let to: Vec<_> = to.iter().map(|&(port, count)| (family.server(port), count)).collect();
    send(&lab.client, SocketAddr::new(family.client(), 0), &to)
}

/// The handle that nft itself shows beside the rule with this text.
fn handle(namespace: &Namespace, text: &str) -> Outcome<u64> {
    let list = namespace.exec(&["nft", "-a", "list", "ruleset"])?;
    let line = list.lines().find(|line| line.contains(text));
    let handle = line.and_then(|line| line.rsplit("# handle ").next()?.trim().parse().ok());
    handle.map_or_else(|| wrong(format_args!("no rule with '{text}' in {list}")), Ok)
}

/// All that is known to have refused packets: by what means, and which.
pub fn shares(seen: &Seen) -> Vec<Value> {
    let mut all = Vec::new();
    for row in seen.rows(REASON) {
        let policy = &row["policy"];
        match policy["shares"].as_array() {
            Some(shares) => all.extend(shares.iter().cloned()),
            None if policy["by"] != "reason" => {
                let mut whole = policy.clone();
                whole["count"] = row["count"].clone();
                all.push(whole);
            }
            None => {}
        }
    }
    all.sort_by_key(|share| share["count"].as_u64());
    all
}

/// The policy of the first row for this reason, and its count.
pub fn policy<'a>(row: &'a Value, checks: &mut Checks, layer: &str, by: &str) -> &'a Value {
    let policy = &row["policy"];
    checks.same("layer", Some(layer), policy["layer"].as_str());
    checks.same("by", Some(by), policy["by"].as_str());
    policy
}

/// Runs `traffic` inside a window in which the program looks on as the kernel decides, where that is possible.
pub fn observe(namespace: &Namespace, window: Duration, traffic: impl FnOnce() -> Outcome<u64>) -> Outcome<Seen> {
    observe_with(namespace, window, &["--per-packet", "--max-cpu", "100%"], traffic)
}

/// By what means rules of nftables are known here: seen as the kernel decides where that is possible, which the report says;
/// else by other means.
pub fn means(report: &Report, otherwise: &'static str) -> &'static str {
    let probes = report.0["self"]["probes"].as_array().map_or(&[][..], Vec::as_slice);
    let attached = |probe: &Value| probe["name"] == "fexit/nft_do_chain" && probe["attached"] == true;
    if probes.iter().any(attached) { "fexit" } else { otherwise }
}

/// Where nothing can look on as the kernel decides, the report says why.
fn refusal_is_named(report: &Report, checks: &mut Checks) {
    let probes = report.0["self"]["probes"].as_array().map_or(&[][..], Vec::as_slice);
    let refused = probes.iter().find(|probe| probe["name"] == "fexit/nft_do_chain");
    let named = refused.is_some_and(|probe| probe["attached"] == false && probe["reason"].is_string());
    checks.that(named, format_args!("not told why rules are not seen to decide: {probes:#?}"));
}

pub fn place(checks: &mut Checks, refuser: &Value, [family, table, chain, hook]: [&str; 4]) {
    for (field, expected) in [("family", family), ("table", table), ("chain", chain), ("hook", hook)] {
        checks.same(field, Some(expected), refuser[field].as_str());
    }
}

fn input(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table inet t; add chain inet t i {{ type filter hook input priority -5; }}; \
         add rule inet t i udp dport 9 accept; \
         add rule inet t i udp dport {PORT} counter drop comment \"the first\"; \
         add rule inet t i udp dport {} counter log drop comment \"the second\"",
        PORT + 1
    ))?;
    let seen = observe(&lab.server, window, || from_client(&lab, family, &[(PORT, 200), (PORT + 1, 70)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, REASON, "harmful", "netfilter", 270)?;
    let policy = policy(row, &mut checks, "nftables", means(&seen.report, "counter"));
    checks.same("shares", Some(2), policy["shares"].as_array().map(Vec::len));
    for (at, (count, comment)) in [(200, "the first"), (70, "the second")].into_iter().enumerate() {
        let share = &policy["shares"][at];
        place(&mut checks, share, ["inet", "t", "i", "input"]);
        checks.same("count", Some(count), share["count"].as_u64());
        checks.same("comment", Some(comment), share["comment"].as_str());
        checks.same("handle", Some(handle(&lab.server, comment)?), share["handle"].as_u64());
        checks.same("place in its chain", Some(at as u64 + 2), share["rule"].as_u64());
        checks.same("priority", Some(-5), share["priority"].as_i64());
    }
    checks.same("not attributed", None, policy["unattributed"].as_u64());
    checks.done(&seen.report)
}

fn output(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table ip t; add chain ip t o {{ type filter hook output priority 0; }}; \
         add rule ip t o udp dport {PORT} counter reject comment \"not out\""
    ))?;
    let seen = observe(&lab.server, window, || {
        let to = SocketAddr::new(Family::V4.client(), PORT);
        send(&lab.server, Family::V4.server(0), &[(to, 150)])
    })?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, REASON, "harmful", "netfilter", 150)?;
    let policy = policy(row, &mut checks, "nftables", means(&seen.report, "counter"));
    place(&mut checks, policy, ["ip", "t", "o", "output"]);
    checks.same("comment", Some("not out"), policy["comment"].as_str());
    checks.same("verdict", Some("reject"), policy["verdict"].as_str());
    checks.same("handle", Some(handle(&lab.server, "not out")?), policy["handle"].as_u64());
    checks.done(&seen.report)
}

/// The rule stands in a chain of its own, to which the one on the hook jumps.
fn forward(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    batch(&lab.client.name, &["route add 10.79.0.0/24 via 10.77.0.2".into()])?;
    lab.server.set("net/ipv4/ip_forward", "1")?;
    lab.server.set("net/ipv4/conf/all/send_redirects", "0")?;
    lab.server.set(&format!("net/ipv4/conf/{SERVER_DEVICE}/send_redirects"), "0")?;
    batch(&lab.server.name, &["route add 10.79.0.0/24 via 10.77.0.1".into()])?;
    lab.server.nft(&format!(
        "add table inet t; add chain inet t deny; add chain inet t f {{ type filter hook forward priority 0; }}; \
         add chain inet t i {{ type filter hook input priority 0; }}; add rule inet t i counter accept; \
         add rule inet t f ip daddr 10.79.0.0/24 jump deny; \
         add rule inet t deny udp dport {PORT} counter drop comment \"not through\""
    ))?;
    let far = SocketAddr::from(([10, 79, 0, 1], PORT));
    let seen =
        observe(&lab.server, window, || send(&lab.client, SocketAddr::new(Family::V4.client(), 0), &[(far, 120)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, REASON, "harmful", "netfilter", 120)?;
    let policy = policy(row, &mut checks, "nftables", means(&seen.report, "counter"));
    place(&mut checks, policy, ["inet", "t", "deny", "forward"]);
    checks.same("comment", Some("not through"), policy["comment"].as_str());
    checks.same("handle", Some(handle(&lab.server, "not through")?), policy["handle"].as_u64());
    checks.done(&seen.report)
}

/// What the rule's counter does not account for can only be the policy: there is no other.
fn chain_policy(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table ip t; add chain ip t i {{ type filter hook input priority 0; policy drop; }}; \
         add rule ip t i udp dport {PORT} counter drop comment \"a rule\""
    ))?;
    let seen = observe(&lab.server, window, || from_client(&lab, Family::V4, &[(PORT, 40), (PORT + 1, 160)]))?;
    let mut checks = Checks::default();
    seen.check(&mut checks, REASON, "harmful", "netfilter", 200)?;
    let shares = shares(&seen);
    let [rule, rest] = &shares[..] else { return wrong(format_args!("not a rule and a policy: {shares:#?}")) };
    checks.same("the rule is known by", Some(means(&seen.report, "counter")), rule["by"].as_str());
    checks.same("the policy is known by", Some(means(&seen.report, "elimination")), rest["by"].as_str());
    checks.same("by the rule", Some(40), rule["count"].as_u64());
    checks.same("by the policy", Some(160), rest["count"].as_u64());
    place(&mut checks, rest, ["ip", "t", "i", "input"]);
    checks.same("verdict", Some("policy"), rest["verdict"].as_str());
    checks.same("handle of a policy", None, rest["handle"].as_u64());
    checks.done(&seen.report)
}

fn without_counter(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table inet t; add chain inet t i {{ type filter hook input priority 0; }}; \
         add rule inet t i udp dport {PORT} drop comment \"silent\"; \
         add chain inet t o {{ type filter hook output priority 0; policy accept; }}; \
         add rule inet t o udp dport 9 drop comment \"other way\""
    ))?;
    not_claimed(&lab, window, "silent")
}

/// The counter counts what the rule looks at, not what it drops.
fn counter_too_early(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table inet t; add chain inet t i {{ type filter hook input priority 0; }}; \
         add rule inet t i counter udp dport {PORT} drop comment \"early\""
    ))?;
    not_claimed(&lab, window, "early")
}

/// The counter stands by itself, and this rule alone names it.
fn named_counter(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table inet t; add counter inet t c; add counter inet t other; \
         add chain inet t i {{ type filter hook input priority 0; }}; \
         add rule inet t i udp dport {PORT} counter name c drop comment \"by name\"; \
         add rule inet t i udp dport 9 counter name other drop"
    ))?;
    let seen = observe(&lab.server, window, || from_client(&lab, Family::V4, &[(PORT, 85)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, REASON, "harmful", "netfilter", 85)?;
    let policy = policy(row, &mut checks, "nftables", means(&seen.report, "counter"));
    checks.same("comment", Some("by name"), policy["comment"].as_str());
    checks.same("handle", Some(handle(&lab.server, "by name")?), policy["handle"].as_u64());
    checks.done(&seen.report)
}

/// What two rules count together tells of neither.
fn shared_counter(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table inet t; add counter inet t c; add chain inet t i {{ type filter hook input priority 0; }}; \
         add rule inet t i tcp dport {PORT} counter name c drop comment \"not this one\"; \
         add rule inet t i udp dport {PORT} counter name c drop comment \"shared\""
    ))?;
    not_claimed(&lab, window, "shared")
}

/// A flood that begins before the window and ends behind it: the counters are not read at the same instant as the drops. No
/// packet of the rules may be blamed on the policy, which drops none.
fn across(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table ip t; add chain ip t i {{ type filter hook input priority 0; policy drop; }}; \
         add rule ip t i udp dport {PORT} counter drop; add rule ip t i udp dport {} counter drop",
        PORT + 1
    ))?;
    let source = SocketAddr::new(Family::V4.client(), 0).to_string();
    let mut senders = [PORT, PORT + 1]
        .map(|port| (port, Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])));
    for (port, sender) in &mut senders {
        let Ok(sender) = sender else { return wrong("no sender") };
        // At most for so long that the window lies within.
        sender.tell(&format!("send {} 1000000 100 20", Family::V4.server(*port)))?;
    }
    let args = ["drops", "--json", "--netns", &lab.server.name];
    let report = tool::start_with(&args, window)?.report()?;
    let rows = report.0["drops"].as_array().map_or(&[][..], Vec::as_slice);
    let mut checks = Checks::default();
    let mut seen = 0;
    for row in rows.iter().filter(|row| row["reason"] == REASON) {
        let (count, policy) = (row["count"].as_u64().unwrap_or(0), &row["policy"]);
        let shares = policy["shares"].as_array().map_or(&[][..], Vec::as_slice);
        let known: u64 = shares.iter().filter_map(|share| share["count"].as_u64()).sum();
        checks.same("shares and the rest", count, known + policy["unattributed"].as_u64().unwrap_or(0));
        checks.that(
            shares.iter().all(|share| share["by"] == means(&report, "counter")),
            format_args!("a wrong claim: {policy:#}"),
        );
        checks.that(known >= count / 2, format_args!("only {known} of {count} known: {policy:#}"));
        seen += count;
    }
    if seen < 1000 {
        return again(format_args!("no flood: {seen} drops"));
    }
    checks.done(&report)
}

fn not_claimed(lab: &Lab, window: Duration, comment: &str) -> Outcome {
    let seen = observe(&lab.server, window, || from_client(lab, Family::V4, &[(PORT, 90)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, REASON, "harmful", "netfilter", 90)?;
    let by = means(&seen.report, "reason");
    let policy = policy(row, &mut checks, "nftables", by);
    if by == "fexit" {
        checks.same("rule", Some(comment), policy["comment"].as_str());
        return checks.done(&seen.report);
    }
    refusal_is_named(&seen.report, &mut checks);
    checks.same("a rule that is claimed", None, policy["handle"].as_u64());
    checks.same("not attributed", Some(90), policy["unattributed"].as_u64());
    checks.same("candidates", Some(1), policy["candidates"].as_array().map(Vec::len));
    checks.same("candidate", Some(comment), policy["candidates"][0]["comment"].as_str());
    checks.that(
        policy["note"].as_str().is_some_and(|note| note.contains("no counter")),
        format_args!("no word on what to do: {}", policy["note"]),
    );
    checks.done(&seen.report)
}

/// Segments of no connection: connection tracking calls them invalid, a rule drops what it calls so.
fn conntrack_invalid(window: Duration) -> Outcome {
    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
    let lab = Lab::new()?;
    lab.server.nft(
        "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
         add rule inet t i ct state invalid counter drop comment \"no connection\"",
    )?;
    // A RST to a port with its checksum left out: invalid by both.
    let ports = [PORT.to_be_bytes(), PORT.to_be_bytes()].concat();
    let segment = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, 4, 0, 64, 0, 0, 0, 0]].concat();
    let to = Family::V4.server(0);
    let seen = observe(&lab.server, window, || {
        let sent = lab.client.inside(|| {
            let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP))?;
            Ok((0..130).filter(|_| sendto(&raw, &segment, SendFlags::empty(), &to).is_ok()).count())
        })?;
        Ok(sent as u64)
    })?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, REASON, "harmful", "netfilter", 130)?;
    let policy = policy(row, &mut checks, "nftables", means(&seen.report, "counter"));
    place(&mut checks, policy, ["inet", "t", "i", "input"]);
    checks.same("comment", Some("no connection"), policy["comment"].as_str());
    checks.done(&seen.report)
}
