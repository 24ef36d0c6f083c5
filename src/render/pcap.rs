//! Dropped packets as a capture file (pcapng), which tcpdump and Wireshark read. Each bears its reason as a comment. What
//! has lost its link header, or never had one, gets an Ethernet header with empty addresses.

use std::io::{self, Write};

use crate::model::DropEvent;
use crate::source::probe::event::Event;

/// Numbers of the format: draft-ietf-opsawg-pcapng.
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const ETHERNET: u16 = 1;
const COMMENT: u16 = 1;
const INTERFACE_NAME: u16 = 2;
const RESOLUTION: u16 = 9;
/// Length of an Ethernet header.
const LINK: usize = 14;

/// A capture file that is being written.
pub struct Pcap<W> {
    out: W,
    /// The devices that have an entry already.
    devices: Vec<String>,
}

impl<W: Write> Pcap<W> {
    /// Begins the file.
    pub fn begin(mut out: W) -> io::Result<Self> {
        let body = [&BYTE_ORDER.to_ne_bytes()[..], &1_u16.to_ne_bytes(), &0_u16.to_ne_bytes(), &[0xff; 8]].concat();
        block(&mut out, SECTION, &body)?;
        Ok(Pcap { out, devices: Vec::new() })
    }

    /// Adds a packet; `time` is in nanoseconds since 1970.
    pub fn add(&mut self, event: &Event, said: &DropEvent, time: i128) -> io::Result<()> {
        let device = said.drop.device.as_deref().unwrap_or("unknown");
        let interface = match self.devices.iter().position(|known| known == device) {
            Some(known) => known,
            None => self.introduce(device)?,
        };
        let data = [&link(event)[..], &event.packet].concat();
        let length =
            event.length as usize - event.link.len().min(event.length as usize) + data.len() - event.packet.len();
        let time = u64::try_from(time).unwrap_or(0);
        let reason = said.drop.likely.as_deref().unwrap_or(&said.drop.reason);
        let comment = format!("{reason} at {}", said.drop.location.as_deref().unwrap_or("an unknown place"));
        let mut body = Vec::new();
        for number in [interface, (time >> 32) as usize, time as u32 as usize, data.len(), length] {
            body.extend((number as u32).to_ne_bytes());
        }
        padded(&mut body, &data);
        option(&mut body, COMMENT, comment.as_bytes());
        option(&mut body, 0, &[]);
        block(&mut self.out, PACKET, &body)
    }

    /// Writes out what is held back.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn introduce(&mut self, device: &str) -> io::Result<usize> {
        let mut body = [ETHERNET.to_ne_bytes(), [0; 2]].concat();
        body.extend(0_u32.to_ne_bytes());
        option(&mut body, INTERFACE_NAME, device.as_bytes());
        // Nanoseconds: ten to the power of minus nine.
        option(&mut body, RESOLUTION, &[9]);
        option(&mut body, 0, &[]);
        block(&mut self.out, INTERFACE, &body)?;
        self.devices.push(device.to_owned());
        Ok(self.devices.len() - 1)
    }
}

/// The packet's own link header, else one that says only what follows.
fn link(event: &Event) -> Vec<u8> {
    if event.link.len() >= LINK {
        return event.link.clone();
    }
    let what = match (event.key.network, event.packet.first().map(|first| first >> 4)) {
        (0, Some(4)) => 0x0800,
        (0, Some(6)) => 0x86dd,
        (network, _) => network,
    };
    [&[0; LINK - 2][..], &what.to_be_bytes()].concat()
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_ne_bytes());
    body.extend((value.len() as u16).to_ne_bytes());
    padded(body, value);
}

/// Everything begins at a multiple of four.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32 + 12).to_ne_bytes();
    out.write_all(&[&kind.to_ne_bytes()[..], &length, body, &length].concat())
}
