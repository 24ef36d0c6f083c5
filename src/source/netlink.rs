//! A small synchronous netlink client: one request, the answer's messages handed over one by one, never all kept.
//!
//! What a dump promises: every message is whole (a cut-off datagram is an error, not a short table); a dump that the
//! kernel says was disturbed (NLM_F_DUMP_INTR) is taken again, and in the end marked; one for which there was no room
//! (ENOBUFS, MSG_TRUNC) is taken again with more; nothing waits past the deadline.

mod message;
mod recorded;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use message::attributes;
pub(super) use message::messages;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{GENERIC, NETFILTER, SOCK_DIAG, XFRM};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::Host;

/// How long any source may take. One that is stuck (a driver holding the kernel's rtnl lock) costs its rows only.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// The kernel fills at most 32 KiB of the buffer that it is given (netlink_recvmsg(), net/netlink/af_netlink.c).
const BUFFER: usize = 32 << 10;
/// No message is longer than this: its length has 32 bits, but the kernel makes none beyond what it allocates at once.
const LONGEST: usize = 4 << 20;
/// As long as the first answer to a dump, whatever the buffer (NLMSG_GOODSIZE in include/linux/netlink.h).
const SHORTEST: usize = 8 << 10;
/// What may wait in a socket that had too little room; the kernel doubles it, and gives 208 KiB by itself.
const QUEUE: usize = 1 << 20;
/// Enough for a dump, whose buffer is on the heap.
const STACK: usize = 128 << 10;
const HEADER: usize = 16;
/// How often a dump is taken that was disturbed, or had no room.
pub(super) const TRIES: u32 = 3;

/// A netlink family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    /// rtnetlink: devices, addresses, routes, neighbours, qdiscs.
    Route,
    /// sock_diag: sockets.
    SockDiag,
    /// Generic netlink, which carries families of its own: see [`super::genl`].
    Generic,
    /// nfnetlink: firewall rules.
    Netfilter,
    /// IPsec.
    Xfrm,
}

impl Family {
    pub(super) fn open(self) -> io::Result<OwnedFd> {
        let socket = self.socket()?;
        if self == Family::Route {
            // So that a filter in a request is heeded, where the kernel knows that (since 4.20).
            let on: libc::c_int = 1;
            let length = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: `on` lives through the call, and `length` is its size.
            unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_NETLINK,
                    libc::NETLINK_GET_STRICT_CHK,
                    (&raw const on).cast(),
                    length,
                )
            };
        }
        Ok(socket)
    }

    fn socket(self) -> io::Result<OwnedFd> {
        let protocol = match self {
            // NETLINK_ROUTE is 0, which rustix writes as none.
            Family::Route => None,
            Family::SockDiag => Some(SOCK_DIAG),
            Family::Generic => Some(GENERIC),
            Family::Netfilter => Some(NETFILTER),
            Family::Xfrm => Some(XFRM),
        };
        Ok(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
    }

    fn folder(self) -> &'static str {
        match self {
            Family::Route => "route",
            Family::SockDiag => "sock_diag",
            Family::Generic => "generic",
            Family::Netfilter => "netfilter",
            Family::Xfrm => "xfrm",
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name in a recorded tree: `.netlink/FAMILY/NAME.bin` holds the answer, message after message. Another question
    /// of the same name (about another device) has a file of its own, told apart by the payload.
    pub name: &'static str,
    /// nlmsg_type.
    pub kind: u16,
    /// What stands behind the header.
    pub payload: Vec<u8>,
}

/// How a dump went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dumped {
    /// The kernel's tables changed under it, each time: rows may be missing or stand twice.
    pub disturbed: bool,
    /// Messages that made no sense.
    pub bad: usize,
}

/// A client of one family, that makes one request after the other.
pub struct Client<'a> {
    host: &'a Host,
    family: Family,
    /// Opened at the first request to the live kernel.
    socket: Option<OwnedFd>,
    buffer: Vec<u8>,
    /// Bytes that an answer may have.
    room: usize,
    /// The sockets that are opened may hold more than usual.
    roomy: bool,
    sequence: u32,
}

impl<'a> Client<'a> {
    /// A client that asks the live kernel, or reads the recording.
    pub fn new(host: &'a Host, family: Family) -> Self {
        Client { host, family, socket: None, buffer: Vec::new(), room: BUFFER, roomy: false, sequence: 0 }
    }

    /// A client that begins with a socket of the caller's.
    pub fn with(host: &'a Host, family: Family, socket: OwnedFd) -> Self {
        Client { socket: Some(socket), ..Client::new(host, family) }
    }

    /// True if the answers come from a recording.
    pub fn is_recorded(&self) -> bool {
        self.host.is_recorded()
    }

    /// Takes a dump. `each` gets the payload of every message and says whether it could read it; `again` is called when
    /// the dump starts over, so that what was gathered can be dropped.
    pub fn dump<S>(
        &mut self,
        request: &Request,
        state: &mut S,
        again: impl Fn(&mut S),
        each: impl Fn(&mut S, &[u8]) -> bool,
    ) -> io::Result<Dumped> {
        if self.host.is_recorded() {
            return self.replay(request, |payload| each(state, payload));
        }
        let mut tries = 1;
        loop {
            again(state);
            let dumped = self.once(request, NLM_F_DUMP, |payload| each(state, payload));
            if tries == TRIES || !self.is_worth_another(&dumped) {
                return dumped;
            }
            tries += 1;
        }
    }

    /// True if the same dump may go better when it is taken again: it was disturbed, or had no room, which it has now.
    pub fn is_worth_another(&mut self, dumped: &io::Result<Dumped>) -> bool {
        match dumped.as_ref().map_err(Errno::from_io_error) {
            Ok(dumped) => dumped.disturbed && !self.host.is_recorded(),
            // It did not fit in what it was read into: there is as much room as it needed now.
            Err(Some(Errno::MSGSIZE)) => self.room <= LONGEST,
            // The kernel allocates as much for a part of the answer as there was room for the last (netlink_dump(),
            // net/netlink/af_netlink.c), and found no memory, or the socket's queue full. It does not go on by itself.
            Err(Some(Errno::NOBUFS)) => {
                self.room = (self.room / 2).max(SHORTEST);
                self.roomy = true;
                true
            }
            Err(_) => false,
        }
    }

    /// Takes a dump once, however it goes: the caller starts over, if it was disturbed.
    pub fn dump_once(&mut self, request: &Request, each: impl FnMut(&[u8]) -> bool) -> io::Result<Dumped> {
        if self.host.is_recorded() { self.replay(request, each) } else { self.once(request, NLM_F_DUMP, each) }
    }

    /// Asks for something that is no dump, or tells the live kernel to do something, and waits until it has.
    pub fn ask(&mut self, request: &Request, each: impl FnMut(&[u8]) -> bool) -> io::Result<Dumped> {
        if self.host.is_recorded() { self.replay(request, each) } else { self.once(request, NLM_F_ACK, each) }
    }

    fn once(&mut self, request: &Request, flags: u16, each: impl FnMut(&[u8]) -> bool) -> io::Result<Dumped> {
        self.answer(request, flags, each).inspect_err(|_| {
            // What is still on its way must not be taken for the answer to another request.
            self.socket = None;
        })
    }

    fn answer(&mut self, request: &Request, flags: u16, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<Dumped> {
        let kept_at = self.kept_at(request);
        let mut is_first = true;
        let start = Instant::now();
        self.sequence += 1;
        // Exactly so much: the kernel goes by it.
        self.buffer = Vec::with_capacity(self.room);
        let socket = match &self.socket {
            Some(socket) => socket,
            None => {
                let socket = self.family.open()?;
                if self.roomy && sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE).is_err() {
                    // Without CAP_NET_ADMIN as much as net.core.rmem_max permits.
                    sockopt::set_socket_recv_buffer_size(&socket, QUEUE)?;
                }
                self.socket.insert(socket)
            }
        };
        rustix::net::send(socket, &request.bytes(self.sequence, flags), SendFlags::empty())?;
        let mut dumped = Dumped::default();
        loop {
            self.buffer.clear();
            // A dump mostly is ready as soon as it was asked for.
            let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            let whole = match rustix::net::recv(socket, spare_capacity(&mut self.buffer), flags) {
                Ok((_, whole)) => whole,
                Err(Errno::AGAIN) => {
                    wait(socket, DEADLINE.checked_sub(start.elapsed()).ok_or_else(late)?)?;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            if whole > self.buffer.len() {
                self.room = whole.next_power_of_two();
                return Err(Errno::MSGSIZE.into());
            }
            if let Some(path) = &kept_at {
                match std::mem::take(&mut is_first) {
                    true => self.host.keep(path, &self.buffer),
                    false => self.host.keep_more(path, &self.buffer),
                }
            }
            if messages(&self.buffer, Some(self.sequence), &mut dumped, &mut each)? {
                return Ok(dumped);
            }
        }
    }
}

pub(super) fn wait(socket: &OwnedFd, left: Duration) -> io::Result<()> {
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))? {
        0 => Err(late()),
        _ => Ok(()),
    }
}

/// Work that another thread does, so that it can be given up at the deadline.
pub struct Pending<T> {
    started: Instant,
    done: mpsc::Receiver<io::Result<T>>,
}

/// Starts `work` on a thread of its own, in the same network namespace.
pub fn start<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<Pending<T>> {
    let (send, done) = mpsc::sync_channel(1);
    let started = Instant::now();
    std::thread::Builder::new().name("netlink".into()).stack_size(STACK).spawn(move || {
        // Nobody listens any more when the deadline has passed.
        let _ = send.send(work());
    })?;
    Ok(Pending { started, done })
}

impl<T> Pending<T> {
    /// Waits for the result, until the deadline and no longer.
    pub fn wait(self) -> io::Result<T> {
        self.done.recv_timeout(DEADLINE.saturating_sub(self.started.elapsed())).unwrap_or_else(|_| Err(late()))
    }
}

pub(super) fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", DEADLINE.as_secs()))
}

impl Request {
    /// struct nlmsghdr, then the payload.
    fn bytes(&self, sequence: u32, flags: u16) -> Vec<u8> {
        let length = (HEADER + self.payload.len()) as u32;
        let mut bytes = Vec::with_capacity(length as usize);
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_does_not_fit_is_asked_for_again() {
        /// RTM_GETLINK
        const GETLINK: u16 = 18;
        let request = Request { name: "getlink", kind: GETLINK, payload: vec![0; 16] };
        let count = |room| {
            let mut client = Client { room, ..Client::new(&Host::Live, Family::Route) };
            let mut links = 0;
            let dumped = client.dump(
                &request,
                &mut links,
                |links| *links = 0,
                |links, _| {
                    *links += 1;
                    true
                },
            );
            (dumped.map_err(|e| Errno::from_io_error(&e)), links)
        };
        let whole = count(BUFFER);
        assert!(whole.1 >= 1 && whole.0 == Ok(Dumped::default()));
        // A link takes more than a kilobyte.
        assert_eq!([count(16), count(700)], [whole; 2]);
    }

    #[test]
    fn a_stuck_source_costs_two_seconds_at_most() {
        let start = Instant::now();
        let stuck = || -> io::Result<()> {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        };
        assert_eq!(super::start(stuck).unwrap().wait().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
