//! Fragments that could not be put together.

use super::{
    FRAG_MEMORY, FRAG6_MEMORY, REASM_FAILS, REASM_REQDS, REASM_TIMEOUT, REASM6_FAILS, REASM6_REQDS, REASM6_TIMEOUT,
};
use crate::model::{
    Counter, Example, Finding, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold, power_of_two,
};

pub static FAILS: Rule = Rule {
    id: "fragment-reassembly-fails",
    title: "Packets are lost because their fragments could not be put together",
    explain: "A packet that came in pieces waits until the last one is there, at most ipfrag_time (30 s). Two things go \
              wrong. A piece is lost on its way: then the rest is thrown away after that time (Ip.ReasmTimeout, part of \
              Ip.ReasmFails), and one lost frame costs a whole large packet. Or what waits takes more memory than \
              ipfrag_high_thresh: then pieces of all packets are refused until some are done, also of those that were \
              nearly complete. More memory helps only in the second case. A sender that never completes its packets \
              fills that memory on purpose. The cure is not to fragment: a path MTU that fits, smaller datagrams, or TCP.",
    triggers: &[&REASM_FAILS, &REASM6_FAILS, &FRAG_MEMORY, &FRAG6_MEMORY],
    seen: &[],
    knobs: &[&HIGH_THRESH, &HIGH_THRESH6],
    thresholds: &[
        Threshold { key: "warning_percent", default: 1.0, help: "failures in % of the fragments taken in; own" },
        Threshold { key: "memory_percent", default: 80.0, help: "fill of the memory for fragments, in %; own" },
    ],
    fires: fails,
    examples: &[
        Example {
            what: "200 of 2,000 fragments, the memory is used up",
            severity: Some(Severity::Warning),
            observed: || failing(200, 0, 4_194_000),
        },
        Example {
            what: "a fragment of 60 packets never came",
            severity: Some(Severity::Warning),
            observed: || failing(60, 60, 10_000),
        },
        Example {
            what: "nothing was lost yet, but the memory for IPv6 fragments is nearly full",
            severity: Some(Severity::Warning),
            observed: || {
                let full = Observed::quiet().with(&FRAG6_MEMORY, 4_000_000);
                full.with_setting("net/ipv6/ip6frag_high_thresh", "4194304")
            },
        },
        Example { what: "5 of 2,000 fragments", severity: None, observed: || failing(5, 5, 10_000) },
        Example { what: "fragments wait, and there is room", severity: None, observed: || failing(0, 0, 1_000_000) },
    ],
};

fn failing(fails: u64, timeouts: u64, memory: u64) -> Observed {
    Observed::quiet()
        .with(&REASM_FAILS, fails)
        .with(&REASM_TIMEOUT, timeouts)
        .with(&REASM_REQDS, 2_000)
        .with(&FRAG_MEMORY, memory)
        .with_setting("net/ipv4/ipfrag_high_thresh", "4194304")
}

/// What there is of each of the two versions of IP.
struct Version {
    name: &'static str,
    fails: &'static Counter,
    timeouts: &'static Counter,
    fragments: &'static Counter,
    memory: &'static Counter,
    limit: &'static Knob,
}

static VERSIONS: [Version; 2] = [
    Version {
        name: "IPv4",
        fails: &REASM_FAILS,
        timeouts: &REASM_TIMEOUT,
        fragments: &REASM_REQDS,
        memory: &FRAG_MEMORY,
        limit: &HIGH_THRESH,
    },
    Version {
        name: "IPv6",
        fails: &REASM6_FAILS,
        timeouts: &REASM6_TIMEOUT,
        fragments: &REASM6_REQDS,
        memory: &FRAG6_MEMORY,
        limit: &HIGH_THRESH6,
    },
];

fn fails(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    VERSIONS.iter().filter_map(|version| version.fails(seen, rule)).collect()
}

impl Version {
    fn fails(&self, seen: &Observed, rule: &Rule) -> Option<Finding> {
        let (fails, fragments) = (seen.delta(self.fails), seen.delta(self.fragments));
        let timeouts = seen.delta(self.timeouts).min(fails);
        let peak = seen.changes.gauge(self.memory).map_or(0, |(max, _)| max);
        let limit = seen.settings.number(&self.limit.path());
        let (percent, memory) = (seen.threshold(rule, "warning_percent"), seen.threshold(rule, "memory_percent"));
        let often = fails > 0 && fails as f64 * 100.0 > percent * fragments as f64;
        let line = limit.map(|limit| limit as f64 * memory / 100.0);
        let full = line.is_some_and(|line| peak as f64 > line);
        if !often && !full {
            return None;
        }
        let refused = fails - timeouts;
        let why = format!(
            "of {fragments} {} fragments, {refused} were refused, and {timeouts} packets waited in vain for one; at most \
             {peak} bytes of fragments waited",
            self.name
        );
        let mut finding = Finding::new(rule, Severity::Warning, Scope::Netns, fails, why);
        let moved = [self.fails, self.timeouts].into_iter().filter(|counter| seen.delta(counter) > 0);
        finding.evidence = moved.map(|counter| seen.evidence(counter, None)).collect();
        finding.evidence.push(seen.evidence(self.memory, line));
        // Memory that is short may be free again when it is looked at: what was refused without a time-out met it full.
        if full || refused > timeouts {
            self.raise(seen, &mut finding, fragments, limit.unwrap_or(0));
        } else {
            finding.no_setting_helps = Some(
                "the fragment was lost elsewhere: avoid fragments (path MTU, smaller datagrams), or find where frames are \
                 lost on the way"
                    .into(),
            );
            finding.refuse(self.limit.id, "there was room: what waits in vain does so with any limit");
        }
        Some(finding)
    }

    fn raise(&self, seen: &Observed, finding: &mut Finding, fragments: u64, limit: u64) {
        // A fragment of a full frame is charged 2304 bytes: room for those of this window, at most sixteen times as much.
        let room = fragments.saturating_mul(2304).clamp(limit.saturating_mul(2), limit.max(1 << 20).saturating_mul(16));
        let why = "room for the fragments of this window; twice the present limit at least";
        finding.suggest(seen.raise(self.limit, power_of_two(room), why, |more| more));
    }
}

/// A limit on the memory for fragments.
const fn high_thresh(id: &'static str, help: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        scope: Scope::Netns,
        unit: "bytes",
        range: 0..=268_435_456,
        default: "4194304",
        help,
        formula: "twice the present value, or room for the fragments that arrive in a second; 16 to 64 MiB on hosts that \
                  must take many",
        risk: Risk::Medium,
        harm: "whoever sends fragments that never become whole may hold that much memory of each network namespace",
        takes_effect: "at once",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d",
    }
}

/// How long fragments wait.
const fn time(id: &'static str, default: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        scope: Scope::Netns,
        unit: "s",
        range: 1..=255,
        default,
        help: "How long fragments wait for the rest of their packet before they are thrown away.",
        formula: "leave it; less, such as 5, where fragments that never become whole fill the memory",
        risk: Risk::Medium,
        harm: "shorter: packets over slow links are lost. Longer: the identification (16 bits) of a fast sender comes round, \
               and fragments of two packets are mixed up",
        takes_effect: "for fragments that come from then on",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d",
    }
}

pub static HIGH_THRESH: Knob = high_thresh(
    "net.ipv4.ipfrag_high_thresh",
    "Memory that IPv4 fragments may hold while they wait. Above it, every further fragment is dropped (inet_frag_find() in \
     net/ipv4/inet_fragment.c). It can't be less than ipfrag_low_thresh. Connection tracking uses the same memory.",
);

pub static HIGH_THRESH6: Knob = high_thresh(
    "net.ipv6.ip6frag_high_thresh",
    "Memory that IPv6 fragments may hold while they wait. Above it, every further fragment is dropped. Connection tracking \
     has a memory of its own for IPv6 (net.netfilter.nf_conntrack_frag6_high_thresh).",
);

pub static TIME: Knob = time("net.ipv4.ipfrag_time", "30");
pub static TIME6: Knob = time("net.ipv6.ip6frag_time", "60");

pub static MAX_DIST: Knob = Knob {
    id: "net.ipv4.ipfrag_max_dist",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "packets",
    range: 0..=2_147_483_647,
    default: "64",
    help: "How many other packets of the same sender may come between the fragments of one, before the rest is given up: a \
           guard against mixing up two packets of the same identification. 0 switches it off.",
    formula: "more where fragments take several ways (bonding, ECMP) and overtake each other",
    risk: Risk::Medium,
    harm: "fragments of two packets may be mixed up",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
