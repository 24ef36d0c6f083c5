//! Every socket by sock_diag with all that is known of it: TCP with tcp_info and its congestion control, UDP, raw IP.
//!
//! For tcp_info the kernel takes the lock of each socket for a moment (tcp_get_info(), net/ipv4/tcp.c): this is for those
//! who ask for single sockets, never for a report that only needs sums.

use std::io;

use super::connections::TCPDIAG_GETSOCK;
use super::{AF_INET, AF_INET6, INET_DIAG_SKMEMINFO, IPPROTO_UDP, MESSAGE, SOCK_DIAG_BY_FAMILY};
use crate::model::{Endpoint, Socket, SocketMemory as Memory, State, TcpInfo, Transport};
use crate::source::Host;
use crate::source::netlink::{Client, Dumped, Family, Request};
use netlink_packet_core::NLA_TYPE_MASK;

// include/uapi/linux/inet_diag.h
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_CONG: u16 = 4;
const IPPROTO_RAW: u8 = 255;
/// How often it starts over.
const TRIES: u32 = 3;
/// struct tcp_info up to tcpi_total_retrans, which every kernel has.
const LEAST_INFO: usize = 104;

/// Hands over every socket of these kinds in the calling thread's network namespace that is in one of `states` (bits by the
/// kernel's numbers). `again` is called when it starts over because the kernel says that its tables changed meanwhile: what
/// was handed over must be forgotten. After the last try it is handed over all the same, and marked.
pub fn read<S>(
    host: &Host,
    transports: &[Transport],
    states: u32,
    gathered: &mut S,
    again: impl Fn(&mut S),
    each: impl Fn(&mut S, &Endpoint),
) -> io::Result<Dumped> {
    let mut dumped = Dumped::default();
    for _ in 0..TRIES {
        again(gathered);
        dumped = once(host, transports, states, gathered, &each)?;
        if !dumped.disturbed || host.is_recorded() {
            break;
        }
    }
    Ok(dumped)
}

fn once<S>(
    host: &Host,
    transports: &[Transport],
    states: u32,
    gathered: &mut S,
    each: impl Fn(&mut S, &Endpoint),
) -> io::Result<Dumped> {
    let mut whole = Dumped::default();
    let mut client = Client::new(host, Family::SockDiag);
    let mut missing = None;
    let mut some = false;
    for (transport, request) in transports.iter().flat_map(|transport| requests(*transport, states)) {
        let take = |payload: &[u8]| parse(payload, transport).map(|endpoint| each(gathered, &endpoint)).is_some();
        match client.dump_once(&request, take) {
            Ok(dumped) => {
                whole.disturbed |= dumped.disturbed;
                whole.bad += dumped.bad;
                some = true;
            }
            // A kernel without this kind, or without the module that tells of it; a recording that does not hold it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing = Some(e),
            Err(e) => return Err(e),
        }
    }
    missing.filter(|_| !some).map_or(Ok(whole), Err)
}

/// A request for each walk through the kernel's tables.
fn requests(transport: Transport, states: u32) -> Vec<(Transport, Request)> {
    let by_family = |name, family, protocol, extensions: u16| {
        // struct inet_diag_req_v2; the id that follows stays zero in a dump.
        let mut payload = vec![family, protocol, extensions as u8, 0];
        payload.extend(states.to_ne_bytes());
        payload.resize(56, 0);
        (transport, Request { name, kind: SOCK_DIAG_BY_FAMILY, payload })
    };
    let memory = 1 << (INET_DIAG_SKMEMINFO - 1);
    match transport {
        Transport::Tcp => {
            let all = memory | 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_CONG - 1);
            // struct inet_diag_req: both families in one walk.
            let mut payload = vec![0, 0, 0, all as u8];
            payload.resize(52, 0);
            payload.extend(states.to_ne_bytes());
            payload.resize(60, 0);
            vec![(transport, Request { name: "tcp_info", kind: TCPDIAG_GETSOCK, payload })]
        }
        Transport::Udp => vec![
            by_family("udp4_all", AF_INET, IPPROTO_UDP, memory),
            by_family("udp6_all", AF_INET6, IPPROTO_UDP, memory),
        ],
        Transport::Raw => {
            vec![by_family("raw4", AF_INET, IPPROTO_RAW, memory), by_family("raw6", AF_INET6, IPPROTO_RAW, memory)]
        }
    }
}

/// A socket from the payload of a message: struct inet_diag_msg, then attributes.
pub fn parse(payload: &[u8], transport: Transport) -> Option<Endpoint> {
    let fixed: &[u8; MESSAGE] = payload.first_chunk()?;
    let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let end = |at: usize, port: usize| {
        let address: [u8; 16] = fixed[at..at + 16].try_into().ok()?;
        let port = u16::from_be_bytes([fixed[port], fixed[port + 1]]);
        Some(Socket::address(address, fixed[0] == AF_INET6, port))
    };
    let mut endpoint = Endpoint {
        transport,
        state: State::of(fixed[1])?,
        cookie: u64::from(word(44)) | u64::from(word(48)) << 32,
        local: end(8, 4)?,
        remote: end(24, 6)?,
        inode: word(68),
        uid: word(64),
        device: word(40),
        timer: fixed[2],
        unanswered: fixed[3],
        // tcp_diag_get_info() in net/ipv4/tcp_diag.c, udp_diag_get_info(), raw_diag_get_info()
        receive_queue: word(56),
        send_queue: word(60),
        memory: None,
        tcp: None,
        congestion: [0; 16],
    };
    // As attributes() of netlink.rs, which takes as long as the rest of this for the dozen of attributes that a socket has.
    let mut rest = &payload[MESSAGE..];
    while let Some(&[a, b, c, d]) = rest.first_chunk() {
        let (length, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]) & NLA_TYPE_MASK);
        let Some(value) = rest.get(4..length) else { break };
        match kind {
            INET_DIAG_SKMEMINFO => endpoint.memory = memory(value),
            INET_DIAG_INFO if transport == Transport::Tcp => endpoint.tcp = info(value),
            INET_DIAG_CONG => {
                let length = value.len().min(endpoint.congestion.len());
                endpoint.congestion[..length].copy_from_slice(&value[..length]);
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(endpoint)
}

/// SK_MEMINFO (enum in include/uapi/linux/sock_diag.h), an array of u32.
fn memory(value: &[u8]) -> Option<Memory> {
    let at = |index: usize| Some(u32::from_ne_bytes(*value.get(index * 4..)?.first_chunk()?));
    Some(Memory {
        received: at(0)?,
        receive_buffer: at(1)?,
        send_buffer: at(3)?,
        queued: at(5)?,
        backlog: at(7)?,
        drops: at(8)?,
    })
}

/// struct tcp_info (include/uapi/linux/tcp.h): it only ever grew at its end.
fn info(value: &[u8]) -> Option<TcpInfo> {
    let base: &[u8; LEAST_INFO] = value.first_chunk()?;
    let word = |at: usize| Some(u32::from_ne_bytes(*value.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_ne_bytes(*value.get(at..)?.first_chunk()?));
    // tcpi_last_data_recv and the others of the same are since the socket was made, where none came yet.
    Some(TcpInfo {
        backoff: base[4],
        application_limited: base[7] & 1 != 0,
        segment: word(16)?,
        idle: [word(44)?, word(52)?, word(56)?],
        rtt: word(68)?,
        window: word(80)?,
        retransmitted: word(100)?,
        acked: long(120).unwrap_or(0),
        received: long(128).unwrap_or(0),
        unsent: word(144),
        // Without a measurement it is all ones (tcp_min_rtt(), include/net/tcp.h).
        least_rtt: word(148).filter(|least| *least != u32::MAX && *least > 0),
        sent: word(156),
        rate: long(160).filter(|rate| *rate > 0),
        limited: long(168).zip(long(176)).zip(long(184)).map(|((busy, window), buffer)| [busy, window, buffer]),
        peer_window: word(228),
        own_window: word(232),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::netlink::attributes;
    use proptest::prelude::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn all() -> Vec<Endpoint> {
        let mut found = Vec::new();
        read(&Host::Live, &Transport::ALL, u32::MAX, &mut found, Vec::clear, |found, one| found.push(*one)).unwrap();
        found
    }

    #[test]
    fn sockets_of_our_own_are_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let udp = UdpSocket::bind(address).unwrap();
            let listener = TcpListener::bind(address).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(&[7; 1000]).unwrap();
            let all = all();
            let of = |local| move |one: &&Endpoint| one.local == local;
            let found = all.iter().find(of(udp.local_addr().unwrap())).unwrap();
            assert!(found.transport == Transport::Udp && found.memory.unwrap().receive_buffer > 0 && found.inode > 0);
            let found = all.iter().find(of(listener.local_addr().unwrap())).unwrap();
            assert_eq!((found.accept_queue(), found.state), (Some([1, 128]), State::Listen));
            let found = all.iter().find(of(client.local_addr().unwrap())).unwrap();
            let tcp = found.tcp.unwrap();
            assert!(tcp.acked >= 1000 && tcp.rtt > 0 && tcp.segment > 0 && tcp.sent >= Some(1));
            assert!(found.congestion().is_some() && found.remote == listener.local_addr().unwrap());
        }
    }

    #[test]
    fn an_older_kernel_says_less() {
        // Linux 4.4 ends behind tcpi_segs_in.
        let info = info(&[1; 144]).unwrap();
        assert_eq!((info.unsent, info.least_rtt, info.limited, info.peer_window), (None, None, None, None));
        assert_eq!(info.acked, 0x0101_0101_0101_0101);
        assert!(super::info(&[1; 100]).is_none());
    }

    proptest! {
        #[test]
        fn attributes_are_taken_apart_as_everywhere(bytes in proptest::collection::vec(0u8..12, 0..300)) {
            let message = [&[1; MESSAGE][..], &bytes].concat();
            let of = |wanted| attributes(&bytes).filter(|(kind, _)| *kind == wanted).last().map(|(_, value)| value);
            let found = parse(&message, Transport::Tcp).unwrap();
            prop_assert_eq!(found.memory, of(INET_DIAG_SKMEMINFO).and_then(memory));
            prop_assert_eq!(found.tcp, of(INET_DIAG_INFO).and_then(info));
        }

        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            for transport in Transport::ALL {
                let _ = parse(&bytes, transport);
            }
            let _ = info(&bytes);
        }
    }
}
