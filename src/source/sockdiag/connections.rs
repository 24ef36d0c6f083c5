//! TCP connections by sock_diag, with their memory (SK_MEMINFO) and without TCP_INFO: for that the kernel takes the lock
//! of every socket (net/ipv4/tcp.c tcp_get_info()), which would hold up the packets of each.

use std::io;

use super::{AF_INET6, DROPS, INET_DIAG_SKMEMINFO, MESSAGE, RCVBUF};
use crate::model::{Connection, ConnectionSums, Socket};
use crate::source::Host;
use crate::source::netlink::{Client, Dumped, Family, Request, attributes};

/// The request of the first sock_diag (include/uapi/linux/inet_diag.h). It gives both address families in one walk through
/// the table of connections, which has a place for each that there could be; SOCK_DIAG_BY_FAMILY would need two.
pub(super) const TCPDIAG_GETSOCK: u16 = 18;
// include/net/tcp_states.h
const SYN_RECV: u8 = 3;
const TIME_WAIT: u32 = 1 << 6;
const LISTEN: u32 = 1 << 10;
// Positions in SK_MEMINFO, besides those of every socket.
const RMEM_ALLOC: usize = 0;
const WMEM_QUEUED: usize = 5;
const BACKLOG: usize = 7;

/// What one message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A connection.
    Connection(Connection),
    /// A handshake that waits for the client's last ACK, to this local port.
    HalfOpen(u16),
    /// What is left of a connection that is over: it holds no memory.
    Over,
}

/// All TCP connections of the calling thread's network namespace, added up.
pub fn read(host: &Host) -> io::Result<(ConnectionSums, Dumped)> {
    let mut sums = ConnectionSums::default();
    let take = |sums: &mut ConnectionSums, payload: &[u8]| {
        match parse(payload) {
            Some(Told::Connection(connection)) => sums.add(connection),
            Some(Told::HalfOpen(port)) => sums.add_half_open(port),
            Some(Told::Over) => {}
            None => return false,
        }
        true
    };
    let dumped =
        Client::new(host, Family::SockDiag).dump(&request(), &mut sums, |sums| *sums = Default::default(), take)?;
    Ok((sums, dumped))
}

/// Of these connections, by cookie, those that still exist.
pub fn alive(host: &Host, cookies: &[u64]) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let take = |found: &mut Vec<u64>, payload: &[u8]| {
        let told = parse(payload);
        if let Some(Told::Connection(connection)) = told {
            found.extend(Some(connection.cookie).filter(|cookie| cookies.contains(cookie)));
        }
        told.is_some()
    };
    Client::new(host, Family::SockDiag).dump(&request(), &mut found, Vec::clear, take)?;
    Ok(found)
}

/// struct inet_diag_req: the extensions that are wanted, and the states; the id between them stays zero in a dump.
fn request() -> Request {
    let extensions = 1 << (INET_DIAG_SKMEMINFO - 1);
    let mut payload = vec![0, 0, 0, extensions];
    payload.resize(52, 0);
    payload.extend((!LISTEN & !TIME_WAIT).to_ne_bytes());
    payload.resize(60, 0);
    Request { name: "tcp", kind: TCPDIAG_GETSOCK, payload }
}

/// A connection from the payload of a message: struct inet_diag_msg, then attributes.
pub fn parse(payload: &[u8]) -> Option<Told> {
    let fixed: &[u8; MESSAGE] = payload.first_chunk()?;
    let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    if fixed[1] == SYN_RECV {
        return Some(Told::HalfOpen(port(4)));
    }
    let Some((_, memory)) = attributes(&payload[MESSAGE..]).find(|(kind, _)| *kind == INET_DIAG_SKMEMINFO) else {
        return Some(Told::Over);
    };
    let memory = |at: usize| Some(u32::from_ne_bytes(*memory.get(at * 4..)?.first_chunk()?));
    let end = |at: usize, port| {
        let address: [u8; 16] = fixed[at..at + 16].try_into().ok()?;
        Some(Socket::address(address, fixed[0] == AF_INET6, port))
    };
    Some(Told::Connection(Connection {
        cookie: u64::from(word(44)) | u64::from(word(48)) << 32,
        local: end(8, port(4))?,
        remote: end(24, port(6))?,
        inode: word(68),
        // tcp_diag_get_info(), net/ipv4/tcp_diag.c
        unread: word(56),
        received: memory(RMEM_ALLOC)?,
        buffer: memory(RCVBUF)?,
        backlog: memory(BACKLOG)?,
        sending: memory(WMEM_QUEUED)?,
        drops: memory(DROPS)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_of_our_own_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            client.write_all(&[7; 1000]).unwrap();
            let mut found = None;
            let keep = |found: &mut Option<Connection>, payload: &[u8]| {
                if let Some(Told::Connection(one)) = parse(payload)
                    && (one.local, one.remote) == (server.local_addr().unwrap(), client.local_addr().unwrap())
                {
                    *found = Some(one);
                }
                true
            };
            Client::new(&Host::Live, Family::SockDiag).dump(&request(), &mut found, |_| {}, keep).unwrap();
            let ours = found.expect("our own connection");
            assert!(ours.unread == 1000 && ours.received >= 1000 && ours.buffer > ours.received && ours.inode > 0);
            assert_eq!(alive(&Host::Live, &[ours.cookie, u64::MAX]).unwrap(), [ours.cookie]);
            assert!(read(&Host::Live).unwrap().0.count >= 2);
        }
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
