//! Every rule has a fault in `tests/faults`, or in a guest of `tests/vm`, that provokes it, or stands here with the reason
//! why none can.

use std::fs;
use std::path::Path;

use netstat_deep::stage::rules;

/// Rules that no fault provokes, and why. Each fires on its examples, and on a made tree where one is named.
const NOT_PROVOKED: &[(&str, &str)] = &[
    ("link-errors", "damaged frames need hardware; tests/golden/nic.rs has the drivers' counters"),
    ("fec-uncorrectable", "forward error correction needs hardware; tests/golden/nic.rs"),
    ("host-sends-pause", "pause frames need hardware; tests/golden/nic.rs"),
    ("switch-sends-pause", "pause frames need hardware and a switch; tests/golden/nic.rs has the same counters"),
    ("nic-ring-overflow", "virtual devices hold frames back instead of losing them; tests/golden/nic.rs"),
    ("nic-policy-drops", "filters on the card need hardware; tests/golden/nic.rs"),
    ("rx-buffer-allocation-fails", "the whole machine would have to run out of memory"),
    ("cloud-allowance-exceeded", "only a cloud's network counts them; tests/golden/send.rs has the driver's counters"),
    (
        "link-saturated",
        "virtual devices have no speed of their own, and no card is faster filled than read; tests/golden/send.rs",
    ),
    ("interfaces-hidden", "the kernel's three lists always agree; tests/golden/findings.rs"),
    (
        "conflicting-settings",
        "needs nodes, isolcpus= or interrupts that a test must not move; tests/golden/topology.rs",
    ),
    (
        "backlog-nearly-full",
        "a queue that stays half full for a whole window overflows in it as well: backlog-overflow's fault",
    ),
];

#[test]
fn each_rule_is_provoked_or_it_is_said_why_not() {
    let mut faults = String::new();
    for folder in ["tests/faults", "tests/vm"] {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut faults);
    }
    for (_, rule) in rules() {
        let provoked = faults.contains(&format!("\"{}\"", rule.id));
        let excused = NOT_PROVOKED.iter().any(|(id, _)| *id == rule.id);
        assert_ne!(provoked, excused, "{}: provoked by a fault, or excused, but not both", rule.id);
    }
    for (id, _) in NOT_PROVOKED {
        assert!(rules().any(|(_, rule)| rule.id == *id), "{id} is no rule");
    }
}

fn read(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read(&path, into);
        } else {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
