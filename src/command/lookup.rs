//! What is looked up only where the counters make it worth the reading.

use std::collections::BTreeMap;

use crate::model::{Changes, Finding, PathMtu, SourceStatus, Unresolved};
use crate::source::{self, Host, owner, path_mtu};
use crate::stage::{neighbour, read};

/// The paths of which this host was told, by a message that might have been about an MTU.
pub(super) fn path_mtus(host: &Host, changes: &Changes, sources: &mut Vec<SourceStatus>) -> Vec<PathMtu> {
    let told = changes.delta_of(&[&read::ICMP_IN_DEST_UNREACHS, &read::ICMP6_IN_PKT_TOO_BIGS]) > 0;
    let Some(seconds) = changes.seconds.filter(|_| told && !changes.since_boot) else { return Vec::new() };
    let start = std::time::Instant::now();
    // Read a moment after the window.
    let found = path_mtu::read(host, seconds + 0.5);
    let reason = found.as_ref().err().map(ToString::to_string);
    let microseconds = start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    sources.push(SourceStatus {
        name: "rtnetlink route exceptions".into(),
        ok: reason.is_none(),
        reason,
        microseconds,
    });
    found.unwrap_or_default()
}

/// The next hops whose link address is not known, if some were asked in vain, or what was sent reached no device.
pub(super) fn next_hops(
    host: &Host,
    changes: &Changes,
    unexplained: &BTreeMap<&'static str, u64>,
    sources: &mut Vec<SourceStatus>,
) -> Vec<Unresolved> {
    let asked =
        [&neighbour::ARP_FAILED, &neighbour::ARP_DISCARDS, &neighbour::NDISC_FAILED, &neighbour::NDISC_DISCARDS];
    let missing = unexplained.get(neighbour::STAGE.id).is_some_and(|packets| *packets > 0);
    if changes.since_boot || !(missing || changes.delta_of(&asked) > 0) {
        return Vec::new();
    }
    let start = std::time::Instant::now();
    let found = source::neighbour::unresolved(host);
    let reason = found.as_ref().err().map(ToString::to_string);
    let microseconds = start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    sources.push(SourceStatus { name: "rtnetlink neighbours".into(), ok: reason.is_none(), reason, microseconds });
    found.unwrap_or_default()
}

/// Looks up whose the sockets are that the findings name. Returns how that went, if there was anything to look up.
pub(super) fn find_owners(host: &Host, findings: &mut [Finding]) -> Option<SourceStatus> {
    let start = std::time::Instant::now();
    let mut victims: Vec<_> = findings.iter_mut().flat_map(|finding| &mut finding.victims).collect();
    if victims.is_empty() {
        return None;
    }
    let reason = owner::find(host, &mut victims).err();
    let microseconds = start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    Some(SourceStatus { name: "owners of sockets".into(), ok: reason.is_none(), reason, microseconds })
}
