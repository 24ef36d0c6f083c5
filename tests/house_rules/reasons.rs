//! What must hold for every drop reason.

use std::collections::BTreeSet;

use netstat_deep::source::probe::reason_names;
use netstat_deep::stage::{reason, reason_in, reasons};

/// Stages of the path that have no file yet, by the ids that they will have.
const WITHOUT_FILE: &[&str] = &["ip_out", "neighbour", "egress", "qdisc", "validate", "driver_tx", "virtual_devices"];

#[test]
fn every_reason_of_the_running_kernel_is_declared() {
    let names = reason_names();
    let core = names.iter().filter(|(number, _)| number >> 16 == 0).map(|(_, name)| name);
    let not_drops = ["NOT_DROPPED_YET", "CONSUMED", "NOT_SPECIFIED"];
    let missing: Vec<&str> = core.filter(|name| !not_drops.contains(name) && reason(name, None).is_none()).collect();
    assert!(missing.is_empty(), "no stage declares {missing:?}");
}

#[test]
fn a_reason_is_declared_once_for_a_protocol() {
    let mut seen = BTreeSet::new();
    for (stage, reason) in reasons() {
        assert!(seen.insert((stage, reason.name)), "{} twice in {stage}", reason.name);
        let stages: Vec<&str> = reasons().filter(|(_, other)| other.name == reason.name).map(|(id, _)| id).collect();
        let apart = stages.iter().all(|stage| stage.starts_with("udp") || stage.starts_with("tcp"));
        assert!(stages.len() == 1 || apart, "{} belongs to {stages:?}", reason.name);
    }
}

#[test]
fn every_reason_says_in_a_sentence_whether_it_is_normal() {
    for (_, reason) in reasons() {
        let text = reason.normal;
        assert!(text.len() > 25 && text.ends_with('.'), "{}: '{text}'", reason.name);
        assert!(text.chars().next().is_some_and(char::is_uppercase), "{}: '{text}'", reason.name);
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(reason.name.chars().all(plain), "{}", reason.name);
    }
}

#[test]
fn a_function_stands_for_one_reason() {
    for others_named in [false, true] {
        let mut seen = BTreeSet::new();
        for (_, reason) in reasons() {
            let functions = if others_named { reason.unnamed_in } else { reason.functions };
            for function in functions {
                assert!(seen.insert(function), "{function} stands for two reasons");
                let found = reason_in(function, others_named).map(|(_, found)| found.name);
                assert_eq!(found, Some(reason.name), "{function}");
            }
        }
        assert!(reason_in("no_such_function", others_named).is_none());
    }
}

#[test]
fn reasons_belong_to_stages_that_exist() {
    let known: BTreeSet<&str> = super::STAGE_IDS.iter().chain(WITHOUT_FILE).copied().collect();
    for (stage, reason) in reasons() {
        assert!(known.contains(stage), "{} is of {stage}", reason.name);
    }
}
