//! ICMP errors that this host does not send because it sent too many.

use super::{ICMP_OUT_RATE_LIMIT_GLOBAL, ICMP_OUT_RATE_LIMIT_HOST, ICMP6_OUT_RATE_LIMIT_HOST};
use crate::model::{Counter, Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::forward::ICMP_MSGS_PER_SEC;

pub static SUPPRESSED: Rule = Rule {
    id: "icmp-errors-suppressed",
    title: "ICMP errors are held back",
    explain: "This host answers what it can't deliver with ICMP errors, and limits them: to each receiver \
              (net.ipv4.icmp_ratelimit), and to all together (net.ipv4.icmp_msgs_per_sec). Beyond that it is silent: \
              senders wait for a timeout instead of learning at once that a port is closed or a packet too big, and \
              traceroute shows stars. A scan of ports provokes it, and then the limit does what it is for: so only the limit \
              for all receivers, which one of them can use up for the others, is worth raising, and only on routers and load \
              balancers.",
    triggers: &[&ICMP_OUT_RATE_LIMIT_GLOBAL, &ICMP_OUT_RATE_LIMIT_HOST, &ICMP6_OUT_RATE_LIMIT_HOST],
    seen: &[],
    knobs: &[&ICMP_MSGS_PER_SEC],
    thresholds: &[Threshold { key: "info_per_second", default: 10.0, help: "messages/s; own: below, silent" }],
    fires: suppressed,
    examples: &[
        Example {
            what: "400 messages in a second beyond the limit for all receivers",
            severity: Some(Severity::Info),
            observed: || limited(&ICMP_OUT_RATE_LIMIT_GLOBAL, 400),
        },
        Example {
            what: "400 messages in a second beyond the limit of their receiver",
            severity: Some(Severity::Info),
            observed: || limited(&ICMP_OUT_RATE_LIMIT_HOST, 400),
        },
        Example {
            what: "a client tries a closed port again and again",
            severity: None,
            observed: || limited(&ICMP_OUT_RATE_LIMIT_HOST, 3),
        },
    ],
};

fn limited(counter: &'static Counter, messages: u64) -> Observed {
    Observed::quiet().with(counter, messages).with_setting("net/ipv4/icmp_msgs_per_sec", "1000")
}

/// A router or load balancer may well send so many.
const MORE: u64 = 5_000;

fn suppressed(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let all = [&ICMP_OUT_RATE_LIMIT_GLOBAL, &ICMP_OUT_RATE_LIMIT_HOST, &ICMP6_OUT_RATE_LIMIT_HOST];
    let [global, host, host6] = all.map(|counter| seen.delta(counter));
    let held_back = seen.delta_of(&all);
    let limit = seen.threshold(rule, "info_per_second");
    if seen.rate(held_back).is_none_or(|rate| rate < limit) {
        return Vec::new();
    }
    let to_one = host.saturating_add(host6);
    let why = match (global, to_one) {
        (0, _) => format!("{to_one} errors went to receivers that had got one a moment before"),
        (_, 0) => format!("{global} errors were more than this host sends to all receivers together"),
        _ => format!("{global} errors were more than this host sends to all, {to_one} more than to one receiver"),
    };
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, why);
    let moved = all.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, Some(limit))).collect();
    if global > 0 {
        let why = "on a router or load balancer; on other hosts, look for the scan that provokes the errors";
        finding.suggest(seen.raise(&ICMP_MSGS_PER_SEC, MORE, why, |_| 0));
    } else {
        finding.no_setting_helps = Some(
            "somebody sends again and again to what this host can't deliver; the limit keeps it from answering each. Find \
             who: 'tcpdump icmp or icmp6'"
                .into(),
        );
        finding.refuse("net.ipv4.icmp_msgs_per_sec", "the limit for all receivers was not reached");
    }
    finding.refuse("net.ipv4.icmp_ratelimit", "0 lets this host be used to flood others");
    vec![finding]
}
