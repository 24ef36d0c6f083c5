//! Packets from or to an address that cannot be on this link.

use super::{IN_MARTIAN_DST, IN_MARTIAN_SRC, REVERSE_PATH_FILTER};
use crate::model::{Example, Finding, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold};

pub static MARTIANS: Rule = Rule {
    id: "martian-packets",
    title: "Packets from or to impossible addresses are dropped",
    explain: "A packet came in with a sender or destination that cannot be on this link: one of our own addresses, a \
              loopback address (127.0.0.0/8), 0.0.0.0, a broadcast or multicast address as sender. It is forged, or there \
              is a loop, a copied address, or a tunnel that comes out on the wrong device. The counters are the whole \
              machine's, of all network namespaces together, and no counter of IP knows of them: the ledger shows them as \
              unexplained at ip_in. What the reverse path filter drops counts as a martian source as well; that is taken \
              off here, as far as this namespace counted it.",
    triggers: &[&IN_MARTIAN_SRC, &IN_MARTIAN_DST],
    seen: &[],
    knobs: &[&LOG_MARTIANS],
    thresholds: &[Threshold {
        key: "info_above_per_second",
        default: 0.0,
        help: "packets/s; own: any is worth a remark",
    }],
    fires: martians,
    examples: &[
        Example {
            what: "20 packets from 127.0.0.1 on the wire",
            severity: Some(Severity::Info),
            observed: || {
                Observed::quiet().with(&IN_MARTIAN_SRC, 20).with_setting("net/ipv4/conf/all/log_martians", "0")
            },
        },
        Example {
            what: "3 packets to 0.0.0.0, the log names them",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&IN_MARTIAN_DST, 3).with_setting("net/ipv4/conf/all/log_martians", "1"),
        },
        Example {
            what: "the reverse path filter dropped them",
            severity: None,
            observed: || Observed::quiet().with(&IN_MARTIAN_SRC, 20).with(&REVERSE_PATH_FILTER, 20),
        },
    ],
};

fn martians(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let from = seen.delta(&IN_MARTIAN_SRC).saturating_sub(seen.delta(&REVERSE_PATH_FILTER));
    let to = seen.delta(&IN_MARTIAN_DST);
    let lost = from.saturating_add(to);
    if lost == 0 || seen.rate(lost).is_some_and(|rate| rate <= seen.threshold(rule, "info_above_per_second")) {
        return Vec::new();
    }
    let why = format!(
        "{from} had a sender and {to} a destination that cannot be there; counted for all network namespaces together"
    );
    let mut finding = Finding::new(rule, Severity::Info, Scope::Machine, lost, why);
    let counters = [&IN_MARTIAN_SRC, &IN_MARTIAN_DST, &REVERSE_PATH_FILTER];
    finding.evidence =
        counters.into_iter().filter(|c| seen.delta(c) > 0).map(|counter| seen.evidence(counter, None)).collect();
    let named = match seen.settings.number(&LOG_MARTIANS.path()) {
        Some(1) => "the kernel log names them ('martian source')",
        _ => "'sysctl -w net.ipv4.conf.all.log_martians=1' for a minute writes them to the kernel log",
    };
    finding.no_setting_helps = Some(format!("whoever sends them is wrong, or a loop brings them back: {named}"));
    vec![finding]
}

pub static LOG_MARTIANS: Knob = Knob {
    id: "net.ipv4.conf.all.log_martians",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "mode",
    range: 0..=1,
    default: "0",
    help: "1: packets with impossible addresses are written to the kernel log, as far as its rate limit lets them, of every \
           device (on if this or conf.DEVICE is on). In a container the log is the host's.",
    formula: "1 for a minute, to see who sends them",
    risk: Risk::Low,
    harm: "lines in the kernel log",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "not at all: it is for looking",
};
