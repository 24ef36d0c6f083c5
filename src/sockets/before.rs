//! What sockets had counted when a window began, in a table that never grows.
//!
//! A set-associative table: a socket's cookie chooses one of the sets, which holds [`WAYS`] sockets. So long as a set has
//! room, changes are exact. When it has none, the socket that counted and did least gives way: those that lost packets, sent
//! again or are active keep their place. A socket without one, in a set that gave some away, then changed by at most what
//! it counted in its life, less nothing if it moved at all; its changes are marked as an upper bound. So none is missed that
//! changed much; one that counted much long ago may stand where it should not, and says so. A TCP connection on which
//! nothing happened within the window did not change, whatever the table holds.

use crate::model::Endpoint;

/// Sets; with [`WAYS`] each 262,144 sockets, in 12.6 MB of which only what is used is touched.
const SETS: usize = 1 << 14;
const WAYS: usize = 16;

/// What a socket counts in its life. Narrow ones wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    cookie: u64,
    acked: u64,
    received: u64,
    drops: u32,
    retransmitted: u32,
    sent: u32,
    /// Milliseconds with something to send, held by the peer's window, and by the send buffer.
    limited: [u32; 3],
}

/// By how much a socket's counts changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    /// Packets lost.
    pub drops: u64,
    /// Segments sent again.
    pub retransmitted: u64,
    /// Segments with data sent, also again.
    pub sent: u64,
    /// Bytes acknowledged.
    pub acked: u64,
    /// Bytes that came.
    pub received: u64,
    /// Milliseconds with something to send, held by the peer's window, and by the send buffer.
    pub limited: [u64; 3],
    /// It was there before.
    pub known: bool,
    /// It is not known what it had counted before: these are upper bounds.
    pub at_most: bool,
}

impl Counts {
    fn of(endpoint: &Endpoint) -> Self {
        let tcp = endpoint.tcp.unwrap_or_default();
        let limited = tcp.limited.unwrap_or_default().map(|microseconds| (microseconds / 1000) as u32);
        Counts {
            cookie: endpoint.cookie,
            acked: tcp.acked,
            received: tcp.received,
            drops: endpoint.drops(),
            retransmitted: tcp.retransmitted,
            sent: tcp.sent.unwrap_or(0),
            limited,
        }
    }

    fn nothing(&self) -> bool {
        *self == Counts { cookie: self.cookie, ..Counts::default() }
    }

    /// How much its place is worth.
    fn weight(&self) -> u64 {
        (u64::from(self.drops) + u64::from(self.retransmitted)) << 32 | (u64::from(self.sent) + self.received / 1024)
    }

    fn since(&self, before: &Self) -> Grown {
        let narrow = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        Grown {
            drops: narrow(self.drops, before.drops),
            retransmitted: narrow(self.retransmitted, before.retransmitted),
            sent: narrow(self.sent, before.sent),
            acked: self.acked.saturating_sub(before.acked),
            received: self.received.saturating_sub(before.received),
            limited: [0, 1, 2].map(|at| narrow(self.limited[at], before.limited[at])),
            known: false,
            at_most: false,
        }
    }
}

/// The counts of a socket's whole life.
pub fn life(endpoint: &Endpoint) -> Grown {
    Counts::of(endpoint).since(&Counts::default())
}

/// The table.
#[derive(Debug)]
pub struct Before {
    /// An entry without a cookie is free.
    entries: Vec<Counts>,
    /// Sets that had no room for all.
    overflowed: Vec<bool>,
    /// Sockets that found no place.
    pub left_out: u64,
    /// Sockets that have one.
    pub kept: u64,
}

impl Default for Before {
    fn default() -> Self {
        // All zeros: the kernel gives a page when it is first written.
        Before { entries: vec![Counts::default(); SETS * WAYS], overflowed: vec![false; SETS], left_out: 0, kept: 0 }
    }
}

impl Before {
    fn set(cookie: u64) -> usize {
        // Fibonacci hashing: cookies are handed out in order.
        (cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as usize % SETS
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if self.kept > 0 || self.left_out > 0 {
            *self = Before::default();
        }
    }

    /// Remembers what a socket has counted. One that counted nothing needs no place.
    pub fn keep(&mut self, endpoint: &Endpoint) {
        let counts = Counts::of(endpoint);
        if counts.cookie == 0 || counts.nothing() {
            return;
        }
        let set = Self::set(counts.cookie);
        let ways = &mut self.entries[set * WAYS..][..WAYS];
        if let Some(free) = ways.iter_mut().find(|entry| entry.cookie == 0 || entry.cookie == counts.cookie) {
            self.kept += u64::from(free.cookie == 0);
            *free = counts;
            return;
        }
        self.overflowed[set] = true;
        self.left_out += 1;
        if let Some(least) = ways.iter_mut().min_by_key(|entry| entry.weight())
            && least.weight() < counts.weight()
        {
            *least = counts;
        }
    }

    /// By how much a socket's counts changed since, `milliseconds` ago.
    pub fn grown(&self, endpoint: &Endpoint, milliseconds: u64) -> Grown {
        let counts = Counts::of(endpoint);
        if counts.nothing() {
            return Grown::default();
        }
        let set = Self::set(counts.cookie);
        let ways = &self.entries[set * WAYS..][..WAYS];
        if let Some(before) = ways.iter().find(|entry| entry.cookie == counts.cookie && entry.cookie != 0) {
            return Grown { known: true, ..counts.since(before) };
        }
        let mut grown = counts.since(&Counts::default());
        if !self.overflowed[set] {
            return grown;
        }
        // Slack for the time that the dumps take.
        let quiet = endpoint.tcp.is_some_and(|tcp| u64::from(tcp.quiet()) > milliseconds * 2 + 2_000);
        if quiet {
            grown = Grown { drops: grown.drops, ..Grown::default() };
        }
        grown.at_most = grown != Grown::default();
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{connection, udp};
    use super::*;
    use crate::model::TcpInfo;

    fn with(cookie: u64, sent: u32, quiet: u32) -> Endpoint {
        let tcp = TcpInfo { sent: Some(sent), acked: u64::from(sent) * 1000, idle: [quiet; 3], ..TcpInfo::default() };
        Endpoint { cookie, tcp: Some(tcp), ..connection() }
    }

    #[test]
    fn changes_are_exact_while_there_is_room() {
        let mut before = Before::default();
        before.keep(&udp(1, u32::MAX));
        before.keep(&with(2, 10, 0));
        assert_eq!(before.grown(&udp(1, 6), 1000).drops, 7);
        let grown = before.grown(&with(2, 15, 0), 1000);
        assert_eq!((grown.sent, grown.acked, grown.at_most), (5, 5000, false));
        // One that was made in the window.
        assert_eq!(before.grown(&udp(3, 6), 1000), Grown { drops: 6, ..Grown::default() });
    }

    #[test]
    fn whoever_changed_most_is_not_missed_when_there_is_no_room() {
        let mut before = Before::default();
        (1..=1_000_000).for_each(|cookie| before.keep(&with(cookie, 1, 3_600_000)));
        assert!(before.kept <= (SETS * WAYS) as u64 && before.left_out > 500_000);
        for cookie in [1, 77_777, 999_999] {
            let grown = before.grown(&with(cookie, 501, 0), 1000);
            assert!(grown.sent >= 500 && (grown.at_most || grown.sent == 500), "{grown:?}");
            // Nothing happened on it since long before.
            assert_eq!(before.grown(&with(cookie, 1, 3_601_000), 1000).sent, 0);
        }
    }

    #[test]
    fn sockets_that_lost_keep_their_place() {
        let mut before = Before::default();
        (1..=600_000).for_each(|cookie| before.keep(&with(cookie, 1, 0)));
        (600_001..=600_100).for_each(|cookie| before.keep(&udp(cookie, 5)));
        for cookie in 600_001..=600_100 {
            assert_eq!(before.grown(&udp(cookie, 7), 1000), Grown { drops: 2, known: true, ..Grown::default() });
        }
    }
}
