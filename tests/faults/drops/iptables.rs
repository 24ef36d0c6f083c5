//! Which rule of iptables refused a packet, over nftables and of the old kind. The oracle is as for nftables.

use std::time::Duration;

use super::policy::{PORT, REASON, from_client, means, observe, place, shares};
use crate::case::{Case, Checks, Outcome, wrong};
use crate::lab::{Family, Lab};
use crate::need::Need;

pub fn cases() -> Vec<Case> {
    let new = &[Need::Namespaces, Need::Bpf, Need::Nft, Need::Iptables];
    let old = &[Need::Namespaces, Need::Bpf, Need::Nft, Need::OldIptables];
    vec![
        Case::new("drops::policy_iptables", new, iptables_rule),
        Case::new("drops::policy_iptables_of_the_old_kind", old, old_iptables),
    ]
}

fn iptables_rule(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let port = PORT.to_string();
    let rule = ["iptables-nft", "-A", "INPUT", "-p", "udp", "--dport", &port];
    lab.server.exec(&[&rule[..], &["-m", "comment", "--comment", "kept out", "-j", "DROP"]].concat())?;
    lab.server.exec(&["iptables-nft", "-P", "INPUT", "DROP"])?;
    let seen = observe(&lab.server, window, || from_client(&lab, Family::V4, &[(PORT, 110), (PORT + 1, 30)]))?;
    let mut checks = Checks::default();
    seen.check(&mut checks, REASON, "harmful", "netfilter", 140)?;
    let shares = shares(&seen);
    let [rest, rule] = &shares[..] else { return wrong(format_args!("not a rule and a policy: {shares:#?}")) };
    for (share, count) in [(rule, 110), (rest, 30)] {
        place(&mut checks, share, ["ip", "filter", "INPUT", "input"]);
        checks.same("by", Some(means(&seen.report, "counter")), share["by"].as_str());
        checks.same("tool", Some("iptables"), share["tool"].as_str());
        checks.same("count", Some(count), share["count"].as_u64());
    }
    checks.same("comment", Some("kept out"), rule["comment"].as_str());
    checks.same("number", Some(1), rule["rule"].as_u64());
    checks.same("verdict", Some("policy"), rest["verdict"].as_str());
    checks.done(&seen.report)
}

/// Beside nftables: each has dropped its own.
fn old_iptables(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let port = PORT.to_string();
    let rule = ["iptables-legacy", "-A", "deny", "-p", "udp", "--dport", &port];
    lab.server.exec(&["iptables-legacy", "-N", "deny"])?;
    lab.server.exec(&["iptables-legacy", "-A", "INPUT", "-j", "deny"])?;
    lab.server.exec(&["iptables-legacy", "-A", "deny", "-p", "tcp", "-j", "DROP"])?;
    lab.server.exec(&[&rule[..], &["-m", "comment", "--comment", "of old", "-j", "DROP"]].concat())?;
    lab.server.nft(&format!(
        "add table inet t; add chain inet t i {{ type filter hook input priority 5; }}; \
         add rule inet t i udp dport {} counter drop comment \"of new\"",
        PORT + 1
    ))?;
    let seen = observe(&lab.server, window, || from_client(&lab, Family::V4, &[(PORT, 120), (PORT + 1, 35)]))?;
    let mut checks = Checks::default();
    seen.check(&mut checks, REASON, "harmful", "netfilter", 155)?;
    let shares = shares(&seen);
    let [new, old] = &shares[..] else { return wrong(format_args!("not two rules: {shares:#?}")) };
    place(&mut checks, old, ["ip", "filter", "deny", "input"]);
    checks.same("tool", Some("iptables-legacy"), old["tool"].as_str());
    checks.same("number", Some(2), old["rule"].as_u64());
    let by = means(&seen.report, "counter");
    for (share, by, count, comment) in [(old, "counter", 120, "of old"), (new, by, 35, "of new")] {
        checks.same("by", Some(by), share["by"].as_str());
        checks.same("count", Some(count), share["count"].as_u64());
        checks.same("comment", Some(comment), share["comment"].as_str());
    }
    checks.done(&seen.report)
}
