//! Packets whose header makes no sense, or that have been on their way for too long.

use super::{IN_CSUM_ERRORS, IN_HDR_ERRORS, IN6_HDR_ERRORS};
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::forward::{OUT_TIME_EXCDS, OUT6_TIME_EXCDS};

pub static BAD_HEADERS: Rule = Rule {
    id: "bad-ip-headers",
    title: "Packets with a bad IP header, or without hops left, are dropped",
    explain: "The header's version or length makes no sense, its options are malformed, or the time to live ran out on the \
              way through this router. A few of the last kind are traceroute at work; many are a routing loop, and \
              Icmp.OutTimeExcds counts the answers. Headers with a wrong checksum alone are counted with them \
              (IpExt.InCsumErrors) and left out here: those are a bad cable, memory or sender. What is malformed comes \
              from a broken or hostile sender, or a device between that rewrites packets: capture some \
              ('netstat-deep drops --by flow' shows from where).",
    triggers: &[&IN_HDR_ERRORS, &IN6_HDR_ERRORS],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_above_per_second",
        default: 0.0,
        help: "packets/s; own: any is worth a remark",
    }],
    fires: bad_headers,
    examples: &[
        Example {
            what: "5 malformed packets",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&IN_HDR_ERRORS, 5).with(&IN_CSUM_ERRORS, 0),
        },
        Example {
            what: "traceroute passes through this router over IPv6",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&IN6_HDR_ERRORS, 3).with(&OUT6_TIME_EXCDS, 3),
        },
        Example {
            what: "wrong checksums only",
            severity: None,
            observed: || Observed::quiet().with(&IN_HDR_ERRORS, 40).with(&IN_CSUM_ERRORS, 40),
        },
    ],
};

fn bad_headers(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let v4 = seen.delta(&IN_HDR_ERRORS).saturating_sub(seen.delta(&IN_CSUM_ERRORS));
    let v6 = seen.delta(&IN6_HDR_ERRORS);
    let lost = v4.saturating_add(v6);
    if lost == 0 || seen.rate(lost).is_some_and(|rate| rate <= seen.threshold(rule, "info_above_per_second")) {
        return Vec::new();
    }
    let expired = seen.delta_of(&[&OUT_TIME_EXCDS, &OUT6_TIME_EXCDS]).min(lost);
    let why = match expired {
        0 => format!("{lost} packets had a header that makes no sense"),
        _ if expired == lost => format!("{lost} packets had no hops left on their way through this host"),
        _ => format!("of {lost} packets, {expired} had no hops left on their way through this host"),
    };
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, lost, why);
    let moved =
        [&IN_HDR_ERRORS, &IN_CSUM_ERRORS, &IN6_HDR_ERRORS].into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, None)).collect();
    finding.no_setting_helps = Some(
        "it is the sender, a device between, or a routing loop: 'netstat-deep drops --by flow' shows from where they come"
            .into(),
    );
    vec![finding]
}
