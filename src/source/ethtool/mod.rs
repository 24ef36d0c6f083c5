//! ethtool: what a network device's driver tells of it, by ioctl and by generic netlink.

pub mod driver;
pub mod hash;
pub mod names;
pub mod rss;
pub mod settings;
pub mod statistics;

use std::io;

use super::genl::{self, header, push, string};
use super::netlink::{Client, Dumped, Request, attributes};

const VERSION: u8 = 1;
// include/uapi/linux/ethtool_netlink.h
const HEADER_DEV_NAME: u16 = 2;
const HEADER_FLAGS: u16 = 3;
const FLAG_STATS: u32 = 1 << 2;
/// The header of each message, but of one in which it is the second attribute.
const HEADER: u16 = 1;
/// include/uapi/linux/netlink.h: ethtool insists on it.
const NESTED: u16 = 1 << 15;

/// A question for all devices, or for one.
struct Query<'q> {
    /// The name of its answer in a recorded tree.
    name: &'static str,
    command: u8,
    /// The attribute that is the header.
    header: u16,
    device: Option<&'q [u8]>,
    flags: u32,
    more: Vec<u8>,
}

impl Query<'_> {
    fn all(name: &'static str, command: u8) -> Self {
        Query { name, command, header: HEADER, device: None, flags: 0, more: Vec::new() }
    }

    fn request(&self, live: bool) -> io::Result<Request> {
        let kind = if live { genl::fixed("ethtool")? } else { 0 };
        let mut inner = Vec::new();
        if let Some(device) = self.device {
            push(&mut inner, HEADER_DEV_NAME, &[device, &[0]].concat());
        }
        if self.flags != 0 {
            push(&mut inner, HEADER_FLAGS, &self.flags.to_ne_bytes());
        }
        let mut payload = header(self.command, VERSION);
        push(&mut payload, self.header | NESTED, &inner);
        payload.extend(&self.more);
        Ok(Request { name: self.name, kind, payload })
    }

    /// Asks about all devices at once. `each` gets the device and the message's attributes.
    fn dump<S>(
        &self,
        client: &mut Client,
        state: &mut S,
        again: impl Fn(&mut S),
        each: impl Fn(&mut S, &[u8], &[u8]) -> bool,
    ) -> io::Result<Dumped> {
        let request = self.request(!client.is_recorded())?;
        client.dump(&request, state, again, |state, payload| {
            device_of(payload, self.header).is_some_and(|(device, rest)| each(state, device, rest))
        })
    }
}

/// The device that a message is about, and the message's attributes.
fn device_of(payload: &[u8], header: u16) -> Option<(&[u8], &[u8])> {
    let rest = payload.get(genl::HEADER..)?;
    let (_, inner) = attributes(rest).find(|(kind, _)| *kind == header)?;
    let (_, name) = attributes(inner).find(|(kind, _)| *kind == HEADER_DEV_NAME)?;
    Some(string(name)).filter(|name| !name.is_empty()).map(|name| (name, rest))
}

/// A number of one, four or eight bytes.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    match *value {
        [byte] => Some(byte.into()),
        [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d]).into()),
        _ => value.try_into().map(u64::from_ne_bytes).ok(),
    }
}
