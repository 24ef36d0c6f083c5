//! Peers that break the rules, or have other keys.

use super::{SACK_DISCARD, SACK_RENEGING};
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::tcp_in::segments::SACK;
use crate::stage::tcp_in::{
    AO_BAD, AO_GOOD, AO_KEY_NOT_FOUND, AO_REQUIRED, MD5_FAILURE, MD5_NOT_FOUND, MD5_UNEXPECTED,
};

pub static BROKEN: Rule = Rule {
    id: "tcp-broken-peer",
    title: "A peer breaks TCP's rules, or has other keys",
    explain: "Two things that only the peer can mend. It threw away what it had acknowledged by SACK (reneging): RFC 2018 \
              permits that to a receiver that runs out of memory, but nearly always it is a broken stack or a middlebox \
              that changes SACKs; this host sends everything again. Or the signatures of its segments (TCP MD5, TCP-AO; \
              mostly BGP) are missing, unknown or wrong: its segments are dropped, and the connection never comes up or \
              dies of timeouts. A router whose port 179 is open to the world also gets unsigned SYNs of scanners; a \
              firewall that lets the neighbours alone in ends that.",
    triggers: &[
        &SACK_RENEGING,
        &MD5_NOT_FOUND,
        &MD5_UNEXPECTED,
        &MD5_FAILURE,
        &AO_BAD,
        &AO_KEY_NOT_FOUND,
        &AO_REQUIRED,
    ],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold { key: "least", default: 1.0, help: "in the window; below, silent" }],
    fires: broken,
    examples: &[
        Example {
            what: "a peer forgot what it had acknowledged",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&SACK_RENEGING, 1),
        },
        Example {
            what: "a BGP neighbour has another key",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&MD5_FAILURE, 3),
        },
        Example {
            what: "a neighbour signs, and nobody here asked for it",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&MD5_UNEXPECTED, 3),
        },
        Example {
            what: "signed segments that are right",
            severity: None,
            observed: || Observed::quiet().with(&AO_GOOD, 5_000),
        },
        Example {
            what: "an old SACK came late",
            severity: None,
            observed: || Observed::quiet().with(&SACK_DISCARD, 20),
        },
    ],
};

fn broken(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let least = seen.threshold(rule, "least");
    let enough = |count: u64| count > 0 && count as f64 >= least;
    let mut findings = Vec::new();
    let reneged = seen.delta(&SACK_RENEGING);
    if enough(reneged) {
        let why = format!("{reneged} times a peer threw away what it had acknowledged, and everything was sent again");
        let mut finding = Finding::new(rule, Severity::Warning, Scope::Netns, 0, why);
        finding.evidence.push(seen.evidence(&SACK_RENEGING, Some(least)));
        finding.no_setting_helps = Some(
            "the peer's stack, or a middlebox that changes SACKs, is broken: 'ss -ti' shows the connections that send \
             again; compare a capture here with one at the peer"
                .into(),
        );
        finding
            .refuse(SACK.id, "off, every loss of every connection takes longer to mend, for the sake of one bad peer");
        findings.push(finding);
    }
    let keys = [
        (&MD5_NOT_FOUND, "lack the MD5 signature that is asked for"),
        (&MD5_UNEXPECTED, "are signed by MD5 and nobody here asked for it"),
        (&MD5_FAILURE, "have a wrong MD5 signature"),
        (&AO_BAD, "have a wrong TCP-AO signature"),
        (&AO_KEY_NOT_FOUND, "use a TCP-AO key that is not known here"),
        (&AO_REQUIRED, "lack the TCP-AO signature that is asked for"),
    ];
    let wrong: Vec<_> = keys.into_iter().filter(|(counter, _)| seen.delta(counter) > 0).collect();
    let dropped: u64 = wrong.iter().map(|(counter, _)| seen.delta(counter)).sum();
    if enough(dropped) {
        let parts: Vec<String> =
            wrong.iter().map(|(counter, what)| format!("{} {what}", seen.delta(counter))).collect();
        let why = format!("{dropped} segments were dropped: {}", parts.join(", "));
        let mut finding = Finding::new(rule, Severity::Warning, Scope::Netns, dropped, why);
        finding.evidence = wrong.iter().map(|(counter, _)| seen.evidence(counter, Some(least))).collect();
        finding.no_setting_helps = Some(
            "the kernel's log names the peer ('dmesg | grep -e MD5 -e AO'): both ends need the same key, for the address \
             that the segments really come from"
                .into(),
        );
        findings.push(finding);
    }
    findings
}
