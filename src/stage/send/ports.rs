//! Connections that find no free local port.

use std::ops::RangeInclusive;

use crate::model::{Example, Finding, Instance, Knob, Observed, Place, PortUse, Risk, Rule, Scope, Settings, Severity};
use crate::model::{Suggestion, Threshold, Victim};
use crate::stage::tcp_in::segments::TIMESTAMPS;
use crate::stage::tcp_in::timers::{LOCAL_PORT_RANGE, TW_REUSE, TW_REUSE_DELAY};
use crate::stage::tcp_in::{NETNS, TCP_INUSE, TCP_TW, TCP6_INUSE};

pub(super) static RESERVED_PORTS: Knob = Knob {
    id: "net.ipv4.ip_local_reserved_ports",
    unit: "list of ports",
    range: 1..=65_535,
    default: "empty",
    help: "Ports of ip_local_port_range that connect() and bind(0) leave alone, as 8080,9000-9100: for services that want to \
           listen there. bind() to one of them by number works.",
    formula: "the ports of services within ip_local_port_range; widen the range rather than shorten the list",
    risk: Risk::Low,
    harm: "fewer ports for connections",
    takes_effect: "for new connections",
    ..NETNS
};

pub(super) static BIND_NO_PORT: Knob = Knob {
    id: "IP_BIND_ADDRESS_NO_PORT",
    place: Place::APPLICATION,
    scope: Scope::Application,
    keep: "the application's code",
    unit: "switch",
    range: 0..=1,
    default: "0; since 4.2",
    help: "Whether bind() with port 0 leaves the choice of the port to connect(). Without it an application that binds to a \
           local address first takes a port that no other of its connections can have, to whatever service: one range for \
           all.",
    formula: "1 in everything that binds to an address before it connects (proxies, load balancers)",
    risk: Risk::Low,
    harm: "none that is known",
    takes_effect: "when the application sets it, before bind()",
    waits: true,
    ..NETNS
};

pub(super) static EXHAUSTED: Rule = Rule {
    id: "ephemeral-ports-exhausted",
    title: "Connections run out of local ports",
    explain: "connect() takes a local port of net.ipv4.ip_local_port_range. Connections to different services may share one, \
              so the range is the limit for each local address and service: 28,232 by default. When all are taken, \
              connect() fails with EADDRNOTAVAIL ('Cannot assign requested address'), which no counter of the kernel shows; \
              long before, it takes long to find a free one. Ports in TIME_WAIT are taken too, for 60 s after the end of \
              each connection that was closed here first, unless net.ipv4.tcp_tw_reuse gives them away. Connections that \
              were bound to an address before (without IP_BIND_ADDRESS_NO_PORT) share one range for all services; the \
              kernel does not tell which those are, so that many ports are in use to several services is not told of.",
    triggers: &[&TCP_INUSE, &TCP6_INUSE, &TCP_TW],
    seen: &[],
    knobs: &[&LOCAL_PORT_RANGE, &RESERVED_PORTS, &TW_REUSE, &TW_REUSE_DELAY, &TIMESTAMPS],
    thresholds: &[
        Threshold { key: "warning_percent", default: 80.0, help: "of the ports there are for a service, in %; own" },
        Threshold { key: "critical_percent", default: 98.0, help: "the same: connects fail now; own" },
    ],
    fires: exhausted,
    examples: &[
        Example {
            what: "28,232 connections to one service",
            severity: Some(Severity::Critical),
            observed: || held(PortUse::example(28_232, 0, 0)),
        },
        Example {
            what: "connections that are closed at once, 25,000 in a minute",
            severity: Some(Severity::Warning),
            observed: || held(PortUse::example(10, 400, 24_590)),
        },
        Example {
            what: "half of the range is reserved",
            severity: Some(Severity::Critical),
            observed: || {
                let seen = held(PortUse::example(13_000, 0, 0));
                seen.with_setting("net/ipv4/ip_local_reserved_ports", "8080,32768-47767")
            },
        },
        Example {
            what: "a range that is wide already",
            severity: Some(Severity::Critical),
            observed: || {
                let seen = held(PortUse::example(64_000, 0, 0));
                seen.with_setting("net/ipv4/ip_local_port_range", "1024 65535")
            },
        },
        Example {
            what: "the same in TIME_WAIT, which tcp_tw_reuse gives away",
            severity: None,
            observed: || held(PortUse::example(10, 400, 27_000)).with_setting("net/ipv4/tcp_tw_reuse", "1"),
        },
        Example {
            what: "in TIME_WAIT on loopback, where it does so by default",
            severity: None,
            observed: || {
                let local = PortUse::example(10, 400, 27_000);
                let here = std::net::IpAddr::from([127, 0, 0, 1]);
                held(PortUse { from: here, to: (here, 80).into(), ..local })
            },
        },
        Example {
            what: "60,000 connections, to three services",
            severity: None,
            observed: || {
                let mut seen = held(PortUse::example(20_000, 0, 0));
                for port in [5433, 5434] {
                    let other = PortUse::example(20_000, 0, 0);
                    seen.ports.push(PortUse { to: (other.to.ip(), port).into(), ..other });
                }
                seen
            },
        },
        Example {
            what: "a server with 100,000 clients",
            severity: None,
            observed: || defaults(Observed::quiet().with(&TCP_INUSE, 100_000)),
        },
    ],
};

fn defaults(seen: Observed) -> Observed {
    seen.with_setting("net/ipv4/ip_local_port_range", "32768 60999")
        .with_setting("net/ipv4/ip_local_reserved_ports", "")
        .with_setting("net/ipv4/tcp_tw_reuse", "2")
        .with_setting("net/ipv4/tcp_timestamps", "1")
}

fn held(ports: PortUse) -> Observed {
    let seen = Observed::quiet().with(&TCP_INUSE, ports.open).with(&TCP_TW, ports.fresh + ports.rested);
    let mut seen = defaults(seen);
    seen.ports.push(ports);
    seen
}

/// The ports that connect() chooses from, if the setting makes sense.
pub fn range(settings: &Settings) -> Option<RangeInclusive<u16>> {
    match settings.numbers(&LOCAL_PORT_RANGE.path())?[..] {
        [first, last] => Some(u16::try_from(first).ok()?..=u16::try_from(last).ok()?),
        _ => None,
    }
}

/// How many of them it may take: the reserved ones are left out.
pub fn choice(settings: &Settings) -> Option<u64> {
    let range = range(settings)?;
    let reserved = settings.get(&RESERVED_PORTS.path()).unwrap_or_default();
    let within = reserved.split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let (first, last) = (first.max(*range.start()), last.min(*range.end()));
        (first <= last).then(|| u64::from(last - first) + 1)
    });
    Some((range.len() as u64).saturating_sub(within.sum()))
}

/// Whether a port that rested long enough in TIME_WAIT is given away (net/ipv4/tcp_ipv4.c tcp_twsk_unique()).
fn reuses(settings: &Settings, ports: &PortUse) -> bool {
    let allowed = match settings.number(&TW_REUSE.path()) {
        Some(1) => true,
        Some(2) => ports.is_loopback(),
        _ => false,
    };
    allowed && settings.number(&TIMESTAMPS.path()) != Some(0)
}

fn exhausted(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    seen.ports.iter().filter_map(|ports| of(seen, rule, ports)).collect()
}

fn of(seen: &Observed, rule: &Rule, ports: &PortUse) -> Option<Finding> {
    let (all, range) = (choice(&seen.settings)?, range(&seen.settings)?);
    let resting = if reuses(&seen.settings, ports) { ports.fresh } else { ports.fresh + ports.rested };
    let taken = ports.open + resting;
    let percent = taken as f64 * 100.0 / all.max(1) as f64;
    let [warning, critical] = ["warning_percent", "critical_percent"].map(|key| seen.threshold(rule, key));
    if percent < warning {
        return None;
    }
    let severity = if percent >= critical { Severity::Critical } else { Severity::Warning };
    let PortUse { from, to, .. } = ports;
    let mut why =
        format!("of {all} ports ({} to {}), connections from {from} to {to} hold {taken}", range.start(), range.end());
    if resting > 0 {
        why += &format!(", {resting} of them in TIME_WAIT");
    }
    why += if severity == Severity::Critical {
        "; connect() fails with EADDRNOTAVAIL, which nobody counts"
    } else {
        "; when none is left, connect() fails with EADDRNOTAVAIL"
    };
    let mut finding = Finding::new(rule, severity, Scope::Netns, 0, why);
    finding.instance = Instance::Socket { socket: to.to_string() };
    let counters = [&TCP_INUSE, &TCP6_INUSE, &TCP_TW].into_iter();
    let there = counters.filter(|counter| seen.changes.gauge(counter).is_some_and(|(most, _)| most > 0));
    finding.evidence = there.map(|counter| seen.evidence(counter, None)).collect();
    finding.victims.push(Victim {
        local: Some(from.to_string()),
        remote: Some(to.to_string()),
        inode: ports.inode,
        cookie: ports.cookie,
        ..Victim::default()
    });
    finding.suggest(more(seen, &range, resting * 2 >= taken && !reuses(&seen.settings, ports)));
    finding.refuse("net.ipv4.tcp_fin_timeout", "it does not shorten TIME_WAIT, which is fixed at 60 s");
    finding
        .refuse("net.ipv4.tcp_max_tw_buckets", "lower, it cuts TIME_WAIT off, and late segments hit new connections");
    finding.refuse("net.ipv4.tcp_tw_recycle", "gone since 4.12: it broke clients behind NAT");
    Some(finding)
}

/// As wide as is common: below it are the services that everybody knows.
const WIDE: RangeInclusive<u16> = 10_240..=65_535;

/// What gives more ports: those that rest, if they are what is in the way, else a wider range.
fn more(seen: &Observed, range: &RangeInclusive<u16>, rest: bool) -> Result<Suggestion, String> {
    let reuse = seen.settings.get(&TW_REUSE.path());
    if let Some(reuse) = reuse.filter(|_| rest && seen.settings.number(&TIMESTAMPS.path()) != Some(0)) {
        let why = "most ports rest in TIME_WAIT; a new connection may take those that have for a second";
        return Ok(seen.suggest(&TW_REUSE, Instance::Only, reuse.into(), "1".into(), why));
    }
    let wide = *range.start().min(WIDE.start())..=*range.end().max(WIDE.end());
    if wide == *range {
        return Err(format!(
            "net.ipv4.ip_local_port_range already is {} {}: let connections be kept and used again (a pool, keep-alive), \
             or spread them over more addresses of this host or of the service",
            range.start(),
            range.end()
        ));
    }
    let text = |range: &RangeInclusive<u16>| format!("{} {}", range.start(), range.end());
    let why = "as wide as is common; a service that wants to listen in it needs net.ipv4.ip_local_reserved_ports";
    Ok(seen.suggest(&LOCAL_PORT_RANGE, Instance::Only, text(range), text(&wide), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_no_choice() {
        let of = |reserved: &str| {
            let mut settings = Settings::default();
            settings.insert("net/ipv4/ip_local_port_range", "40000 40099");
            settings.insert("net/ipv4/ip_local_reserved_ports", reserved);
            choice(&settings)
        };
        assert_eq!(
            ["", "80", "40010", "39990-40009,40099", "40000-40099", "x,-,70000-1"].map(of),
            [Some(100), Some(100), Some(99), Some(89), Some(0), Some(100)]
        );
    }
}
