//! Packets that belong to no flow and can't begin one.

use super::INVALID;
use crate::model::{Example, Finding, Instance, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold};
use crate::stage::ip_in::{IN_RECEIVES, IN6_RECEIVES};

pub static INVALID_PACKETS: Rule = Rule {
    id: "conntrack-invalid-packets",
    title: "Many packets fit no flow that connection tracking knows",
    explain: "Connection tracking calls a packet invalid if it can't make sense of it: a TCP segment outside of the window \
              that it believes in, one of a connection that it never saw begin, an ICMP error about nothing it knows. It \
              drops none of them itself. But firewalls often have a rule that does ('ct state invalid drop'; kube-proxy \
              makes one), and with NAT an invalid packet is not translated: it reaches the other end from an unknown \
              address and is answered with a reset. The usual cause is an asymmetric path: this host sees one direction \
              only. Others are a failover of a router, connections older than the tracking, and scans. \
              'sysctl -w net.netfilter.nf_conntrack_log_invalid=6' (255: all) writes a few of them to the log.",
    triggers: &[&INVALID],
    seen: &[],
    knobs: &[&BE_LIBERAL, &LOOSE],
    thresholds: &[Threshold { key: "info_percent", default: 1.0, help: "share of the packets taken in, in %; own" }],
    fires: invalid,
    examples: &[
        Example { what: "300 of 10,000 packets", severity: Some(Severity::Info), observed: || packets(300, "0", "1") },
        Example {
            what: "the same, and connections that are under way are not taken up",
            severity: Some(Severity::Info),
            observed: || packets(300, "0", "0"),
        },
        Example {
            what: "the same, although windows are not looked at",
            severity: Some(Severity::Info),
            observed: || packets(300, "1", "1"),
        },
        Example { what: "scans: 20 of 10,000 packets", severity: None, observed: || packets(20, "0", "1") },
    ],
};

fn packets(count: u64, liberal: &str, loose: &str) -> Observed {
    Observed::quiet()
        .with(&INVALID, count)
        .with(&IN_RECEIVES, 10_000)
        .with_setting("net/netfilter/nf_conntrack_tcp_be_liberal", liberal)
        .with_setting("net/netfilter/nf_conntrack_tcp_loose", loose)
}

fn invalid(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let count = seen.delta(&INVALID);
    let taken = seen.delta_of(&[&IN_RECEIVES, &IN6_RECEIVES]);
    let percent = count as f64 * 100.0 / taken.max(1) as f64;
    if count == 0 || percent <= seen.threshold(rule, "info_percent") {
        return Vec::new();
    }
    let why = format!("{count} packets, {percent:.1} % of what came in, fit no flow; dropped only if a rule says so");
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, why);
    finding.evidence.push(seen.evidence(&INVALID, None));
    let moved = [&IN_RECEIVES, &IN6_RECEIVES].into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence.extend(moved.map(|counter| seen.evidence(counter, None)));
    let is = |knob: &Knob, value| seen.settings.get(&knob.path()) == Some(value);
    let on = |knob, why| seen.suggest(knob, Instance::Only, "0".into(), "1".into(), why);
    if is(&LOOSE, "0") {
        finding.suggestions.push(on(&LOOSE, "takes up connections that were under way before they were tracked"));
    } else if is(&BE_LIBERAL, "0") {
        finding.suggestions.push(on(&BE_LIBERAL, "if they are TCP segments outside of the window: the log tells"));
    }
    finding.no_setting_helps = Some(
        "first see which they are (net.netfilter.nf_conntrack_log_invalid=6 for a minute): if this host sees one direction \
         only, the path must be put right"
            .into(),
    );
    vec![finding]
}

pub static BE_LIBERAL: Knob = Knob {
    id: "net.netfilter.nf_conntrack_tcp_be_liberal",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "mode",
    range: 0..=1,
    default: "0",
    help: "1: of TCP segments outside of the window only resets are invalid.",
    formula: "1 with asymmetric paths, or with NAT and hosts that retransmit late",
    risk: Risk::High,
    harm: "forged segments pass as part of a connection",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d, and the module in modules-load.d: the key exists only once it is loaded",
};

pub static LOOSE: Knob = Knob {
    id: "net.netfilter.nf_conntrack_tcp_loose",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "mode",
    range: 0..=1,
    default: "1",
    help: "1: a connection of which the beginning was not seen is taken up at any of its segments. 0: its segments are \
           invalid.",
    formula: "1, unless a SYN proxy stands before the servers",
    risk: Risk::High,
    harm: "segments of connections that never were make entries: with a SYN proxy it lets floods through",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d, and the module in modules-load.d: the key exists only once it is loaded",
};
