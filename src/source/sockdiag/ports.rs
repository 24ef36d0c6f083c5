//! The ports that TCP connections hold, those in TIME_WAIT too. Neither memory nor TCP_INFO is asked for: no lock of a
//! socket is taken.

use std::io;
use std::net::SocketAddr;

use super::connections::TCPDIAG_GETSOCK;
use super::{AF_INET6, MESSAGE};
use crate::model::{Socket, State};
use crate::source::Host;
use crate::source::netlink::{Client, Dumped, Family, Request};

/// What TIME_WAIT lasts, in milliseconds (TCP_TIMEWAIT_LEN in include/net/tcp.h).
const TIME_WAIT: u32 = 60_000;

/// One connection, or what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its end here.
    pub local: SocketAddr,
    /// Its other end.
    pub remote: SocketAddr,
    /// For how many milliseconds it has been in TIME_WAIT, if it is.
    pub resting: Option<u32>,
    /// Its inode; 0 if no process holds it any more.
    pub inode: u32,
    /// The kernel's number for it.
    pub cookie: u64,
}

/// Hands over every TCP connection of the calling thread's network namespace that holds a port for itself. `again` is
/// called when the dump must start over.
pub fn read<S>(
    host: &Host,
    gathered: &mut S,
    again: impl Fn(&mut S),
    each: impl Fn(&mut S, Holder),
) -> io::Result<Dumped> {
    let take = |gathered: &mut S, payload: &[u8]| match parse(payload) {
        Some(Some(holder)) => {
            each(gathered, holder);
            true
        }
        told => told.is_some(),
    };
    Client::new(host, Family::SockDiag).dump(&request(), gathered, again, take)
}

/// States in which a socket has no other end, or shares its port with its listener.
const WITHOUT: [State; 4] = [State::Listen, State::Close, State::SynRecv, State::NewSynRecv];

/// struct inet_diag_req, as [`super::connections`] asks. In a recording, every socket stands under this name.
fn request() -> Request {
    let without: u32 = WITHOUT.iter().map(|state| 1 << *state as u32).sum();
    let mut payload = vec![0; 52];
    payload.extend((!without).to_ne_bytes());
    payload.resize(60, 0);
    Request { name: "tcp_info", kind: TCPDIAG_GETSOCK, payload }
}

/// A connection from the payload of a message (struct inet_diag_msg): absent within if it holds no port for itself,
/// absent without if it makes no sense.
pub fn parse(payload: &[u8]) -> Option<Option<Holder>> {
    let fixed: &[u8; MESSAGE] = payload.first_chunk()?;
    let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let state = State::of(fixed[1])?;
    if WITHOUT.contains(&state) {
        return Some(None);
    }
    let end = |at: usize, port: usize| {
        let address: [u8; 16] = fixed[at..at + 16].try_into().ok()?;
        Some(Socket::address(address, fixed[0] == AF_INET6, u16::from_be_bytes([fixed[port], fixed[port + 1]])))
    };
    Some(Some(Holder {
        local: end(8, 4)?,
        remote: end(24, 6)?,
        // idiag_expires: what is left of it (net/ipv4/inet_diag.c inet_twsk_diag_fill()).
        resting: (state == State::TimeWait).then(|| TIME_WAIT.saturating_sub(word(52))),
        inode: word(68),
        cookie: u64::from(word(44)) | u64::from(word(48)) << 32,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream};

    fn all() -> Vec<Holder> {
        let mut found = Vec::new();
        read(&Host::Live, &mut found, Vec::clear, Vec::push).unwrap();
        found
    }

    #[test]
    fn a_connection_is_found_while_it_is_open_and_when_it_is_over() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let local = client.local_addr().unwrap();
            let find =
                || all().into_iter().find(|one| one.local == local && one.remote == listener.local_addr().unwrap());
            let open = find().unwrap();
            assert!(open.resting.is_none() && open.inode > 0);
            drop(client);
            drop(server);
            let over = find().unwrap();
            assert!(over.resting.is_some_and(|millis| millis < 10_000) && over.inode == 0, "{over:?}");
        }
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
