//! A small synchronous netlink client: one request, the answer's messages handed over one by one, never all kept.
//!
//! What a dump promises: every message is whole (a cut-off datagram is an error, not a short table); a dump that the
//! kernel says was disturbed (NLM_F_DUMP_INTR) is taken again, and in the end marked; nothing waits past the deadline.

mod recorded;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NlasIterator};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{GENERIC, NETFILTER, SOCK_DIAG};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Host;

/// How long any source may take. One that is stuck (a driver holding the kernel's rtnl lock) costs its rows only.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// The kernel fills at most 32 KiB of the buffer that it is given (netlink_recvmsg(), net/netlink/af_netlink.c).
const BUFFER: usize = 32 << 10;
/// Enough for a dump, whose buffer is on the heap.
const STACK: usize = 128 << 10;
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// How often a disturbed dump is taken again.
const TRIES: u32 = 3;

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
        };
        Ok(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
    }

    fn folder(self) -> &'static str {
        match self {
            Family::Route => "route",
            Family::SockDiag => "sock_diag",
            Family::Generic => "generic",
            Family::Netfilter => "netfilter",
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
    sequence: u32,
}

impl<'a> Client<'a> {
    /// A client that asks the live kernel, or reads the recording.
    pub fn new(host: &'a Host, family: Family) -> Self {
        Client { host, family, socket: None, buffer: Vec::new(), sequence: 0 }
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
        let mut dumped = Dumped::default();
        for _ in 0..TRIES {
            again(state);
            dumped = self.once(request, NLM_F_DUMP, |payload| each(state, payload))?;
            if !dumped.disturbed {
                break;
            }
        }
        Ok(dumped)
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
        self.buffer.reserve(BUFFER);
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(self.family.open()?),
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
                return Err(io::Error::other(format!("an answer of {whole} bytes did not fit in {BUFFER}")));
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

/// Takes a datagram (or a recording) apart. True at the end of the dump. Messages of another `sequence` are passed over.
pub(super) fn messages(
    mut bytes: &[u8],
    sequence: Option<u32>,
    dumped: &mut Dumped,
    mut each: impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    while !bytes.is_empty() {
        // Also makes sure that the length in the header is at least the header's and at most the buffer's.
        let Ok(message) = NetlinkBuffer::new_checked(bytes) else {
            dumped.bad += 1;
            return Ok(false);
        };
        let length = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
        if sequence.is_some_and(|sequence| sequence != message.sequence_number()) {
            continue;
        }
        dumped.disturbed |= message.flags() & NLM_F_DUMP_INTR != 0;
        let payload = message.payload();
        match message.message_type() {
            NLMSG_DONE => {
                return match error_code(payload) {
                    Some(code) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
                    _ => Ok(true),
                };
            }
            NLMSG_ERROR => {
                return match error_code(payload) {
                    Some(code) if code != 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                    _ => Ok(true),
                };
            }
            _ => dumped.bad += usize::from(!each(payload)),
        }
    }
    Ok(false)
}

fn error_code(payload: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*payload.first_chunk()?))
}

/// The attributes in `bytes`: kind without flags, and value. Ends at the first that does not fit.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let value = attribute.into_inner();
        let kind = u16::from_ne_bytes([value[2], value[3]]) & netlink_packet_core::NLA_TYPE_MASK;
        let length = usize::from(u16::from_ne_bytes([value[0], value[1]]));
        (kind, &value[4..length])
    })
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
    use proptest::prelude::*;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let request = Request { name: "", kind, payload: payload.to_vec() };
        let mut bytes = request.bytes(7, NLM_F_DUMP);
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn take(bytes: &[u8]) -> (io::Result<bool>, Dumped, Vec<Vec<u8>>) {
        let (mut dumped, mut seen) = (Dumped::default(), Vec::new());
        let result = messages(bytes, Some(7), &mut dumped, |payload| {
            seen.push(payload.to_vec());
            payload != b"bad!"
        });
        (result, dumped, seen)
    }

    #[test]
    fn messages_are_handed_over_until_the_end() {
        let bytes =
            [message(16, 0, b"one!"), message(16, NLM_F_DUMP_INTR, b"bad!"), message(NLMSG_DONE, 0, &[0; 4])].concat();
        let (result, dumped, seen) = take(&bytes);
        assert!(result.unwrap());
        assert_eq!((dumped, seen.len()), (Dumped { disturbed: true, bad: 1 }, 2));
    }

    #[test]
    fn an_error_is_an_error() {
        let (result, ..) = take(&message(NLMSG_ERROR, 0, &(-2_i32).to_ne_bytes()));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_message_that_is_cut_off_is_counted() {
        let mut bytes = message(16, 0, b"whole");
        bytes.extend_from_slice(&message(16, 0, b"longer than this")[..20]);
        let (result, dumped, seen) = take(&bytes);
        assert!(!result.unwrap());
        assert_eq!((dumped.bad, seen.len()), (1, 1));
    }

    #[test]
    fn the_answer_to_another_request_is_passed_over() {
        let mut late = message(16, 0, b"late");
        late[8..12].copy_from_slice(&6_u32.to_ne_bytes());
        let (result, _, seen) = take(&[late, message(16, 0, b"ours"), message(NLMSG_DONE, 0, &[0; 4])].concat());
        assert_eq!((result.unwrap(), seen), (true, vec![b"ours".to_vec()]));
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

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = take(&bytes);
            let _ = attributes(&bytes).count();
        }
    }
}
