//! What can be set at a device with ethtool: rings, channels, coalescing, pause, speed, features; and over how many queues
//! it spreads what it receives.
//!
//! A setting's path is `ethtool/DEVICE/BLOCK/NAME`: `ethtool/eth0/rings/rx`. The most that the driver takes stands below
//! it: `ethtool/eth0/rings/rx/max`. Switches are `on` or `off`. What a driver does not have is absent.

use std::io;

use super::{HEADER, NESTED, Query, hash, number};
use crate::model::Settings;
use crate::source::genl::{push, string};
use crate::source::netlink::{Client, Family, attributes};
use crate::source::{Host, text};

/// A message of settings: how it is asked for, and how it is set.
struct Block {
    name: &'static str,
    /// The name of its answer in a recorded tree.
    recorded: &'static str,
    get: u8,
    set: Option<u8>,
    fields: Fields,
}

enum Fields {
    /// Attributes with a number or a switch.
    Plain(&'static [Field]),
    /// Named bits.
    Features,
    /// The indirection table.
    Rss,
}

struct Field {
    name: &'static str,
    attribute: u16,
    /// The attribute with the most that is possible.
    max: Option<u16>,
    switch: bool,
}

const fn value(name: &'static str, attribute: u16) -> Field {
    Field { name, attribute, max: None, switch: false }
}

const fn limited(name: &'static str, attribute: u16, max: u16) -> Field {
    Field { name, attribute, max: Some(max), switch: false }
}

const fn switch(name: &'static str, attribute: u16) -> Field {
    Field { name, attribute, max: None, switch: true }
}

const fn block(name: &'static str, recorded: &'static str, get: u8, set: Option<u8>, fields: Fields) -> Block {
    Block { name, recorded, get, set, fields }
}

/// Commands and attributes by include/uapi/linux/ethtool_netlink.h.
static BLOCKS: &[Block] = &[
    block("rings", "rings-get", 15, Some(16), Fields::Plain(&[limited("rx", 6, 2), limited("tx", 9, 5)])),
    block(
        "channels",
        "channels-get",
        17,
        Some(18),
        Fields::Plain(&[limited("rx", 6, 2), limited("tx", 7, 3), limited("combined", 9, 5)]),
    ),
    block(
        "coalesce",
        "coalesce-get",
        19,
        Some(20),
        Fields::Plain(&[
            value("rx-usecs", 2),
            value("rx-frames", 3),
            value("tx-usecs", 6),
            value("tx-frames", 7),
            switch("adaptive-rx", 11),
            switch("adaptive-tx", 12),
        ]),
    ),
    block("pause", "pause-get", 21, Some(22), Fields::Plain(&[switch("autoneg", 2), switch("rx", 3), switch("tx", 4)])),
    block("linkmodes", "linkmodes-get", 4, Some(5), Fields::Plain(&[value("speed", 5)])),
    block("features", "features-get", 11, Some(12), Fields::Features),
    block("rss", "rss-get", 38, None, Fields::Rss),
];

const FEATURES_HW: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const BITSET_NOMASK: u16 = 1;
const BITSET_BITS: u16 = 3;
const BITSET_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;
const RSS_CONTEXT: u16 = 2;
const RSS_INDIR: u16 = 4;
/// SPEED_UNKNOWN of include/uapi/linux/ethtool.h
const UNKNOWN: u64 = u32::MAX as u64;

/// Takes the block's settings of all devices into `settings`. What can't be read stays unknown.
pub fn read(host: &Host, block: &str, settings: &mut Settings) {
    let Some(block) = BLOCKS.iter().find(|known| known.name == block) else { return };
    let mut found = Settings::default();
    let query = Query::all(block.recorded, block.get);
    let taken = query.dump(
        &mut Client::new(host, Family::Generic),
        &mut found,
        |found| *found = Settings::default(),
        |found, device, message| {
            for (path, value) in block.settings(device, message) {
                found.insert(path, value);
            }
            true
        },
    );
    if taken.is_ok() {
        settings.extend(found);
    }
}

/// The present value of the setting at `path`, from the live kernel.
pub fn value_at(path: &str) -> io::Result<String> {
    if let Some((device, flow)) = hashed(path) {
        return hash::value(device, flow);
    }
    let (device, block, _) = parts(path)?;
    let mut found = None;
    let request = Query { device: Some(device.as_bytes()), ..Query::all(block.recorded, block.get) }.request(true)?;
    Client::new(&Host::Live, Family::Generic).ask(&request, |payload| {
        let Some((device, message)) = super::device_of(payload, HEADER) else { return false };
        found = found.take().or(block.settings(device, message).into_iter().find(|(own, _)| own == path));
        true
    })?;
    found.map(|(_, value)| value).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Whether it could be set. The kernel has no question for that; but being told the value that a device has already, it does
/// nothing (net/ethtool/rings.c ethnl_set_rings() and its like), after it has looked whether the caller may and the driver
/// can.
pub fn settable(path: &str) -> io::Result<()> {
    if hashed(path).is_some() {
        return set(path, &value_at(path)?);
    }
    let (_, block, _) = parts(path)?;
    if block.set.is_none() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    set(path, &value_at(path)?)
}

/// Sets the value.
pub fn set(path: &str, value: &str) -> io::Result<()> {
    if let Some((device, flow)) = hashed(path) {
        return hash::set(device, flow, value);
    }
    let (device, block, name) = parts(path)?;
    let command = block.set.ok_or(io::ErrorKind::Unsupported)?;
    let more = block.attribute(name, value).ok_or(io::ErrorKind::InvalidInput)?;
    let request = Query { device: Some(device.as_bytes()), more, ..Query::all(block.recorded, command) };
    Client::new(&Host::Live, Family::Generic).ask(&request.request(true)?, |_| true).map(drop)
}

/// Device and kind of flow of `ethtool/eth0/rss-hash/udp4`, which no message but an ioctl sets.
fn hashed(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("ethtool/")?.split_once('/').and_then(|(device, rest)| {
        let (block, flow) = rest.split_once('/')?;
        (block == hash::BLOCK).then_some((device, flow))
    })
}

/// Device, block and name of `ethtool/eth0/rings/rx`.
fn parts(path: &str) -> io::Result<(&str, &'static Block, &str)> {
    let parts: Vec<&str> = path.split('/').collect();
    let ["ethtool", device, block, name] = parts[..] else { return Err(io::ErrorKind::NotFound.into()) };
    let block = BLOCKS.iter().find(|known| known.name == block).ok_or(io::ErrorKind::NotFound)?;
    Ok((device, block, name))
}

impl Block {
    /// The settings in a message, by path.
    fn settings(&self, device: &[u8], message: &[u8]) -> Vec<(String, String)> {
        let start = format!("ethtool/{}/{}", text::printable(device), self.name);
        let number_at = |wanted: u16| {
            let (_, value) = attributes(message).find(|(kind, _)| *kind == wanted)?;
            number(value).filter(|number| *number != UNKNOWN)
        };
        match self.fields {
            Fields::Plain(fields) => {
                let one = |field: &Field| {
                    let shown = match (number_at(field.attribute), field.switch) {
                        (None, _) => return Vec::new(),
                        (Some(value), true) => on_off(value != 0).to_owned(),
                        (Some(value), false) => value.to_string(),
                    };
                    let max = field.max.and_then(number_at).filter(|max| *max > 0);
                    // A driver without this kind of queue has none of them, and can have none.
                    if field.max.is_some() && max.is_none() {
                        return Vec::new();
                    }
                    let path = format!("{start}/{}", field.name);
                    let max = max.map(|max| (format!("{path}/max"), max.to_string()));
                    std::iter::once((path, shown)).chain(max).collect()
                };
                fields.iter().flat_map(one).collect()
            }
            Fields::Features => {
                let active: Vec<&[u8]> = bits(message, FEATURES_ACTIVE).collect();
                let can = bits(message, FEATURES_HW).chain(active.iter().copied());
                can.map(|name| (format!("{start}/{}", text::printable(name)), on_off(active.contains(&name)).into()))
                    .collect()
            }
            // The table of the device itself, not of a context that rules steer to.
            Fields::Rss if number_at(RSS_CONTEXT).is_none_or(|context| context == 0) => {
                let table = attributes(message).find(|(kind, _)| *kind == RSS_INDIR);
                let queues: std::collections::BTreeSet<&[u8]> =
                    table.into_iter().flat_map(|(_, table)| table.chunks_exact(4)).collect();
                let count = Some(queues.len()).filter(|count| *count > 0);
                count.map(|count| (format!("{start}/queues"), count.to_string())).into_iter().collect()
            }
            Fields::Rss => Vec::new(),
        }
    }

    /// The attribute that sets `name` to `value`.
    fn attribute(&self, name: &str, value: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.fields {
            Fields::Plain(fields) => {
                let field = fields.iter().find(|field| field.name == name)?;
                match field.switch {
                    true => push(&mut bytes, field.attribute, &[u8::from(is_on(value)?)]),
                    false => push(&mut bytes, field.attribute, &value.parse::<u32>().ok()?.to_ne_bytes()),
                }
            }
            Fields::Features => {
                let (mut bit, mut list, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
                push(&mut bit, BIT_NAME, &[name.as_bytes(), &[0]].concat());
                if is_on(value)? {
                    push(&mut bit, BIT_VALUE, &[]);
                }
                push(&mut list, BITSET_BIT | NESTED, &bit);
                push(&mut wanted, BITSET_BITS | NESTED, &list);
                push(&mut bytes, FEATURES_WANTED | NESTED, &wanted);
            }
            Fields::Rss => return None,
        }
        Some(bytes)
    }
}

/// The names of the bits that are set: without a mask those that are listed, else those with a value.
fn bits(message: &[u8], set: u16) -> impl Iterator<Item = &[u8]> {
    let inside = |bytes, wanted| attributes(bytes).filter(move |(kind, _)| *kind == wanted).map(|(_, value)| value);
    inside(message, set).flat_map(move |set| {
        let all = inside(set, BITSET_NOMASK).next().is_some();
        let bits = inside(set, BITSET_BITS).flat_map(move |bits| inside(bits, BITSET_BIT));
        let set = bits.filter(move |bit| all || inside(bit, BIT_VALUE).next().is_some());
        set.flat_map(move |bit| inside(bit, BIT_NAME)).map(string)
    })
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn is_on(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// What a message may be taken for, for the fuzzer.
pub fn any(payload: &[u8]) -> Vec<(String, String)> {
    let Some((device, message)) = super::device_of(payload, HEADER) else { return Vec::new() };
    BLOCKS.iter().flat_map(|block| block.settings(device, message)).collect()
}

#[cfg(test)]
mod tests;
