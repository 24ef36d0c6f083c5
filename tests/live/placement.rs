//! What `topology` says of a card of this machine, against `ethtool -x`, `/proc/interrupts`, `/proc/irq` and sysfs. Nothing
//! is set.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::ground;

/// The words of a line of /proc/interrupts behind the number, by that.
fn interrupts() -> BTreeMap<u64, String> {
    let text = fs::read_to_string("/proc/interrupts").unwrap();
    let line = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        Some((number.trim().parse().ok()?, rest.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn list(cpus: &Value) -> Vec<u64> {
    cpus.as_array().unwrap().iter().map(|cpu| cpu.as_u64().unwrap()).collect()
}

/// `0-2,5` as numbers.
fn numbers(text: &str) -> Vec<u64> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<u64>().unwrap()..=last.parse().unwrap()
    };
    text.trim().split(',').filter(|part| !part.is_empty()).flat_map(range).collect()
}

/// How many entries of the table lead to each queue: `    8:      0     1     0     1`.
fn table(device: &str) -> BTreeMap<u64, u64> {
    let output = Command::new("ethtool").args(["-x", device]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut queues = BTreeMap::new();
    for line in text.lines().skip(1).take_while(|line| !line.starts_with("RSS hash key")) {
        let words = line.split_once(':').map_or("", |(_, words)| words).split_whitespace();
        for queue in words.filter_map(|word| word.parse().ok()) {
            *queues.entry(queue).or_default() += 1;
        }
    }
    queues
}

/// Each queue of the card, and each of its interrupts, as the kernel's own files have them.
pub fn card() {
    let device = ground::card().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_netstat-deep"))
        .args(["topology", "--json", "--interval", "200ms", "--dev", &device])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let place = &document["devices"][0];

    let mut names: Vec<String> = fs::read_dir(format!("/sys/class/net/{device}/queues"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let queues = place["queues"].as_array().unwrap();
    let mut ours: Vec<String> = queues.iter().map(|queue| queue["queue"].as_str().unwrap().to_owned()).collect();
    names.sort();
    ours.sort();
    assert_eq!(ours, names);

    let lines = interrupts();
    let vectors = place["vectors"].as_array().unwrap();
    assert!(!vectors.is_empty(), "{device} has no interrupt");
    for vector in vectors {
        let (irq, name) = (vector["irq"].as_u64().unwrap(), vector["vector"].as_str().unwrap());
        assert!(lines[&irq].trim_end().ends_with(name) || lines[&irq].contains(&format!("{name}@")), "{irq}: {name}");
        let file = |file: &str| fs::read_to_string(format!("/proc/irq/{irq}/{file}")).unwrap_or_default();
        assert_eq!(list(&vector["allowed"]), numbers(&file("smp_affinity_list")), "{name}");
        let effective = numbers(&file("effective_affinity_list"));
        assert!(effective.is_empty() || list(&vector["effective"]) == effective, "{name}");
    }
    // A card that spreads shows to which queues.
    let entries = queues.iter().filter_map(|queue| {
        let number = queue["queue"].as_str()?.strip_prefix("rx-")?.parse::<u64>().ok()?;
        queue["rss_entries"].as_u64().filter(|entries| *entries > 0).map(|entries| (number, entries))
    });
    assert_eq!(entries.collect::<BTreeMap<_, _>>(), table(&device));
    let online = numbers(&fs::read_to_string("/sys/devices/system/cpu/online").unwrap());
    let cpus: Vec<u64> = document["cpus"].as_array().unwrap().iter().map(|cpu| cpu["cpu"].as_u64().unwrap()).collect();
    assert_eq!(cpus, online);
}
