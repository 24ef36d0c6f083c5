//! Datagrams that are broken, or that nobody waits for.

use super::{IN_CSUM_ERRORS, IN_DATAGRAMS, IN_ERRORS, IN6_CSUM_ERRORS, NO_PORTS, NO_PORTS6, RCVBUF_ERRORS};
use crate::model::{Example, Finding, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold};
use crate::stage::forward::{OUT_DEST_UNREACHS, OUT6_DEST_UNREACHS};

pub static CHECKSUMS: Rule = Rule {
    id: "udp-checksum-errors",
    title: "Datagrams with a wrong checksum are lost",
    explain: "The datagram was changed on its way, after its sender had added it up, and Ethernet's own check did not see it: \
              bad memory in a host, a switch or a card, a device that rewrites packets wrongly, or a sender whose card \
              should have filled the checksum in and did not. Capturing on the sender shows 'wrong' checksums for the last \
              reason, and they are right on the wire. To see whether the card here is to blame, let the kernel add up \
              itself for a minute (ethtool -K DEVICE rx off). Tools that test may send wrong ones on purpose. The \
              checksum is often looked at only when the application reads, so a reader that stands still hides them.",
    triggers: &[&IN_CSUM_ERRORS, &IN6_CSUM_ERRORS],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_below_per_second",
        default: 0.1,
        help: "datagrams/s below which it is a stray; own",
    }],
    fires: checksums,
    examples: &[
        Example {
            what: "10 datagrams in a second",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&IN_CSUM_ERRORS, 10).with(&IN_ERRORS, 10),
        },
        Example {
            what: "one in a minute",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = Observed::quiet().with(&IN6_CSUM_ERRORS, 1);
                seen.changes.seconds = Some(60.0);
                seen
            },
        },
        Example {
            what: "full buffers only",
            severity: None,
            observed: || Observed::quiet().with(&IN_ERRORS, 10).with(&RCVBUF_ERRORS, 10),
        },
    ],
};

fn checksums(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let counters = [&IN_CSUM_ERRORS, &IN6_CSUM_ERRORS];
    let lost = seen.delta_of(&counters);
    if lost == 0 {
        return Vec::new();
    }
    let noise = seen.threshold(rule, "info_below_per_second");
    let severity = if seen.rate(lost).is_some_and(|rate| rate < noise) { Severity::Info } else { Severity::Warning };
    let why = format!("{lost} datagrams were not what their sender had added up");
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, why);
    let moved = counters.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, Some(noise))).collect();
    finding.no_setting_helps = Some(
        "something changes them on their way: find out whether they all come from one sender or by one device \
         ('netstat-deep drops --by flow', reason UDP_CSUM), then try that card without checksum offload"
            .into(),
    );
    vec![finding]
}

pub static NO_LISTENER: Rule = Rule {
    id: "udp-no-listener",
    title: "Many datagrams are for ports on which nobody listens",
    explain: "No socket is bound to the port, so the datagram is discarded and its sender is told by ICMP (port unreachable), \
              as far as the rate limit of ICMP lets it. A few are scans, traceroute, and answers that come after their \
              asker has gone (DNS time-outs). Many of a steady kind mean a service that is down, or a sender that still \
              has an old address: see which port it is. It is no loss of this host's.",
    triggers: &[&NO_PORTS, &NO_PORTS6],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold { key: "info_per_second", default: 100.0, help: "datagrams/s; own: below, scans" }],
    fires: no_listener,
    examples: &[
        Example {
            what: "5,000 datagrams in a second, 5 answers",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&NO_PORTS, 5_000).with(&OUT_DEST_UNREACHS, 5),
        },
        Example {
            what: "a traceroute",
            severity: None,
            observed: || Observed::quiet().with(&NO_PORTS, 9).with(&OUT_DEST_UNREACHS, 9).with(&IN_DATAGRAMS, 100),
        },
    ],
};

fn no_listener(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let counters = [&NO_PORTS, &NO_PORTS6];
    let strays = seen.delta_of(&counters);
    let limit = seen.threshold(rule, "info_per_second");
    if !seen.rate(strays).is_some_and(|rate| rate > limit) {
        return Vec::new();
    }
    let told = seen.delta_of(&[&OUT_DEST_UNREACHS, &OUT6_DEST_UNREACHS]).min(strays);
    let why = format!("{strays} datagrams found no socket; {told} of their senders were told so by ICMP");
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, why);
    let moved = counters.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, Some(limit))).collect();
    finding.no_setting_helps = Some(
        "see which port it is ('netstat-deep drops --by flow', reason NO_SOCKET): its service is down, or its senders have \
         an old address"
            .into(),
    );
    vec![finding]
}

pub static L3MDEV: Knob = Knob {
    id: "net.ipv4.udp_l3mdev_accept",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "mode",
    range: 0..=1,
    default: "0",
    help: "With VRFs: 1 lets a socket that is bound to no device take datagrams of every VRF; with 0 they find no listener \
           (Udp.NoPorts) unless a socket is bound to that VRF.",
    formula: "1 if one service must answer in all VRFs",
    risk: Risk::Medium,
    harm: "the service is reached from networks that were kept apart",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

pub static EARLY_DEMUX: Knob = Knob {
    id: "net.ipv4.udp_early_demux",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "mode",
    range: 0..=1,
    default: "1; since 4.13",
    help: "1: the socket is looked up before routing, which saves routing for connected UDP sockets.",
    formula: "0 on a host that only forwards",
    risk: Risk::Low,
    harm: "a look-up more for each packet that is not for this host (1), or routing for each that is (0)",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
