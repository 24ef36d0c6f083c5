//! What is wrong with a single socket, the worst first.

use schemars::JsonSchema;
use serde::Serialize;

use super::before::Grown;
use crate::model::{Endpoint, Transport};

/// What is wrong with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The round-trip time is more than four times the least one: packets wait in queues on their way.
    RttInflated,
    /// More than 1 % of what it sends it sends again.
    Retransmits,
    /// More than 10 % of the time with something to send, the send buffer was full though the network could take more.
    SendBufferLimited,
    /// More than 20 % of the time with something to send, the peer's receive window was full.
    PeerWindowLimited,
    /// A connection dropped segments that came: probes of its closed window, or what found no room. They are sent again.
    SegmentsDropped,
    /// What came lies unread for a second or more, or fills the buffer: the application does not keep up.
    Unread,
    /// The accept queue is half full.
    AcceptQueueFilling,
    /// The peer's window is closed: its application does not read.
    PeerWindowClosed,
    /// The timer ran out twice or more in a row: the other end does not answer.
    Unanswered,
    /// It has something to send and the peer's window is open, yet it only probes: this host refuses its segments (a firewall
    /// rule on the way out, a program, no memory).
    SegmentsRefused,
    /// The accept queue is full: new connections are lost or have to wait.
    AcceptQueueFull,
    /// It lost packets; of a listener, connections that were to be made.
    Drops,
}

impl Trouble {
    /// All of them, the worst first.
    pub const ALL: [Self; 12] = [
        Self::Drops,
        Self::AcceptQueueFull,
        Self::SegmentsRefused,
        Self::Unanswered,
        Self::PeerWindowClosed,
        Self::AcceptQueueFilling,
        Self::Unread,
        Self::SegmentsDropped,
        Self::PeerWindowLimited,
        Self::SendBufferLimited,
        Self::Retransmits,
        Self::RttInflated,
    ];

    /// How bad it is, if it is the case at all; the unit is each one's own.
    pub fn of(self, socket: &Endpoint, grown: &Grown) -> Option<u64> {
        let tcp = socket.tcp.as_ref();
        let connection = socket.transport == Transport::Tcp && socket.accept_queue().is_none();
        let [fill, limit] = socket.accept_queue().unwrap_or_default();
        let sends = tcp.is_some_and(|tcp| tcp.unsent.is_some_and(|unsent| unsent > 0));
        // TCP_TIMER probe0 in idiag_timer (inet_sk_diag_fill(), net/ipv4/inet_diag.c).
        let probes = socket.timer == 4 && sends;
        let room = tcp.and_then(|tcp| Some(tcp.peer_window? >= tcp.segment)).unwrap_or(false);
        let when = |holds: bool, much: u64| holds.then_some(much.max(1));
        match self {
            Self::Drops => when(grown.drops > 0 && !connection, grown.drops),
            Self::SegmentsDropped => when(grown.drops > 0 && connection, grown.drops),
            // The queue holds one more than its limit (sk_acceptq_is_full(), include/net/sock.h).
            Self::AcceptQueueFull => when(fill > limit && fill > 0, fill.into()),
            Self::AcceptQueueFilling => when(fill > 0 && fill <= limit && fill >= limit / 2, fill.into()),
            Self::SegmentsRefused => when(probes && room, socket.send_queue.into()),
            Self::PeerWindowClosed => when(probes && !room, socket.send_queue.into()),
            Self::Unanswered => when(socket.timer == 1 && socket.unanswered >= 2, socket.unanswered.into()),
            Self::Unread => when(unread(socket), age(socket).unwrap_or(0).max(socket.receive_queue.into())),
            Self::PeerWindowLimited => limited(grown, 1).filter(|share| *share >= 200),
            Self::SendBufferLimited => limited(grown, 2).filter(|share| *share >= 100),
            Self::Retransmits => retransmitted(grown).filter(|share| *share >= 10_000 && grown.sent >= 100),
            Self::RttInflated => {
                let moved = grown.acked > 0 || grown.sent > 0;
                let slow = tcp.is_some_and(|tcp| tcp.rtt >= 10_000);
                inflation(socket).filter(|times| *times >= 400 && moved && slow)
            }
        }
    }

    /// The worst, and how bad it is.
    pub fn worst(socket: &Endpoint, grown: &Grown) -> Option<(Self, u64)> {
        Self::ALL.into_iter().find_map(|trouble| Some((trouble, trouble.of(socket, grown)?)))
    }
}

fn unread(socket: &Endpoint) -> bool {
    if socket.receive_queue == 0 || socket.accept_queue().is_some() {
        return false;
    }
    let full = socket.memory.is_some_and(|memory| {
        memory.receive_buffer > 0 && u64::from(memory.received) * 10 >= u64::from(memory.receive_buffer) * 9
    });
    let closed = socket.tcp.is_some_and(|tcp| tcp.own_window == Some(0));
    full || closed || age(socket).is_some_and(|age| age >= 1000)
}

/// Milliseconds that what lies unread has waited at least: since the last of it came. Of TCP alone; nobody keeps it of UDP.
pub fn age(socket: &Endpoint) -> Option<u64> {
    let waits = socket.transport == Transport::Tcp && socket.receive_queue > 0 && socket.accept_queue().is_none();
    Some(socket.tcp.filter(|_| waits)?.idle[1].into())
}

/// The share of the time with something to send, in thousandths, that it was held by the peer's window (1) or the send
/// buffer (2). Not of a time too short to tell.
pub fn limited(grown: &Grown, by: usize) -> Option<u64> {
    let [busy, ..] = grown.limited;
    (busy >= 10 && !grown.at_most).then(|| (grown.limited[by] * 1000 / busy).min(1000))
}

/// The share of segments that were sent again, in millionths.
pub fn retransmitted(grown: &Grown) -> Option<u64> {
    (grown.sent > 0).then(|| (grown.retransmitted.saturating_mul(1_000_000) / grown.sent).min(1_000_000))
}

/// The round-trip time as a multiple of the least, in hundredths.
pub fn inflation(socket: &Endpoint) -> Option<u64> {
    let tcp = socket.tcp.filter(|tcp| tcp.rtt > 0)?;
    Some(u64::from(tcp.rtt) * 100 / u64::from(tcp.least_rtt?))
}
