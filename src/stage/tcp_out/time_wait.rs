//! More closed connections than are remembered.

use super::TIME_WAIT_OVERFLOW;
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::tcp_in::TCP_TW;
use crate::stage::tcp_in::timers::MAX_TW_BUCKETS;

pub static FULL: Rule = Rule {
    id: "time-wait-table-full",
    title: "Closed connections are forgotten too early: too many in TIME_WAIT",
    explain: "Whoever closes a connection first remembers it for 60 s (TIME_WAIT), so that late segments of it hit no new one \
              and the peer's last FIN is answered. Beyond net.ipv4.tcp_max_tw_buckets they are forgotten at once: the peer \
              may get a reset, and NAT or firewalls on the way keep what this host forgot. Entries are cheap, about 250 \
              bytes; that there are many is normal for a host that opens or closes many connections.",
    triggers: &[&TIME_WAIT_OVERFLOW],
    seen: &[],
    knobs: &[&MAX_TW_BUCKETS],
    thresholds: &[Threshold {
        key: "warning_per_second",
        default: 0.0,
        help: "connections/s above which it counts; own",
    }],
    fires: full,
    examples: &[
        Example { what: "30 of them in a second", severity: Some(Severity::Warning), observed: || overflow(30) },
        Example {
            what: "as many in TIME_WAIT as may be, none beyond",
            severity: None,
            observed: || Observed::quiet().with(&TCP_TW, 1_000).with_setting("net/ipv4/tcp_max_tw_buckets", "1000"),
        },
    ],
};

fn overflow(connections: u64) -> Observed {
    let seen = Observed::quiet().with(&TIME_WAIT_OVERFLOW, connections).with(&TCP_TW, 1_000);
    seen.with_setting("net/ipv4/tcp_max_tw_buckets", "1000")
}

/// What one takes (struct inet_timewait_sock, rounded up by its slab).
const ENTRY: u64 = 256;
/// How long each is remembered, in seconds (TCP_TIMEWAIT_LEN in include/net/tcp.h).
const REMEMBERED: f64 = 60.0;

fn full(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let forgotten = seen.delta(&TIME_WAIT_OVERFLOW);
    let limit = seen.threshold(rule, "warning_per_second");
    if forgotten == 0 || seen.rate(forgotten).is_some_and(|rate| rate <= limit) {
        return Vec::new();
    }
    let why = format!("{forgotten} connections were forgotten when they were closed");
    let mut finding = Finding::new(rule, Severity::Warning, Scope::Netns, 0, why);
    finding.evidence.push(seen.evidence(&TIME_WAIT_OVERFLOW, Some(limit)));
    if let Some((most, _)) = seen.changes.gauge(&TCP_TW).filter(|(most, _)| *most > 0) {
        finding.why += &format!("; {most} were in TIME_WAIT at most");
        finding.evidence.push(seen.evidence(&TCP_TW, None));
    }
    let missing = seen.rate(forgotten).map_or(0.0, |rate| rate * REMEMBERED) as u64;
    let to = |present: &[u64]| {
        let present = present.first().copied().unwrap_or(0);
        vec![present.saturating_mul(2).max(present.saturating_add(missing))]
    };
    let why = "twice the present number, or room for all that are closed at this rate within 60 s";
    finding.suggest(seen.raise_all(&MAX_TW_BUCKETS, to, why, |more| more.saturating_mul(ENTRY)));
    finding.refuse("net.ipv4.tcp_fin_timeout", "it does not shorten TIME_WAIT, which is fixed at 60 s");
    finding.refuse("net.ipv4.tcp_tw_recycle", "gone since 4.12: it broke clients behind NAT");
    finding.refuse("net.ipv4.tcp_tw_reuse", "it lets connect() take a port again, and forgets nothing earlier");
    vec![finding]
}
