//! TCP connections that send, with what tcp_info tells of them: streamed, never a table. What is kept is bounded: what each
//! of so many had counted, and the few that stand out.

use std::collections::HashMap;

use super::{Endpoint, State, TcpInfo};

/// Senders whose counts are remembered, at most.
pub const TRACKED: usize = 32_768;
/// Senders named in a report, of each kind, at most.
const NAMED: usize = 10;
/// Held back for less, in microseconds, is not worth a name.
const NOTABLE: u64 = 10_000;
/// The timer that probes a closed window (inet_sk_diag_fill(), net/ipv4/inet_diag.c).
const PROBES: u8 = 4;

/// A connection at the window's end, and what it did in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sender {
    /// As sock_diag tells it.
    pub socket: Endpoint,
    /// As tcp_info tells it.
    pub tcp: TcpInfo,
    /// By how much its counts changed. Absent where it is not known what they were at the window's start.
    pub grown: Option<Counts>,
}

/// What a connection counts in its life, or in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that were acknowledged.
    pub acked: u64,
    /// Microseconds: with something to send; of those, held by the peer's window, and by the send buffer.
    pub limited: [u64; 3],
    /// Segments sent again.
    pub retransmitted: u32,
    /// Segments with data sent, also again.
    pub sent: u32,
    /// Segments that came twice, as the peer told.
    pub duplicates: u32,
    /// Times that segments overtook others.
    pub overtaken: u32,
    /// Bytes of its send buffer: of a life its size, of a window by how much it grew; all of it if it is new.
    pub buffer: u32,
}

impl Counts {
    fn of(socket: &Endpoint, tcp: &TcpInfo) -> Self {
        Counts {
            acked: tcp.acked,
            limited: tcp.limited.unwrap_or_default(),
            retransmitted: tcp.retransmitted,
            sent: tcp.sent.unwrap_or(0),
            duplicates: tcp.duplicates.unwrap_or(0),
            overtaken: tcp.overtaken.unwrap_or(0),
            buffer: socket.memory.map_or(0, |memory| memory.send_buffer),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Counts {
            acked: self.acked.saturating_sub(before.acked),
            limited: [0, 1, 2].map(|at| self.limited[at].saturating_sub(before.limited[at])),
            retransmitted: self.retransmitted.wrapping_sub(before.retransmitted),
            sent: self.sent.wrapping_sub(before.sent),
            duplicates: self.duplicates.wrapping_sub(before.duplicates),
            overtaken: self.overtaken.wrapping_sub(before.overtaken),
            buffer: self.buffer.saturating_sub(before.buffer),
        }
    }
}

impl Sender {
    /// Its window was open when it last tried, nothing is on its way, and yet it only probes: this host did not let its
    /// segments out. One probe at least had no effect: a sender that gathers small writes (TCP_CORK, Nagle) waits for the
    /// same timer, and sends when it runs out (tcp_send_probe0(), net/ipv4/tcp_output.c).
    pub fn is_refused(&self) -> bool {
        let open = self.tcp.peer_window.is_some_and(|window| window >= self.tcp.segment.max(1));
        self.probes() && self.socket.unanswered > 0 && self.tcp.unacked == 0 && open
    }

    /// The peer's window is closed, or too small for a segment.
    pub fn is_shut_out(&self) -> bool {
        self.probes() && self.tcp.peer_window.is_some_and(|window| window < self.tcp.segment.max(1))
    }

    fn probes(&self) -> bool {
        self.socket.timer == PROBES && self.tcp.unsent.is_some_and(|unsent| unsent > 0)
    }

    /// Bytes a second that its congestion control lets out, at its present round trip: the window, or the pace where that is
    /// what counts (bbr keeps its window at twice what it sends).
    pub fn allowed(&self) -> Option<f64> {
        let in_flight = f64::from(self.tcp.window) * f64::from(self.tcp.segment);
        let pace = self.tcp.pace.map_or(f64::INFINITY, |pace| pace as f64);
        (self.tcp.rtt > 0 && in_flight > 0.0).then(|| (in_flight / (f64::from(self.tcp.rtt) / 1e6)).min(pace))
    }

    fn duplicates(&self) -> u64 {
        self.grown.map_or(0, |grown| grown.duplicates.into())
    }

    fn retransmitted(&self) -> u64 {
        self.grown.map_or(0, |grown| grown.retransmitted.into())
    }

    fn overtaken(&self) -> u64 {
        self.grown.map_or(0, |grown| grown.overtaken.into())
    }

    fn limited(&self, by: usize) -> u64 {
        self.grown.map_or(0, |grown| grown.limited[by]).checked_sub(NOTABLE).map_or(0, |more| more + 1)
    }

    /// Bytes that it got through, if it had more to send all the time.
    fn bulk(&self) -> u64 {
        let more = !self.tcp.application_limited && self.tcp.unsent.is_some_and(|unsent| unsent > 0);
        self.grown.filter(|_| more).map_or(0, |grown| grown.acked)
    }

    /// A connection on which nothing happened, as the examples of rules have it.
    pub fn example() -> Self {
        let tcp = TcpInfo {
            segment: 1448,
            rtt: 20_000,
            window: 100,
            reordering: 3,
            peer_window: Some(4_000_000),
            unsent: Some(0),
            limited: Some([0; 3]),
            ..TcpInfo::default()
        };
        let socket = Endpoint {
            transport: super::Transport::Tcp,
            state: State::Established,
            cookie: 1,
            local: ([10, 0, 0, 1], 443).into(),
            remote: ([192, 0, 2, 7], 50_000).into(),
            inode: 0,
            uid: 0,
            device: 0,
            timer: 0,
            unanswered: 0,
            receive_queue: 0,
            send_queue: 0,
            memory: Some(super::SocketMemory { send_buffer: 4_194_304, ..super::SocketMemory::default() }),
            tcp: Some(tcp),
            congestion: [0; 16],
        };
        Sender { socket, tcp, grown: Some(Counts::default()) }
    }
}

/// The first few of a kind, the most first.
#[derive(Clone, Debug)]
struct First {
    kept: Vec<(u64, Sender)>,
    much: fn(&Sender) -> u64,
}

impl First {
    fn offer(&mut self, sender: &Sender) {
        let much = (self.much)(sender);
        let least = self.kept.get(NAMED - 1).map_or(0, |(least, _)| *least);
        if much > least {
            let at = self.kept.partition_point(|(other, _)| *other >= much);
            self.kept.insert(at, (much, *sender));
            self.kept.truncate(NAMED);
        }
    }
}

/// What the senders of a namespace did in a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Senders {
    /// How many there are at the end.
    pub count: u64,
    /// Those held longest by their own send buffer.
    pub buffer: Vec<Sender>,
    /// Those held longest by the peer's window.
    pub window: Vec<Sender>,
    /// Those that only probe although the peer's window is open, with most that waits to be sent.
    pub refused: Vec<Sender>,
    /// Those that sent most segments again.
    pub again: Vec<Sender>,
    /// Those most of whose segments came twice.
    pub twice: Vec<Sender>,
    /// Those whose segments overtook others most often.
    pub overtaken: Vec<Sender>,
    /// Those that got most through and had more to send all the time.
    pub bulk: Vec<Sender>,
}

impl Senders {
    /// In a rule's list of what must have been seen: senders that their own buffer held back.
    pub const BUFFER: &str = "senders-held-by-their-buffer";
    /// Senders that the peer's window held back.
    pub const WINDOW: &str = "senders-held-by-the-peer";
    /// Senders whose segments do not leave this host.
    pub const REFUSED: &str = "senders-that-only-probe";
    /// Senders that had more to send all the time.
    pub const BULK: &str = "senders-in-bulk";

    /// Whether there is any such sender.
    pub fn saw(&self, name: &str) -> bool {
        let some = match name {
            Self::BUFFER => &self.buffer,
            Self::WINDOW => &self.window,
            Self::REFUSED => &self.refused,
            Self::BULK => &self.bulk,
            _ => return false,
        };
        !some.is_empty()
    }
}

/// What is kept of a dump: what each connection had counted, for the next window, and who stood out in this one.
#[derive(Clone, Debug)]
pub struct SenderSums {
    counts: HashMap<u64, Counts>,
    /// There were more than are remembered.
    overflowed: bool,
    /// Some only probe: they have something to send, and can't.
    pub waiting: bool,
    count: u64,
    first: [First; 7],
}

impl Default for SenderSums {
    fn default() -> Self {
        let first: [fn(&Sender) -> u64; 7] = [
            |sender| sender.limited(2),
            |sender| sender.limited(1),
            |sender| if sender.is_refused() { u64::from(sender.socket.send_queue).max(1) } else { 0 },
            Sender::retransmitted,
            Sender::duplicates,
            Sender::overtaken,
            Sender::bulk,
        ];
        let first = first.map(|much| First { kept: Vec::new(), much });
        SenderSums { counts: HashMap::new(), overflowed: false, waiting: false, count: 0, first }
    }
}

impl SenderSums {
    /// Takes in one connection; `before` is what was kept when the window began, if it was looked at.
    pub fn add(&mut self, socket: &Endpoint, before: Option<&SenderSums>) {
        let Some(tcp) = socket.tcp else { return };
        let counts = Counts::of(socket, &tcp);
        self.count += 1;
        if self.counts.len() < TRACKED {
            self.counts.insert(socket.cookie, counts);
        } else {
            self.overflowed = true;
        }
        let grown = before.and_then(|before| match before.counts.get(&socket.cookie) {
            Some(old) => Some(counts.since(old)),
            // Made within the window: it had counted nothing.
            None => (!before.overflowed).then_some(counts),
        });
        let sender = Sender { socket: *socket, tcp, grown };
        self.waiting |= sender.probes();
        self.first.iter_mut().for_each(|first| first.offer(&sender));
    }

    /// What each had counted, without who stood out.
    pub fn counts_only(self) -> Self {
        SenderSums { counts: self.counts, overflowed: self.overflowed, ..SenderSums::default() }
    }

    /// Who stood out.
    pub fn senders(&self) -> Senders {
        let of = |at: usize| self.first[at].kept.iter().map(|(_, sender)| *sender).collect();
        Senders {
            count: self.count,
            buffer: of(0),
            window: of(1),
            refused: of(2),
            again: of(3),
            twice: of(4),
            overtaken: of(5),
            bulk: of(6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(cookie: u64, tcp: TcpInfo) -> Endpoint {
        Endpoint { cookie, tcp: Some(tcp), ..Sender::example().socket }
    }

    fn sums(sockets: &[Endpoint], before: Option<&SenderSums>) -> SenderSums {
        let mut sums = SenderSums::default();
        sockets.iter().for_each(|socket| sums.add(socket, before));
        sums
    }

    #[test]
    fn what_was_counted_before_the_window_is_left_out() {
        let limited = |limited| TcpInfo { limited: Some(limited), ..Sender::example().tcp };
        let first = sums(&[socket(1, limited([5_000_000, 0, 4_000_000]))], None);
        assert!(first.senders().buffer.is_empty(), "a life is no window");
        let last = [socket(1, limited([5_900_000, 0, 4_300_000])), socket(2, limited([90_000, 80_000, 0]))];
        let seen = sums(&last, Some(&first)).senders();
        assert_eq!(
            seen.buffer.iter().map(|one| one.grown.unwrap().limited).collect::<Vec<_>>(),
            [[900_000, 0, 300_000]]
        );
        assert_eq!(seen.window.iter().map(|one| one.socket.cookie).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn narrow_counts_wrap() {
        let again = |retransmitted| TcpInfo { retransmitted, ..Sender::example().tcp };
        let first = sums(&[socket(1, again(u32::MAX))], None);
        let seen = sums(&[socket(1, again(6))], Some(&first)).senders();
        assert_eq!(seen.again[0].grown.unwrap().retransmitted, 7);
    }

    #[test]
    fn who_gathers_small_writes_is_not_refused() {
        let tcp = TcpInfo { unsent: Some(100), ..Sender::example().tcp };
        let probes = |unanswered, tcp| Sender {
            tcp,
            socket: Endpoint { timer: PROBES, unanswered, ..socket(1, tcp) },
            grown: None,
        };
        assert!(probes(1, tcp).is_refused() && !probes(0, tcp).is_refused());
        let closed = TcpInfo { peer_window: Some(0), ..tcp };
        assert!(!probes(3, closed).is_refused() && probes(3, closed).is_shut_out());
        // Before 5.4 the kernel does not tell the window.
        assert!(!probes(3, TcpInfo { peer_window: None, ..tcp }).is_refused());
        assert!(!probes(3, TcpInfo { unacked: 1, ..tcp }).is_refused());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many: Vec<Endpoint> = (0..40_000_u32)
            .map(|cookie| socket(cookie.into(), TcpInfo { retransmitted: cookie, ..Sender::example().tcp }))
            .collect();
        let first = sums(&[], None);
        let seen = sums(&many, Some(&first));
        assert_eq!((seen.counts.len(), seen.overflowed, seen.count), (TRACKED, true, 40_000));
        let most: Vec<u64> = seen.senders().again.iter().map(|one| one.socket.cookie).collect();
        assert_eq!(most, (39_990..40_000).rev().collect::<Vec<_>>());
        // What a connection that was not remembered had counted is not known: it is not said to have done it now.
        let later = sums(&[socket(39_999, TcpInfo { retransmitted: 39_999, ..Sender::example().tcp })], Some(&seen));
        assert!(later.senders().again.is_empty());
    }
}
