//! Drops as the kernel's drop monitor tells them, for hosts without BPF: fewer things are known of each.

use std::io;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::classify::direction;
use super::words::{Class, network, protocol};
use super::{DropTotals, Window, status};
use crate::model::{Drop, SourceStatus, per_second};
use crate::source::dropmon::{self, Row, Watched};
use crate::source::probe;
use crate::source::reasons::{ReasonNames, subsystem};

/// What only BPF tells.
const MISSING: &str = "used instead of BPF, at a higher cost for each drop: sockets, namespaces, names of devices, and \
                       what other hooks see are not told";

/// Watches for as long as `window`, or until `stop`; of `reason` only, if one is given. Also says when the window ended:
/// the kernel tells the last drops only a while later.
pub fn watch(window: Duration, stop: &AtomicBool, reason: Option<&str>) -> io::Result<Window> {
    let start = Instant::now();
    let watched = dropmon::watch(window, stop)?;
    // The kernel's types need no privilege.
    let names = probe::reason_names();
    let mut drops: Vec<Drop> = watched.rows.iter().map(|row| describe(row, &names, watched.seconds)).collect();
    drops.retain(|drop| reason.is_none_or(|wanted| drop.is_for(wanted)));
    drops.sort_by_key(|drop| (std::cmp::Reverse((drop.harm, drop.count)), drop.location.clone()));
    let mut totals = DropTotals { unseen: watched.lost, ..DropTotals::default() };
    if reason.is_some() {
        // Of which reason they were nobody knows.
        totals.unseen = 0;
    }
    totals.add(&drops);
    let sources = sources(&watched, start);
    let window = Window {
        drops,
        totals,
        incidents: Vec::new(),
        probes: Vec::new(),
        sources,
        left_out: 0,
        seconds: watched.seconds,
        ended: Timestamp::try_from(watched.end).unwrap_or_default(),
    };
    Ok(window)
}

fn describe(row: &Row, names: &ReasonNames, seconds: f64) -> Drop {
    let packet = &row.packet;
    let protocol = packet.protocol.and_then(protocol);
    let number = packet.reason.as_deref().and_then(|reason| names.number(reason));
    let part = number.map_or("core".into(), subsystem);
    let place = Some(packet.location.as_str());
    let others_named = packet.reason.is_some();
    let class = Class::named(packet.reason.as_deref(), &part, place, protocol.as_deref(), others_named);
    Drop {
        reason: class.name,
        reason_number: number,
        subsystem: part,
        likely: class.likely,
        harm: class.harm,
        normal: class.normal,
        direction: direction(&class.stage, packet.in_port.is_some()),
        stage: class.stage,
        location: Some(packet.location.clone()),
        // Its number alone, without the namespace, may be that of another device.
        device: packet.in_port.map(|number| format!("if{number}")),
        netns: None,
        netns_name: None,
        network: packet.ethertype.and_then(network),
        protocol,
        policy: None,
        count: row.count,
        per_second: per_second(row.count, seconds),
        victims: Vec::new(),
        flows: Vec::new(),
        stack: Vec::new(),
    }
}

/// That it was used, and what of the window it did not tell.
fn sources(watched: &Watched, start: Instant) -> Vec<SourceStatus> {
    let mut used = status("drop monitor", Some(MISSING.into()), start);
    used.ok = true;
    let late = "the kernel still had drops to tell when it was waited for no longer: the counts are short";
    let late = (!watched.complete).then(|| late.to_owned());
    let bad = (watched.bad > 0).then(|| format!("{} messages made no sense: the counts are short", watched.bad));
    let short = late.into_iter().chain(bad).map(|reason| status("drop monitor", Some(reason), start));
    [used].into_iter().chain(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Harm;
    use crate::source::dropmon::Packet;

    fn row(reason: Option<&str>, location: &str) -> Row {
        let packet = Packet {
            location: location.into(),
            reason: reason.map(Into::into),
            in_port: Some(3),
            ethertype: Some(0x0800),
            protocol: Some(17),
        };
        Row { packet, count: 10 }
    }

    #[test]
    fn a_row_has_the_same_words_as_one_of_the_probe() {
        let drop = describe(&row(Some("SOCKET_RCVBUFF"), "udp_queue_rcv_one_skb"), &ReasonNames::default(), 2.0);
        assert_eq!((drop.reason.as_str(), drop.harm, drop.stage.as_str()), ("SOCKET_RCVBUFF", Harm::Harmful, "udp_in"));
        assert_eq!((drop.network.as_deref(), drop.protocol.as_deref()), (Some("ipv4"), Some("udp")));
        assert_eq!((drop.count, drop.per_second, drop.device.as_deref()), (10, Some(5.0), Some("if3")));
        assert_eq!((drop.reason_number, drop.location.as_deref()), (None, Some("udp_queue_rcv_one_skb")));
    }

    #[test]
    fn without_reasons_the_place_tells() {
        let drop = describe(&row(None, "__udp4_lib_rcv"), &ReasonNames::default(), 2.0);
        assert_eq!((drop.reason.as_str(), drop.likely.as_deref()), ("NOT_SPECIFIED", Some("NO_SOCKET")));
    }

    #[test]
    fn what_was_not_told_is_said() {
        let said = |watched: &Watched| {
            let all = sources(watched, Instant::now()).into_iter();
            all.map(|source| (source.ok, source.reason.unwrap_or_default())).collect::<Vec<_>>()
        };
        assert_eq!(said(&Watched { complete: true, ..Watched::default() }), [(true, MISSING.into())]);
        let short = said(&Watched { bad: 2, ..Watched::default() });
        assert!(short.len() == 3 && short[1..].iter().all(|(ok, why)| !ok && why.contains("short")), "{short:?}");
    }
}
