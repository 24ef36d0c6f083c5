//! The first few of many sockets.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;

use super::Seen;
use super::trouble::{Trouble, age, inflation, limited, retransmitted};

/// What sockets are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// What is wrong with them, the worst first
    Trouble,
    /// Packets lost
    Drops,
    /// Bytes that lie unread
    Queue,
    /// How long the last of them has waited
    Age,
    /// How full a listener's accept queue is
    Accept,
    /// Bytes received while the application held the socket
    Backlog,
    /// How full the fuller one of both buffers is
    Buffer,
    /// The share of time that the send buffer held it back
    Sendbuf,
    /// The share of time that the peer's window held it back
    Window,
    /// The share of segments sent again
    Retrans,
    /// The round-trip time as a multiple of the least
    Rtt,
    /// Bytes sent and acknowledged
    Sent,
    /// Bytes received
    Received,
}

impl By {
    /// The higher, the further ahead; 0 is not ranked.
    pub fn of(self, seen: &Seen) -> u64 {
        let Seen { socket, grown } = seen;
        let share = |part: u32, whole: u32| u64::from(part) * 1000 / u64::from(whole.max(1));
        match self {
            By::Trouble => Trouble::worst(socket, grown)
                .map_or(0, |(trouble, much)| (trouble as u64 + 1) << 56 | much.min((1 << 56) - 1)),
            By::Drops => grown.drops,
            By::Queue => socket.accept_queue().map_or(socket.receive_queue.into(), |_| 0),
            By::Age => age(socket).unwrap_or(0),
            // One that is empty is still a listener.
            By::Accept => socket
                .accept_queue()
                .map_or(0, |[fill, limit]| (share(fill, limit.saturating_add(1)) << 32 | grown.drops.min(1 << 31)) + 1),
            By::Backlog => socket.memory.map_or(0, |memory| memory.backlog.into()),
            By::Buffer => socket.memory.filter(|_| socket.accept_queue().is_none()).map_or(0, |memory| {
                let queued = if socket.send_queue > 0 { memory.queued } else { 0 };
                share(memory.received, memory.receive_buffer).max(share(queued, memory.send_buffer))
            }),
            By::Sendbuf => limited(grown, 2).unwrap_or(0),
            By::Window => limited(grown, 1).unwrap_or(0),
            // One that resent one of two is less telling than one that resent a hundred of two hundred.
            By::Retrans => retransmitted(grown)
                .filter(|share| *share > 0)
                .map_or(0, |share| share << 32 | grown.retransmitted.min(u32::MAX.into())),
            By::Rtt => inflation(socket).unwrap_or(0),
            By::Sent => grown.acked,
            By::Received => grown.received,
        }
    }
}

/// Keeps the first `room` by what they are ranked by.
#[derive(Debug)]
pub struct Top {
    by: By,
    room: usize,
    ranked: u64,
    kept: BinaryHeap<Place>,
}

/// The last one is at the heap's top. Of equals the older socket stands ahead.
#[derive(Debug)]
struct Place {
    key: Reverse<u64>,
    seen: Seen,
}

impl Place {
    fn order(&self) -> (Reverse<u64>, u64) {
        (self.key, self.seen.socket.cookie)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Top {
    /// With room for so many.
    pub fn new(by: By, room: usize) -> Self {
        Top { by, room, ranked: 0, kept: BinaryHeap::new() }
    }

    /// Takes a socket, if it is among the first so far.
    pub fn offer(&mut self, seen: &Seen) {
        let key = self.by.of(seen);
        if key == 0 {
            return;
        }
        self.ranked += 1;
        let place = Place { key: Reverse(key), seen: *seen };
        if self.kept.len() < self.room {
            self.kept.push(place);
        } else if let Some(mut last) = self.kept.peek_mut()
            && place < *last
        {
            *last = place;
        }
    }

    /// How many it could have taken.
    pub fn ranked(&self) -> u64 {
        self.ranked
    }

    /// The first, in order.
    pub fn sorted(self) -> Vec<Seen> {
        self.kept.into_sorted_vec().into_iter().map(|place| place.seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::before::{Grown, life};
    use super::super::tests::{connection, udp};
    use super::*;
    use crate::model::{Endpoint, State, TcpInfo};

    #[test]
    fn the_first_are_kept_in_order() {
        let mut top = Top::new(By::Drops, 3);
        for cookie in 1..=100_u64 {
            let socket = udp(cookie, (cookie % 50) as u32);
            top.offer(&Seen { socket, grown: life(&socket) });
        }
        assert_eq!(top.ranked(), 98);
        let first: Vec<_> = top.sorted().iter().map(|seen| (seen.socket.cookie, seen.grown.drops)).collect();
        assert_eq!(first, [(49, 49), (99, 49), (48, 48)]);
    }

    #[test]
    fn each_trouble_is_told_from_its_neighbours() {
        let quiet = Grown::default();
        let worst = |socket: &Endpoint, grown: &Grown| Trouble::worst(socket, grown).map(|(trouble, _)| trouble);
        let tcp = connection().tcp.unwrap();
        let with = |tcp: TcpInfo| Endpoint { tcp: Some(tcp), ..connection() };
        assert_eq!(worst(&connection(), &quiet), None);
        assert_eq!(worst(&udp(1, 5), &Grown { drops: 5, ..quiet }), Some(Trouble::Drops));
        assert_eq!(worst(&connection(), &Grown { drops: 5, ..quiet }), Some(Trouble::SegmentsDropped));
        let listener = Endpoint { state: State::Listen, tcp: None, send_queue: 4, ..connection() };
        for (fill, trouble) in [
            (5, Some(Trouble::AcceptQueueFull)),
            (4, Some(Trouble::AcceptQueueFilling)),
            (2, Some(Trouble::AcceptQueueFilling)),
            (1, None),
            (0, None),
        ] {
            assert_eq!(worst(&Endpoint { receive_queue: fill, ..listener }, &quiet), trouble, "{fill}");
        }
        // A probe of a window that is open: this host refuses the segments.
        for (window, trouble) in [(65_535, Trouble::SegmentsRefused), (100, Trouble::PeerWindowClosed)] {
            let tcp = TcpInfo { peer_window: Some(window), unsent: Some(9), ..tcp };
            assert_eq!(worst(&Endpoint { timer: 4, ..with(tcp) }, &quiet), Some(trouble));
        }
        let unanswered = Endpoint { timer: 1, unanswered: 2, ..connection() };
        assert_eq!(worst(&unanswered, &quiet), Some(Trouble::Unanswered));
        assert_eq!(worst(&Endpoint { unanswered: 1, ..unanswered }, &quiet), None);
        for (idle, trouble) in [(1500, Some(Trouble::Unread)), (20, None)] {
            let waits = with(TcpInfo { idle: [9, idle, 9], ..tcp });
            assert_eq!(worst(&Endpoint { receive_queue: 10, ..waits }, &quiet), trouble);
        }
        for (limited, trouble) in [
            ([1000, 300, 0], Some(Trouble::PeerWindowLimited)),
            ([1000, 0, 150], Some(Trouble::SendBufferLimited)),
            ([1000, 100, 50], None),
            // Too short to tell.
            ([5, 5, 0], None),
        ] {
            assert_eq!(worst(&connection(), &Grown { limited, ..quiet }), trouble);
        }
        for (retransmitted, sent, trouble) in [(20, 1000, Some(Trouble::Retransmits)), (5, 1000, None), (2, 20, None)] {
            assert_eq!(worst(&connection(), &Grown { retransmitted, sent, ..quiet }), trouble);
        }
        let slow = with(TcpInfo { rtt: 50_000, least_rtt: Some(10_000), ..tcp });
        assert_eq!(worst(&slow, &Grown { acked: 1, ..quiet }), Some(Trouble::RttInflated));
        assert_eq!(worst(&slow, &quiet), None);
    }
}
