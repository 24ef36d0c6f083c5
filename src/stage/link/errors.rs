//! Frames arrive damaged.

use std::collections::BTreeSet;

use super::{
    ALIGNMENT_ERRORS, FCS_ERRORS, FEC_CORRECTED, FEC_UNCORRECTABLE, NIC_SYMBOL_ERRORS, RX_CRC_ERRORS, RX_FRAME_ERRORS,
    RX_LENGTH_ERRORS, RX_PACKETS, SYMBOL_ERRORS,
};
use crate::model::{Counter, Example, Finding, Instance, Observed, Rule, Scope, Severity, Threshold};

pub static ERRORS: Rule = Rule {
    id: "link-errors",
    title: "Frames arrive damaged on a network device",
    explain: "The device threw frames away because their checksum was wrong, they did not end on a byte, or the physical \
              layer could not read them: a bad cable, plug or optic, a wrong duplex, or forward error correction that \
              does not fit the other end's. The counters are those of the port: on a virtual function of a shared card \
              they belong to all of its users. Frames of a wrong length (rx_length_errors) do not count here: some \
              devices put there what they merely do not support.",
    triggers: &[&RX_CRC_ERRORS, &RX_FRAME_ERRORS, &FCS_ERRORS, &ALIGNMENT_ERRORS, &SYMBOL_ERRORS, &NIC_SYMBOL_ERRORS],
    seen: &[],
    knobs: &[],
    thresholds: &[
        Threshold {
            key: "warning_per_ten_minutes",
            default: 1.0,
            help: "damaged frames in ten minutes above which a cable is looked at; own",
        },
        Threshold {
            key: "critical_percent",
            default: 1.0,
            help: "share of the frames that is damaged, in %; node-mixin's NodeNetworkReceiveErrs",
        },
    ],
    fires: errors,
    examples: &[
        Example {
            what: "one damaged frame in an hour",
            severity: Some(Severity::Info),
            observed: || Observed { changes: hour(damaged(1, 1_000_000)), ..Observed::default() },
        },
        Example {
            what: "5 of 100,000 frames in a second",
            severity: Some(Severity::Warning),
            observed: || damaged(5, 100_000),
        },
        Example { what: "2 % of all frames", severity: Some(Severity::Critical), observed: || damaged(2_000, 98_000) },
        Example {
            what: "the MAC counts the same frames as the device",
            severity: Some(Severity::Warning),
            observed: || damaged(700, 99_300).with_at(&FCS_ERRORS, eth0(), 700),
        },
        Example {
            what: "frames of a wrong length alone: maybe only what the device does not support",
            severity: None,
            observed: || Observed::quiet().with_at(&RX_LENGTH_ERRORS, eth0(), 5_000),
        },
    ],
};

fn eth0() -> Instance {
    Instance::device("eth0")
}

fn damaged(frames: u64, whole: u64) -> Observed {
    Observed::quiet().with_at(&RX_CRC_ERRORS, eth0(), frames).with_at(&RX_PACKETS, eth0(), whole)
}

fn hour(seen: Observed) -> crate::model::Changes {
    crate::model::Changes { seconds: Some(3600.0), ..seen.changes }
}

/// The cure of all of them.
pub const PHYSICAL: &str = "no setting mends a link: try another cable or optic, clean the plugs, compare speed, duplex \
                            and FEC with the switch's port ('ethtool DEV', 'ethtool --show-fec DEV', 'ethtool -m DEV')";

/// The devices on which one of the rule's triggers moved.
pub fn devices<'a>(seen: &'a Observed, rule: &Rule) -> BTreeSet<&'a Instance> {
    rule.triggers.iter().flat_map(|counter| seen.changes.grown(counter)).map(|(device, _)| device).collect()
}

fn errors(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    devices(seen, rule).into_iter().map(|device| of(seen, rule, device)).collect()
}

fn of(seen: &Observed, rule: &Rule, device: &Instance) -> Finding {
    let at = |counter: &'static Counter| seen.changes.delta_at(counter, device);
    let by_device = at(&RX_CRC_ERRORS).saturating_add(at(&RX_FRAME_ERRORS));
    let frames = by_device.max(at(&FCS_ERRORS).saturating_add(at(&ALIGNMENT_ERRORS)));
    let symbols = at(&SYMBOL_ERRORS).max(at(&NIC_SYMBOL_ERRORS));
    let all = frames.saturating_add(symbols);
    let (many, critical) = (seen.threshold(rule, "warning_per_ten_minutes"), seen.threshold(rule, "critical_percent"));
    let arrived = at(&RX_PACKETS).saturating_add(frames);
    let severity = match seen.rate(all).map(|rate| rate * 600.0) {
        _ if arrived > 0 && frames as f64 * 100.0 / arrived as f64 > critical => Severity::Critical,
        Some(rate) if rate <= many => Severity::Info,
        _ => Severity::Warning,
    };
    let why = format!("{frames} frames that arrived at {device} were damaged, and {symbols} symbols could not be read");
    let mut finding = Finding::new(rule, severity, Scope::Device, frames, why);
    finding.instance = device.clone();
    let moved = rule.triggers.iter().filter(|counter| at(counter) > 0);
    finding.evidence.extend(moved.map(|counter| seen.evidence_at(counter, device, Some(many / 600.0))));
    finding.no_setting_helps = Some(PHYSICAL.replace("DEV", &device.to_string()));
    finding
}

pub static UNCORRECTABLE: Rule = Rule {
    id: "fec-uncorrectable",
    title: "Forward error correction gives blocks up",
    explain: "Fast links send redundant bits with every block, so that the receiver can mend what the line spoiled. Blocks \
              that are mended are normal, on some links thousands a second. A block that can't be mended loses all frames \
              in it: the link is at its limit, by a dirty plug, a weak optic, a cable that is too long, or a FEC mode \
              that is too weak for it.",
    triggers: &[&FEC_UNCORRECTABLE],
    seen: &[],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_below_per_hour",
        default: 1.0,
        help: "blocks an hour below which it is noise; own",
    }],
    fires: uncorrectable,
    examples: &[
        Example { what: "3 blocks in a second", severity: Some(Severity::Warning), observed: || blocks(3) },
        Example {
            what: "one block in a day",
            severity: Some(Severity::Info),
            observed: || Observed {
                changes: crate::model::Changes { seconds: Some(86_400.0), ..blocks(1).changes },
                ..Observed::default()
            },
        },
        Example {
            what: "blocks are mended, and none is given up",
            severity: None,
            observed: || Observed::quiet().with_at(&FEC_CORRECTED, eth0(), 90_000),
        },
    ],
};

fn blocks(count: u64) -> Observed {
    Observed::quiet().with_at(&FEC_UNCORRECTABLE, eth0(), count)
}

fn uncorrectable(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let noise = seen.threshold(rule, "info_below_per_hour");
    let finding = |(device, count): (&Instance, u64)| {
        let rare = seen.rate(count).is_some_and(|rate| rate * 3600.0 < noise);
        let severity = if rare { Severity::Info } else { Severity::Warning };
        let mended = seen.changes.delta_at(&FEC_CORRECTED, device);
        let why = format!("{count} blocks on {device} could not be mended, {mended} could");
        // How many frames were in them is not known; the device counts them as damaged.
        let mut finding = Finding::new(rule, severity, Scope::Device, 0, why);
        finding.instance = device.clone();
        finding.evidence.push(seen.evidence_at(&FEC_UNCORRECTABLE, device, Some(noise / 3600.0)));
        finding.evidence.push(seen.evidence_at(&FEC_CORRECTED, device, None));
        finding.no_setting_helps = Some(PHYSICAL.replace("DEV", &device.to_string()));
        finding
    };
    seen.changes.grown(&FEC_UNCORRECTABLE).map(finding).collect()
}
