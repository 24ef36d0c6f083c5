//! Packets that IP took in and that nobody counted afterwards.

use super::{IN_MARTIAN_DST, IN_MARTIAN_SRC, IN_RECEIVES, IN6_RECEIVES, REVERSE_PATH_FILTER};
use crate::model::{Evidence, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::forward::{FORW_DATAGRAMS, OUT6_FORW_DATAGRAMS};

pub static UNACCOUNTED: Rule = Rule {
    id: "input-unaccounted",
    title: "Packets vanish in IP input without any counter",
    explain: "IP counts what it takes in, what it passes on and what it drops for reasons of its own. The rest was taken out \
              by somebody who counts elsewhere or not at all: rules of nftables and iptables (PREROUTING, INPUT, \
              FORWARD), IPsec policies (/proc/net/xfrm_stat), impossible addresses (rt_cache.in_martian_*), IPVS, \
              multicast routing. The number is the ledger's line for ip_in, beyond what may have passed while the \
              counters were read. With the drop probe most of it is told by its reason instead (firewall-drops). On a \
              router, IPVS and multicast routing distort the sum: there it is a remark.",
    triggers: &[&IN_RECEIVES, &IN6_RECEIVES],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "info_percent", default: 0.1, help: "share of the packets taken in, in %; own" },
        Threshold { key: "warning_percent", default: 1.0, help: "the same, from which it is no remark any more; own" },
        Threshold { key: "warning_per_second", default: 10.0, help: "packets/s; own: below, a remark" },
    ],
    fires: unaccounted,
    examples: &[
        Example {
            what: "50 of 98 packets in a second, dropped by a firewall rule",
            severity: Some(Severity::Warning),
            observed: || missing(50, 98),
        },
        Example {
            what: "40 of 10,000 packets in a second",
            severity: Some(Severity::Info),
            observed: || missing(40, 10_000),
        },
        Example {
            what: "half of what a router takes in: IPVS or multicast routing may be what takes it",
            severity: Some(Severity::Info),
            observed: || missing(5_000, 10_000).with(&FORW_DATAGRAMS, 4_000),
        },
        Example {
            what: "as many impossible addresses were counted",
            severity: Some(Severity::Info),
            observed: || missing(50, 98).with(&IN_MARTIAN_SRC, 50),
        },
        Example { what: "3 of 10,000 packets", severity: None, observed: || missing(3, 10_000) },
        Example {
            what: "everything is accounted for",
            severity: None,
            observed: || Observed::quiet().with(&IN_RECEIVES, 10_000),
        },
    ],
};

fn missing(packets: u64, taken: u64) -> Observed {
    Observed::quiet().with(&IN_RECEIVES, taken).with_unexplained("ip_in", packets)
}

fn unaccounted(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let missing = seen.unexplained.get("ip_in").copied().unwrap_or(0);
    let taken = seen.delta_of(&[&IN_RECEIVES, &IN6_RECEIVES]);
    let percent = missing as f64 * 100.0 / taken.max(1) as f64;
    if missing == 0 || percent <= seen.threshold(rule, "info_percent") {
        return Vec::new();
    }
    // Of the whole machine: it may or may not be these.
    let source = seen.delta(&IN_MARTIAN_SRC).saturating_sub(seen.delta(&REVERSE_PATH_FILTER));
    let martians = source.saturating_add(seen.delta(&IN_MARTIAN_DST));
    let routes = seen.delta_of(&[&FORW_DATAGRAMS, &OUT6_FORW_DATAGRAMS]) > 0;
    let fast = seen.rate(missing).is_some_and(|rate| rate > seen.threshold(rule, "warning_per_second"));
    let many = percent > seen.threshold(rule, "warning_percent") && fast;
    let severity = if many && !routes && martians < missing { Severity::Warning } else { Severity::Info };
    let mut why = format!("{percent:.1} % of what IP took in was neither passed on nor counted as dropped");
    if martians > 0 {
        why += &format!("; up to {martians} of it may be packets with impossible addresses: see martian-packets");
    }
    if routes {
        why += "; this host forwards, and IPVS or multicast routing take packets without counting them here";
    }
    let mut finding = Finding::new(rule, severity, Scope::Netns, missing, why);
    finding.evidence.push(Evidence {
        counter: "ledger.unexplained".into(),
        instance: Instance::Only,
        delta: missing,
        per_second: seen.rate(missing),
        threshold: None,
    });
    let moved = [&IN_RECEIVES, &IN6_RECEIVES].into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence.extend(moved.map(|counter| seen.evidence(counter, None)));
    finding.no_setting_helps = Some(
        "mostly a firewall rule drops them, and whoever made it can change it: 'netstat-deep drops --by rule' names the \
         rules, 'nft list ruleset' shows the counters of those that have one"
            .into(),
    );
    vec![finding]
}
