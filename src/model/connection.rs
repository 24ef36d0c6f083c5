//! TCP connections: streamed, never a table, and asked for only where counters say that something is wrong. What is kept
//! is bounded: sums, and the few that lose, are full, or hold most.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::grown;

/// Connections remembered one by one, at most.
const TRACKED: usize = 16_384;
/// Connections named in a report, at most.
const NAMED: usize = 10;

/// One connection as sock_diag tells it (struct inet_diag_msg and SK_MEMINFO, include/uapi/linux/inet_diag.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The kernel's number for it, never used again.
    pub cookie: u64,
    /// Its end here.
    pub local: SocketAddr,
    /// Its other end.
    pub remote: SocketAddr,
    /// Its inode, by which its owner is found; 0 if no process holds it any more.
    pub inode: u32,
    /// Bytes that came in order and that the application has not read yet.
    pub unread: u32,
    /// Memory that its received segments take, in bytes of truesize.
    pub received: u32,
    /// Its receive buffer, in bytes of truesize.
    pub buffer: u32,
    /// Memory that waits for the process to let go of the socket, in bytes of truesize.
    pub backlog: u32,
    /// Memory that it holds to send, in bytes of truesize.
    pub sending: u32,
    /// Segments it dropped since it was made, for whatever reason, duplicates too; 32 bits wide (sk_drops).
    pub drops: u32,
}

impl Connection {
    /// Its receive buffer has no room: the window that it offers is closed, or will be with the next segment. The kernel
    /// offers none below a sixteenth of the buffer, or below a segment (net/ipv4/tcp_output.c __tcp_select_window()).
    pub fn is_full(&self) -> bool {
        self.unread > 0 && self.buffer.saturating_sub(self.received) <= (self.buffer / 8).max(4096)
    }

    /// All memory that it holds.
    pub fn memory(&self) -> u64 {
        u64::from(self.received) + u64::from(self.backlog) + u64::from(self.sending)
    }
}

/// What all connections of a namespace add up to, and the notable ones.
#[derive(Clone, Debug, Default)]
pub struct ConnectionSums {
    /// How many there are, half-open ones and those in TIME_WAIT left out.
    pub count: u64,
    /// Those that no process holds any more.
    pub orphans: u64,
    /// Handshakes that wait for the client's last ACK, by local port.
    pub half_open: BTreeMap<u16, u64>,
    /// Those that dropped something or are full, by cookie.
    pub notable: HashMap<u64, Connection>,
    /// Those that hold most memory, the largest first.
    pub largest: Vec<Connection>,
    /// True if there were more notable ones than are kept.
    pub overflowed: bool,
}

impl ConnectionSums {
    /// Takes in one connection.
    pub fn add(&mut self, connection: Connection) {
        self.count += 1;
        self.orphans += u64::from(connection.inode == 0);
        if connection.drops > 0 || connection.is_full() {
            if self.notable.len() < TRACKED {
                self.notable.insert(connection.cookie, connection);
            } else {
                self.overflowed = true;
            }
        }
        let smallest = self.largest.last().map_or(0, Connection::memory);
        if connection.memory() > 0 && (self.largest.len() < NAMED || connection.memory() > smallest) {
            let at = self.largest.partition_point(|other| other.memory() >= connection.memory());
            self.largest.insert(at, connection);
            self.largest.truncate(NAMED);
        }
    }

    /// Takes in a handshake that waits for the client's last ACK.
    pub fn add_half_open(&mut self, port: u16) {
        *self.half_open.entry(port).or_default() += 1;
    }
}

/// What the connections of a namespace did in the window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connections {
    /// How many there are at the end.
    pub count: u64,
    /// Those at the end that no process holds any more.
    pub orphans: u64,
    /// Handshakes that wait for the client's last ACK at the end, by local port.
    pub half_open: BTreeMap<u16, u64>,
    /// Those that dropped segments in the window and how many, the worst first. For whatever reason: duplicates count.
    pub dropping: Vec<(Connection, u64)>,
    /// Segments that all connections dropped that there still are.
    pub dropped: u64,
    /// Those whose receive buffer has no room at the end, the fullest first.
    pub full: Vec<Connection>,
    /// Those that hold most memory at the end, the largest first.
    pub largest: Vec<Connection>,
}

impl Connections {
    /// From those at the window's start to those at its end. Without the former each is taken to have dropped nothing by
    /// then: the caller knows that none did.
    pub fn between(first: Option<&ConnectionSums>, last: ConnectionSums) -> Self {
        let dropped = |connection: &Connection| match first.and_then(|first| first.notable.get(&connection.cookie)) {
            Some(before) => grown(before.drops.into(), connection.drops.into(), 32).unwrap_or(0),
            None if first.is_some_and(|first| first.overflowed) => 0,
            None => connection.drops.into(),
        };
        let mut dropping: Vec<(Connection, u64)> =
            last.notable.values().map(|one| (*one, dropped(one))).filter(|(_, dropped)| *dropped > 0).collect();
        let total = dropping.iter().map(|(_, dropped)| dropped).sum();
        dropping.sort_by(|(a, more), (b, less)| less.cmp(more).then(a.cookie.cmp(&b.cookie)));
        dropping.truncate(NAMED);
        let mut full: Vec<Connection> = last.notable.values().copied().filter(Connection::is_full).collect();
        full.sort_by_key(|one| (std::cmp::Reverse(one.unread), one.cookie));
        full.truncate(NAMED);
        let ConnectionSums { count, orphans, half_open, largest, .. } = last;
        Connections { count, orphans, half_open, dropping, dropped: total, full, largest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(cookie: u64, received: u32, drops: u32) -> Connection {
        let end: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let (inode, unread, buffer) = (1, received / 2, 131_072);
        Connection { cookie, local: end, remote: end, inode, unread, received, buffer, backlog: 0, sending: 0, drops }
    }

    fn sums(connections: &[Connection]) -> ConnectionSums {
        let mut sums = ConnectionSums::default();
        connections.iter().for_each(|connection| sums.add(*connection));
        sums
    }

    #[test]
    fn what_was_dropped_before_the_window_is_left_out() {
        let first = sums(&[connection(1, 0, 100), connection(2, 0, u32::MAX)]);
        let last = sums(&[connection(1, 0, 103), connection(2, 0, 6), connection(3, 0, 0)]);
        let seen = Connections::between(Some(&first), last);
        assert_eq!(seen.dropping.iter().map(|(one, lost)| (one.cookie, *lost)).collect::<Vec<_>>(), [(2, 7), (1, 3)]);
        assert_eq!((seen.dropped, seen.count), (10, 3));
    }

    #[test]
    fn a_full_buffer_is_told_from_a_used_one() {
        let seen = Connections::between(None, sums(&[connection(1, 60_000, 0), connection(2, 130_000, 0)]));
        assert_eq!(seen.full.iter().map(|one| one.cookie).collect::<Vec<_>>(), [2]);
        assert_eq!(seen.largest.iter().map(|one| one.cookie).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut sums = ConnectionSums::default();
        (0..40_000).for_each(|cookie| sums.add(connection(cookie, 1000 + cookie as u32 % 7, 1)));
        assert_eq!((sums.notable.len(), sums.largest.len(), sums.count), (TRACKED, NAMED, 40_000));
        assert!(sums.overflowed && sums.largest.iter().all(|one| one.received == 1006));
        assert_eq!(Connections::between(None, sums).dropping.len(), NAMED);
    }
}
