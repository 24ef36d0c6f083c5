//! Frames made by hand, put on the wire as they are.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{Event, bad, done, number, wait};

/// `DEVICE`
///
/// Order: `frame COUNT HEX` sends a frame so many times; answers with what the kernel took.
pub fn sender(args: &[String]) -> io::Result<()> {
    let [device] = args else { return Err(bad("frames")) };
    let socket = open(device, NONE)?;
    done(0)?;
    loop {
        match wait(None, None)? {
            Event::Order(order) => {
                let words: Vec<&str> = order.split(' ').collect();
                let ["frame", count, hex] = words[..] else { return Err(bad(&order)) };
                let frame = bytes(hex).ok_or_else(|| bad(hex))?;
                let mut taken = 0;
                for _ in 0..number(Some(count))? {
                    taken += u64::from(rustix::io::write(&socket, &frame)? == frame.len());
                }
                done(taken)?;
            }
            Event::End => return Ok(()),
            Event::Readable | Event::Nothing => {}
        }
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// A packet socket that hands over no frames, or all.
const NONE: u16 = 0;
pub const ALL: u16 = libc::ETH_P_ALL as u16;

/// A packet socket that takes frames for `device` and hands over those of `protocol`.
pub fn open(device: &str, protocol: u16) -> io::Result<OwnedFd> {
    // SAFETY: creates a file descriptor, which the next line takes.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let name = CString::new(device)?;
    // SAFETY: all zeros is a valid value of this structure of numbers; `name` is a string that ends with zero.
    let (mut address, index) =
        unsafe { (std::mem::zeroed::<libc::sockaddr_ll>(), libc::if_nametoindex(name.as_ptr())) };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` lives through the call, and `length` is its size.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}
