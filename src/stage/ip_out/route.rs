//! Packets of our own for which there is no route.

use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::tcp_listen::{OUT_NO_ROUTES, OUT6_NO_ROUTES};

pub static NO_ROUTE: Rule = Rule {
    id: "no-route-out",
    title: "Applications send where no route leads",
    explain: "The routing tables have no entry for the destination, and no default route: the application gets ENETUNREACH \
              and nothing is sent. Answers to SYNs and forwarded ICMP errors can be among them. Mostly the default route is \
              gone (a DHCP lease that ended, a VPN that went down), or an application tries IPv6 on a host that has none. \
              The latter, a try now and then, is normal and not told.",
    triggers: &[&OUT_NO_ROUTES, &OUT6_NO_ROUTES],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold { key: "warning_per_second", default: 1.0, help: "packets/s over IPv4; own: below, a remark" },
        Threshold { key: "warning_per_second_v6", default: 10.0, help: "packets/s over IPv6; own: below, silent" },
    ],
    fires: no_route,
    examples: &[
        Example {
            what: "60 in a second",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&OUT_NO_ROUTES, 60),
        },
        Example {
            what: "three in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = Observed::quiet().with(&OUT_NO_ROUTES, 3);
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "60 over IPv6 in a second",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with(&OUT6_NO_ROUTES, 60),
        },
        Example {
            what: "applications try IPv6 on a host that has only IPv4",
            severity: None,
            observed: || Observed::quiet().with(&OUT6_NO_ROUTES, 4),
        },
    ],
};

fn no_route(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let [limit4, limit6] = ["warning_per_second", "warning_per_second_v6"].map(|key| seen.threshold(rule, key));
    let [lost4, lost6] = [&OUT_NO_ROUTES, &OUT6_NO_ROUTES].map(|counter| seen.delta(counter));
    let reaches = |lost, limit: f64| seen.rate(lost).is_some_and(|rate| rate >= limit);
    let (told6, many4) = (lost6 > 0 && reaches(lost6, limit6), reaches(lost4, limit4));
    if lost4 == 0 && !told6 {
        return Vec::new();
    }
    let severity = if told6 || many4 { Severity::Warning } else { Severity::Info };
    let families = [(lost4, "IPv4", lost4 > 0), (lost6, "IPv6", told6)];
    let parts = families.iter().filter(|(_, _, told)| *told).map(|(lost, family, _)| format!("{lost} over {family}"));
    let why = format!("{}: no route, so nothing was sent", parts.collect::<Vec<_>>().join(" and "));
    let lost = lost4.saturating_add(if told6 { lost6 } else { 0 });
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, why);
    if lost4 > 0 {
        finding.evidence.push(seen.evidence(&OUT_NO_ROUTES, Some(limit4)));
    }
    if told6 {
        finding.evidence.push(seen.evidence(&OUT6_NO_ROUTES, Some(limit6)));
    }
    finding.no_setting_helps = Some(
        "a route is missing, and whoever runs this network sets it: 'ip route get DESTINATION' tells which destinations \
         have none, 'ip rule' whether a rule forbids them"
            .into(),
    );
    finding.refuse("net.ipv4.ip_forward", "it is about packets of others");
    vec![finding]
}
