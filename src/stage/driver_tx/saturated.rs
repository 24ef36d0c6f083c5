//! A link that is full.

use super::TX_PACKETS;
use crate::model::{Example, Finding, Instance, Lasting, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::link::{RX_BYTES, RX_PACKETS, SPEED, TX_BYTES};
use crate::stage::ring::RING_RX;

pub static SATURATED: Rule = Rule {
    id: "link-saturated",
    title: "A link is full",
    explain: "Bytes a second, in one direction, against the speed of the link. A full link makes queues: in the qdisc on the \
              way out, in the switch on the way in, and there frames are dropped. No setting makes it faster. Only devices \
              with a ring are looked at: the speed that virtual ones show (10 Gbit/s of veth, 10 Mbit/s of tun) is made up, \
              and so is one that traffic exceeds. A cloud's limit is another thing: cloud-allowance-exceeded.",
    triggers: &[&RX_BYTES, &TX_BYTES],
    seen: &[],
    knobs: &[&SPEED, &RING_RX],
    thresholds: &[
        Threshold { key: "full_percent", default: 85.0, help: "of the link's speed, in %; netdata: 85 to 90" },
        Threshold {
            key: "lasting_seconds",
            default: 60.0,
            help: "how long it must go on for a warning: window after window, or one that is longer; netdata",
        },
        Threshold { key: "most_percent", default: 105.0, help: "above, the speed that is shown can't be right; own" },
    ],
    fires: saturated,
    examples: &[
        Example {
            what: "930 Mbit/s of 1,000 sent, for a minute now",
            severity: Some(Severity::Warning),
            observed: || {
                let lasting = Lasting::of("link-saturated", &Instance::device("eth0"), 60.0);
                Observed { lasting, ..sent(930, Some("1000"), Some("512")) }
            },
        },
        Example {
            what: "the same for a second: a burst, or the beginning of more",
            severity: Some(Severity::Info),
            observed: || sent(930, Some("1000"), Some("512")),
        },
        Example {
            what: "small frames fill a link with fewer bytes",
            severity: Some(Severity::Info),
            observed: || {
                let seen = speed("eth0", Some("1000"), Some("512"));
                let eth0 = || Instance::device("eth0");
                seen.with_at(&RX_BYTES, eth0(), 84_000_000).with_at(&RX_PACKETS, eth0(), 1_400_000)
            },
        },
        Example { what: "half of it", severity: None, observed: || sent(500, Some("1000"), Some("512")) },
        Example {
            what: "a veth, whose speed is made up",
            severity: None,
            observed: || sent(9_300, Some("10000"), None),
        },
        Example { what: "more than the link could", severity: None, observed: || sent(400, Some("100"), Some("512")) },
        Example { what: "a speed that is not known", severity: None, observed: || sent(930, None, Some("512")) },
    ],
};

/// So many Mbit/s sent in a second, by a device of this speed and ring.
fn sent(megabits: u64, link: Option<&str>, ring: Option<&str>) -> Observed {
    speed("eth0", link, ring).with_at(&TX_BYTES, Instance::device("eth0"), megabits * 125_000)
}

fn speed(device: &str, link: Option<&str>, ring: Option<&str>) -> Observed {
    let settings = [("linkmodes/speed", link), ("rings/rx", ring)];
    settings.into_iter().fold(Observed::quiet(), |seen, (name, value)| match value {
        Some(value) => seen.with_setting(&format!("ethtool/{device}/{name}"), value),
        None => seen,
    })
}

/// Bytes on the wire beside those of each frame: preamble, checksum, and the gap to the next (IEEE 802.3).
const AROUND: u64 = 24;

fn saturated(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let mut devices: Vec<&Instance> =
        [&RX_BYTES, &TX_BYTES].iter().flat_map(|counter| seen.grown(counter)).map(|(at, _)| at).collect();
    devices.sort();
    devices.dedup();
    devices.into_iter().filter_map(|device| of(seen, rule, device)).collect()
}

fn of(seen: &Observed, rule: &Rule, device: &Instance) -> Option<Finding> {
    let setting = |knob: &'static crate::model::Knob| seen.settings.number(&knob.path_of(device));
    // Without a ring there is no wire.
    let speed = setting(&SPEED).filter(|speed| *speed > 0 && setting(&RING_RX).is_some_and(|ring| ring > 0))?;
    let at = |counter| seen.changes.delta_at(counter, device);
    let ways = [("received", &RX_BYTES, &RX_PACKETS), ("sent", &TX_BYTES, &TX_PACKETS)]
        .map(|(way, bytes, frames)| (way, bytes, at(bytes).saturating_add(at(frames).saturating_mul(AROUND))));
    let percent = |bytes: u64| seen.rate(bytes).map_or(0.0, |rate| rate * 8.0 / 10_000.0 / speed as f64);
    let [full, most] = ["full_percent", "most_percent"].map(|key| seen.threshold(rule, key));
    let over: Vec<_> = ways.into_iter().filter(|(.., bytes)| percent(*bytes) >= full).collect();
    if over.is_empty() || ways.iter().any(|(.., bytes)| percent(*bytes) > most) {
        return None;
    }
    let lasted = seen.lasting.seconds(rule.id, device) + seen.changes.seconds.unwrap_or(0.0);
    let brief = lasted <= seen.threshold(rule, "lasting_seconds");
    let severity = if brief { Severity::Info } else { Severity::Warning };
    let parts: Vec<String> = over.iter().map(|(way, _, bytes)| format!("{way} {:.0} %", percent(*bytes))).collect();
    let mut why = format!("{device} {} of its {speed} Mbit/s", parts.join(" and "));
    if brief {
        why += "; whether it goes on, several windows tell: --count 0";
    }
    let mut finding = Finding::new(rule, severity, Scope::Device, 0, why);
    finding.instance = device.clone();
    let limit = full / 100.0 * speed as f64 * 125_000.0;
    finding.evidence = over.iter().map(|(_, counter, _)| seen.evidence_at(counter, device, Some(limit))).collect();
    finding.no_setting_helps = Some(
        "a faster link, a second one beside it (bond), or less traffic. What goes first when it is full, a qdisc decides \
         (fq_codel, cake, htb)"
            .into(),
    );
    finding.refuse("txqueuelen", "a longer queue only makes everything in it later");
    Some(finding)
}
