//! The hash table is too small for the flows in it.

use super::{CHAINLENGTH, COUNT, MAX, SEARCH_RESTART};
use crate::model::{
    Example, Finding, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold, power_of_two,
};

pub static SMALL: Rule = Rule {
    id: "conntrack-hash-small",
    title: "The hash table of connection tracking is too small for its flows",
    explain: "Flows are found by a hash; those with the same hash stand in a chain that is searched one by one, for every \
              packet. Each flow stands there twice, for its two directions. Somebody who raises nf_conntrack_max alone \
              gets long chains: look-ups take the time, and since 5.15 a new flow whose chain is too long (50 to 80 \
              entries) is dropped with its first packet, though the table is far from full (nf_conntrack.chainlength). \
              Look-ups that start over again and again mean that the table is being resized, or that entries move between \
              chains very often.",
    triggers: &[&CHAINLENGTH, &SEARCH_RESTART, &COUNT],
    seen: &[],
    knobs: &[&BUCKETS],
    thresholds: &[
        Threshold { key: "flows_per_bucket", default: 4.0, help: "flows for each chain of the table; own" },
        Threshold { key: "restarts_per_second", default: 1000.0, help: "look-ups that started over, per second; own" },
    ],
    fires: small,
    examples: &[
        Example {
            what: "200 flows were dropped: their chain was too long",
            severity: Some(Severity::Warning),
            observed: || table(50_000, "1024").with(&CHAINLENGTH, 200),
        },
        Example {
            what: "1,000,000 flows in 65,536 chains",
            severity: Some(Severity::Info),
            observed: || table(1_000_000, "65536"),
        },
        Example {
            what: "5,000 look-ups in a second started over",
            severity: Some(Severity::Info),
            observed: || table(60_000, "65536").with(&SEARCH_RESTART, 5_000),
        },
        Example { what: "as many flows as chains", severity: None, observed: || table(65_536, "65536") },
        Example {
            what: "a look-up that started over",
            severity: None,
            observed: || table(100, "65536").with(&SEARCH_RESTART, 1),
        },
    ],
};

fn table(flows: u64, buckets: &str) -> Observed {
    Observed::quiet()
        .with(&COUNT, flows)
        .with(&MAX, 2_000_000)
        .with_setting("net/netfilter/nf_conntrack_buckets", buckets)
}

fn small(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (lost, restarts) = (seen.delta(&CHAINLENGTH), seen.delta(&SEARCH_RESTART));
    let flows = seen.changes.gauge(&COUNT).map_or(0, |(max, _)| max);
    let buckets = seen.settings.number(&BUCKETS.path()).unwrap_or(0);
    let (most, often) = (seen.threshold(rule, "flows_per_bucket"), seen.threshold(rule, "restarts_per_second"));
    let crowded = buckets > 0 && flows as f64 > most * buckets as f64;
    let restless = seen.rate(restarts).is_some_and(|rate| rate > often);
    if lost == 0 && !crowded && !restless {
        return Vec::new();
    }
    let severity = if lost > 0 { Severity::Warning } else { Severity::Info };
    let mut why = format!("{flows} flows stand in {buckets} chains");
    if lost > 0 {
        why += &format!("; {lost} new ones were dropped because theirs was too long");
    }
    if restless {
        why += &format!("; {restarts} look-ups had to start over");
    }
    let mut finding = Finding::new(rule, severity, Scope::Machine, lost, why);
    for (counter, threshold) in [(&CHAINLENGTH, None), (&SEARCH_RESTART, Some(often))] {
        if seen.delta(counter) > 0 {
            finding.evidence.push(seen.evidence(counter, threshold));
        }
    }
    finding.evidence.push(seen.evidence(&COUNT, Some(most * buckets as f64)));
    let to = power_of_two(flows.max(buckets.saturating_mul(2)));
    // A pointer each (struct hlist_nulls_head).
    finding
        .suggest(seen.raise(&BUCKETS, to, "a chain for each flow, as a power of two", |more| more.saturating_mul(8)));
    vec![finding]
}

pub static BUCKETS: Knob = Knob {
    id: "net.netfilter.nf_conntrack_buckets",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "buckets",
    range: 512..=16_777_216,
    default: "as nf_conntrack_max since 5.15 (262144 with more than 4 GiB of memory), a quarter of it before",
    help: "Chains of the table, one table for all network namespaces; read-only in a child namespace. The kernel rounds up to \
           whole pages (512). The same as /sys/module/nf_conntrack/parameters/hashsize.",
    formula: "nf_conntrack_max since 5.15, a quarter of it before: at most two flows in a chain",
    risk: Risk::Medium,
    harm: "8 bytes a chain; every flow is hashed anew when it is changed, look-ups wait for that moment",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d, and the module in modules-load.d; or 'options nf_conntrack hashsize=N' in modprobe.d",
};
