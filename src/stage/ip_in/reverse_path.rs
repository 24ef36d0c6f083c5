//! The reverse path filter: the route back to the sender is another.

use super::REVERSE_PATH_FILTER;
use crate::model::{
    Change, Example, Finding, Instance, Knob, Memory, Observed, Place, Risk, Rule, Scope, Severity, Threshold,
};
use crate::stage::link;

pub static REVERSE_PATH: Rule = Rule {
    id: "reverse-path-filter-drops",
    title: "Packets are dropped because the route back to their sender is another",
    explain: "With rp_filter=1 (strict) a packet is dropped unless the route to its sender leaves through the device it \
              came in by. On a host with several uplinks, behind some load balancers and with tunnels, traffic rightly \
              comes in by another way: then 2 (loose) is the value, which only asks that there is any route at all. \
              The larger of conf.all and conf.DEVICE is in force. Spoofed packets and scans count here too: look where \
              they come from before loosening it (net.ipv4.conf.all.log_martians=1 for a minute). \
              IPv6 has no such setting; there firewall rules do it.",
    triggers: &[&REVERSE_PATH_FILTER],
    seen: &[],
    knobs: &[&RP_FILTER, &RP_FILTER_ALL],
    thresholds: &[Threshold {
        key: "info_below_per_second",
        default: 0.1,
        help: "packets/s below which it is noise; own",
    }],
    fires: reverse_path,
    examples: &[
        Example {
            what: "20 packets in a second on a device with rp_filter=1",
            severity: Some(Severity::Warning),
            observed: || filtered(20, "1").with_setting("net/ipv4/conf/all/rp_filter", "0"),
        },
        Example {
            what: "one packet in a minute",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = filtered(1, "1");
                seen.changes.seconds = Some(60.0);
                seen
            },
        },
        Example { what: "strict filtering that drops nothing", severity: None, observed: || filtered(0, "1") },
    ],
};

fn filtered(packets: u64, strict: &str) -> Observed {
    Observed::quiet()
        .with(&REVERSE_PATH_FILTER, packets)
        .with_at(&link::RX_PACKETS, Instance::device("eth1"), 1000)
        .with_setting("net/ipv4/conf/eth1/rp_filter", strict)
}

fn reverse_path(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.delta(&REVERSE_PATH_FILTER);
    if lost == 0 {
        return Vec::new();
    }
    let noise = seen.threshold(rule, "info_below_per_second");
    let severity = if seen.rate(lost).is_some_and(|rate| rate < noise) { Severity::Info } else { Severity::Warning };
    let strict = strict_devices(seen);
    let names = strict.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, "");
    finding.evidence.push(seen.evidence(&REVERSE_PATH_FILTER, Some(noise)));
    match strict.len() {
        0 => {
            finding.why =
                "no device filters strictly: these packets come from addresses to which there is no route at all"
                    .into();
            finding.no_setting_helps = Some(
                "either a route to the sender is missing, or the sender is spoofed: look at the routing table".into(),
            );
        }
        1 => finding.why = format!("{names} filters strictly, and is the only device with traffic that does"),
        _ => finding.why = format!("{names} filter strictly; the counter does not say which of them dropped"),
    }
    for (device, _) in strict.iter().take(MOST_DEVICES) {
        finding.suggestions.push(seen.suggest(
            &RP_FILTER,
            Instance::device(device.clone()),
            seen.settings.get(&RP_FILTER.path_of(&Instance::device(device.clone()))).unwrap_or("0").into(),
            "2".into(),
            "loose: accept what has any route back; the larger of this and conf.all is in force",
        ));
    }
    vec![finding]
}

/// Devices for which loose filtering is suggested, the busiest ones, at most.
const MOST_DEVICES: usize = 8;

/// Devices in strict mode that received something in the window, the busiest first: the counter is one for the
/// namespace.
fn strict_devices(seen: &Observed) -> Vec<(String, u64)> {
    let all = seen.settings.number("net/ipv4/conf/all/rp_filter").unwrap_or(0);
    let received = |device: &str| {
        seen.changes.each(&link::RX_PACKETS).find_map(|(instance, change)| match (instance, change) {
            (Instance::Device { device: name }, Change::Total { delta, .. }) if name == device => {
                Some(delta.unwrap_or(0))
            }
            _ => None,
        })
    };
    let mut devices: Vec<(String, u64)> = seen
        .settings
        .between("net/ipv4/conf/", "/rp_filter")
        .filter(|(device, own)| !["all", "default", "lo"].contains(device) && own.parse().unwrap_or(0).max(all) == 1)
        // A device whose counters are not known may well be the one.
        .map(|(device, _)| (device.to_owned(), received(device).unwrap_or(1)))
        .filter(|(_, received)| *received > 0)
        .collect();
    devices.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    devices
}

pub static RP_FILTER: Knob = Knob {
    id: "net.ipv4.conf.DEV.rp_filter",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "mode",
    range: 0..=2,
    default: "0 in the kernel; distributions set 1 or 2",
    help: "Whether the sender of a packet must be reachable: 0 not asked, 1 (strict) through the device it came in by, 2 \
           (loose) through any. The larger of conf.all and conf.DEVICE is in force.",
    formula: "2 where traffic rightly comes in by another way than it leaves",
    risk: Risk::Medium,
    harm: "senders can pretend to be any host that is routed somewhere",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

pub static RP_FILTER_ALL: Knob = Knob {
    id: "net.ipv4.conf.all.rp_filter",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "mode",
    range: 0..=2,
    default: "0",
    help: "The same for all devices: the larger of this and conf.DEVICE is in force.",
    formula: "leave it at 0 and set the devices",
    risk: Risk::Medium,
    harm: "acts on every device",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};
