//! Packets that are larger than the link's MTU.

use super::{FRAG_CREATES, FRAG_OKS, FRAG6_CREATES, FRAG6_OKS};
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::forward::{OUT_REQUESTS, OUT6_REQUESTS};

pub static FRAGMENTING: Rule = Rule {
    id: "fragmenting-on-send",
    title: "Packets are cut into fragments",
    explain: "A packet that is larger than the link's MTU is cut: mostly datagrams of an application that sends more than \
              about 1,400 bytes at once, or packets that a tunnel made larger. One lost fragment loses the whole packet, and \
              many firewalls drop all but the first, so losses multiply. TCP does not do this by itself. A large answer of \
              a name server now and then is normal.",
    triggers: &[&FRAG_CREATES, &FRAG6_CREATES],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "warning_percent", default: 1.0, help: "share of the packets sent that were cut, in %; own" },
        Threshold { key: "warning_per_second", default: 10.0, help: "packets cut/s; own: below, a remark" },
        Threshold { key: "info_per_second", default: 1.0, help: "packets cut/s; own: below, silent" },
    ],
    fires: fragmenting,
    examples: &[
        Example {
            what: "60 of 100 packets in a second",
            severity: Some(Severity::Warning),
            observed: || cut(60).with(&OUT_REQUESTS, 100),
        },
        Example {
            what: "60 of 100,000 packets in a second",
            severity: Some(Severity::Info),
            observed: || cut(60).with(&OUT_REQUESTS, 100_000),
        },
        Example {
            what: "a large answer in ten seconds",
            severity: None,
            observed: || {
                let mut seen = cut(1).with(&OUT_REQUESTS, 10);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
    ],
};

fn cut(packets: u64) -> Observed {
    Observed::quiet().with(&FRAG_OKS, packets).with(&FRAG_CREATES, packets * 3)
}

fn fragmenting(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let cut = seen.delta_of(&[&FRAG_OKS, &FRAG6_OKS]);
    let pieces = seen.delta_of(&[&FRAG_CREATES, &FRAG6_CREATES]);
    let least = seen.threshold(rule, "info_per_second");
    let Some(rate) = seen.rate(cut).filter(|rate| *rate >= least) else { return Vec::new() };
    let sent = seen.delta_of(&[&OUT_REQUESTS, &OUT6_REQUESTS]);
    let percent = cut as f64 * 100.0 / sent.max(cut).max(1) as f64;
    let limit = seen.threshold(rule, "warning_per_second");
    let many = rate >= limit && percent > seen.threshold(rule, "warning_percent");
    let severity = if many { Severity::Warning } else { Severity::Info };
    let why =
        format!("{cut} packets, {percent:.1} % of those sent, were cut into {pieces} pieces; each is lost if one is");
    let mut finding = Finding::new(rule, severity, Scope::Netns, 0, why);
    let moved = [&FRAG_OKS, &FRAG6_OKS, &FRAG_CREATES, &FRAG6_CREATES];
    let moved = moved.into_iter().filter(|counter| seen.delta(counter) > 0);
    let threshold = |counter| [&FRAG_OKS, &FRAG6_OKS].contains(&counter).then_some(limit);
    finding.evidence = moved.map(|counter| seen.evidence(counter, threshold(counter))).collect();
    finding.no_setting_helps = Some(
        "let the application send smaller datagrams (EDNS buffer 1232, a smaller block size), or give the link or tunnel \
         the MTU that the path takes; for connections through a tunnel, clamp the MSS"
            .into(),
    );
    finding.refuse("net.ipv4.ipfrag_high_thresh", "it is about fragments that come in");
    finding.refuse("net.ipv4.ip_no_pmtu_disc", "it lets more packets be cut, on the way too");
    vec![finding]
}
