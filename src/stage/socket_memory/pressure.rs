//! What all TCP sockets of the machine hold together, and its limit.

use super::{TCP_ABORT_ON_MEMORY, TCP_MEM, TCP_MEMORY_PRESSURES, TCP_MEMORY_PRESSURES_CHRONO, orphans};
use crate::model::{
    Connections, Example, Finding, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Sockets, Suggestion,
    Threshold, Victim,
};

pub static PRESSURE: Rule = Rule {
    id: "tcp-memory-pressure",
    title: "All TCP sockets together hold more memory than TCP should",
    explain: "net.ipv4.tcp_mem has three numbers, in pages, for the whole machine and all its containers. Above the second, \
              TCP comes under pressure: windows stay small and buffers stop to grow, so connections get slow. Above the \
              third, segments are dropped and connections cut off ('out of memory -- consider tuning tcp_mem' in the \
              kernel's log). Mostly it is not too little memory but too much in queues: readers or peers that are too slow, \
              or connections that nobody serves any more. Only the host's own namespace can change the setting. Its default \
              is a tenth of the memory; a quarter is as much as is wise.",
    triggers: &[&TCP_MEM, &TCP_MEMORY_PRESSURES, &TCP_ABORT_ON_MEMORY],
    seen: &[],
    knobs: &[&TCP_MEM_LIMIT, &orphans::MAX_ORPHANS],
    thresholds: &[
        Threshold { key: "warning_percent", default: 100.0, help: "of the second number of tcp_mem, in %; netdata" },
        Threshold { key: "critical_percent", default: 90.0, help: "of the third number of tcp_mem, in %; netdata" },
    ],
    fires: under_pressure,
    examples: &[
        Example {
            what: "950 of 1000 pages held",
            severity: Some(Severity::Critical),
            observed: || held(950).with(&TCP_MEMORY_PRESSURES, 1),
        },
        Example {
            what: "750 pages held, pressure begins at 700",
            severity: Some(Severity::Warning),
            observed: || held(750),
        },
        Example {
            what: "TCP came under pressure and left it again",
            severity: Some(Severity::Warning),
            observed: || held(100).with(&TCP_MEMORY_PRESSURES, 1).with(&TCP_MEMORY_PRESSURES_CHRONO, 300),
        },
        Example {
            what: "connections were cut off, the limit can't be read in a container",
            severity: Some(Severity::Critical),
            observed: || {
                let mut seen = held(950).with(&TCP_MEMORY_PRESSURES, 1).with(&TCP_ABORT_ON_MEMORY, 4);
                seen.settings = Default::default();
                seen
            },
        },
        Example { what: "600 pages held, pressure begins at 700", severity: None, observed: || held(600) },
        Example {
            what: "connections were cut off because there are too many orphans",
            severity: None,
            observed: || {
                let seen = held(100).with(&TCP_ABORT_ON_MEMORY, 4).with(&super::TCP_ORPHAN, 15);
                seen.with_setting("net/ipv4/tcp_max_orphans", "16")
            },
        },
    ],
};

fn held(pages: u64) -> Observed {
    let largest = vec![crate::stage::tcp_in::example()];
    let connections = Some(Connections { largest, ..Connections::default() });
    let sockets = Some(Sockets { connections, ..Sockets::default() });
    Observed { sockets, ..Observed::quiet().with(&TCP_MEM, pages).with_setting("net/ipv4/tcp_mem", "500 700 1000") }
}

fn under_pressure(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let most = seen.changes.gauge(&TCP_MEM).map_or(0, |(most, _)| most);
    // What too many orphans did is theirs.
    let cut_off = if orphans::too_many(seen) { 0 } else { seen.delta(&TCP_ABORT_ON_MEMORY) };
    let times = seen.delta(&TCP_MEMORY_PRESSURES);
    let (warning, critical) = (seen.threshold(rule, "warning_percent"), seen.threshold(rule, "critical_percent"));
    let share = |limit: u64| most as f64 * 100.0 / limit.max(1) as f64;
    let limits = limits(seen);
    let severity = if cut_off > 0 || limits.is_some_and(|[_, _, max]| share(max) > critical) {
        Severity::Critical
    } else if times > 0 || limits.is_some_and(|[_, pressure, _]| share(pressure) > warning) {
        Severity::Warning
    } else {
        return Vec::new();
    };
    let mut why = match limits {
        Some([_, pressure, max]) => format!(
            "at most, {most} pages were held; pressure begins at {pressure}, and {max} is the limit of the machine"
        ),
        None => format!("at most, {most} pages were held by the whole machine"),
    };
    if times > 0 {
        why += &format!("; sockets of this namespace set off pressure {times} times");
    }
    if cut_off > 0 {
        why += &format!("; {cut_off} connections were cut off");
    }
    let mut finding = Finding::new(rule, severity, Scope::Machine, 0, why);
    finding.evidence.push(seen.evidence(&TCP_MEM, limits.map(|[_, pressure, _]| pressure as f64 * warning / 100.0)));
    let moved = [&TCP_MEMORY_PRESSURES, &TCP_MEMORY_PRESSURES_CHRONO, &TCP_ABORT_ON_MEMORY];
    let moved = moved.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence.extend(moved.map(|counter| seen.evidence(counter, None)));
    let largest = seen.sockets.iter().filter_map(|sockets| sockets.connections.as_ref()).flat_map(|all| &all.largest);
    finding.victims = largest.map(|one| Victim::of_connection(one, 0)).collect();
    finding.suggest(raise(seen));
    finding.refuse("net.core.rmem_max", "it is the limit of one socket; here all together are at theirs");
    finding.refuse("net.ipv4.tcp_rmem", "larger buffers for each would hold more, not less");
    vec![finding]
}

/// The three numbers of tcp_mem, where they can be read.
fn limits(seen: &Observed) -> Option<[u64; 3]> {
    seen.settings.numbers(&TCP_MEM_LIMIT.path())?.try_into().ok()
}

/// All TCP sockets together hold as much as they may, or nearly.
pub fn at_limit(seen: &Observed) -> bool {
    let most = seen.changes.gauge(&TCP_MEM).map_or(0, |(most, _)| most);
    limits(seen).is_some_and(|[_, _, max]| most >= max - max / 10)
}

/// Suggests room for twice what is held, with the kernel's own distances between the three numbers.
pub fn raise(seen: &Observed) -> Result<Suggestion, String> {
    let most = seen.changes.gauge(&TCP_MEM).map_or(0, |(most, _)| most);
    let wanted = |present: &[u64]| {
        let max = present.last().copied().unwrap_or(0);
        // Where pressure was set far below the limit, the limit need not grow.
        let max = if most.saturating_mul(2) > max - max / 3 { max.saturating_mul(2) } else { max };
        vec![max / 2, max - max / 3, max]
    };
    let why = "pressure then begins at twice what is held, or more; only where the machine has the memory to spare";
    let suggestion = seen.raise_all(&TCP_MEM_LIMIT, wanted, why, |_| 0)?;
    let pages = |value: &str| crate::model::numbers(value).unwrap_or_default();
    let grown = pages(&suggestion.to).into_iter().zip(pages(&suggestion.from)).map(|(to, from)| to - from).max();
    Ok(Suggestion { memory_bytes: grown.unwrap_or(0).saturating_mul(PAGE), ..suggestion })
}

/// Most machines' page.
const PAGE: u64 = 4096;

pub static TCP_MEM_LIMIT: Knob = Knob {
    id: "net.ipv4.tcp_mem",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "pages: low, pressure, most",
    range: 1..=2_147_483_647,
    default: "4.7, 6.3 and 9.4 % of the memory",
    help: "What all TCP sockets of the machine may hold together: above the second number TCP comes under pressure, until \
           it is below the first; above the third it drops. One for all containers; only the host shows and changes it.",
    formula: "most not above a quarter of the memory; pressure two thirds of it, low half of it",
    risk: Risk::High,
    harm: "what sockets hold can't be swapped out: with too much of it the machine runs out of memory",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
