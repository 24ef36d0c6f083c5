//! Single sockets: streamed, ranked, and added up. Memory does not grow with their number: kept are the few that are shown
//! ([`Wanted::top`]), what all had counted when the window began in a table that never grows ([`before`]), and counts
//! ([`census`]).

pub mod before;
pub mod census;
pub mod heavy;
pub mod limits;
pub mod ports;
mod rank;
pub mod spread;
pub mod through;
pub mod trouble;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::{Endpoint, Severity};
use crate::source::Host;
use crate::source::sockdiag::every::{self, Asked, Looked};
use before::{Before, Grown};
use census::Census;
use limits::Limits;
pub use rank::{By, Top};
use through::{Belongs, Through};
use trouble::Trouble;

/// Listeners shown, at most.
const LISTENERS: usize = 64;

/// Which sockets are wanted, and how they are ranked.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What the kernel is asked for.
    pub asked: Asked,
    /// The sockets of some processes, by inode.
    pub inodes: Option<HashSet<u32>>,
    /// Those of a device.
    pub through: Option<Rc<Through>>,
    /// What they are ranked by.
    pub by: By,
    /// How many are kept.
    pub top: usize,
}

impl Wanted {
    fn holds(&self, socket: &Endpoint) -> Belongs {
        // A recording holds them all.
        let is = self.asked.states & 1 << socket.state as u32 != 0
            && self.asked.port.is_none_or(|port| socket.local.port() == port || socket.remote.port() == port)
            && self.inodes.as_ref().is_none_or(|inodes| inodes.contains(&socket.inode));
        match &self.through {
            _ if !is => Belongs::No,
            Some(through) => through.holds(socket),
            None => Belongs::Yes,
        }
    }
}

/// A socket, and what it did in the window.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The socket at the window's end.
    pub socket: Endpoint,
    /// By how much its counts changed.
    pub grown: Grown,
    /// What is wrong with it, the worst of it, and how bad that is.
    pub worst: Option<(Trouble, u64)>,
}

impl Seen {
    /// A socket that changed by so much.
    pub fn new(socket: Endpoint, grown: Grown) -> Self {
        Seen { socket, grown, worst: Trouble::worst(&socket, &grown) }
    }
}

/// What a window says of sockets.
#[derive(Debug)]
pub struct Survey {
    /// The first of those wanted, in order.
    pub top: Vec<Seen>,
    /// How many sockets the ranking holds anything for.
    pub ranked: u64,
    /// How many sockets are in trouble, by their worst one, and how bad that is.
    pub troubles: BTreeMap<(Trouble, Severity), u64>,
    /// Sockets that were left out because packets of every device come to them.
    pub of_every_device: u64,
    /// Listeners, the fullest first.
    pub listeners: Vec<Seen>,
    /// What all add up to.
    pub census: Census,
    /// Sockets that found no place in the table at the window's begin: what they changed may be known as a bound only.
    pub left_out: u64,
    /// Sockets that had counted something when the window began, and were gone at its end.
    pub gone: u64,
    /// How the dumps went; what is missing, at the window's end.
    pub looked: Looked,
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
        let wanted = &self.wanted;
        let keep = |before: &mut Before, socket: &Endpoint| {
            if wanted.holds(socket) == Belongs::Yes {
                before.keep(socket);
            }
        };
        let start = Instant::now();
        let looked = every::read(host, &wanted.asked, &mut before, Before::clear, keep)?;
        self.disturbed = looked.dumped.disturbed;
        self.before = Some((before, start));
        Ok(())
    }

    /// The window ends; with `next`, another one begins. `recorded` is its length where it was not watched by us.
    pub fn end(&mut self, host: &Host, next: bool, recorded: Option<f64>) -> io::Result<Survey> {
        let (start, ended) = (Instant::now(), Timestamp::now());
        let window = self.before.as_ref().map(|(before, begun)| (before, start - *begun));
        let milliseconds = window.as_ref().map_or(0, |(_, time)| time.as_millis() as u64);
        let milliseconds = recorded.map_or(milliseconds, |seconds| (seconds * 1e3) as u64);
        let Wanted { by, top, .. } = self.wanted;
        let mut state = Gathered::new(by, top, next);
        let (wanted, limits) = (&self.wanted, &self.limits);
        let seconds = recorded.or(window.map(|(_, time)| time.as_secs_f64()));
        let each = |gathered: &mut Gathered, socket: &Endpoint| match wanted.holds(socket) {
            Belongs::Yes => {
                let grown =
                    window.map_or_else(|| before::life(socket), |(before, _)| before.grown(socket, milliseconds));
                gathered.add(&Seen::new(*socket, grown), limits, seconds);
            }
            Belongs::Every => gathered.of_every_device += 1,
            Belongs::No => {}
        };
        let again = |gathered: &mut Gathered| *gathered = Gathered::new(by, top, next);
        let mut looked = every::read(host, &wanted.asked, &mut state, again, each)?;
        // This dump is the next window's begin.
        let before_disturbed = std::mem::replace(&mut self.disturbed, looked.dumped.disturbed);
        looked.dumped.disturbed |= before_disturbed;
        let left_out = window.map_or(0, |(before, _)| before.left_out);
        let gone = window.map_or(0, |(before, _)| before.kept.saturating_sub(state.known));
        self.before = state.next.take().map(|before| (before, start));
        let (ranked, took) = (state.top.ranked(), start.elapsed());
        Ok(Survey {
            top: state.top.sorted(),
            ranked,
            troubles: state.troubles,
            of_every_device: state.of_every_device,
            listeners: state.listeners.sorted(),
            census: state.census,
            left_out,
            gone,
            looked,
            took,
            ended,
            seconds,
        })
    }
}

/// What is kept of a dump.
struct Gathered {
    top: Top,
    listeners: Top,
    troubles: BTreeMap<(Trouble, Severity), u64>,
    of_every_device: u64,
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
            troubles: BTreeMap::new(),
            of_every_device: 0,
            census: Census::default(),
            known: 0,
            next: next.then(Before::default),
        }
    }

    fn add(&mut self, seen: &Seen, limits: &Limits, seconds: Option<f64>) {
        if let Some((trouble, much)) = seen.worst {
            *self.troubles.entry((trouble, trouble.severity(much, seconds))).or_default() += 1;
        }
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
    use crate::model::{SocketMemory, State, TcpInfo, Transport};

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
