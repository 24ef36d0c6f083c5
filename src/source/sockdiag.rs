//! Sockets by sock_diag: UDP and listening TCP, IPv4 and IPv6, with their memory (SK_MEMINFO); connections apart, in
//! [`connections`].
//!
//! Decoded by hand: the answer is streamed through one buffer, a socket costs no allocation.

pub mod connections;
pub mod every;

use std::io;

use super::Host;
use super::netlink::{Client, Dumped, Family, Request, attributes};
use crate::model::{Protocol, Socket, SocketSums};

/// include/uapi/linux/sock_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
// include/uapi/linux/inet_diag.h
const INET_DIAG_SKMEMINFO: u16 = 7;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// TCP_LISTEN in include/net/tcp_states.h
const LISTEN: u32 = 1 << 10;
const ANY_STATE: u32 = u32::MAX;
/// struct inet_diag_msg
const MESSAGE: usize = 72;
// Positions in SK_MEMINFO (enum in include/uapi/linux/sock_diag.h), an array of u32.
const RCVBUF: usize = 1;
const DROPS: usize = 8;

struct Query {
    name: &'static str,
    family: u8,
    protocol: u8,
    states: u32,
}

const QUERIES: [Query; 4] = [
    Query { name: "udp4", family: AF_INET, protocol: IPPROTO_UDP, states: ANY_STATE },
    Query { name: "udp6", family: AF_INET6, protocol: IPPROTO_UDP, states: ANY_STATE },
    Query { name: "listen4", family: AF_INET, protocol: IPPROTO_TCP, states: LISTEN },
    Query { name: "listen6", family: AF_INET6, protocol: IPPROTO_TCP, states: LISTEN },
];

/// All UDP and listening TCP sockets of the calling thread's network namespace, or only those of one protocol, added up.
pub fn read(host: &Host, only: Option<Protocol>) -> io::Result<(SocketSums, Dumped)> {
    let mut sums = SocketSums::default();
    let mut dumped = Dumped::default();
    let mut client = Client::new(host, Family::SockDiag);
    for query in QUERIES.iter().filter(|query| only.is_none_or(|only| only == query.kind())) {
        let mut part = Part { kind: query.kind(), before: sums.clone(), sums };
        let one = client.dump(&query.request(), &mut part, Part::again, Part::take);
        let again = match one {
            Ok(again) => again,
            // A recording need not hold them all; a kernel without IPv6 has no such sockets.
            Err(e) if e.kind() == io::ErrorKind::NotFound && query.name != "udp4" => Dumped::default(),
            Err(e) => return Err(e),
        };
        dumped.disturbed |= again.disturbed;
        dumped.bad += again.bad;
        sums = part.sums;
    }
    Ok((sums, dumped))
}

/// Of these sockets of the calling thread's network namespace, by cookie, those that still exist.
pub fn alive(host: &Host, cookies: &[u64]) -> io::Result<Vec<u64>> {
    let mut client = Client::new(host, Family::SockDiag);
    let mut found = Vec::new();
    for query in &QUERIES {
        let before = found.len();
        let take = |found: &mut Vec<u64>, payload: &[u8]| {
            let socket = parse(payload, query.kind());
            found.extend(socket.map(|socket| socket.cookie).filter(|cookie| cookies.contains(cookie)));
            socket.is_some()
        };
        match client.dump(&query.request(), &mut found, |found| found.truncate(before), take) {
            // A kernel without IPv6 has no such sockets.
            Err(e) if e.kind() == io::ErrorKind::NotFound && query.name != "udp4" => {}
            dumped => drop(dumped?),
        }
    }
    if found.len() < cookies.len() {
        found.extend(connections::alive(host, cookies)?);
    }
    Ok(found)
}

/// The answer to one query; what came before it is kept, for the case that the dump must start over.
struct Part {
    kind: Protocol,
    before: SocketSums,
    sums: SocketSums,
}

impl Part {
    fn again(&mut self) {
        self.sums.clone_from(&self.before);
    }

    fn take(&mut self, payload: &[u8]) -> bool {
        parse(payload, self.kind).map(|socket| self.sums.add(socket)).is_some()
    }
}

impl Query {
    fn kind(&self) -> Protocol {
        if self.protocol == IPPROTO_UDP { Protocol::Udp } else { Protocol::Listen }
    }

    /// struct inet_diag_req_v2: what is asked for; the id that follows stays zero in a dump.
    fn request(&self) -> Request {
        let extensions = 1 << (INET_DIAG_SKMEMINFO - 1);
        let mut payload = vec![self.family, self.protocol, extensions, 0];
        payload.extend(self.states.to_ne_bytes());
        payload.resize(56, 0);
        Request { name: self.name, kind: SOCK_DIAG_BY_FAMILY, payload }
    }
}

/// A socket from the payload of a SOCK_DIAG_BY_FAMILY message: struct inet_diag_msg, then attributes.
pub fn parse(payload: &[u8], protocol: Protocol) -> Option<Socket> {
    let fixed: &[u8; MESSAGE] = payload.first_chunk()?;
    let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let memory = attributes(&payload[MESSAGE..]).find(|(kind, _)| *kind == INET_DIAG_SKMEMINFO)?.1;
    let memory = |at: usize| Some(u32::from_ne_bytes(*memory.get(at * 4..)?.first_chunk()?));
    let address: [u8; 16] = fixed[8..24].try_into().ok()?;
    let port = u16::from_be_bytes([fixed[4], fixed[5]]);
    Some(Socket {
        cookie: u64::from(word(44)) | u64::from(word(48)) << 32,
        protocol,
        local: Socket::address(address, fixed[0] == AF_INET6, port),
        inode: word(68),
        // A listener's are connections: accept queue and backlog (tcp_diag_get_info(), net/ipv4/tcp_diag.c).
        queue: word(56),
        limit: match protocol {
            Protocol::Udp => memory(RCVBUF)?,
            Protocol::Listen => word(60),
        },
        drops: memory(DROPS)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_socket_of_our_own_is_found() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _listener = TcpListener::bind("[::1]:0").unwrap();
        let (sums, _) = read(&Host::Live, None).unwrap();
        assert!(sums.udp >= 1 && sums.listeners >= 1);
        let request = QUERIES[0].request();
        let mut found = Vec::new();
        Client::new(&Host::Live, Family::SockDiag)
            .dump(&request, &mut found, Vec::clear, |found, payload| {
                parse(payload, Protocol::Udp).map(|socket| found.push(socket)).is_some()
            })
            .unwrap();
        let ours = found.iter().find(|socket| socket.local == udp.local_addr().unwrap()).unwrap();
        assert!(ours.limit > 0 && ours.inode > 0 && ours.cookie > 0);
        assert_eq!(alive(&Host::Live, &[ours.cookie, u64::MAX]).unwrap(), [ours.cookie]);
        drop(udp);
        assert!(alive(&Host::Live, &[ours.cookie]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, Protocol::Udp);
            let _ = parse(&bytes, Protocol::Listen);
        }
    }
}
