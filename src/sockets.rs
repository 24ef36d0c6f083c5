//! Single sockets: streamed, ranked, and added up. Memory does not grow with their number: kept are the few that are shown
//! ([`Wanted::top`]), what all had counted when the window began in a table that never grows ([`before`]), and counts
//! ([`census`]).

pub mod before;
pub mod census;
pub mod heavy;
pub mod limits;
mod rank;
pub mod spread;
pub mod trouble;

use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::{Endpoint, Transport};
use crate::source::Host;
use crate::source::netlink::Dumped;
use crate::source::sockdiag::every;
use before::{Before, Grown};
use census::Census;
use limits::Limits;
pub use rank::{By, Top};

/// Listeners shown, at most.
const LISTENERS: usize = 64;

/// Which sockets are wanted, and how they are ranked.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What they speak.
    pub transports: Vec<Transport>,
    /// Their states, as bits by the kernel's numbers.
    pub states: u32,
    /// At either end.
    pub port: Option<u16>,
    /// The sockets of some processes, by inode.
    pub inodes: Option<HashSet<u32>>,
    /// What they are ranked by.
    pub by: By,
    /// How many are kept.
    pub top: usize,
}

impl Wanted {
    fn holds(&self, socket: &Endpoint) -> bool {
        // A recording holds those of all states.
        self.states & 1 << socket.state as u32 != 0
            && self.port.is_none_or(|port| socket.local.port() == port || socket.remote.port() == port)
            && self.inodes.as_ref().is_none_or(|inodes| inodes.contains(&socket.inode))
    }
}

/// A socket, and what it did in the window.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The socket at the window's end.
    pub socket: Endpoint,
    /// By how much its counts changed.
    pub grown: Grown,
}

/// What a window says of sockets.
#[derive(Debug)]
pub struct Survey {
    /// The first of those wanted, in order.
    pub top: Vec<Seen>,
    /// How many sockets the ranking holds anything for.
    pub ranked: u64,
    /// Listeners, the fullest first.
    pub listeners: Vec<Seen>,
    /// What all add up to.
    pub census: Census,
    /// Sockets that found no place in the table at the window's begin: what they changed may be known as a bound only.
    pub left_out: u64,
    /// Sockets that had counted something when the window began, and were gone at its end.
    pub gone: u64,
    /// How the dumps went.
    pub dumped: Dumped,
    /// How long the dump at the end took.
    pub took: Duration,
    /// When the dump at the end began: the window's end.
    pub ended: Timestamp,
    /// The window in seconds; absent for the sockets' lives.
    pub seconds: Option<f64>,
}

/// Watches sockets over windows.
#[derive(Debug)]
pub struct Watch {
    wanted: Wanted,
    limits: Limits,
    /// What was counted when the window began. Absent: the sockets' lives are the window.
    before: Option<(Before, Instant)>,
    disturbed: bool,
}

impl Watch {
    /// For the sockets' lives, until a window begins.
    pub fn new(wanted: Wanted, limits: Limits) -> Self {
        Watch { wanted, limits, before: None, disturbed: false }
    }

    /// The settings that sockets are held against.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A window begins.
    pub fn begin(&mut self, host: &Host) -> io::Result<()> {
        let mut before = Before::default();
        let Wanted { transports, states, .. } = &self.wanted;
        let wanted = &self.wanted;
        let keep = |before: &mut Before, socket: &Endpoint| {
            if wanted.holds(socket) {
                before.keep(socket);
            }
        };
        let start = Instant::now();
        let dumped = every::read(host, transports, *states, &mut before, Before::clear, keep)?;
        self.disturbed = dumped.disturbed;
        self.before = Some((before, start));
        Ok(())
    }

    /// The window ends; with `next`, another one begins. `recorded` is its length where it was not watched by us.
    pub fn end(&mut self, host: &Host, next: bool, recorded: Option<f64>) -> io::Result<Survey> {
        let (start, ended) = (Instant::now(), Timestamp::now());
        let window = self.before.as_ref().map(|(before, begun)| (before, start - *begun));
        let milliseconds = window.as_ref().map_or(0, |(_, time)| time.as_millis() as u64);
        let milliseconds = recorded.map_or(milliseconds, |seconds| (seconds * 1e3) as u64);
        let Wanted { by, top, ref transports, states, .. } = self.wanted;
        let mut state = Gathered::new(by, top, next);
        let (wanted, limits) = (&self.wanted, &self.limits);
        let each = |gathered: &mut Gathered, socket: &Endpoint| {
            if wanted.holds(socket) {
                let grown =
                    window.map_or_else(|| before::life(socket), |(before, _)| before.grown(socket, milliseconds));
                gathered.add(&Seen { socket: *socket, grown }, limits);
            }
        };
        let again = |gathered: &mut Gathered| *gathered = Gathered::new(by, top, next);
        let mut dumped = every::read(host, transports, states, &mut state, again, each)?;
        // This dump is the next window's begin.
        let before_disturbed = std::mem::replace(&mut self.disturbed, dumped.disturbed);
        dumped.disturbed |= before_disturbed;
        let seconds = recorded.or(window.map(|(_, time)| time.as_secs_f64()));
        let left_out = window.map_or(0, |(before, _)| before.left_out);
        let gone = window.map_or(0, |(before, _)| before.kept.saturating_sub(state.known));
        self.before = state.next.take().map(|before| (before, start));
        let (ranked, took) = (state.top.ranked(), start.elapsed());
        let (top, listeners) = (state.top.sorted(), state.listeners.sorted());
        Ok(Survey { top, ranked, listeners, census: state.census, left_out, gone, dumped, took, ended, seconds })
    }
}

/// What is kept of a dump.
struct Gathered {
    top: Top,
    listeners: Top,
    census: Census,
    /// Sockets that were found in the table.
    known: u64,
    next: Option<Before>,
}

impl Gathered {
    fn new(by: By, top: usize, next: bool) -> Self {
        Gathered {
            top: Top::new(by, top),
            listeners: Top::new(By::Accept, LISTENERS),
            census: Census::default(),
            known: 0,
            next: next.then(Before::default),
        }
    }

    fn add(&mut self, seen: &Seen, limits: &Limits) {
        self.census.add(&seen.socket, &seen.grown, limits);
        self.known += u64::from(seen.grown.known);
        self.top.offer(seen);
        self.listeners.offer(seen);
        if let Some(next) = &mut self.next {
            next.keep(&seen.socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SocketMemory, State, TcpInfo};

    /// A connection on which nothing happened.
    pub fn connection() -> Endpoint {
        Endpoint {
            transport: Transport::Tcp,
            state: State::Established,
            cookie: 1,
            local: "10.0.0.1:40000".parse().unwrap(),
            remote: "10.0.0.2:443".parse().unwrap(),
            inode: 1,
            uid: 0,
            device: 0,
            timer: 0,
            unanswered: 0,
            receive_queue: 0,
            send_queue: 0,
            memory: Some(SocketMemory { receive_buffer: 131_072, send_buffer: 87_040, ..SocketMemory::default() }),
            tcp: Some(TcpInfo { segment: 1448, rtt: 1000, ..TcpInfo::default() }),
            congestion: *b"cubic\0\0\0\0\0\0\0\0\0\0\0",
        }
    }

    /// A UDP socket that lost so many packets in its life.
    pub fn udp(cookie: u64, drops: u32) -> Endpoint {
        let memory = SocketMemory { drops, receive_buffer: 212_992, ..SocketMemory::default() };
        Endpoint { transport: Transport::Udp, cookie, memory: Some(memory), tcp: None, ..connection() }
    }
}
