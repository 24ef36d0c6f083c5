//! Local ports in use: looked up only where some service could be short of them.

use std::time::Instant;

use crate::model::{Change, Changes, Counter, PortUse, Settings, Sockets, SourceStatus};
use crate::sockets::ports;
use crate::source::Host;
use crate::stage::send::ports::{choice, range};
use crate::stage::tcp_in::timers::TW_REUSE_DELAY;
use crate::stage::tcp_in::{TCP_INUSE, TCP_TW, TCP6_INUSE};
use crate::stage::tcp_out::ACTIVE_OPENS;

/// With fewer connections than this share of all ports, no service can hold most of them.
const SHARE: u64 = 2;
/// What kernels have that don't show the setting, in milliseconds (net/ipv4/tcp_ipv4.c tcp_twsk_unique()).
const DELAY: u64 = 1_000;

/// The ports in use, by service. Empty where there are too few connections, or where this host never opened so many: a
/// server's connections take no port of their own.
pub fn in_use(
    host: &Host,
    changes: &Changes,
    sockets: Option<&Sockets>,
    settings: &Settings,
    sources: &mut Vec<SourceStatus>,
) -> Vec<PortUse> {
    let Some((range, all)) = range(settings).zip(choice(settings)) else { return Vec::new() };
    let there: u64 = [&TCP_INUSE, &TCP6_INUSE, &TCP_TW].into_iter().filter_map(|gauge| now(changes, gauge)).sum();
    let opened = now(changes, &ACTIVE_OPENS);
    if there * SHARE < all || opened.is_some_and(|opened| opened * SHARE < all) {
        return Vec::new();
    }
    let start = Instant::now();
    let delay = settings.number(&TW_REUSE_DELAY.path()).unwrap_or(DELAY);
    let listens = |port| sockets.is_some_and(|sockets| sockets.by_port.contains_key(&port));
    let ours = |port| range.contains(&port) && !listens(port);
    let found = ports::in_use(host, u32::try_from(delay).unwrap_or(u32::MAX), ours);
    sources.push(SourceStatus {
        name: "sock_diag ports".into(),
        ok: found.is_ok(),
        reason: match &found {
            Ok((_, dumped)) => dumped.disturbed.then(|| "changed while it was read: ports may be missing".into()),
            Err(e) => Some(e.to_string()),
        },
        microseconds: start.elapsed().as_micros().try_into().unwrap_or(u64::MAX),
    });
    found.map(|(ports, _)| ports).unwrap_or_default()
}

/// What a counter says at the window's end.
fn now(changes: &Changes, counter: &'static Counter) -> Option<u64> {
    let value = |change| match change {
        Change::Total { total, .. } => total,
        Change::Gauge { value, .. } => value,
    };
    changes.each(counter).map(|(_, change)| value(change)).reduce(u64::saturating_add)
}
