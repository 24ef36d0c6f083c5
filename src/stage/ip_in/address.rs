//! Packets to an address that is not ours, while this host forwards nothing.

use super::{IN_ADDR_ERRORS, IN_RECEIVES, IN6_ADDR_ERRORS, IN6_RECEIVES};
use crate::model::{Example, Finding, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold};

pub static NOT_FOR_US: Rule = Rule {
    id: "packets-not-for-us",
    title: "Packets to addresses that are not ours are discarded",
    explain: "A packet came to our MAC address, but its IP address is none of ours, and this host does not forward. Some is \
              noise on every shared network (broadcasts of another subnet, stale neighbour entries). Much means that \
              somebody believes that the address is here: a virtual address of a load balancer or a failover pair that \
              was not set up here (it belongs on lo or on the device), a route of another host that leads to this one, a \
              container's address that is gone. Only if this host is meant to be a router is net.ipv4.ip_forward the \
              answer.",
    triggers: &[&IN_ADDR_ERRORS, &IN6_ADDR_ERRORS],
    seen: &[],
    knobs: &[&IP_FORWARD],
    thresholds: &[
        Threshold { key: "info_percent", default: 0.1, help: "share of the packets taken in, in %; own" },
        Threshold { key: "warning_per_second", default: 10.0, help: "packets/s; own: below, broadcast noise" },
    ],
    fires: not_for_us,
    examples: &[
        Example {
            what: "300 of 10,000 packets in a second, this host does not forward",
            severity: Some(Severity::Warning),
            observed: || strays(300, "0"),
        },
        Example {
            what: "300 packets in a second although this host forwards, but not from that device",
            severity: Some(Severity::Warning),
            observed: || strays(300, "1"),
        },
        Example {
            what: "12 of 300 packets in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = Observed::quiet().with(&IN_ADDR_ERRORS, 12).with(&IN_RECEIVES, 300);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example { what: "broadcast noise: 5 of 10,000 packets", severity: None, observed: || strays(5, "0") },
    ],
};

fn strays(packets: u64, forwards: &str) -> Observed {
    Observed::quiet()
        .with(&IN_ADDR_ERRORS, packets)
        .with(&IN_RECEIVES, 10_000)
        .with_setting("net/ipv4/ip_forward", forwards)
}

fn not_for_us(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let strays = seen.delta_of(&[&IN_ADDR_ERRORS, &IN6_ADDR_ERRORS]);
    let taken = seen.delta_of(&[&IN_RECEIVES, &IN6_RECEIVES]);
    let (percent, many) = (seen.threshold(rule, "info_percent"), seen.threshold(rule, "warning_per_second"));
    if strays == 0 || strays as f64 * 100.0 <= percent * taken as f64 {
        return Vec::new();
    }
    let severity = if seen.rate(strays).is_some_and(|rate| rate > many) { Severity::Warning } else { Severity::Info };
    let share = strays as f64 * 100.0 / taken.max(1) as f64;
    let forwards = seen.settings.number(&IP_FORWARD.path());
    let mut why = format!("{share:.1} % of the packets that came in were for an address that is not here");
    if forwards == Some(1) {
        why += "; this host forwards IPv4, but not from every device, or they were IPv6";
    }
    // Nobody here asked for them: no loss of ours.
    let mut finding = Finding::new(rule, severity, Scope::Netns, 0, why);
    let moved = [&IN_ADDR_ERRORS, &IN6_ADDR_ERRORS].into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, Some(many))).collect();
    finding
        .evidence
        .push(seen.evidence(if seen.delta(&IN_ADDR_ERRORS) > 0 { &IN_RECEIVES } else { &IN6_RECEIVES }, None));
    finding.no_setting_helps = Some(
        "see for whom they are ('netstat-deep drops --by flow', reason IP_INADDRERRORS): set that address up here if it is \
         meant to be, or correct the route of who sends them"
            .into(),
    );
    if forwards == Some(0) {
        finding.refuse(IP_FORWARD.id, "it makes a router of this host: only if it is meant to be one");
    }
    vec![finding]
}

pub static IP_FORWARD: Knob = Knob {
    id: "net.ipv4.ip_forward",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "mode",
    range: 0..=1,
    default: "0; container engines and hypervisors set 1",
    help: "1: packets for other hosts are sent on. A change sets the conf.* settings of every device to the defaults of a \
           router or of a host (devinet_sysctl_forward() in net/ipv4/devinet.c).",
    formula: "1 only on a router, also one for containers or virtual machines",
    risk: Risk::High,
    harm: "the host passes packets between networks that were apart; redirects and other settings of the devices change \
           with it",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
