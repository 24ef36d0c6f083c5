//! Two first packets of a flow, or of two flows that NAT gives one name, are entered at the same time.

use super::{CHAINLENGTH, CLASHRES, INSERT_FAILED};
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};

pub static RACES: Rule = Rule {
    id: "conntrack-insert-races",
    title: "First packets are dropped because another one was entered before them",
    explain: "An entry is made when the first packet of a flow comes, but put into the table only when that packet has \
              passed all rules. If two packets of one flow, or of two flows that NAT maps to the same address and port, \
              are on their way through the rules at the same time on two CPUs, the second finds its place taken and is \
              dropped. The best known victim is DNS: a resolver that sends A and AAAA queries at once from one socket \
              waits five seconds for the answer that never comes. Most such clashes are settled without loss since 5.8 \
              (nf_conntrack.clashres rising alone is healthy); what is left is mostly source NAT without free choice of \
              the port, and protocols other than UDP.",
    triggers: &[&INSERT_FAILED],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_below_per_second",
        default: 0.1,
        help: "packets/s below which it is a chance; own",
    }],
    fires: races,
    examples: &[
        Example {
            what: "12 packets in a second",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&INSERT_FAILED, 12),
        },
        Example {
            what: "one in a minute",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = Observed::quiet().with(&INSERT_FAILED, 1);
                seen.changes.seconds = Some(60.0);
                seen
            },
        },
        Example {
            what: "clashes that were settled",
            severity: None,
            observed: || Observed::quiet().with(&CLASHRES, 500),
        },
        Example {
            what: "chains that are too long: that is the hash table's fault",
            severity: None,
            observed: || Observed::quiet().with(&INSERT_FAILED, 20).with(&CHAINLENGTH, 20),
        },
    ],
};

fn races(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    // An entry that finds its chain too long fails to be entered, too (__nf_conntrack_confirm()).
    let lost = seen.delta(&INSERT_FAILED).saturating_sub(seen.delta(&CHAINLENGTH));
    if lost == 0 {
        return Vec::new();
    }
    let noise = seen.threshold(rule, "info_below_per_second");
    let severity = if seen.rate(lost).is_some_and(|rate| rate < noise) { Severity::Info } else { Severity::Warning };
    let settled = seen.delta(&CLASHRES);
    let why =
        format!("{lost} packets found their flow's place taken; {settled} such clashes were settled without loss");
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, why);
    finding.evidence.push(seen.evidence(&INSERT_FAILED, Some(noise)));
    if settled > 0 {
        finding.evidence.push(seen.evidence(&CLASHRES, None));
    }
    finding.no_setting_helps = Some(
        "whoever makes the rules or runs the clients can help: for DNS, 'options single-request-reopen' in resolv.conf or a \
         cache on the node; 'notrack' for what needs no state; for source NAT, more addresses or fully random ports"
            .into(),
    );
    finding.refuse("net.netfilter.nf_conntrack_max", "the table has room: the place was taken by the same flow");
    vec![finding]
}
