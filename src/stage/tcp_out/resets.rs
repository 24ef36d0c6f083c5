//! More resets than usual.

use super::{ABORT_ON_CLOSE, ABORT_ON_LINGER, OUT_SEGS};
use crate::model::{Change, Counter, Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::tcp_in::ABORT_ON_DATA;
use crate::stage::tcp_listen::OUT_RSTS;

pub static RESETS: Rule = Rule {
    id: "resets-sent",
    title: "This host resets connections, and more of them than it used to",
    explain: "A reset goes out for two reasons. A segment came that fits no connection: its port is closed, because a service \
              is gone or somebody scans, or the connection is over here and not at the other end (tcp_v4_send_reset() in \
              net/ipv4/tcp_ipv4.c). Or an application here cut a connection off: it closed it with data unread or with \
              SO_LINGER 0, or data came after it had closed (tcp_send_active_reset() in net/ipv4/tcp_output.c). How many \
              are normal depends on the host, so they are held against the share of all segments that resets had before \
              the window. Health checks that end with a reset are normal.",
    triggers: &[&OUT_RSTS],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "least_per_second", default: 5.0, help: "resets/s; netdata: not above that, silent" },
        Threshold {
            key: "times_usual",
            default: 10.0,
            help: "times the share of segments that resets had before; netdata, of a minute's mean",
        },
    ],
    fires: resets,
    examples: &[
        Example {
            what: "a service is gone: 60 of 600 segments, 100 of 1,000,000 before",
            severity: Some(Severity::Info),
            observed: || sent([60, 600], [100, 1_000_000]),
        },
        Example {
            what: "an application closes its connections with data unread",
            severity: Some(Severity::Info),
            observed: || sent([50, 500], [0, 0]).with(&ABORT_ON_CLOSE, 50),
        },
        Example {
            what: "a load balancer that always ends its checks so",
            severity: None,
            observed: || sent([60, 600], [50_000, 1_000_000]),
        },
        Example { what: "a port is asked now and then", severity: None, observed: || sent([4, 40], [0, 1_000_000]) },
    ],
};

/// Resets and segments, in the window and before it.
fn sent([resets, segments]: [u64; 2], before: [u64; 2]) -> Observed {
    let mut seen = Observed::quiet().with(&OUT_RSTS, resets).with(&OUT_SEGS, segments);
    for (table, before) in seen.changes.tables.iter_mut().zip(before) {
        for change in table.rows.iter_mut().flat_map(|row| &mut row.changes).flatten() {
            if let Change::Total { total, .. } = change {
                *total += before;
            }
        }
    }
    seen
}

/// What a counter said when the window began.
fn before(seen: &Observed, counter: &'static Counter) -> u64 {
    let of = |change: &Change| match change {
        Change::Total { total, delta } => total.saturating_sub(delta.unwrap_or(0)),
        Change::Gauge { .. } => 0,
    };
    seen.changes.each(counter).map(|(_, change)| of(&change)).sum()
}

fn resets(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (resets, segments) = (seen.delta(&OUT_RSTS), seen.delta(&OUT_SEGS));
    let share = |resets: u64, segments: u64| resets as f64 / segments.max(resets).max(1) as f64;
    let (now, usual) = (share(resets, segments), share(before(seen, &OUT_RSTS), before(seen, &OUT_SEGS)));
    let limit = seen.threshold(rule, "least_per_second");
    let few = seen.rate(resets).is_none_or(|rate| rate <= limit);
    if resets == 0 || few || now <= usual * seen.threshold(rule, "times_usual") {
        return Vec::new();
    }
    let own = seen.delta_of(&[&ABORT_ON_CLOSE, &ABORT_ON_LINGER, &ABORT_ON_DATA]).min(resets);
    let mut why = format!("{resets} resets, {:.1} % of the segments sent", now * 100.0);
    if usual > 0.0 {
        why += &format!(", {:.2} % before", usual * 100.0);
    }
    let answers = resets - own;
    if own > 0 {
        why += &format!("; {own} of them cut off connections of applications here");
    }
    if answers > 0 {
        why += &format!("; {answers} answered segments that fit no connection or listener");
    }
    let mut finding = Finding::new(rule, Severity::Info, Scope::Netns, 0, why);
    finding.evidence.push(seen.evidence(&OUT_RSTS, Some(limit)));
    let moved = [&ABORT_ON_CLOSE, &ABORT_ON_LINGER, &ABORT_ON_DATA];
    let moved = moved.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence.extend(moved.map(|counter| seen.evidence(counter, None)));
    finding.no_setting_helps = Some(if own > answers {
        "an application here ends its connections so: it should read what came before it closes, or not set SO_LINGER \
         to 0"
            .into()
    } else {
        "'netstat-deep drops --each' names port and peer of each such segment (NO_SOCKET); 'ss -tln' shows whether the \
         service listens. If it does not, start it; if it never did, it is a scan, for a firewall"
            .into()
    });
    finding.refuse("net.ipv4.tcp_rfc1337", "it is about resets that come in for connections in TIME_WAIT");
    vec![finding]
}
