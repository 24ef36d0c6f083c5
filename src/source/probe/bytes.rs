//! Numbers out of the structures that our programs write: in the CPU's order.

use std::net::IpAddr;

pub const AF_INET: u16 = libc::AF_INET as u16;
pub const AF_INET6: u16 = libc::AF_INET6 as u16;

/// An address of 4 or 16 bytes; nothing for a family that is not IP.
pub fn address(family: u16, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?)),
        AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?)),
        _ => None,
    }
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    number(bytes, at, u64::from_ne_bytes)
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    number(bytes, at, u32::from_ne_bytes)
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    number(bytes, at, u16::from_ne_bytes)
}

/// Zero where the bytes end: a structure is always whole.
fn number<const N: usize, T: Default>(bytes: &[u8], at: usize, from: impl Fn([u8; N]) -> T) -> T {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).map(from).unwrap_or_default()
}
