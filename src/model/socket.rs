//! Sockets: streamed, never a table. What is kept is bounded: sums, and the few that lose or are nearly full.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Connections, Senders, grown};

/// Sockets remembered one by one, at most. Losses of further ones are "victim unknown".
const TRACKED: usize = 16_384;
/// Different buffer sizes told apart, at most.
const SIZES: usize = 64;
/// Sockets named in a report, at most.
const NAMED: usize = 10;

/// Which sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// UDP sockets; the queue is the receive queue in bytes of truesize, the limit is the receive buffer.
    Udp,
    /// Listening TCP sockets; the queue is the accept queue in connections, the limit is the backlog.
    Listen,
}

/// One socket as sock_diag tells it (struct inet_diag_msg and SK_MEMINFO, include/uapi/linux/inet_diag.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The kernel's number for it, never used again.
    pub cookie: u64,
    /// UDP or listening TCP.
    pub protocol: Protocol,
    /// The address it is bound to.
    pub local: SocketAddr,
    /// Its inode, by which its owner is found.
    pub inode: u32,
    /// Now in its queue: bytes for UDP, connections for a listener.
    pub queue: u32,
    /// The queue's limit, in the same unit.
    pub limit: u32,
    /// Packets it lost since it was made; 32 bits wide (sk_drops).
    pub drops: u32,
}

impl Socket {
    /// Its queue holds half of what it may, or more.
    pub fn half_full(&self) -> bool {
        self.queue > 0 && self.queue >= self.limit / 2
    }

    /// Its address from the bytes of a netlink message: 4 or 16, in network order.
    pub fn address(bytes: [u8; 16], v6: bool, port: u16) -> SocketAddr {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(bytes))
        } else {
            IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
        };
        SocketAddr::new(ip, port)
    }
}

/// What all sockets of a namespace add up to, and the notable ones.
#[derive(Clone, Debug, Default)]
pub struct SocketSums {
    /// How many UDP sockets there are.
    pub udp: u64,
    /// Bytes of truesize that wait in all UDP receive queues.
    pub udp_queued: u64,
    /// How many listening TCP sockets there are.
    pub listeners: u64,
    /// Connections that wait in all accept queues.
    pub accept_queued: u64,
    /// How many accept queues are at least half full.
    pub accept_half_full: u64,
    /// A listener of each port.
    pub by_port: BTreeMap<u16, Socket>,
    /// How many UDP sockets have a receive buffer of this many bytes.
    pub udp_buffers: BTreeMap<u32, u64>,
    /// Those that lost packets or whose queue is half full, by cookie.
    pub notable: HashMap<u64, Socket>,
    /// True if there were more notable ones than are kept.
    pub overflowed: bool,
}

impl SocketSums {
    /// Takes in one socket.
    pub fn add(&mut self, socket: Socket) {
        match socket.protocol {
            Protocol::Udp => {
                self.udp += 1;
                self.udp_queued += u64::from(socket.queue);
                if self.udp_buffers.len() < SIZES || self.udp_buffers.contains_key(&socket.limit) {
                    *self.udp_buffers.entry(socket.limit).or_default() += 1;
                }
            }
            Protocol::Listen => {
                self.listeners += 1;
                self.accept_queued += u64::from(socket.queue);
                self.accept_half_full += u64::from(socket.half_full());
                self.by_port.entry(socket.local.port()).or_insert(socket);
            }
        }
        if socket.drops > 0 || socket.half_full() {
            if self.notable.len() < TRACKED {
                self.notable.insert(socket.cookie, socket);
            } else {
                self.overflowed = true;
            }
        }
    }
}

/// What one socket lost in the window, and how its queue behaved.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketChange {
    /// The socket as it was at the end.
    pub socket: Socket,
    /// Packets lost in the window.
    pub lost: u64,
    /// The fullest that its queue was seen.
    pub queue_max: u32,
    /// The emptiest that its queue was seen after the first loss.
    pub queue_min: u32,
    /// How often its queue was looked at after the first loss.
    pub looks: u32,
}

impl SocketChange {
    /// The queue was never seen below half its limit once it had overflowed, in so many `looks` at least: its reader does
    /// not catch up.
    pub fn never_drained(&self, looks: u32) -> bool {
        self.looks >= looks && self.queue_min > 0 && self.queue_min >= self.socket.limit / 2
    }

    /// Within the window, the queue was seen below half its limit after it had overflowed: its reader does catch up. What
    /// the look at the window's end sees may be long after the traffic.
    pub fn drained(&self) -> bool {
        self.looks > 1 && self.queue_min < self.socket.limit / 2
    }
}

/// What the sockets of a namespace did in the window.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// How many UDP sockets there are at the end.
    pub udp: u64,
    /// How many UDP sockets have a receive buffer of this many bytes.
    pub udp_buffers: BTreeMap<u32, u64>,
    /// Bytes that waited in UDP receive queues, at the start and at the end.
    pub udp_queued: [u64; 2],
    /// Packets that all UDP sockets lost that there still are. What exceeds the protocol's own count, nobody else counted.
    pub udp_lost: u64,
    /// Those that lost most, the worst first.
    pub worst: Vec<SocketChange>,
    /// A listener of each port.
    pub by_port: BTreeMap<u16, Socket>,
    /// Listeners whose accept queue was at least half full at several looks, those with the longest queue first.
    pub full_listeners: Vec<FullListener>,
    /// What the TCP connections did. Absent where nothing made them worth the reading.
    pub connections: Option<Connections>,
    /// What those did that send. Absent where nobody wanted to know, or nothing was sent.
    pub senders: Option<Senders>,
}

/// A listener whose accept queue was at least half full at several looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FullListener {
    /// The socket as it was at the end.
    pub socket: Socket,
    /// The two longest that its queue was seen.
    pub longest: [u32; 2],
}

impl Sockets {
    /// In a rule's list of what must have been seen: UDP sockets lost something, whether or not a counter knows of it.
    pub const LOSS: &str = "socket-loss";

    /// Whether they did what a rule must have seen.
    pub fn saw(&self, name: &str) -> bool {
        (name == Self::LOSS && self.udp_lost > 0) || self.senders.as_ref().is_some_and(|senders| senders.saw(name))
    }

    /// The worst sockets of one protocol.
    pub fn worst_of(&self, protocol: Protocol) -> impl Iterator<Item = &SocketChange> {
        self.worst.iter().filter(move |change| change.socket.protocol == protocol)
    }
}

/// Follows the notable sockets through a window.
#[derive(Debug, Default)]
pub struct SocketWatch {
    first: SocketSums,
    seen: HashMap<u64, Looks>,
    since_boot: bool,
}

#[derive(Debug)]
struct Looks {
    max: u32,
    /// The fullest but one.
    second: u32,
    min: u32,
    after_loss: u32,
}

impl Looks {
    const NONE: Looks = Looks { max: 0, second: 0, min: u32::MAX, after_loss: 0 };

    fn take(&mut self, queue: u32) {
        self.second = self.second.max(queue.min(self.max));
        self.max = self.max.max(queue);
    }
}

impl SocketWatch {
    /// Starts a window. The protocol's counters were read before `first` was.
    pub fn start(first: SocketSums) -> Self {
        let mut watch = SocketWatch { first, ..Self::default() };
        let looks = |socket: &Socket| (socket.cookie, Looks { max: socket.queue, ..Looks::NONE });
        watch.seen = watch.first.notable.values().map(looks).collect();
        watch
    }

    /// A window that began when each socket was made.
    pub fn since_boot() -> Self {
        SocketWatch { since_boot: true, ..Self::default() }
    }

    /// Looks at the sockets within the window. True if UDP sockets lost something.
    pub fn look(&mut self, now: &SocketSums) -> bool {
        let mut udp_lost = 0;
        for socket in now.notable.values() {
            let lost = self.lost(socket);
            if socket.protocol == Protocol::Udp {
                udp_lost += lost;
            }
            let lost = lost > 0;
            let looks = self.seen.entry(socket.cookie).or_insert(Looks::NONE);
            looks.take(socket.queue);
            if lost {
                looks.min = looks.min.min(socket.queue);
                looks.after_loss += 1;
            }
        }
        udp_lost > 0
    }

    /// Ends the window. `last` should be read before the protocol's counters are, so that no socket is said to have lost
    /// more than those counted.
    pub fn end(mut self, last: &SocketSums) -> Sockets {
        self.look(last);
        let mut sockets = Sockets {
            udp: last.udp,
            udp_buffers: last.udp_buffers.clone(),
            by_port: last.by_port.clone(),
            udp_queued: [self.first.udp_queued, last.udp_queued],
            ..Sockets::default()
        };
        for socket in last.notable.values() {
            let (lost, looks) = (self.lost(socket), &self.seen[&socket.cookie]);
            if socket.protocol == Protocol::Listen && looks.second > 0 && looks.second >= socket.limit / 2 {
                sockets.full_listeners.push(FullListener { socket: *socket, longest: [looks.max, looks.second] });
            }
            if lost == 0 {
                continue;
            }
            if socket.protocol == Protocol::Udp {
                sockets.udp_lost += lost;
            }
            sockets.worst.push(SocketChange {
                socket: *socket,
                lost,
                queue_max: looks.max,
                queue_min: looks.min,
                looks: looks.after_loss,
            });
        }
        sockets.worst.sort_by(|a, b| b.lost.cmp(&a.lost).then(a.socket.cookie.cmp(&b.socket.cookie)));
        keep_worst(&mut sockets.worst);
        sockets.full_listeners.sort_by_key(|full| (std::cmp::Reverse(full.longest), full.socket.cookie));
        sockets.full_listeners.truncate(NAMED);
        sockets
    }

    /// A socket that was not notable at the start had lost nothing by then, or did not exist.
    fn lost(&self, socket: &Socket) -> u64 {
        let drops = socket.drops.into();
        if self.since_boot {
            return drops;
        }
        match self.first.notable.get(&socket.cookie) {
            Some(before) => grown(before.drops.into(), drops, 32).unwrap_or(0),
            None if self.first.overflowed => 0,
            None => drops,
        }
    }
}

/// Keeps the worst of each protocol.
fn keep_worst(worst: &mut Vec<SocketChange>) {
    let mut kept = HashMap::new();
    worst.retain(|change| {
        let count = kept.entry(change.socket.protocol).or_insert(0);
        *count += 1;
        *count <= NAMED
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(cookie: u64, queue: u32, drops: u32) -> Socket {
        let local = Socket::address([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false, 53);
        Socket { cookie, protocol: Protocol::Udp, local, inode: 1, queue, limit: 1000, drops }
    }

    fn sums(sockets: &[Socket]) -> SocketSums {
        let mut sums = SocketSums::default();
        sockets.iter().for_each(|socket| sums.add(*socket));
        sums
    }

    #[test]
    fn losses_are_keyed_by_cookie() {
        let watch = SocketWatch::start(sums(&[socket(1, 0, 100), socket(2, 0, 0)]));
        let sockets = watch.end(&sums(&[socket(1, 0, 103), socket(2, 0, 9), socket(3, 0, 0)]));
        assert_eq!(sockets.worst.iter().map(|s| (s.socket.cookie, s.lost)).collect::<Vec<_>>(), [(2, 9), (1, 3)]);
        assert_eq!(sockets.udp_lost, 12);
        assert_eq!(sockets.udp, 3);
    }

    #[test]
    fn drops_wrap() {
        let watch = SocketWatch::start(sums(&[socket(1, 0, u32::MAX)]));
        assert_eq!(watch.end(&sums(&[socket(1, 0, 1)])).worst[0].lost, 2);
    }

    #[test]
    fn a_queue_that_stays_full_is_told_from_one_that_drains() {
        let queues = |queues: [u32; 3]| {
            let mut watch = SocketWatch::start(sums(&[socket(1, 0, 0)]));
            let mut drops = 5;
            for queue in queues {
                watch.look(&sums(&[socket(1, queue, drops)]));
                drops += 1;
            }
            watch.end(&sums(&[socket(1, 990, drops)])).worst.remove(0)
        };
        assert!(queues([990, 1001, 950]).never_drained(4));
        assert!(!queues([990, 10, 950]).never_drained(4));
        assert!(queues([990, 10, 950]).drained() && !queues([990, 1001, 950]).drained());
    }

    #[test]
    fn a_queue_that_was_full_once_is_told_from_one_that_was_twice() {
        let listener = |queue| Socket { protocol: Protocol::Listen, limit: 10, ..socket(1, queue, 0) };
        let full = |queues: [u32; 3]| {
            let mut watch = SocketWatch::start(sums(&[listener(queues[0])]));
            watch.look(&sums(&[listener(queues[1])]));
            watch.end(&sums(&[listener(queues[2])])).full_listeners
        };
        assert_eq!(full([0, 9, 5]), [FullListener { socket: listener(5), longest: [9, 5] }]);
        assert_eq!(full([8, 3, 4]), []);
    }

    #[test]
    fn too_few_looks_say_nothing_of_the_reader() {
        let watch = SocketWatch::start(sums(&[]));
        let change = watch.end(&sums(&[socket(1, 1000, 5)])).worst.remove(0);
        assert_eq!(change.looks, 1);
        assert!(!change.never_drained(2) && !change.drained());
        let after_the_traffic = SocketWatch::start(sums(&[])).end(&sums(&[socket(1, 0, 5)])).worst.remove(0);
        assert!(!after_the_traffic.drained());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut sums = SocketSums::default();
        for cookie in 0..40_000 {
            let cookie32 = u32::try_from(cookie).unwrap();
            sums.add(Socket { limit: cookie32, ..socket(cookie, 0, 1) });
        }
        assert_eq!((sums.notable.len(), sums.udp_buffers.len(), sums.udp), (TRACKED, SIZES, 40_000));
        assert!(sums.overflowed);
        assert_eq!(SocketWatch::since_boot().end(&sums).worst.len(), NAMED);
    }
}
