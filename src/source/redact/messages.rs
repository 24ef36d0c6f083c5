//! Netlink answers with their addresses and names replaced: every message is built anew of what is known to be harmless.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLA_F_NESTED, NetlinkBuffer, NlasIterator};

use super::names::Names;
use crate::source::genl::{push, string};
use crate::source::netlink::attributes;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// What is kept of the end of a dump (an error number), and of an error (that, and the header of the request).
const END: usize = 4;
const ERROR: usize = 20;

/// struct genlmsghdr, struct nfgenmsg
const FAMILY: usize = 4;
/// Attributes within attributes, at most.
const DEPTH: usize = 8;

/// struct ifinfomsg
const IFINFO: usize = 16;
// include/uapi/linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// Numbers: MTU, LINK, MASTER, TXQLEN, OPERSTATE, LINKMODE, STATS64, NUM_VF, PROMISCUITY, NUM_TX_QUEUES, NUM_RX_QUEUES,
/// CARRIER, CARRIER_CHANGES, GSO_MAX_SEGS, GSO_MAX_SIZE, CARRIER_UP_COUNT, CARRIER_DOWN_COUNT.
const LINK_NUMBERS: [u16; 17] = [4, 5, 10, 13, 16, 17, 23, 21, 30, 31, 32, 33, 35, 40, 41, 47, 48];

/// Where it is plugged in, by which its interrupts are found: PARENT_DEV_NAME and PARENT_DEV_BUS_NAME. The bus numbers its
/// places; nobody names them.
const PARENT: [u16; 2] = [56, 57];

/// struct inet_diag_msg
const SOCKET: usize = 72;
const AF_INET6: u8 = 10;
/// include/uapi/linux/inet_diag.h: MEMINFO, INFO, VEGASINFO, CONG, TOS, TCLASS, SKMEMINFO, SHUTDOWN, DCTCPINFO, SKV6ONLY,
/// BBRINFO.
const SOCKET_NUMBERS: [u16; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16];

/// struct unix_diag_msg
const UNIX: usize = 16;
const AF_UNIX: u8 = 1;
// include/uapi/linux/unix_diag.h
const UNIX_USER: u16 = 7;
/// RQLEN, MEMINFO, SHUTDOWN
const UNIX_NUMBERS: [u16; 3] = [4, 5, 6];

/// The messages of an answer, each with the payload that `each` makes of its own, or without those of which it makes none.
pub fn rewrite(mut bytes: &[u8], mut each: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        let payload = message.payload();
        let new = match message.message_type() {
            NLMSG_DONE => Some(payload[..payload.len().min(END)].to_vec()),
            NLMSG_ERROR => Some(payload[..payload.len().min(ERROR)].to_vec()),
            _ => each(payload),
        };
        let length = message.length() as usize;
        if let Some(new) = new {
            let whole = u32::try_from(HEADER + new.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&whole.to_ne_bytes());
            // Type, flags, sequence and port.
            out.extend_from_slice(&bytes[4..HEADER]);
            out.extend_from_slice(&new);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    out
}

/// A device: RTM_NEWLINK.
pub fn link(payload: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    let mut out = payload.get(..IFINFO)?.to_vec();
    for (kind, value) in attributes(&payload[IFINFO..]) {
        match kind {
            IFLA_IFNAME => {
                let name = names.device(string(value));
                push(&mut out, kind, &[name.as_bytes(), &[0]].concat());
            }
            IFLA_LINKINFO => {
                let mut inner = Vec::new();
                for (kind, value) in attributes(value).filter(|(kind, _)| *kind == IFLA_INFO_KIND) {
                    push(&mut inner, kind, value);
                }
                push(&mut out, kind, &inner);
            }
            kind if LINK_NUMBERS.contains(&kind) || PARENT.contains(&kind) => push(&mut out, kind, value),
            _ => {}
        }
    }
    Some(out)
}

/// A socket: struct inet_diag_msg, whose addresses are at 8 and 24, and whose user is at 64; or one of AF_UNIX.
pub fn socket(payload: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    if payload.first() == Some(&AF_UNIX) {
        return unix(payload, names);
    }
    let mut out = payload.get(..SOCKET)?.to_vec();
    let v6 = out[0] == AF_INET6;
    for at in [8, 24] {
        let bytes: [u8; 16] = out.get(at..at + 16)?.try_into().ok()?;
        let new = match v6 {
            true => names.address(Ipv6Addr::from(bytes).into()),
            false => names.address(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        };
        out[at..at + 16].fill(0);
        match new {
            IpAddr::V4(new) => out[at..at + 4].copy_from_slice(&new.octets()),
            IpAddr::V6(new) => out[at..at + 16].copy_from_slice(&new.octets()),
        }
    }
    let uid = u32::from_ne_bytes(*out.get(64..)?.first_chunk()?);
    out[64..68].copy_from_slice(&names.user(uid).to_ne_bytes());
    for (kind, value) in attributes(&payload[SOCKET..]).filter(|(kind, _)| SOCKET_NUMBERS.contains(kind)) {
        push(&mut out, kind, value);
    }
    Some(out)
}

/// struct unix_diag_msg, which is numbers, and those of its attributes that are.
fn unix(payload: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    let mut out = payload.get(..UNIX)?.to_vec();
    for (kind, value) in attributes(&payload[UNIX..]) {
        match kind {
            UNIX_USER => {
                let uid = u32::from_ne_bytes(*value.first_chunk()?);
                push(&mut out, kind, &names.user(uid).to_ne_bytes());
            }
            kind if UNIX_NUMBERS.contains(&kind) => push(&mut out, kind, value),
            _ => {}
        }
    }
    Some(out)
}

/// Generic netlink or nfnetlink, of numbers: what is the name of a device is replaced, wherever it stands.
pub fn numbers(payload: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    let mut out = payload.get(..FAMILY)?.to_vec();
    out.extend(renamed(&payload[FAMILY..], names, 0));
    Some(out)
}

fn renamed(bytes: &[u8], names: &Names, depth: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for attribute in NlasIterator::new(bytes).map_while(Result::ok) {
        let kind = attribute.kind() | if attribute.nested_flag() { NLA_F_NESTED } else { 0 };
        let value = attribute.value();
        match names.known_device(string(value)) {
            Some(new) => push(&mut out, kind, &[new.as_bytes(), &[0]].concat()),
            None if attribute.nested_flag() && depth < DEPTH => push(&mut out, kind, &renamed(value, names, depth + 1)),
            None => push(&mut out, kind, value),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_device_keeps_its_numbers_and_loses_its_names() {
        /// IFLA_IFALIAS, IFLA_ADDRESS
        const SECRETS: [(u16, &[u8]); 2] = [(20, b"Customer\0"), (1, &[0x52, 0x54, 0, 0x12, 0x34, 0x56])];
        let mut device = vec![0; IFINFO];
        device.extend(attribute(IFLA_IFNAME, b"wan-acme\0"));
        device.extend(attribute(23, &[7; 200]));
        for (kind, value) in SECRETS {
            device.extend(attribute(kind, value));
        }
        let mut names = Names::default();
        let bytes = [message(16, &device), message(NLMSG_DONE, &[0; 4])].concat();
        let new = rewrite(&bytes, |payload| link(payload, &mut names));
        for secret in [&b"wan-acme"[..], b"Customer", SECRETS[1].1] {
            assert!(!new.windows(secret.len()).any(|part| part == secret));
        }
        let first = NetlinkBuffer::new_checked(&new[..]).unwrap();
        let read = crate::source::link::parse(first.payload()).unwrap();
        assert_eq!((read.name, read.stats.len()), (b"dev1".to_vec(), 25));
        assert_eq!(new.len(), (first.length() as usize).next_multiple_of(4) + message(NLMSG_DONE, &[0; 4]).len());
    }

    #[test]
    fn a_unix_socket_keeps_its_numbers_and_loses_its_name() {
        let mut socket = vec![AF_UNIX, 1, 10, 0];
        socket.resize(UNIX, 7);
        for (kind, value) in [(0, &b"/run/acme"[..]), (4, &[3; 8]), (UNIX_USER, &4242_u32.to_ne_bytes())] {
            socket.extend(attribute(kind, value));
        }
        let new = super::socket(&socket, &mut Names::default()).unwrap();
        assert!(!new.windows(4).any(|part| part == b"acme" || part == 4242_u32.to_ne_bytes()));
        let read = crate::source::sockdiag::every::parse(&new, crate::model::Transport::Unix).unwrap();
        assert_eq!((read.accept_queue(), read.inode), (Some([0x0303_0303; 2]), 0x0707_0707));
    }

    #[test]
    fn a_device_is_renamed_wherever_it_stands() {
        const NESTED: u16 = NLA_F_NESTED;
        let mut names = Names::default();
        names.device(b"wan-acme");
        let message = |name: &[u8]| {
            let header = attribute(1 | NESTED, &[attribute(1, &7_u32.to_ne_bytes()), attribute(2, name)].concat());
            [vec![1, 1, 0, 0], header, attribute(3, &9_u64.to_ne_bytes())].concat()
        };
        assert_eq!(numbers(&message(b"wan-acme\0"), &mut names).unwrap(), message(b"dev1\0"));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut names = Names::default();
            rewrite(&bytes, |payload| link(payload, &mut names));
            rewrite(&bytes, |payload| socket(payload, &mut names));
            link(&bytes, &mut names);
            socket(&bytes, &mut names);
            numbers(&bytes, &mut names);
        }
    }
}
