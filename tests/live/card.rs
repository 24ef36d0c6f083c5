//! A network card of this machine, against `ethtool`.

use std::collections::BTreeMap;
use std::process::Command;

use netstat_deep::model::{Instance, Place};
use netstat_deep::source::ethtool::driver::{Asker, parse};
use netstat_deep::source::{Host, settings as ours_settings};
use netstat_deep::stage::knobs;

use crate::{ground, ours};

fn ethtool(flag: &str, device: &str) -> String {
    let output = Command::new("ethtool").args([flag, device]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `ethtool -S`: names may stand more than once.
fn theirs(device: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.trim().to_owned(), value.trim().parse().ok()?))
    };
    ethtool("-S", device).lines().filter_map(line).collect()
}

/// Every name, in the same order, and every value that did not move.
pub fn statistics() {
    let device = ground::card().unwrap();
    let before = theirs(&device);
    let bytes = Asker::new(&Host::Live).unwrap().ask(device.as_bytes()).unwrap();
    let ours = parse(&bytes).unwrap().statistics;
    let after = theirs(&device);
    assert!(before.len() > 3 && before.len() == ours.len() && after.len() == ours.len(), "{before:?} {ours:?}");
    for (((name, low), (own, value)), (_, high)) in before.iter().zip(&ours).zip(&after) {
        assert_eq!(name.as_bytes(), own.trim_ascii());
        assert!((*low.min(high)..=*low.max(high)).contains(value), "{name}: {value}, ethtool says {low} and {high}");
    }
}

/// What the report makes of a virtual machine's card: the sums over its queues.
pub fn meanings() {
    let device = ground::card().unwrap();
    if !ethtool("-i", &device).contains("driver: virtio_net") {
        // Other drivers' names are tried on text.
        return;
    }
    let sum = |statistics: &[(String, u64)], end: &str| -> u64 {
        let queue =
            |name: &str| name.strip_prefix("rx").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        statistics.iter().filter(|(name, _)| queue(name) && name.ends_with(end)).map(|(_, value)| value).sum()
    };
    let before = theirs(&device);
    let report = ours::counters(&ours::report("/proc/self/ns/net"), Some(&device));
    if before != theirs(&device) && sum(&before, "_drops") != sum(&theirs(&device), "_drops") {
        return;
    }
    let xdp = sum(&before, "_xdp_drops");
    assert_eq!(report["nic.rx_xdp_drops"], xdp);
    // The end is also that of what XDP dropped.
    assert_eq!(report["nic.rx_driver_drops"], sum(&before, "_drops") - xdp - xdp);
}

/// `ethtool -n DEV rx-flow-hash FLOW`, in the letters that `-N` takes; none where the driver does not tell.
fn hash(device: &str, flow: &str) -> Option<String> {
    const WORDS: [(&str, char); 4] = [("IP SA", 's'), ("IP DA", 'd'), ("L4 bytes 0", 'f'), ("L4 bytes 2", 'n')];
    let output = Command::new("ethtool").args(["-n", device, "rx-flow-hash", flow]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let letters = WORDS.iter().filter(|(words, _)| text.contains(words)).map(|(_, letter)| *letter).collect();
    output.status.success().then_some(letters)
}

/// `ethtool -g`, `-l`, `-c`, `-k`: the last line that begins so, for a maximum stands above the present value.
pub fn settings() {
    const SHOWN: &[(&str, &str, &str)] = &[
        ("rings/rx", "-g", "RX:"),
        ("channels/combined", "-l", "Combined:"),
        ("coalesce/rx-usecs", "-c", "rx-usecs:"),
        ("coalesce/rx-frames", "-c", "rx-frames:"),
        ("coalesce/adaptive-rx", "-c", "Adaptive RX:"),
        ("features/rx-gro", "-k", "generic-receive-offload:"),
        ("features/rx-lro", "-k", "large-receive-offload:"),
        ("features/rx-gro-hw", "-k", "rx-gro-hw:"),
        ("features/rx-gro-list", "-k", "rx-gro-list:"),
        ("features/rx-udp-gro-forwarding", "-k", "rx-udp-gro-forwarding:"),
    ];
    let device = ground::card().unwrap();
    let all = knobs().filter(|(_, knob)| matches!(knob.place, Place::Ethtool(_)));
    let ours = ours_settings::read(&Host::Live, all.filter_map(|(_, knob)| knob.file_of(&Instance::device(&device))));
    let texts: BTreeMap<&str, String> = ["-g", "-l", "-c", "-k"].map(|flag| (flag, ethtool(flag, &device))).into();
    let mut compared = 0;
    for (path, flag, name) in SHOWN {
        let mut lines = texts[flag].lines().rev().filter_map(|line| line.trim().strip_prefix(name));
        let theirs = lines.next().and_then(|rest| rest.split_whitespace().next()).filter(|word| *word != "n/a");
        let own = ours.get(&format!("ethtool/{device}/{path}"));
        // What the device can't do at all ethtool shows as off; it is fixed, and no setting.
        let fixed = own.is_none() && theirs == Some("off");
        assert!(own == theirs || fixed, "{path}: {own:?}, ethtool says {theirs:?}");
        compared += usize::from(own.is_some());
    }
    assert!(compared >= 3, "only {compared} settings of {device}");
    for flow in ["udp4", "udp6"] {
        assert_eq!(ours.get(&format!("ethtool/{device}/rss-hash/{flow}")), hash(&device, flow).as_deref(), "{flow}");
    }
}
