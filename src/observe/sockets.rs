//! Sockets and connections: looked at within a window, and which of them are worth the reading.

use std::io;
use std::time::Duration;

use super::{CHEAP, LOOK, cost, take};
use crate::model::{
    ConnectionSums, Connections, Endpoint, Kind, Protocol, SenderSums, Snapshot, SocketSums, SocketWatch, Sockets,
    Span, State, Transport,
};
use crate::source::groups::SOCKETS;
use crate::source::netlink::Dumped;
use crate::source::sockdiag::every::{self, Asked};
use crate::source::{Host, Label, Sheet, SheetRow, sockdiag};
use crate::stage::{CONNECTIONS_TELL, tcp_in, tcp_out};

/// How often a queue that loses is looked at, to tell a reader that pauses from one that never catches up.
const CLOSE_LOOK: Duration = Duration::from_millis(10);

/// The name of the source.
pub const SOCK_DIAG: &str = "sock_diag sockets";

/// Whether the single connections are worth the reading, which takes the longer the more there could be: at the end of a
/// window if something moved that they explain; at its start only if it ever did, so that a later loss can be told from
/// what was lost before.
pub fn connections_tell(first: Option<&Snapshot>, now: &Snapshot) -> bool {
    CONNECTIONS_TELL.iter().any(|(counter, least)| {
        let value = now.sum(counter).unwrap_or(0);
        match (counter.kind, first) {
            (Kind::Gauge, _) => value >= *least,
            (Kind::Total, Some(first)) => {
                first.sum(counter).is_some_and(|before| value.saturating_sub(before) >= *least)
            }
            (Kind::Total, None) => value >= *least,
        }
    })
}

/// Connections that are looked at with tcp_info in a report, at most: about 2 microseconds each.
const MOST: u64 = 20_000;

/// The name of the source.
pub const SENDERS: &str = "sock_diag with tcp_info";

/// The states in which a connection may have something to send.
const SENDING: [State; 5] = [State::Established, State::FinWait1, State::CloseWait, State::Closing, State::LastAck];

/// Whether the connections that send are worth the reading.
pub enum Tell {
    /// Nothing was sent.
    Nothing,
    /// Something was, or waits to be.
    Something,
    /// So many connections would cost more than they tell.
    TooMany(u64),
}

/// Whether they are: at the end of a window if TCP sent anything, or something was stuck when it began; at its start only if
/// TCP ever did.
pub fn senders_tell(first: Option<&Snapshot>, now: &Snapshot) -> Tell {
    let sum = |snapshot: &Snapshot, counter| snapshot.sum(counter).unwrap_or(0);
    let stuck = first.and_then(|first| first.senders.as_ref()).is_some_and(|senders| senders.waiting);
    let before = first.map_or(0, |first| sum(first, &tcp_out::OUT_SEGS));
    match sum(now, &tcp_out::OUT_SEGS) > before || stuck {
        false => Tell::Nothing,
        true => match sum(now, &tcp_in::CURR_ESTAB) {
            many if many > MOST => Tell::TooMany(many),
            _ => Tell::Something,
        },
    }
}

/// The connections that may have something to send; what they did since `before`, if that is known.
pub fn read_senders(host: &Host, before: Option<&SenderSums>) -> io::Result<(SenderSums, Dumped)> {
    // A recording serves who asks for any state, so it is made of all.
    let some = || SENDING.iter().fold(0, |bits, state| bits | 1 << *state as u32);
    let states = if matches!(host, Host::Taped(_)) { u32::MAX } else { some() };
    let mut sums = SenderSums::default();
    let again = |sums: &mut SenderSums| *sums = SenderSums::default();
    let each = |sums: &mut SenderSums, socket: &Endpoint| {
        // A recording holds those of all states.
        if SENDING.contains(&socket.state) {
            sums.add(socket, before);
        }
    };
    let asked = Asked { transports: vec![Transport::Tcp], states, port: None };
    let looked = every::read(host, &asked, &mut sums, again, each)?;
    Ok((sums, looked.dumped))
}

/// Adds what single connections did, if they were read.
pub fn with_single(sockets: Sockets, first: &Snapshot, last: &Snapshot) -> Sockets {
    let between = |sums: &ConnectionSums| Connections::between(first.connections.as_ref(), sums.clone());
    Sockets {
        connections: last.connections.as_ref().map(between),
        senders: last.senders.as_ref().map(SenderSums::senders),
        ..sockets
    }
}

/// The sums over all sockets as a table.
pub fn take_sums(sums: &SocketSums, read: Span, snapshot: &mut Snapshot) {
    let columns: [(&[u8], u64); 2] =
        [(b"accept_queued", sums.accept_queued), (b"accept_half_full", sums.accept_half_full)];
    let cells = columns.iter().map(|(_, value)| Some(*value)).collect();
    let columns = columns.iter().map(|(name, _)| *name).collect();
    let sheet = Sheet { columns, rows: vec![SheetRow { label: Label::Only, cells }], ..Sheet::default() };
    take(&SOCKETS, &sheet, &[], "", read, snapshot);
}

/// Looks at the sockets within a window, if that is cheap.
pub struct SocketLooks {
    /// What was seen so far.
    pub watch: Option<SocketWatch>,
    cheap: bool,
    /// UDP sockets lose: in between, they alone are looked at closely.
    losing: bool,
    /// When the next look is due.
    pub next: Duration,
    next_of_all: Duration,
}

impl SocketLooks {
    /// Begins with what the first snapshot holds.
    pub fn new(first: &Snapshot) -> Self {
        let cheap = cost(first, SOCK_DIAG).is_some_and(|cost| cost < CHEAP);
        // A look that is never due must not wake the watch either.
        let next = if cheap { first.at + LOOK } else { Duration::MAX };
        let watch = first.sockets.clone().map(SocketWatch::start);
        SocketLooks { watch, cheap, losing: false, next, next_of_all: next }
    }

    /// All sockets, if they are cheap to read.
    pub fn all(&self, host: &Host) -> Option<SocketSums> {
        self.cheap.then(|| sockdiag::read(host, None).ok()).flatten().map(|(sums, _)| sums)
    }

    /// What it saw of all sockets, if it looked at all.
    pub fn look(&mut self, host: &Host, now: Duration) -> Option<SocketSums> {
        if now < self.next {
            return None;
        }
        let only = (now < self.next_of_all).then_some(Protocol::Udp);
        if only.is_none() {
            self.next_of_all = now + LOOK;
        }
        let watch = self.watch.as_mut()?;
        let sums = sockdiag::read(host, only).ok().map(|(sums, _)| sums);
        if let Some(sums) = &sums {
            self.losing = watch.look(sums);
        }
        self.next = if self.losing { now + CLOSE_LOOK } else { self.next_of_all };
        sums.filter(|_| only.is_none())
    }
}
