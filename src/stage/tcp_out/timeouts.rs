//! Losses that only a timeout repairs.

use super::retransmit::with_data;
use super::{RETRANS_SEGS, SPURIOUS_RTOS, SYN_RETRANS, TIMEOUTS};
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::tcp_in::timers::MTU_PROBING;

pub static DOMINATE: Rule = Rule {
    id: "tcp-timeouts-dominate",
    title: "TCP repairs most losses only after a timeout",
    explain: "A loss is repaired within a round trip where later segments tell of it. Nothing tells where the last ones of an \
              answer are lost, or all: then the kernel waits, 200 ms at least, and twice as long each time. Many of them \
              mean a path that lets nothing through (a dead peer, a firewall that forgot the connection, large packets that \
              are dropped), or short answers over a bad link. Timeouts of SYNs are left out: connects-retransmit tells of \
              those.",
    triggers: &[&TIMEOUTS],
    seen: &[],
    knobs: &[&MTU_PROBING],
    thresholds: &[
        Threshold { key: "warning_percent", default: 50.0, help: "timeouts, of the segments sent again, in %; own" },
        Threshold { key: "least_per_second", default: 2.0, help: "timeouts/s; own: below, silent" },
    ],
    fires: dominate,
    examples: &[
        Example { what: "40 of 50", severity: Some(Severity::Warning), observed: || timeouts(40, 50) },
        Example { what: "10 of 50", severity: None, observed: || timeouts(10, 50) },
        Example { what: "one peer is gone", severity: None, observed: || timeouts(1, 1) },
        Example {
            what: "connects to hosts that do not answer",
            severity: None,
            observed: || timeouts(40, 40).with(&SYN_RETRANS, 40),
        },
    ],
};

fn timeouts(times: u64, again: u64) -> Observed {
    let seen = Observed::quiet().with(&TIMEOUTS, times).with(&RETRANS_SEGS, again);
    seen.with_setting("net/ipv4/tcp_mtu_probing", "0")
}

fn dominate(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let times = seen.delta(&TIMEOUTS).saturating_sub(seen.delta(&SYN_RETRANS));
    let again = with_data(seen);
    let percent = times as f64 * 100.0 / again.max(1) as f64;
    let least = seen.threshold(rule, "least_per_second");
    if again == 0
        || percent <= seen.threshold(rule, "warning_percent")
        || seen.rate(times).is_none_or(|rate| rate < least)
    {
        return Vec::new();
    }
    let mut why = format!("{times} timeouts, for {again} segments that were sent again");
    let late = seen.delta(&SPURIOUS_RTOS);
    if late > 0 {
        why += &format!("; {late} of them for nothing: the acknowledgement was late");
    }
    let mut finding = Finding::new(rule, Severity::Warning, Scope::Netns, 0, why);
    let moved = [&TIMEOUTS, &RETRANS_SEGS, &SYN_RETRANS, &SPURIOUS_RTOS];
    let moved = moved.into_iter().filter(|counter| seen.delta(counter) > 0);
    let threshold = |counter| (counter == &TIMEOUTS).then_some(least);
    finding.evidence = moved.map(|counter| seen.evidence(counter, threshold(counter))).collect();
    finding.no_setting_helps = Some(
        "find the connections: 'ss -tio' shows those that wait (timer:(on,...), backoff). One peer: it is gone, or a \
         firewall forgot it. Only large transfers: their size is dropped on the way, so let ICMP pass; where that can't be, \
         net.ipv4.tcp_mtu_probing = 1 tries smaller segments"
            .into(),
    );
    finding.refuse("net.ipv4.tcp_retries2", "it decides when the connection is given up, not how soon it goes on");
    vec![finding]
}
