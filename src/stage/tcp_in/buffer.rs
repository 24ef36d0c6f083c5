//! What limits a connection's receive buffer, and what may be done about it: shared by the rules on full buffers.

use std::net::SocketAddr;

use crate::model::{Connection, Finding, Instance, Knob, Memory, Observed, Place, Risk, Scope, Suggestion, Victim};
use crate::stage::udp_in::overflow::{RMEM_MAX, SO_RCVBUF};

/// The settings that decide about it.
pub static DECIDE: &[&Knob] = &[&RMEM, &RMEM_MAX, &SO_RCVBUF, &MODERATE_RCVBUF];

/// What limits a receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The kernel grew it as far as it may: tcp_rmem's last number.
    Maximum,
    /// It is as large as each begins; the kernel does not let it grow (tcp_moderate_rcvbuf).
    Fixed,
    /// It is as large as each begins: the application never read enough for it to grow.
    Start,
    /// The application asked for more than rmem_max.
    Capped,
    /// The application asked for less than each gets by itself.
    Own,
    /// Between start and maximum: grown by the kernel, or of the application's own size.
    Unknown,
}

/// What limits the buffer of `connection`, as far as its size tells.
pub fn limit(seen: &Observed, connection: &Connection) -> Limit {
    let buffer = u64::from(connection.buffer);
    let capped = seen.settings.number(&RMEM_MAX.path()).is_some_and(|max| max.checked_mul(2) == Some(buffer));
    let Some([_, start, maximum]) = seen.settings.numbers(&RMEM.path()).and_then(|all| <[u64; 3]>::try_from(all).ok())
    else {
        return Limit::Unknown;
    };
    match buffer {
        _ if buffer == maximum => Limit::Maximum,
        _ if buffer == start && seen.settings.number(&MODERATE_RCVBUF.path()) == Some(0) => Limit::Fixed,
        _ if buffer == start => Limit::Start,
        _ if capped => Limit::Capped,
        _ if buffer < start => Limit::Own,
        _ => Limit::Unknown,
    }
}

/// What kernels give a connection at first, since 4.20, and at most, before 6.18, where memory is not scarce.
const USUAL_START: u64 = 131_072;
const USUAL_MOST: u64 = 6_291_456;

/// Suggests what gives `worst` a larger buffer. `count` connections are as full.
pub fn enlarge(seen: &Observed, worst: &Connection, count: u64, finding: &mut Finding) {
    let buffer = u64::from(worst.buffer);
    match limit(seen, worst) {
        Limit::Maximum => {
            finding.why += "; that is as far as net.ipv4.tcp_rmem lets the kernel grow it";
            let most = |present: &[u64]| present.last().map_or(0, |most| most.saturating_mul(2)).max(USUAL_MOST);
            let why = "twice the present maximum, and no less than what kernels begin with";
            let memory = |more: u64| more.saturating_mul(count);
            let began = seen.settings.numbers(&RMEM.path()).is_some_and(|all| all.get(1) == Some(&buffer));
            if began {
                // It could not grow at all: what it begins with is what binds.
                let suggestion = seen.raise_all(&RMEM, |present| vec![0, USUAL_START, most(present)], why, memory);
                restart(seen, suggestion, finding);
            } else {
                finding.suggest(seen.raise_all(&RMEM, |present| vec![0, 0, most(present)], why, memory));
            }
            finding.refuse("net.core.rmem_max", "it only caps SO_RCVBUF, which these connections do not use");
        }
        Limit::Fixed => {
            finding.why += "; net.ipv4.tcp_moderate_rcvbuf is 0, so buffers stay as they begin";
            finding.suggest(seen.raise(&MODERATE_RCVBUF, 1, "lets the kernel size the buffers by need", |_| 0));
        }
        Limit::Capped => {
            finding.why += "; the buffer is twice net.core.rmem_max: the application asked for as much or more";
            let why =
                "twice the present size; or let the application drop its SO_RCVBUF, and the kernel sizes the buffer";
            finding.suggest(seen.raise(&RMEM_MAX, buffer, why, |more| more.saturating_mul(2 * count)));
            finding.refuse("net.ipv4.tcp_rmem", "it does not act on a connection whose application sets SO_RCVBUF");
        }
        Limit::Own => {
            finding.why += "; that is less than each connection gets by itself: the application sets SO_RCVBUF";
            let instance = Instance::Socket { socket: worst.local.to_string() };
            let why = "twice the present size; better none at all, then the kernel sizes the buffer";
            let mut suggestion = seen.suggest(&SO_RCVBUF, instance, (buffer / 2).to_string(), buffer.to_string(), why);
            suggestion.memory_bytes = buffer.saturating_mul(count);
            finding.suggestions.push(suggestion);
            finding.no_setting_helps =
                Some("the application sets this size itself: only its configuration or its code changes it".into());
            finding.refuse("net.ipv4.tcp_rmem", "it does not act on a connection whose application sets SO_RCVBUF");
            finding.refuse("net.core.rmem_max", "it allows what the application asks for");
        }
        Limit::Start | Limit::Unknown => {
            finding.no_setting_helps = Some(
                "the application does not read fast enough for the kernel to give it more: more readers, or less work \
                 between two reads"
                    .into(),
            );
            finding.refuse("net.ipv4.tcp_rmem", "the buffer is below its maximum: that does not bind");
            finding.refuse("net.core.rmem_max", "it only caps SO_RCVBUF, and raises nothing by itself");
        }
    }
}

/// Adds a suggestion for what connections begin with. An accepted one begins with what its listener had when that was made
/// (net/ipv4/tcp.c tcp_init_sock(), net/core/sock.c sk_clone_lock()), so it is the listener that must be made anew.
pub fn restart(seen: &Observed, suggestion: Result<Suggestion, String>, finding: &mut Finding) {
    finding.suggest(suggestion.map(|suggestion| Suggestion { waits: true, ..suggestion }));
    for victim in &mut finding.victims {
        let port = victim.local.as_ref().and_then(|local| local.parse().ok()).map(|local: SocketAddr| local.port());
        let listeners = seen.sockets.as_ref().map(|sockets| &sockets.by_port);
        if let Some(listener) = port.and_then(|port| listeners?.get(&port)) {
            victim.cookie = listener.cookie;
        }
    }
}

/// The connections that dropped segments, as victims, and how many each; `lost` in all, by this cause. A connection counts
/// duplicates as dropped too: where there are more of them than losses, who lost how many can't be told.
pub fn victims(seen: &Observed, lost: u64, fits: impl Fn(&Connection) -> bool) -> Vec<(Connection, Victim)> {
    let connections = seen.sockets.iter().filter_map(|sockets| sockets.connections.as_ref());
    let all: Vec<&(Connection, u64)> =
        connections.flat_map(|connections| &connections.dropping).filter(|(one, _)| fits(one)).collect();
    let dropped = all.iter().map(|(_, dropped)| *dropped).fold(0, u64::saturating_add);
    // The sockets are read a moment after the counters.
    let exact = all.len() == 1 || dropped <= lost.saturating_add(lost / 10);
    let mut left = lost;
    let share = |(one, dropped): &(Connection, u64)| {
        let lost = if exact { left.min(*dropped) } else { 0 };
        left -= lost;
        (*one, Victim::of_connection(one, lost))
    };
    all.into_iter().map(share).collect()
}

pub static RMEM: Knob = Knob {
    id: "net.ipv4.tcp_rmem",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "bytes: least, start, most",
    range: 1..=2_147_483_647,
    default: "4096 131072 and 6 MiB (32 MiB since 6.18), the last less with little memory; start 87380 before 4.20",
    help: "Receive buffer of a TCP connection: what it keeps when memory is short, what it begins with, and what the kernel \
           lets it grow to by need. Counted as memory, of which the payload is a part; the window that is offered is about \
           half. One value per namespace since 4.15.",
    formula: "most = 2 x bytes per second x round trip in seconds; connections x most not above a quarter of the memory",
    risk: Risk::Medium,
    harm: "each connection whose reader is slow may hold the most; long queues here; tidying up a large one takes long",
    takes_effect: "the most at once, as the application reads; the start with a new listener, or a new connection of ours: \
                   restart the application",
    waits: false,
    memory: Memory::Tcp,
    keep: "sysctl.d",
};

pub static MODERATE_RCVBUF: Knob = Knob {
    id: "net.ipv4.tcp_moderate_rcvbuf",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "switch",
    range: 0..=1,
    default: "1",
    help: "Whether the kernel lets a receive buffer grow by need, up to tcp_rmem's last number. Off, each stays as it begins.",
    formula: "1",
    risk: Risk::Low,
    harm: "buffers grow to tcp_rmem's last number where the path can use it",
    takes_effect: "at once, as the application reads",
    waits: false,
    memory: Memory::Tcp,
    keep: "sysctl.d",
};
