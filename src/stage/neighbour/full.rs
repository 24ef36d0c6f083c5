//! The neighbour table of the machine is full, or nearly.

use super::knobs::{V4_THRESH2, V4_THRESH3, V6_THRESH2, V6_THRESH3};
use super::{ARP_ENTRIES, ARP_FORCED_GC, ARP_FULL, NDISC_ENTRIES, NDISC_FORCED_GC, NDISC_FULL};
use crate::model::{Counter, Example, Finding, Knob, Observed, Rule, Scope, Severity, Threshold, power_of_two};

/// The table of one IP version.
struct Table {
    name: &'static str,
    full: &'static Counter,
    entries: &'static Counter,
    forced: &'static Counter,
    /// Above the first, entries are thrown out early; above the second, there is no room.
    limits: [&'static Knob; 2],
}

static TABLES: [Table; 2] = [
    Table {
        name: "IPv4",
        full: &ARP_FULL,
        entries: &ARP_ENTRIES,
        forced: &ARP_FORCED_GC,
        limits: [&V4_THRESH2, &V4_THRESH3],
    },
    Table {
        name: "IPv6",
        full: &NDISC_FULL,
        entries: &NDISC_ENTRIES,
        forced: &NDISC_FORCED_GC,
        limits: [&V6_THRESH2, &V6_THRESH3],
    },
];

pub static FULL: Rule = Rule {
    id: "neighbour-table-full",
    title: "The machine's neighbour table is full, and new neighbours can't be reached",
    explain: "One table for each IP version holds the neighbours of all network namespaces: on a host with many containers \
              each of them adds some. When it holds gc_thresh3 entries and none is old enough to be thrown out, a packet to a \
              new neighbour is lost, and the kernel's log has 'neighbor table overflow'; a sender of datagrams is told (No \
              buffer space available) only if it asked to be (IP_RECVERR), and udp-send-fails shows as well. Only the host's own namespace can raise the limit. Entries that somebody made (permanent) are \
              shown with the others, but do not count.",
    triggers: &[&ARP_FULL, &NDISC_FULL, &ARP_ENTRIES, &NDISC_ENTRIES],
    seen: &[],
    knobs: &[&V4_THRESH2, &V4_THRESH3, &V6_THRESH2, &V6_THRESH3],
    thresholds: &[Threshold {
        key: "warning_percent",
        default: 90.0,
        help: "entries, in % of gc_thresh3, above which the table is nearly full; domain knowledge of kubelet's alarms",
    }],
    fires: full,
    examples: &[
        Example {
            what: "40 packets found no room",
            severity: Some(Severity::Critical),
            observed: || table(1_024).with(&ARP_FULL, 40),
        },
        Example {
            what: "the IPv6 table, from a container that can't see the limit",
            severity: Some(Severity::Critical),
            observed: || Observed::quiet().with(&NDISC_FULL, 3),
        },
        Example { what: "1,000 of 1,024 entries", severity: Some(Severity::Warning), observed: || table(1_000) },
        Example { what: "600 of 1,024 entries", severity: None, observed: || table(600) },
        Example {
            what: "many entries, and the limit can't be seen",
            severity: None,
            observed: || Observed::quiet().with(&ARP_ENTRIES, 5_000),
        },
    ],
};

pub static FORCED: Rule = Rule {
    id: "neighbour-gc-forced",
    title: "Neighbours are thrown out early to make room",
    explain: "Above gc_thresh2 entries, a new neighbour makes the kernel throw out those that were not used for 5 seconds. \
              They are asked for again when they are needed: ARP and neighbour discovery become a load, and packets wait. \
              Soon the table is full.",
    triggers: &[&ARP_FORCED_GC, &NDISC_FORCED_GC],
    seen: &[],
    knobs: &[&V4_THRESH2, &V4_THRESH3, &V6_THRESH2, &V6_THRESH3],
    thresholds: &[],
    fires: forced,
    examples: &[
        Example {
            what: "a run in a second",
            severity: Some(Severity::Info),
            observed: || table(600).with(&ARP_FORCED_GC, 1),
        },
        Example { what: "many entries, and none had to go", severity: None, observed: || table(600) },
    ],
};

fn table(entries: u64) -> Observed {
    let seen = Observed::quiet().with(&ARP_ENTRIES, entries);
    let seen = seen.with_setting("net/ipv4/neigh/default/gc_thresh2", "512");
    seen.with_setting("net/ipv4/neigh/default/gc_thresh3", "1024")
}

fn full(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    TABLES.iter().filter_map(|table| one_full(seen, rule, table)).collect()
}

fn one_full(seen: &Observed, rule: &Rule, table: &Table) -> Option<Finding> {
    let lost = seen.delta(table.full);
    let entries = seen.changes.gauge(table.entries).map(|(max, _)| max);
    let limit = seen.settings.number(&table.limits[1].path());
    let share = seen.threshold(rule, "warning_percent");
    let nearly = entries.zip(limit).is_some_and(|(held, limit)| held as f64 * 100.0 >= share * limit as f64);
    let severity = match (lost > 0, nearly) {
        (true, _) => Severity::Critical,
        (false, true) => Severity::Warning,
        (false, false) => return None,
    };
    let held = match (entries, limit) {
        (Some(held), Some(limit)) => format!("{held} entries, of at most {limit}, permanent ones not counted"),
        (Some(held), None) => format!("{held} entries, and the limit is shown to the host only"),
        _ => "how many entries there are is not known".into(),
    };
    let why = match lost {
        0 => format!("the {} table holds {held}", table.name),
        n => format!("{n} times there was no room for a new {} neighbour; the table holds {held}", table.name),
    };
    let mut finding = Finding::new(rule, severity, Scope::Machine, lost, why);
    finding.evidence = vec![seen.evidence(table.full, None), seen.evidence(table.entries, limit.map(|n| n as f64))];
    make_room(seen, table, entries.unwrap_or(0), &mut finding);
    Some(finding)
}

fn forced(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let of = |table: &'static Table| {
        let runs = seen.delta(table.forced);
        (runs > 0).then(|| {
            let entries = seen.changes.gauge(table.entries).map_or(0, |(max, _)| max);
            let why = format!("{runs} times, with {entries} entries in the {} table", table.name);
            let mut finding = Finding::new(rule, Severity::Info, Scope::Machine, 0, why);
            finding.evidence = vec![seen.evidence(table.forced, None), seen.evidence(table.entries, None)];
            make_room(seen, table, entries, &mut finding);
            finding
        })
    };
    TABLES.iter().filter_map(of).collect()
}

/// Room for twice the entries, and at least for twice as many as now; thrown out early only above the half of it.
fn make_room(seen: &Observed, table: &Table, entries: u64, finding: &mut Finding) {
    const ENTRY: u64 = 1024;
    let [early, most] = table.limits;
    let present = seen.settings.number(&most.path()).unwrap_or(0);
    let wanted = power_of_two(entries.max(present).saturating_mul(2));
    let why = "the next power of two above twice what it holds, or may hold";
    finding.suggest(seen.raise(most, wanted, why, |more| more.saturating_mul(ENTRY)));
    if let Ok(step) = seen.raise(early, wanted / 2, "half of gc_thresh3", |_| 0) {
        finding.suggestions.push(step);
    }
}
