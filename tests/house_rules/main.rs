//! What must hold for every counter, rule, knob and stage, and for the source tree as a whole: rules about rules.

mod imports;
mod papers;
mod provoked;
mod reasons;
mod teach;

use std::collections::{BTreeMap, BTreeSet};

use netstat_deep::model::flow::{APPLICATION, FORWARDED, WIRE};
use netstat_deep::model::{Flow, Kind, Knob, Observed};
use netstat_deep::source::groups::{DOORS, GROUPS};
use netstat_deep::stage::{RECEIVE, SEND, counters, knobs, rules, rules_of, stages};

/// The ids that dashboards and tests key on, with the stage each belongs to. An id is never renamed.
const RULE_IDS: &[&str] = &[
    "link-errors",
    "fec-uncorrectable",
    "link-flaps",
    "host-sends-pause",
    "switch-sends-pause",
    "interfaces-hidden",
    "nic-ring-overflow",
    "nic-policy-drops",
    "poll-budget-exhausted",
    "rx-buffer-allocation-fails",
    "xdp-exceptions",
    "backlog-overflow",
    "elephant-flow-shed",
    "backlog-nearly-full",
    "tunnel-cell-overflow",
    "ingress-filter-drops",
    "unknown-protocol-frames",
    "bond-standby-frames",
    "frames-for-other-hosts",
    "bad-ip-headers",
    "packets-not-for-us",
    "reverse-path-filter-drops",
    "martian-packets",
    "input-unaccounted",
    "fragment-reassembly-fails",
    "firewall-drops",
    "conntrack-table-full",
    "conntrack-insert-races",
    "conntrack-invalid-packets",
    "conntrack-hash-small",
    "udp-receive-buffer-overflow",
    "udp-memory-exhausted",
    "udp-checksum-errors",
    "udp-no-listener",
    "accept-queue-overflow",
    "accept-queue-nearly-full",
    "syn-queue-cookies",
    "syn-queue-drops",
    "listen-drops-other",
    "tcp-socket-backlog-drops",
    "tcp-receive-pruned",
    "tcp-receive-queue-drops",
    "tcp-zero-window-advertised",
    "socket-memory-cgroup-limit",
    "tcp-memory-pressure",
    "tcp-orphans",
    "path-mtu-events",
    "ephemeral-ports-exhausted",
    "tcp-limited-by-send-buffer",
    "tcp-limited-by-peer-window",
    "connects-retransmit",
    "tcp-retransmits",
    "tcp-retransmits-spurious",
    "tcp-reordering",
    "tcp-timeouts-dominate",
    "tcp-retransmit-before-send",
    "tcp-retransmit-fails",
    "tcp-segments-refused-locally",
    "tcp-goodput-low",
    "time-wait-table-full",
    "connections-abort",
    "resets-sent",
    "tcp-odd-segments",
    "tcp-broken-peer",
    "udp-send-fails",
    "no-route-out",
    "fragmenting-on-send",
    "icmp-errors-suppressed",
    "neighbour-table-full",
    "neighbour-unresolved-drops",
    "neighbour-resolution-fails",
    "neighbour-gc-forced",
    "qdisc-drops",
    "fq-flow-limit",
    "qdisc-horizon-or-memory",
    "driver-busy-requeues",
    "device-send-drops",
    "cloud-allowance-exceeded",
    "link-saturated",
    "tx-queue-timeout",
    "cargo-cult-settings",
    "setting-drift",
    "rx-queues-uneven",
    "conflicting-settings",
    "softirq-on-one-cpu",
    "rps-interrupts-costly",
    "tx-queues-uneven",
];

/// The stages of the receive path, in the order in which a packet meets them.
const STAGE_IDS: &[&str] = &[
    "link",
    "ring",
    "interrupt",
    "softirq",
    "driver_rx",
    "gro",
    "backlog",
    "ingress",
    "arp",
    "ip_in",
    "netfilter",
    "conntrack",
    "forward",
    "udp_in",
    "tcp_listen",
    "tcp_in",
    "socket_memory",
    "read",
];

/// Those of the send path.
const SEND_IDS: &[&str] = &[
    "send",
    "tcp_out",
    "udp_out",
    "ip_out",
    "neighbour",
    "egress",
    "qdisc",
    "validate",
    "driver_tx",
    "completion",
    "watchdog",
    "virtual_devices",
    "settings",
];

#[test]
fn the_stages_are_those_of_the_path() {
    let ids: Vec<&str> = RECEIVE.iter().map(|stage| stage.id).collect();
    assert_eq!(ids, STAGE_IDS);
    let ids: Vec<&str> = SEND.iter().map(|stage| stage.id).collect();
    assert_eq!(ids, SEND_IDS);
    for stage in stages() {
        let file = format!("{}/src/stage/{}.rs", env!("CARGO_MANIFEST_DIR"), stage.id);
        assert!(std::path::Path::new(&file).exists(), "stage {} has no file of its name", stage.id);
        assert!(stage.explain.len() > 80, "stage {} explains nothing", stage.id);
        assert!(stage.title.len() <= 20, "title of {} is too long for a table", stage.id);
    }
}

#[test]
fn counter_ids_and_metric_names_are_unique() {
    let mut ids = BTreeSet::new();
    let mut metrics = BTreeSet::new();
    for (_, counter) in counters() {
        assert!(ids.insert(counter.id()), "{} is declared twice", counter.id());
        assert!(metrics.insert(counter.metric()), "two counters are called {}", counter.metric());
        let name = counter.metric();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert!(!name.contains("__"), "{name}");
    }
}

#[test]
fn every_counter_says_what_it_means_and_where_the_kernel_counts_it() {
    for (_, counter) in counters() {
        let text = counter.text();
        assert!(text.len() > 30 && text.contains(". "), "{}: '{text}'", counter.id());
        assert!(text.contains(".c") || text.contains(".h"), "{} cites no kernel source", counter.id());
        assert!(text.chars().next().is_some_and(char::is_uppercase), "{}: '{text}'", counter.id());
    }
}

#[test]
fn every_table_has_a_door_and_counters() {
    for group in GROUPS {
        let asked = ["rtnetlink", "sock_diag", "ioctl", "ethtool", "netdev", "sysfs"];
        let asked = asked.iter().any(|start| group.origin.starts_with(start));
        let door = DOORS.iter().any(|door| door.groups.contains(group)) || asked;
        assert!(door, "nothing reads {}", group.id);
        assert!(counters().any(|(_, counter)| counter.group == *group), "nothing is taken from {}", group.id);
        assert!(group.kernel.contains(".c "), "{} cites no kernel function", group.id);
        assert!(group.bits == 32 || group.bits == 64, "{}", group.id);
    }
}

#[test]
fn flows_run_between_stages_that_exist() {
    let known: BTreeSet<&str> =
        STAGE_IDS.iter().chain(SEND_IDS).copied().chain([WIRE, APPLICATION, FORWARDED]).collect();
    let flows = counters().flat_map(|(_, counter)| [counter.flow, counter.sends].map(|flow| (counter, flow)));
    for (counter, flow) in flows.filter_map(|(counter, flow)| Some((counter, flow?))) {
        let ends = match flow {
            Flow::Pass { from, to } | Flow::PassBeside { from, to, .. } => vec![from, to],
            Flow::LostUpTo { at, rest, .. } => vec![at, rest],
            Flow::LostBeyond { at, .. } | Flow::LostAsIn { at, .. } => vec![at],
            Flow::MayExplain { at, from } | Flow::MayExplainBeyond { at, from, .. } => vec![at, from],
            Flow::Reaches { past, at, .. } => vec![past, at],
            Flow::Lost { at }
            | Flow::Unwanted { at }
            | Flow::Merged { at }
            | Flow::Unmerged { at }
            | Flow::LostMerged { at }
            | Flow::Queued { at }
            | Flow::Uncertain { at } => vec![at],
            Flow::Joins | Flow::Leaves => Vec::new(),
        };
        for end in ends {
            assert!(known.contains(end), "{} flows to '{end}'", counter.id());
        }
        let waits = matches!(flow, Flow::Queued { .. });
        assert_eq!(counter.kind == Kind::Gauge, waits, "{}: a gauge does not flow", counter.id());
    }
}

#[test]
fn no_loss_is_in_the_ledger_twice() {
    let mut edges: BTreeMap<(&str, usize), String> = BTreeMap::new();
    let flows = counters().flat_map(|(_, counter)| [(counter, 0, counter.flow), (counter, 1, counter.sends)]);
    for (counter, way, flow) in flows {
        if let (Some(word), Some(flow)) = (counter.same_loss, flow)
            && flow.is_loss()
            // Takes out itself what the other counts.
            && !matches!(flow, Flow::LostBeyond { .. })
            && let Some(other) = edges.insert((word, way), counter.id())
        {
            panic!("{} and {other} count the same packets, and both enter the ledger", counter.id());
        }
    }
}

#[test]
fn rule_ids_are_fixed_and_named_for_what_is_wrong() {
    let ids: Vec<&str> = rules().map(|(_, rule)| rule.id).collect();
    assert_eq!(ids, RULE_IDS);
    let cures = ["increase", "raise", "tune", "set-", "enable", "disable", "fix", "grow"];
    for id in ids {
        assert!(!cures.iter().any(|cure| id.contains(cure)), "{id} is named for a cure");
    }
}

#[test]
fn rules_fire_on_their_examples_and_not_on_their_traps() {
    for (stage, rule) in rules() {
        let mut levels = BTreeSet::new();
        for example in rule.examples {
            let seen = (example.observed)();
            let findings = (rule.fires)(&seen, rule);
            let severity = findings.iter().map(|finding| finding.severity).max();
            assert_eq!(severity, example.severity, "{}: {}", rule.id, example.what);
            levels.extend(example.severity);
            for finding in findings {
                let acts = !finding.suggestions.is_empty() || finding.no_setting_helps.is_some();
                assert!(acts, "{}: {}: neither a suggestion nor why there is none", rule.id, example.what);
                assert!(!finding.evidence.is_empty() && !finding.why.is_empty(), "{}: {}", rule.id, example.what);
            }
        }
        assert!(rule.examples.iter().any(|example| example.severity.is_none()), "{} has no trap", rule.id);
        assert!(!levels.is_empty(), "{} has no example on which it fires", rule.id);
        assert!(rules_of(stage).iter().any(|own| own.id == rule.id));
        assert!(!rule.triggers.is_empty() || !rule.seen.is_empty(), "{} never gets a look", rule.id);
    }
}

#[test]
fn rules_are_silent_on_a_quiet_host() {
    for (_, rule) in rules() {
        assert_eq!((rule.fires)(&Observed::quiet(), rule), [], "{}", rule.id);
    }
}

#[test]
fn rules_suggest_only_knobs_that_they_name_and_never_less() {
    for (_, rule) in rules() {
        for example in rule.examples {
            for suggestion in (rule.fires)(&(example.observed)(), rule).into_iter().flat_map(|f| f.suggestions) {
                let known = rule.knobs.iter().any(|knob| knob.name_of(&suggestion.instance) == suggestion.knob);
                assert!(known, "{} suggests {}", rule.id, suggestion.knob);
                let number = |value: &str| suggestion.numbers(value);
                let (from, to) = (number(&suggestion.from), number(&suggestion.to));
                // The hash's fields are letters.
                let words = suggestion.unit == "fields" && suggestion.from != suggestion.to;
                assert!(words || (from.is_some() && to.is_some()), "{}: {:?}", rule.id, suggestion.to);
                // Bitmaps, durations, modes and the ends of a range are no limits: those may also be turned down.
                let free = [Knob::CPUS, Knob::CPU_LIST, "s", "switch", "ports: first, last"];
                let limit = !free.contains(&suggestion.unit.as_str());
                let turned = if limit { to > from } else { to != from };
                assert!(words || turned, "{}: {from:?} to {to:?}", rule.id);
                assert!(!suggestion.undo.is_empty() && !suggestion.command.is_empty());
                assert!(suggestion.command.contains(&suggestion.to) && suggestion.undo.contains(&suggestion.from));
            }
        }
    }
}

#[test]
fn rules_look_only_at_settings_of_knobs_that_they_name() {
    for (_, rule) in rules() {
        for example in rule.examples {
            let all = (rule.fires)(&(example.observed)(), rule);
            let mut seen = (example.observed)();
            let named: Vec<String> = rule.knobs.iter().map(|knob| knob.path()).collect();
            seen.settings = Default::default();
            for (path, value) in (example.observed)().settings.between("", "") {
                // The most that a driver takes stands below the present value.
                let own = path.strip_suffix("/max").unwrap_or(path);
                if named.iter().any(|template| stands_for(template, own)) {
                    seen.settings.insert(path, value);
                }
            }
            assert_eq!((rule.fires)(&seen, rule), all, "{} needs a setting that it does not name", rule.id);
        }
    }
}

/// Whether a knob's path, in which `DEV` is any device and `rx-N` any queue, stands for this one.
fn stands_for(template: &str, path: &str) -> bool {
    let any = |part: &str| ["DEV", "rx-N", "tx-N", "IRQ", "HANDLE"].contains(&part);
    let pairs = || template.split('/').zip(path.split('/'));
    template.split('/').count() == path.split('/').count() && pairs().all(|(known, part)| known == part || any(known))
}

#[test]
fn knobs_are_complete() {
    let mut ids = BTreeSet::new();
    for (_, knob) in knobs() {
        assert!(ids.insert(knob.id), "{} is declared twice", knob.id);
        assert!(knob.range.start() <= knob.range.end(), "{}", knob.id);
        for text in [knob.help, knob.formula, knob.harm, knob.takes_effect, knob.keep, knob.default, knob.unit] {
            assert!(!text.is_empty(), "{} leaves something open", knob.id);
        }
    }
    for (_, rule) in rules() {
        for knob in rule.knobs {
            assert!(ids.contains(knob.id), "{} names {}, which no stage has", rule.id, knob.id);
        }
    }
}
