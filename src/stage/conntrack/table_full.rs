//! No room for another flow.

use super::{COUNT, DROP, INSERT_FAILED, MAX};
use crate::model::{
    Example, Finding, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold, power_of_two,
};

pub static TABLE_FULL: Rule = Rule {
    id: "conntrack-table-full",
    title: "The connection tracking table is full, or nearly so",
    explain: "Netfilter remembers every flow, also UDP ones and idle connections (up to five days). When \
              net.netfilter.nf_conntrack_max entries are there, the first packet of every further flow is dropped, \
              whoever it is for; the kernel log says 'table full, dropping packet'. Each network namespace counts for \
              itself, but the limit is one value for all and only the host's own namespace can change it. \
              Besides a larger table: shorter timeouts for idle flows, or no tracking (notrack) for stateless services \
              such as DNS. Raise nf_conntrack_buckets with it, or look-ups get slow.",
    triggers: &[&DROP, &COUNT],
    seen: &[],
    knobs: &[&CONNTRACK_MAX],
    thresholds: &[
        Threshold { key: "warning_percent", default: 75.0, help: "fill of the table in %; Prometheus node-mixin" },
        Threshold { key: "critical_percent", default: 95.0, help: "fill of the table in %; netdata" },
    ],
    fires: table_full,
    examples: &[
        Example {
            what: "900 packets dropped, the table is full",
            severity: Some(Severity::Critical),
            observed: || filled(50).with(&DROP, 900),
        },
        Example { what: "48 of 50 entries used", severity: Some(Severity::Critical), observed: || filled(48) },
        Example { what: "40 of 50 entries used", severity: Some(Severity::Warning), observed: || filled(40) },
        Example { what: "half full", severity: None, observed: || filled(25) },
        Example {
            what: "two packets of a flow raced each other, and one was dropped",
            severity: None,
            observed: || filled(1).with(&DROP, 4).with(&INSERT_FAILED, 4),
        },
        Example {
            what: "one packet dropped while the table is nearly empty (out of memory)",
            severity: Some(Severity::Info),
            observed: || filled(1).with(&DROP, 1),
        },
    ],
};

fn filled(count: u64) -> Observed {
    Observed::quiet().with(&COUNT, count).with(&MAX, 50).with_setting("net/netfilter/nf_conntrack_max", "50")
}

fn table_full(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    // A lost race counts as a drop as well (nf_ct_resolve_clash() in net/netfilter/nf_conntrack_core.c).
    let lost = seen.delta(&DROP).saturating_sub(seen.delta(&INSERT_FAILED));
    // Where the fill can't be read, a loss is still a loss.
    let (peak, max, known) = match (seen.changes.gauge(&COUNT), seen.changes.gauge(&MAX)) {
        (Some((peak, _)), Some((_, max))) => (peak, max, true),
        _ => (0, 0, false),
    };
    // 0 switches the limit off.
    let fill = if max == 0 { 0.0 } else { peak as f64 * 100.0 / max as f64 };
    let (warning, critical) = (seen.threshold(rule, "warning_percent"), seen.threshold(rule, "critical_percent"));
    let severity = if fill > critical || (fill > warning && lost > 0) {
        Severity::Critical
    } else if fill > warning {
        Severity::Warning
    } else if lost > 0 {
        Severity::Info
    } else {
        return Vec::new();
    };
    let why = match (known, max) {
        (false, _) => format!("{lost} packets were dropped; how full the table is can't be read"),
        (true, 0) => format!("{lost} packets were dropped, although no limit is set; {peak} entries were in use"),
        (true, _) => format!("at its fullest, {peak} of {max} entries were in use; {lost} packets were dropped"),
    };
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, why);
    if lost > 0 {
        finding.evidence.push(seen.evidence(&DROP, None));
    }
    if max > 0 {
        finding.evidence.push(seen.evidence(&COUNT, Some(max as f64 * warning / 100.0)));
    }
    if severity == Severity::Info {
        let reason = match known {
            false => {
                "whether the table is full can't be told: nf_conntrack_count and nf_conntrack_max can't be read here"
            }
            true => "the table has room: the drops come from want of memory, or from entries that could not be made",
        };
        finding.no_setting_helps = Some(reason.into());
        return vec![finding];
    }
    finding.suggest(seen.raise(
        &CONNTRACK_MAX,
        power_of_two(peak.max(max).saturating_mul(2)),
        "twice the entries in use at the fullest, as a power of two",
        // An entry takes about 320 bytes (struct nf_conn with its usual extensions).
        |more| more.saturating_mul(320),
    ));
    vec![finding]
}

pub static CONNTRACK_MAX: Knob = Knob {
    id: "net.netfilter.nf_conntrack_max",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "entries",
    range: 1..=16_777_216,
    default: "262144 with more than 4 GiB of memory since 5.15, 65536 with more than 1 GiB",
    help: "Flows that each network namespace may track. One value for all; read-only in a child namespace.",
    formula: "twice the peak",
    risk: Risk::Medium,
    harm: "320 bytes of kernel memory an entry; long hash chains unless nf_conntrack_buckets grows too",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d, and the module in modules-load.d: the key exists only once it is loaded",
};
