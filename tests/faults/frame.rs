//! Frames made by hand, for what no socket would send.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::actor::Actor;
use crate::case::Outcome;
use crate::lab::{CLIENT_DEVICE, CLIENT_MAC, Lab, SERVER_MAC};

const IPV4: u16 = 0x0800;
const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// The hand that puts frames on the client's end of the wire.
pub struct Wire(Actor);

impl Wire {
    pub fn new(lab: &Lab) -> Outcome<Self> {
        Ok(Self(Actor::start(&lab.client, "nsd-frames", "frames", &[CLIENT_DEVICE])?))
    }

    /// Sends one frame so many times.
    pub fn send(&mut self, count: u64, frame: &[u8]) -> Outcome<u64> {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.ask(&format!("frame {count} {hex}"))
    }

    /// Sends a frame each.
    pub fn send_all(&mut self, frames: impl Iterator<Item = Vec<u8>>) -> Outcome<u64> {
        let mut taken = 0;
        for frame in frames {
            taken += self.send(1, &frame)?;
        }
        Ok(taken)
    }
}

/// A frame from the client's device.
pub fn ethernet(to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &mac(CLIENT_MAC), &kind.to_be_bytes(), payload].concat()
}

/// A frame to the server with an IPv4 packet in it.
pub fn to_server(packet: &[u8]) -> Vec<u8> {
    ethernet(mac(SERVER_MAC), IPV4, packet)
}

/// The same to somebody else.
pub fn to_other(packet: &[u8]) -> Vec<u8> {
    ethernet([2, 0, 0, 0x77, 0, 0x99], IPV4, packet)
}

fn mac(text: &str) -> [u8; 6] {
    let mut parts = text.split(':').map(|part| u8::from_str_radix(part, 16).unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// An IPv4 header, with a right checksum.
#[derive(Clone, Copy)]
pub struct Ipv4 {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub protocol: u8,
    pub id: u16,
    /// A fragment is to follow.
    pub more: bool,
}

impl Ipv4 {
    pub fn new(from: Ipv4Addr, to: Ipv4Addr, protocol: u8) -> Self {
        Self { from, to, protocol, id: 1, more: false }
    }

    pub fn packet(self, payload: &[u8]) -> Vec<u8> {
        let length = (20 + payload.len()) as u16;
        let fragment: u16 = if self.more { 0x2000 } else { 0 };
        let mut header =
            [&[0x45, 0][..], &length.to_be_bytes(), &self.id.to_be_bytes(), &fragment.to_be_bytes()].concat();
        header.extend([64, self.protocol, 0, 0]);
        header.extend([self.from.octets(), self.to.octets()].concat());
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&header, payload].concat()
    }
}

/// A datagram with the right checksum, or with one that is off by `off`.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, off: u16) -> Vec<u8> {
    let data = [0x55; 20];
    let length = (8 + data.len()) as u16;
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let mut datagram = [&ports[..], &length.to_be_bytes(), &[0, 0], &data].concat();
    let sum = checksum(&pseudo(from, to, UDP, &datagram)).wrapping_add(off);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    Ipv4::new(*from.ip(), *to.ip(), UDP).packet(&datagram)
}

/// An acknowledgement of nothing.
pub fn lone_ack(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    tcp(from, to, [1, 1], &[])
}

/// A segment with this sequence number and acknowledgement, and data.
pub fn tcp(from: SocketAddrV4, to: SocketAddrV4, numbers: [u32; 2], data: &[u8]) -> Vec<u8> {
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let numbers = numbers.map(u32::to_be_bytes).concat();
    let mut segment = [&ports[..], &numbers, &[0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0], data].concat();
    let sum = checksum(&pseudo(from, to, TCP, &segment));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    Ipv4::new(*from.ip(), *to.ip(), TCP).packet(&segment)
}

fn pseudo(from: SocketAddrV4, to: SocketAddrV4, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let length = (segment.len() as u16).to_be_bytes();
    [&from.ip().octets()[..], &to.ip().octets(), &[0, protocol], &length, segment].concat()
}

/// The checksum of the internet (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
