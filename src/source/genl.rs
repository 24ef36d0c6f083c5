//! Generic netlink: families that are known by name and numbered anew at every boot.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::net::netlink::SocketAddrNetlink;

use super::Host;
use super::netlink::{Client, Family, Request, attributes};

// include/uapi/linux/genetlink.h
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;
/// struct genlmsghdr: command, version, two reserved bytes.
pub const HEADER: usize = 4;
/// include/uapi/linux/netlink.h
const NETLINK_ADD_MEMBERSHIP: libc::c_int = 1;

/// A family, as the kernel numbered it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// The type of its messages.
    pub id: u16,
    /// Its multicast groups by name.
    pub groups: Vec<(Vec<u8>, u32)>,
}

/// The numbers of the family called `name`. For one that is in a module which is not loaded, the kernel loads it if the
/// caller may (net/netlink/genetlink.c ctrl_getfamily()).
pub fn find(name: &str) -> io::Result<Numbers> {
    let mut payload = header(CTRL_CMD_GETFAMILY, 2);
    push(&mut payload, CTRL_ATTR_FAMILY_NAME, &[name.as_bytes(), &[0]].concat());
    let request = Request { name: "getfamily", kind: GENL_ID_CTRL, payload };
    let mut found = None;
    Client::new(&Host::Live, Family::Generic).ask(&request, |payload| {
        found = parse(payload);
        found.is_some()
    })?;
    found.ok_or_else(|| io::Error::other(format!("the kernel's answer on {name} makes no sense")))
}

/// The number of a family that is built into the kernel: it stays the same until the next boot, so it is asked for once.
pub fn fixed(name: &'static str) -> io::Result<u16> {
    static KNOWN: Mutex<BTreeMap<&'static str, u16>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let id = find(name)?.id;
    known.insert(name, id);
    Ok(id)
}

/// Whether a family is there now. Nothing is loaded for that.
pub fn is_there(name: &str) -> io::Result<bool> {
    let request = Request { name: "getfamily", kind: GENL_ID_CTRL, payload: header(CTRL_CMD_GETFAMILY, 2) };
    let mut there = false;
    Client::new(&Host::Live, Family::Generic).dump(
        &request,
        &mut there,
        |there| *there = false,
        |there, payload| {
            let family = payload.get(HEADER..).map(attributes).into_iter().flatten();
            *there |=
                family.filter(|(kind, _)| *kind == CTRL_ATTR_FAMILY_NAME).any(|(_, it)| string(it) == name.as_bytes());
            true
        },
    )?;
    Ok(there)
}

/// A family from the payload of a CTRL_CMD_NEWFAMILY message.
pub fn parse(payload: &[u8]) -> Option<Numbers> {
    let mut numbers = Numbers::default();
    for (kind, value) in attributes(payload.get(HEADER..)?) {
        match kind {
            CTRL_ATTR_FAMILY_ID => numbers.id = u16::from_ne_bytes(*value.first_chunk()?),
            // An array: the kind of each member is only its place.
            CTRL_ATTR_MCAST_GROUPS => numbers.groups = attributes(value).filter_map(|(_, group)| one(group)).collect(),
            _ => {}
        }
    }
    (numbers.id != 0).then_some(numbers)
}

fn one(group: &[u8]) -> Option<(Vec<u8>, u32)> {
    let of = |wanted| attributes(group).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let id = u32::from_ne_bytes(*of(CTRL_ATTR_MCAST_GRP_ID)?.first_chunk()?);
    Some((string(of(CTRL_ATTR_MCAST_GRP_NAME)?).to_vec(), id))
}

/// A socket that hears what is sent to `group`.
pub fn join(group: u32) -> io::Result<OwnedFd> {
    let socket = Family::Generic.open()?;
    // A socket without an address of its own counts as the sender, and hears nothing (net/netlink/af_netlink.c
    // do_one_broadcast()).
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    let length = size_of::<u32>() as libc::socklen_t;
    let group = &raw const group;
    // SAFETY: `group` points to a number that lives through the call, and `length` is its size.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group.cast(), length)
    };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// The start of a message's payload.
pub fn header(command: u8, version: u8) -> Vec<u8> {
    vec![command, version, 0, 0]
}

/// Appends an attribute: struct nlattr, value, zeros up to a multiple of four.
pub fn push(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    /// struct nlattr
    const ATTRIBUTE: usize = 4;
    let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One attribute by itself, for the tests of what takes attributes apart.
#[cfg(test)]
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, kind, value);
    bytes
}

/// A string without the zero that ends it.
pub fn string(value: &[u8]) -> &[u8] {
    value.split(|&b| b == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_controller_knows_itself() {
        let numbers = find("nlctrl").unwrap();
        assert_eq!(numbers.id, GENL_ID_CTRL);
        assert!(numbers.groups.iter().any(|(name, id)| name == b"notify" && *id > 0));
    }

    #[test]
    fn looking_for_a_family_finds_it_or_not() {
        assert!(is_there("nlctrl").unwrap());
        assert!(!is_there("nlctr").unwrap());
    }

    #[test]
    fn a_family_that_is_not_there_is_not_found() {
        assert_eq!(find("nosuchfamily").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
