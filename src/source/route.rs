//! Over which device packets go: asked of the kernel for one destination at a time, as `ip route get` does; and which
//! addresses a device has.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Host;
use super::netlink::{Client, Family, Request, attributes};

// include/uapi/linux/rtnetlink.h
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
/// struct rtmsg
const RTMSG: usize = 12;
/// struct ifaddrmsg: family, length of the prefix, flags, scope, index. (include/uapi/linux/if_addr.h)
const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Answers that are remembered; a host with more destinations asks again.
const REMEMBERED: usize = 1 << 16;

/// The kernel's routes, as they were asked for.
pub struct Routes<'a> {
    client: Client<'a>,
    known: HashMap<(IpAddr, IpAddr), Option<u32>>,
}

impl<'a> Routes<'a> {
    /// Those of the calling thread's network namespace.
    pub fn new(host: &'a Host) -> Self {
        Routes { client: Client::new(host, Family::Route), known: HashMap::new() }
    }

    /// The index of the device over which packets from one address to another leave. None if there is no way. Marks and
    /// users, by which rules may choose another table, are not taken into account.
    pub fn device(&mut self, from: IpAddr, to: IpAddr) -> Option<u32> {
        if let Some(known) = self.known.get(&(from, to)) {
            return *known;
        }
        let mut found = None;
        let take = |payload: &[u8]| {
            found = found.or_else(|| device(payload));
            true
        };
        // An error is the answer of a host that has no way there.
        let found = self.client.ask(&question(from, to), take).ok().and(found);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert((from, to), found);
        found
    }
}

fn question(from: IpAddr, to: IpAddr) -> Request {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let family = if to.is_ipv4() { AF_INET } else { AF_INET6 };
    let (from, to) = (octets(from), octets(to));
    let mut payload = vec![family, (to.len() * 8) as u8, (from.len() * 8) as u8, 0];
    payload.resize(RTMSG, 0);
    for (kind, value) in [(RTA_DST, to), (RTA_SRC, from)] {
        payload.extend((value.len() as u16 + 4).to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(value);
    }
    Request { name: "getroute-one", kind: RTM_GETROUTE, payload }
}

/// The index of the device from the payload of an RTM_NEWROUTE message.
pub fn device(payload: &[u8]) -> Option<u32> {
    let (_, value) = attributes(payload.get(RTMSG..)?).find(|(kind, _)| *kind == RTA_OIF)?;
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

/// The addresses of a device.
pub fn addresses(host: &Host, device: u32) -> io::Result<HashSet<IpAddr>> {
    let request = Request { name: "getaddr", kind: RTM_GETADDR, payload: vec![0; IFADDRMSG] };
    let mut all = HashSet::new();
    Client::new(host, Family::Route).dump(&request, &mut all, HashSet::clear, |all, payload| {
        let parsed = address(payload);
        all.extend(parsed.filter(|(index, _)| *index == device).map(|(_, address)| address));
        parsed.is_some()
    })?;
    Ok(all)
}

/// A device's index and its address, from the payload of an RTM_NEWADDR message.
pub fn address(payload: &[u8]) -> Option<(u32, IpAddr)> {
    let fixed: &[u8; IFADDRMSG] = payload.first_chunk()?;
    let mut found = None;
    for (kind, value) in attributes(&payload[IFADDRMSG..]) {
        let address = || match fixed[0] {
            AF_INET => Some(Ipv4Addr::from(*value.first_chunk::<4>()?).into()),
            AF_INET6 => Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into()),
            _ => None,
        };
        // Where both are there, IFA_ADDRESS is the other end's.
        match kind {
            IFA_LOCAL => found = address(),
            IFA_ADDRESS => found = found.or_else(address),
            _ => {}
        }
    }
    Some((u32::from_ne_bytes(*fixed[4..].first_chunk()?), found?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn our_own_address_is_reached_over_the_loopback() {
        let ours = IpAddr::from([127, 0, 0, 1]);
        let all = |index| addresses(&Host::Live, index).unwrap();
        let index = (1..100).find(|index| all(*index).contains(&ours)).unwrap();
        let mut routes = Routes::new(&Host::Live);
        assert_eq!(routes.device(ours, ours), Some(index));
        // TEST-NET-3 is nobody's source here.
        assert_eq!(routes.device([203, 0, 113, 77].into(), ours), None);
        assert_eq!(routes.known.len(), 2);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = device(&bytes);
            let _ = address(&bytes);
        }
    }
}
