//! By which of its fields the device's hash puts a flow into a receive queue, as `ethtool -n DEV rx-flow-hash udp4` shows
//! it: one letter a field. A setting's path is `ethtool/DEVICE/rss-hash/udp4`.
//!
//! Asked by ioctl: netlink has it since 6.17 only. A recorded tree keeps the answers in `.ethtool/DEVICE.hash.bin`: of each
//! kind of flow the head of a struct ethtool_rxnfc, as the kernel filled it in.

use std::io;

use super::driver::Caller;
use crate::model::Settings;
use crate::source::{Host, text};

/// The third part of a setting's path.
pub const BLOCK: &str = "rss-hash";

// include/uapi/linux/ethtool.h
const ETHTOOL_GRXFH: u32 = 0x29;
const ETHTOOL_SRXFH: u32 = 0x2a;
/// UDP_V4_FLOW and its neighbours.
const FLOWS: &[(&str, u32)] = &[("tcp4", 1), ("udp4", 2), ("tcp6", 5), ("udp6", 6)];
/// RXH_L2DA and its neighbours: the number of the bit, and the letter for it.
const FIELDS: &[(u32, char)] =
    &[(1, 'm'), (2, 'v'), (3, 't'), (4, 's'), (5, 'd'), (6, 'f'), (7, 'n'), (8, 'e'), (31, 'r')];
/// struct ethtool_rxnfc: command, kind of flow, fields.
const HEAD: usize = 16;

/// Takes what the drivers of these devices tell into `settings`: of most virtual devices nothing.
pub fn read(host: &Host, devices: &[String], settings: &mut Settings) {
    let mut caller = None;
    for device in devices {
        let answer = host.answer(&format!(".ethtool/{}.hash.bin", text::printable(device.as_bytes())), || {
            let caller = match &mut caller {
                Some(caller) => caller,
                none => none.insert(Caller::new()?),
            };
            let answers = FLOWS.iter().filter_map(|(_, flow)| {
                caller.call(device.as_bytes(), &[ETHTOOL_GRXFH, *flow], |_| HEAD).map(<[u8]>::to_vec).ok()
            });
            Ok(answers.flatten().collect())
        });
        for (flow, fields) in parse(&answer.unwrap_or_default()) {
            settings.insert(format!("ethtool/{device}/{BLOCK}/{flow}"), fields);
        }
    }
}

/// The present value, from the live kernel.
pub fn value(device: &str, flow: &str) -> io::Result<String> {
    let answer = Caller::new()?.call(device.as_bytes(), &[ETHTOOL_GRXFH, number(flow)?], |_| HEAD)?.to_vec();
    parse(&answer).next().map(|(_, fields)| fields).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Sets it.
pub fn set(device: &str, flow: &str, value: &str) -> io::Result<()> {
    let fields = bits(value).ok_or(io::ErrorKind::InvalidInput)?;
    // The upper half of the fields' 64 bits is not used yet; the first of two words is the lower one where the machine is
    // little-endian.
    let words = if cfg!(target_endian = "little") { [fields, 0] } else { [0, fields] };
    Caller::new()?.call(device.as_bytes(), &[ETHTOOL_SRXFH, number(flow)?, words[0], words[1]], |_| 0).map(drop)
}

fn number(flow: &str) -> io::Result<u32> {
    let known = FLOWS.iter().find(|(name, _)| *name == flow);
    known.map(|(_, flow)| *flow).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Kinds of flows and their fields. What is cut off or not known is left out.
pub fn parse(answers: &[u8]) -> impl Iterator<Item = (&'static str, String)> {
    answers.chunks_exact(HEAD).filter_map(|head| {
        let flow = u32::from_ne_bytes(*head[4..].first_chunk()?);
        let fields = u64::from_ne_bytes(*head[8..].first_chunk()?);
        let (name, _) = FLOWS.iter().find(|(_, number)| *number == flow)?;
        let letters = FIELDS.iter().filter(|(bit, _)| fields >> bit & 1 == 1).map(|(_, letter)| *letter);
        Some((*name, letters.collect()))
    })
}

fn bits(letters: &str) -> Option<u32> {
    letters.chars().try_fold(0, |bits, letter| {
        let (bit, _) = FIELDS.iter().find(|(_, known)| *known == letter)?;
        Some(bits | 1 << bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(flow: u32, fields: u64) -> Vec<u8> {
        [&ETHTOOL_GRXFH.to_ne_bytes()[..], &flow.to_ne_bytes(), &fields.to_ne_bytes()].concat()
    }

    #[test]
    fn fields_are_letters() {
        let all = [head(2, 0x30), head(6, 0xf0), head(99, 0xf0), head(1, 0)].concat();
        let parsed: Vec<_> = parse(&all).collect();
        assert_eq!(parsed, [("udp4", "sd".into()), ("udp6", "sdfn".into()), ("tcp4", String::new())]);
        assert_eq!(parse(&all[..HEAD + 3]).count(), 1);
    }

    #[test]
    fn letters_are_fields() {
        assert_eq!((bits("sdfn"), bits(""), bits("sx")), (Some(0xf0), Some(0), None));
        for (_, fields) in parse(&head(2, 0x1fe)) {
            assert_eq!(bits(&fields), Some(0x1fe));
        }
    }

    #[test]
    fn a_device_that_has_no_hash_has_no_value() {
        assert!(value("lo", "udp4").is_err());
        assert!(set("lo", "udp4", "sdfn").is_err());
        assert!(value("lo", "sctp4").is_err());
    }
}
