//! Every socket by sock_diag with all that is known of it: TCP with tcp_info and its congestion control, UDP, raw IP, unix.
//!
//! For tcp_info the kernel takes the lock of each socket for a moment (tcp_get_info(), net/ipv4/tcp.c): this is for those
//! who ask for single sockets, never for a report that only needs sums.

use std::io;

use super::connections::TCPDIAG_GETSOCK;
use super::{AF_INET, AF_INET6, INET_DIAG_SKMEMINFO, IPPROTO_UDP, MESSAGE, SOCK_DIAG_BY_FAMILY, unix};
use crate::model::{Endpoint, Socket, SocketMemory as Memory, State, TcpInfo, Transport};
use crate::source::Host;
use crate::source::netlink::{Client, Dumped, Family, Request, TRIES};
use netlink_packet_core::NLA_TYPE_MASK;
use rustix::io::Errno;

// include/uapi/linux/inet_diag.h
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_CONG: u16 = 4;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const IPPROTO_RAW: u8 = 255;
/// struct tcp_info up to tcpi_total_retrans, which every kernel has.
const LEAST_INFO: usize = 104;

/// How a look at all sockets went.
#[derive(Debug, Default)]
pub struct Looked {
    /// How the dumps went.
    pub dumped: Dumped,
    /// What this kernel, or the recording, does not tell of, and why.
    pub missing: Vec<(Transport, io::Error)>,
}

/// Which sockets the kernel is asked for. A recording holds all of a kind.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What they speak.
    pub transports: Vec<Transport>,
    /// Their states, as bits by the kernel's numbers.
    pub states: u32,
    /// At either end.
    pub port: Option<u16>,
}

impl Asked {
    /// For all.
    pub fn all() -> Self {
        Asked { transports: Transport::ALL.to_vec(), states: u32::MAX, port: None }
    }
}

/// Hands over every socket that is asked for in the calling thread's network namespace. `again` is called when it starts over because the kernel says that its tables changed meanwhile, or
/// there was no room for the answer: what was handed over must be forgotten. After the last try it is handed over all the
/// same, and marked. An error if there is none of these kinds that can be told of.
pub fn read<S>(
    host: &Host,
    asked: &Asked,
    gathered: &mut S,
    again: impl Fn(&mut S),
    each: impl Fn(&mut S, &Endpoint),
) -> io::Result<Looked> {
    let mut client = Client::new(host, Family::SockDiag);
    let mut tries = 1;
    loop {
        again(gathered);
        let mut missing = Vec::new();
        let dumped = once(&mut client, asked, &mut missing, &mut |one| each(gathered, one));
        if tries == TRIES || !client.is_worth_another(&dumped) {
            return dumped.map(|dumped| Looked { dumped, missing });
        }
        tries += 1;
    }
}

fn once(
    client: &mut Client,
    asked: &Asked,
    missing: &mut Vec<(Transport, io::Error)>,
    each: &mut impl FnMut(&Endpoint),
) -> io::Result<Dumped> {
    let mut whole = Dumped::default();
    for transport in &asked.transports {
        let (mut reason, mut told) = (None, false);
        for request in requests(*transport, asked) {
            let take = |payload: &[u8]| parse(payload, *transport).map(|endpoint| each(&endpoint)).is_some();
            match client.dump_once(&request, take) {
                Ok(dumped) => {
                    whole.disturbed |= dumped.disturbed;
                    whole.bad += dumped.bad;
                    told = true;
                }
                Err(e) if is_missing(&e) => reason = Some(e),
                Err(e) => return Err(e),
            }
        }
        // A kernel without IPv6 has the other half.
        missing.extend(reason.filter(|_| !told).map(|reason| (*transport, reason)));
    }
    match missing.len() == asked.transports.len() {
        true => Err(missing.pop().map_or_else(|| io::ErrorKind::NotFound.into(), |(_, reason)| reason)),
        false => Ok(whole),
    }
}

/// True if the kernel has no such sockets, or not the module that tells of them; or the recording does not hold them.
/// (sock_diag_rcv_msg() and __sock_diag_cmd(), net/core/sock_diag.c; without sock_diag itself, netlink_create(),
/// net/netlink/af_netlink.c.)
pub fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(Errno::from_io_error(error), Some(Errno::OPNOTSUPP | Errno::PROTONOSUPPORT))
}

/// A request for each walk through the kernel's tables.
fn requests(transport: Transport, asked: &Asked) -> Vec<Request> {
    let filter = asked.port.map(by_port).unwrap_or_default();
    let by_family = |name, family, protocol, extensions: u16| {
        // struct inet_diag_req_v2; the id that follows stays zero in a dump.
        let mut payload = vec![family, protocol, extensions as u8, 0];
        payload.extend(asked.states.to_ne_bytes());
        payload.resize(56, 0);
        payload.extend(&filter);
        Request { name, kind: SOCK_DIAG_BY_FAMILY, payload }
    };
    let memory = 1 << (INET_DIAG_SKMEMINFO - 1);
    match transport {
        Transport::Tcp => {
            let all = memory | 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_CONG - 1);
            // struct inet_diag_req: both families in one walk.
            let mut payload = vec![0, 0, 0, all as u8];
            payload.resize(52, 0);
            payload.extend(asked.states.to_ne_bytes());
            payload.resize(60, 0);
            payload.extend(&filter);
            vec![Request { name: "tcp_info", kind: TCPDIAG_GETSOCK, payload }]
        }
        Transport::Udp => vec![
            by_family("udp4_all", AF_INET, IPPROTO_UDP, memory),
            by_family("udp6_all", AF_INET6, IPPROTO_UDP, memory),
        ],
        Transport::Raw => {
            vec![by_family("raw4", AF_INET, IPPROTO_RAW, memory), by_family("raw6", AF_INET6, IPPROTO_RAW, memory)]
        }
        // They have no ports.
        Transport::Unix if asked.port.is_some() => Vec::new(),
        Transport::Unix => vec![unix::request(asked.states)],
    }
}

/// INET_DIAG_REQ_BYTECODE: only sockets with this port at either end. Each operation says how far it goes on where it
/// holds, and where it does not; what ends behind the last one is left out, what ends just there is told
/// (inet_diag_bc_run(), net/ipv4/inet_diag.c). Comparisons of a port have it in a word of their own.
fn by_port(port: u16) -> Vec<u8> {
    // include/uapi/linux/inet_diag.h
    const JMP: u8 = 1;
    const S_GE: u8 = 2;
    const S_LE: u8 = 3;
    const D_GE: u8 = 4;
    const D_LE: u8 = 5;
    const OUT: u16 = 4;
    let length = 36;
    let operations: [(u8, u8, u16); 9] = [
        (S_GE, 8, 20),
        (0, 0, port),
        (S_LE, 8, 12),
        (0, 0, port),
        // It is the local one: behind the last.
        (JMP, 4, length - 16),
        (D_GE, 8, length - 20 + OUT),
        (0, 0, port),
        (D_LE, 8, length - 28 + OUT),
        (0, 0, port),
    ];
    let mut attribute = (length + 4).to_ne_bytes().to_vec();
    attribute.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    for (code, yes, no) in operations {
        attribute.extend([code, yes]);
        attribute.extend(no.to_ne_bytes());
    }
    attribute
}

/// A socket from the payload of a message: struct inet_diag_msg, or struct unix_diag_msg; then attributes.
pub fn parse(payload: &[u8], transport: Transport) -> Option<Endpoint> {
    if transport == Transport::Unix {
        return unix::parse(payload);
    }
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
pub(super) fn memory(value: &[u8]) -> Option<Memory> {
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
        unacked: word(24)?,
        idle: [word(44)?, word(52)?, word(56)?],
        rtt: word(68)?,
        window: word(80)?,
        reordering: word(88)?,
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
        pace: long(104).filter(|rate| *rate != u64::MAX && *rate > 0),
        // All ones where nothing was set (sk_max_pacing_rate, net/core/sock.c sock_init_data()).
        most_rate: long(112).filter(|rate| *rate != u64::MAX && *rate > 0),
        duplicates: word(216),
        overtaken: word(220),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::netlink::attributes;
    use proptest::prelude::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn all(asked: &Asked) -> Vec<Endpoint> {
        let mut found = Vec::new();
        read(&Host::Live, asked, &mut found, Vec::clear, |found, one| found.push(*one)).unwrap();
        found
    }

    #[test]
    fn the_kernel_leaves_out_other_ports() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let ends = |port| {
            let mut ends: Vec<_> = all(&Asked { port: Some(port), ..Asked::all() })
                .iter()
                .map(|one| (one.local, one.remote.port()))
                .collect();
            ends.sort();
            ends
        };
        let [server, client] = [&server, &client].map(|stream| stream.local_addr().unwrap());
        // At either end: the listener, its connection, and the other end of that.
        let mut both = vec![(server, 0), (server, client.port()), (client, server.port())];
        both.sort();
        assert_eq!(ends(server.port()), both);
        assert_eq!(ends(client.port()), both.into_iter().filter(|(_, remote)| *remote != 0).collect::<Vec<_>>());
        let udp = udp.local_addr().unwrap();
        assert_eq!(ends(udp.port()), [(udp, 0)]);
    }

    #[test]
    fn sockets_of_our_own_are_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let udp = UdpSocket::bind(address).unwrap();
            let listener = TcpListener::bind(address).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(&[7; 1000]).unwrap();
            let all = all(&Asked::all());
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
