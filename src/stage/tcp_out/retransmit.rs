//! Segments that had to be sent again.

use super::{
    DSACK_RECV_SEGS, ORIG_DATA_SENT, RETRANS_FAIL, RETRANS_SEGS, SPURIOUS_RTX_HOST_QUEUES, SYN_RETRANS, TIMEOUTS,
};
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};

pub static RETRANSMITS: Rule = Rule {
    id: "tcp-retransmits",
    title: "TCP segments are lost on the way and sent again",
    explain: "Segments that the peer did not acknowledge are sent again: the network or the peer's host lost them. The \
              application loses time, no data. Counted are segments with data that had to be sent again, against those sent \
              for the first time; SYNs are left out (connects-retransmit), and so is what the peer says came twice (DSACK: \
              only the acknowledgement was late). A few segments say nothing, so below 1,000 the rule is silent. Where it is \
              lost the sender can't tell: look at this host's qdiscs and devices first ('netstat-deep tx'), then at the \
              peer's ('netstat-deep rx' there), then at the path between.",
    triggers: &[&RETRANS_SEGS],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "warning_percent", default: 1.0, help: "of the segments sent, in %; own" },
        Threshold { key: "critical_percent", default: 3.0, help: "of the segments sent, in %; IBM Tivoli Monitoring" },
        Threshold { key: "least_segments", default: 1_000.0, help: "segments sent in the window; own: below, silent" },
    ],
    fires: retransmits,
    examples: &[
        Example { what: "500 of 10,000", severity: Some(Severity::Critical), observed: || again(500, 10_000) },
        Example { what: "200 of 10,000", severity: Some(Severity::Warning), observed: || again(200, 10_000) },
        Example { what: "50 of 10,000", severity: None, observed: || again(50, 10_000) },
        Example { what: "20 of 100: too few to tell", severity: None, observed: || again(20, 100) },
        Example {
            what: "connects to hosts that do not answer",
            severity: None,
            observed: || again(500, 10_000).with(&SYN_RETRANS, 500),
        },
        Example {
            what: "the peer says that all came twice",
            severity: None,
            observed: || again(500, 10_000).with(&DSACK_RECV_SEGS, 480),
        },
    ],
};

fn again(segments: u64, of: u64) -> Observed {
    Observed::quiet().with(&RETRANS_SEGS, segments).with(&ORIG_DATA_SENT, of)
}

/// Segments with data that were sent again.
pub fn with_data(seen: &Observed) -> u64 {
    seen.delta(&RETRANS_SEGS).saturating_sub(seen.delta(&SYN_RETRANS))
}

fn retransmits(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (repeated, sent) = (with_data(seen), seen.delta(&ORIG_DATA_SENT));
    let for_nothing = seen.delta(&DSACK_RECV_SEGS);
    let lost = repeated.saturating_sub(for_nothing);
    let [warning, critical] = ["warning_percent", "critical_percent"].map(|key| seen.threshold(rule, key));
    let percent = lost as f64 * 100.0 / sent.max(1) as f64;
    if (sent as f64) < seen.threshold(rule, "least_segments") || percent <= warning {
        return Vec::new();
    }
    let severity = if percent > critical { Severity::Critical } else { Severity::Warning };
    let mut why = format!("{lost} segments, {percent:.1} % of {sent}, had to be sent again");
    if for_nothing > 0 {
        why += &format!(", and {for_nothing} more that had come");
    }
    let (timeouts, failed) = (seen.delta(&TIMEOUTS), seen.delta(&RETRANS_FAIL));
    if timeouts > 0 {
        why += &format!("; {timeouts} times only after a timeout");
    }
    if failed > 0 {
        why += &format!("; {failed} times this host itself refused to send again");
    }
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, why);
    let moved = [&RETRANS_SEGS, &ORIG_DATA_SENT, &SYN_RETRANS, &DSACK_RECV_SEGS, &TIMEOUTS];
    let moved = moved.into_iter().chain([&RETRANS_FAIL, &SPURIOUS_RTX_HOST_QUEUES]);
    finding.evidence =
        moved.filter(|counter| seen.delta(counter) > 0).map(|counter| seen.evidence(counter, None)).collect();
    finding.no_setting_helps = Some(
        "a loss is mended where it happens: a full qdisc or ring of this host, the peer's host, or the network between. \
         'ss -ti' shows which connections send again"
            .into(),
    );
    finding.refuse("net.ipv4.tcp_wmem", "the send buffer does not lose segments");
    finding.refuse("net.ipv4.tcp_retries2", "it decides when a connection is given up, not whether segments are lost");
    finding.refuse("net.ipv4.tcp_congestion_control", "another one may be faster in spite of the loss, and hides it");
    vec![finding]
}
