//! Single drops, as the probe's ring gives them: what was dropped, and the beginning of the packet.

use std::net::IpAddr;

use super::bytes::{u16_at, u32_at, u64_at};
use super::drops::{DROP, Key, key_of};

/// What stands before the packet's bytes in struct event of `ebpf/drops.bpf.c`.
const HEAD: usize = DROP + 40;

/// One dropped packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What the kernel tells apart.
    pub key: Key,
    /// When, on the kernel's clock that does not jump (CLOCK_MONOTONIC), in nanoseconds.
    pub time: u64,
    /// The inode of its socket; 0 if it has none.
    pub inode: u64,
    /// The device's name.
    pub device: Vec<u8>,
    /// The packet's length, from its link header on if it has one.
    pub length: u32,
    /// Its link header; empty where the packet has none (yet).
    pub link: Vec<u8>,
    /// What follows, from the network header on, as far as it was kept.
    pub packet: Vec<u8>,
}

/// An event from the bytes that the kernel wrote. Nothing if they are too few.
pub fn parse(bytes: &[u8]) -> Option<Event> {
    let (head, data) = bytes.split_at_checked(HEAD)?;
    let captured = usize::from(u16_at(head, DROP + 36)).min(data.len());
    let (link, packet) = data[..captured].split_at(usize::from(u16_at(head, DROP + 38)).min(captured));
    let name = &head[DROP + 16..DROP + 32];
    Some(Event {
        key: key_of(head),
        time: u64_at(head, DROP),
        inode: u64_at(head, DROP + 8),
        device: name.split(|&b| b == 0).next().unwrap_or_default().to_owned(),
        length: u32_at(head, DROP + 32),
        link: link.to_owned(),
        packet: packet.to_owned(),
    })
}

/// Sender and receiver of an IP packet, with their ports where the protocol has some. Nothing for what is no IP packet.
pub fn ends(packet: &[u8]) -> Option<[(IpAddr, u16); 2]> {
    let (from, to, protocol, header, whole) = match packet.first()? >> 4 {
        4 => {
            let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            let first_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff == 0;
            (from.into(), to.into(), packet[9], usize::from(packet[0] & 15) * 4, first_fragment)
        }
        6 => {
            let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (from.into(), to.into(), packet[6], 40, true)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let ports = whole.then_some(()).filter(|()| [6, 17, 33, 132, 136].contains(&protocol));
    let [source, target] = ports.and_then(|()| Some([port(header)?, port(header + 2)?])).unwrap_or_default();
    Some([(from, source), (to, target)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: [u8; 24] = [0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2, 0x12, 0x34, 0, 53];

    #[test]
    fn both_ends_are_read_from_the_packet() {
        let [from, to] = ends(&V4).unwrap();
        assert_eq!((from.0.to_string(), from.1, to.1), ("10.77.0.1".into(), 0x1234, 53));
        let mut fragment = V4;
        fragment[7] = 5;
        assert_eq!(ends(&fragment).unwrap()[1].1, 0);
        let mut v6 = vec![0x60, 0, 0, 0, 0, 4, 6, 64];
        v6.extend([1; 16]);
        v6.extend([2; 16]);
        v6.extend([0, 22, 0, 80]);
        assert_eq!(ends(&v6).unwrap()[1].1, 80);
    }

    #[test]
    fn every_cut_is_survived() {
        for length in 0..V4.len() {
            let _ = ends(&V4[..length]);
        }
        let mut event = vec![0xff; HEAD + 8];
        for length in 0..event.len() {
            assert_eq!(parse(&event[..length]).is_some(), length >= HEAD);
        }
        event[DROP + 36..HEAD].fill(0);
        event[DROP + 36] = 6;
        event[DROP + 38] = 4;
        let parsed = parse(&event).unwrap();
        assert_eq!((parsed.link.len(), parsed.packet.len()), (4, 2));
    }
}
