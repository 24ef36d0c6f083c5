//! Connection tracking: netfilter remembers every flow.

use crate::counters;
use crate::model::{
    Example, Finding, Flow, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Stage, Threshold, Unit,
    power_of_two,
};
use crate::source::groups::{CONNTRACK, NF_CONNTRACK};

counters! {
    /// Flows that the namespace tracks now. net/netfilter/nf_conntrack_standalone.c.
    COUNT = CONNTRACK.gauge("count", Unit::Entries);
    /// Flows that each namespace may track: net.netfilter.nf_conntrack_max. net/netfilter/nf_conntrack_standalone.c.
    MAX = CONNTRACK.gauge("max", Unit::Entries);
    /// Packets dropped because the table was full (and nothing could be evicted), or memory was short; received ones and
    /// our own. net/netfilter/nf_conntrack_core.c __nf_conntrack_alloc().
    DROP = NF_CONNTRACK.total("drop", Unit::Packets).same_loss("conntrack")
        .flow(Flow::MayExplain { at: "conntrack", from: "ip_in" });
    /// Entries that were evicted, before their time, to make room for new ones: the table is full.
    /// net/netfilter/nf_conntrack_core.c early_drop().
    EARLY_DROP = NF_CONNTRACK.total("early_drop", Unit::Entries);
    /// Packets dropped because another packet of the same flow was entered first (two DNS queries from one socket).
    /// net/netfilter/nf_conntrack_core.c __nf_conntrack_confirm().
    INSERT_FAILED = NF_CONNTRACK.total("insert_failed", Unit::Packets).same_loss("conntrack");
    /// Packets that belong to no flow and can't begin one; dropped only if a rule says so.
    /// net/netfilter/nf_conntrack_core.c nf_conntrack_in().
    INVALID = NF_CONNTRACK.total("invalid", Unit::Packets);
    /// Flows entered by hand or expectation. net/netfilter/nf_conntrack_core.c nf_conntrack_hash_check_insert().
    INSERT = NF_CONNTRACK.total("insert", Unit::Entries);
    /// Look-ups that found an entry only at its second try. net/netfilter/nf_conntrack_core.c nf_conntrack_tuple_taken().
    FOUND = NF_CONNTRACK.total("found", Unit::Events);
    /// Packets of flows that need no tracking, on kernels before 5.15. net/netfilter/nf_conntrack_core.c.
    IGNORE = NF_CONNTRACK.total("ignore", Unit::Packets);
    /// Clashes of two first packets of a flow that were settled without loss. net/netfilter/nf_conntrack_core.c
    /// nf_ct_resolve_clash().
    CLASHRES = NF_CONNTRACK.total("clashres", Unit::Packets);
    /// Times that an entry found no place because a hash chain was too long, since 5.15.
    /// net/netfilter/nf_conntrack_core.c __nf_conntrack_confirm().
    CHAINLENGTH = NF_CONNTRACK.total("chainlength", Unit::Events);
    /// ICMP errors that fit no flow. net/netfilter/nf_conntrack_proto_icmp.c.
    ICMP_ERROR = NF_CONNTRACK.total("icmp_error", Unit::Packets);
    /// Look-ups that had to start again because the table was being resized.
    /// net/netfilter/nf_conntrack_core.c ____nf_conntrack_find().
    SEARCH_RESTART = NF_CONNTRACK.total("search_restart", Unit::Events);
}

static TABLE_FULL: Rule = Rule {
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
    let lost = seen.delta(&DROP);
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

static CONNTRACK_MAX: Knob = Knob {
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

/// Within R10 and T4.
pub static STAGE: Stage = Stage {
    id: "conntrack",
    title: "conntrack",
    explain: "If any firewall rule or NAT asks for it, every packet is matched with a table of known flows, before \
              routing for received ones and before leaving for our own. A first packet makes an entry; if there is no \
              room it is dropped.",
    chapter: include_str!("chapter/conntrack.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[&TABLE_FULL],
    knobs: &[&CONNTRACK_MAX],
};
