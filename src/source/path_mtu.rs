//! What the kernel has learnt of the MTU of paths, by ICMP (fragmentation needed, packet too big): the exceptions of its
//! routes. `ip route show cache` shows the same.
//!
//! No counter tells such messages from other unreachable ones over IPv4, but each leaves an exception, which the kernel
//! shows as soon as the path is used again, and forgets after net.ipv4.route.mtu_expires: so its age is known (net/ipv4/route.c update_or_create_fnhe(),
//! net/ipv6/route.c rt6_do_update_pmtu()).

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::{Client, Family, Request};
use super::{Host, text};
use crate::model::PathMtu;

/// `struct rta_cacheinfo` tells times in these parts of a second (USER_HZ).
const TICKS: f64 = 100.0;
/// Paths that are kept, at most, for each protocol.
const MOST: usize = 1000;

/// The paths whose MTU was learnt, or confirmed, in the last so many seconds, the latest first.
pub fn read(host: &Host, seconds: f64) -> io::Result<Vec<PathMtu>> {
    let mut paths = Vec::new();
    for (family, name, setting) in [
        (AddressFamily::Inet, "getroute-cloned", "proc/sys/net/ipv4/route/mtu_expires"),
        (AddressFamily::Inet6, "getroute6-cloned", "proc/sys/net/ipv6/route/mtu_expires"),
    ] {
        let mut bytes = Vec::new();
        // A kernel without IPv6, or a namespace that does not show this: no age is known then.
        let Ok(lives) = host.read(setting, &mut bytes).map(|()| text::first_number(&bytes)) else { continue };
        let Some(lives) = lives else { continue };
        let mut exceptions = Vec::new();
        Client::new(host, Family::Route).dump(
            &request(family, name),
            &mut exceptions,
            Vec::clear,
            |all, payload| {
                if let Some(exception) = parse(payload).filter(|_| all.len() < MOST) {
                    all.push(exception);
                }
                true
            },
        )?;
        let aged = exceptions.into_iter().map(|(to, mtu, left)| PathMtu { to, mtu, age: lives as f64 - left });
        paths.extend(aged.filter(|path| path.age <= seconds));
    }
    paths.sort_by(|a, b| a.age.total_cmp(&b.age).then(a.to.cmp(&b.to)));
    Ok(paths)
}

fn request(family: AddressFamily, name: &'static str) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    // With strict checking: the exceptions, and not the routes (net/ipv4/fib_frontend.c ip_valid_fib_dump_req()).
    message.header.flags = RouteFlags::Cloned;
    let message = RouteNetlinkMessage::GetRoute(message);
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    Request { name, kind: message.message_type(), payload }
}

/// Destination, MTU and the seconds until it is forgotten, of a message that tells all three.
pub fn parse(payload: &[u8]) -> Option<(IpAddr, u32, f64)> {
    let message = RouteMessage::parse(payload).ok()?;
    if !message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let (mut to, mut mtu, mut left) = (None, None, None);
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = Some(address.into()),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => to = Some(address.into()),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.into_iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(mtu),
                    _ => None,
                });
            }
            RouteAttribute::CacheInfo(info) => left = (info.expires > 0).then(|| f64::from(info.expires) / TICKS),
            _ => {}
        }
    }
    Some((to?, mtu?, left?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    // include/uapi/linux/rtnetlink.h
    const RTA_DST: u16 = 1;
    const RTA_METRICS: u16 = 8;
    const RTA_CACHEINFO: u16 = 12;
    const RTAX_MTU: u16 = 2;
    const RTM_F_CLONED: u32 = 0x200;

    /// An exception as 6.18 tells it: struct rtmsg, destination, MTU, and when it is forgotten.
    fn message(flags: u32, mtu: Option<u32>, expires: u32) -> Vec<u8> {
        let mut cache = [0; 32];
        cache[8..12].copy_from_slice(&expires.to_ne_bytes());
        let metrics =
            mtu.map(|mtu| attribute(RTA_METRICS, &attribute(RTAX_MTU, &mtu.to_ne_bytes()))).unwrap_or_default();
        let head = [&[2, 32, 0, 0, 254, 0, 0, 1][..], &flags.to_ne_bytes()].concat();
        [head, attribute(RTA_DST, &[192, 0, 2, 7]), metrics, attribute(RTA_CACHEINFO, &cache)].concat()
    }

    #[test]
    fn an_exception_tells_path_mtu_and_age() {
        let path = Some(([192, 0, 2, 7].into(), 1300, 597.0));
        assert_eq!(parse(&message(RTM_F_CLONED, Some(1300), 59_700)), path);
    }

    #[test]
    fn routes_and_redirects_are_none() {
        assert_eq!(parse(&message(0, Some(1300), 59_700)), None);
        assert_eq!(parse(&message(RTM_F_CLONED, None, 59_700)), None);
        assert_eq!(parse(&message(RTM_F_CLONED, Some(1300), 0)), None);
    }

    #[test]
    fn this_kernel_answers() {
        assert_eq!(read(&Host::Live, 0.0).map(|paths| paths.len()).unwrap_or(usize::MAX), 0);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
