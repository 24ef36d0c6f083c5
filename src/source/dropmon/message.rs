//! The drop monitor's messages, taken apart.

use crate::source::genl::{HEADER, string};
use crate::source::netlink::attributes;
use crate::source::text;

// include/uapi/linux/net_dropmon.h
const PACKET_ALERT: u8 = 5;
const CONFIG_NEW: u8 = 7;
const STATS_NEW: u8 = 9;
pub(super) const ALERT_MODE: u16 = 1;
const SYMBOL: u16 = 3;
const IN_PORT: u16 = 4;
const TIMESTAMP: u16 = 5;
const PROTO: u16 = 6;
const PAYLOAD: u16 = 7;
pub(super) const TRUNC_LEN: u16 = 9;
const ORIG_LEN: u16 = 10;
pub(super) const QUEUE_LEN: u16 = 11;
const STATS: u16 = 12;
const REASON: u16 = 23;
const PORT_IFINDEX: u16 = 0;
const STATS_DROPPED: u16 = 0;

// include/uapi/linux/if_ether.h
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETHERNET: usize = 14;
const IPV6: usize = 40;

/// What a dropped packet has in common with others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Packet {
    /// The function that dropped it: `udp_queue_rcv_one_skb`.
    pub location: String,
    /// The kernel's name for the reason: `NO_SOCKET`. Absent before 5.17.
    pub reason: Option<String>,
    /// The number of the device that it came in by, in a namespace that is not told; absent for one that was made here.
    pub in_port: Option<u32>,
    /// The kind of its frame: 0x0800 for IPv4.
    pub ethertype: Option<u16>,
    /// The protocol in its IP header: 17 for UDP.
    pub protocol: Option<u8>,
}

/// How the drop monitor is configured, for the whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// A summary (0) or a message per packet (1).
    pub mode: u8,
    /// How much of a packet is told; 0: all.
    pub truncate: u32,
    /// How many may wait on each CPU.
    pub queue: u32,
}

/// A packet from the payload of a NET_DM_CMD_PACKET_ALERT message, and when it was dropped: nanoseconds since 1970.
pub fn parse(payload: &[u8]) -> Option<(Packet, u64)> {
    let (mut packet, mut time, mut length, mut head) = (Packet::default(), None, 0, &[][..]);
    for (kind, value) in attributes(of(PACKET_ALERT, payload)?) {
        match kind {
            SYMBOL => packet.location = text::printable(function(string(value))),
            REASON => packet.reason = Some(text::printable(string(value))),
            TIMESTAMP => time = Some(u64::from_ne_bytes(*value.first_chunk()?)),
            PROTO => packet.ethertype = Some(u16::from_ne_bytes(*value.first_chunk()?)),
            ORIG_LEN => length = u32::from_ne_bytes(*value.first_chunk()?) as usize,
            PAYLOAD => head = value,
            IN_PORT => packet.in_port = find(value, PORT_IFINDEX).map(u32::from_ne_bytes).filter(|index| *index != 0),
            _ => {}
        }
    }
    packet.protocol = packet.ethertype.and_then(|ethertype| protocol(ethertype, head, length));
    // A reason alone would do, but every kernel tells the place.
    (!packet.location.is_empty()).then_some((packet, time?))
}

/// The configuration from the payload of a NET_DM_CMD_CONFIG_NEW message.
pub fn config(payload: &[u8]) -> Option<Config> {
    let config = of(CONFIG_NEW, payload)?;
    Some(Config {
        mode: u8::from_ne_bytes(find(config, ALERT_MODE)?),
        truncate: u32::from_ne_bytes(find(config, TRUNC_LEN)?),
        queue: u32::from_ne_bytes(find(config, QUEUE_LEN)?),
    })
}

/// How many drops the kernel had no room for, ever, from the payload of a NET_DM_CMD_STATS_NEW message.
pub fn unqueued(payload: &[u8]) -> Option<u64> {
    let (_, stats) = attributes(of(STATS_NEW, payload)?).find(|(kind, _)| *kind == STATS)?;
    find(stats, STATS_DROPPED).map(u64::from_ne_bytes)
}

/// True if somebody in this list (`/proc/net/netlink`) listens to a generic netlink multicast group, one of the first 32:
/// columns sk, Eth, Pid, Groups (net/netlink/af_netlink.c netlink_native_seq_show()).
pub fn is_heard(table: &[u8], group: u32) -> bool {
    const NETLINK_GENERIC: &str = "16";
    let Some(bit) = group.checked_sub(1).and_then(|bit| 1_u32.checked_shl(bit)) else { return true };
    String::from_utf8_lossy(table).lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        let groups = words.get(3).and_then(|groups| u32::from_str_radix(groups, 16).ok());
        words.get(1) == Some(&NETLINK_GENERIC) && groups.is_some_and(|groups| groups & bit != 0)
    })
}

/// The attributes of a message that is a `command`.
fn of(command: u8, payload: &[u8]) -> Option<&[u8]> {
    payload.get(HEADER..).filter(|_| payload[0] == command)
}

fn find<const N: usize>(bytes: &[u8], wanted: u16) -> Option<[u8; N]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted)?.1.first_chunk().copied()
}

/// `udp_queue_rcv_one_skb+0x12a/0x4b0 [module]` is in that function: packets dropped at different places in it are alike.
fn function(symbol: &[u8]) -> &[u8] {
    symbol.split(|&b| b == b'+').next().unwrap_or_default()
}

/// From the head of a packet `length` bytes long. It begins with its link header, or its IP header where there is no
/// other (net/core/drop_monitor.c net_dm_packet_report()); the length in the IP header tells which.
fn protocol(ethertype: u16, head: &[u8], length: usize) -> Option<u8> {
    [ETHERNET, 0].into_iter().find_map(|start| {
        let ip = head.get(start..)?;
        let word = |at: usize| Some(usize::from(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?])));
        let (version, told, protocol) = match ethertype {
            ETH_P_IP => (4, word(2)?, ip.get(9)?),
            ETH_P_IPV6 => (6, word(4)? + IPV6, ip.get(6)?),
            _ => return None,
        };
        (ip.first()? >> 4 == version && start + told <= length).then_some(*protocol)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::{header, push};
    use proptest::prelude::*;

    fn alert(reason: Option<&str>) -> Vec<u8> {
        let mut bytes = header(PACKET_ALERT, 2);
        push(&mut bytes, SYMBOL, b"__udp4_lib_rcv+0x8a4/0xc60\0");
        if let Some(reason) = reason {
            push(&mut bytes, REASON, &[reason.as_bytes(), &[0]].concat());
        }
        let mut port = Vec::new();
        push(&mut port, PORT_IFINDEX, &3_u32.to_ne_bytes());
        push(&mut bytes, IN_PORT, &port);
        push(&mut bytes, TIMESTAMP, &77_u64.to_ne_bytes());
        push(&mut bytes, ORIG_LEN, &(14 + 28_u32).to_ne_bytes());
        push(&mut bytes, PROTO, &ETH_P_IP.to_ne_bytes());
        let mut head = vec![2; ETHERNET];
        head.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        push(&mut bytes, PAYLOAD, &head);
        bytes
    }

    #[test]
    fn a_dropped_packet_is_told_by_place_reason_port_and_protocol() {
        let (packet, time) = parse(&alert(Some("NO_SOCKET"))).unwrap();
        assert_eq!((packet.location.as_str(), packet.reason.as_deref()), ("__udp4_lib_rcv", Some("NO_SOCKET")));
        assert_eq!((packet.in_port, packet.ethertype, packet.protocol, time), (Some(3), Some(ETH_P_IP), Some(17), 77));
    }

    #[test]
    fn a_kernel_without_reasons_has_none() {
        assert_eq!(parse(&alert(None)).unwrap().0.reason, None);
    }

    #[test]
    fn a_packet_without_a_link_header_has_a_protocol_too() {
        let ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0x45, 1, 10, 0, 0, 2];
        assert_eq!(protocol(ETH_P_IP, &ip, 28), Some(6));
        let mut ip6 = vec![0x60, 0, 0, 0, 0, 8, 58, 64];
        ip6.resize(40, 0);
        assert_eq!(protocol(ETH_P_IPV6, &ip6, 48), Some(58));
        assert_eq!(protocol(0x0806, &ip, 28), None);
    }

    #[test]
    fn other_messages_are_not_packets() {
        let mut bytes = alert(None);
        bytes[0] = STATS_NEW;
        assert_eq!(parse(&bytes), None);
        assert_eq!(unqueued(&bytes), None);
    }

    #[test]
    fn a_listener_is_seen() {
        let table = b"sk               Eth Pid        Groups   Rmem     Wmem\n\
                      00000000b0a1c2d3 16  1234       00000001 0        0\n\
                      00000000b0a1c2d4 0   0          00000004 0        0\n";
        assert!(is_heard(table, 1));
        assert!(!is_heard(table, 3));
        assert!(is_heard(table, 40), "a group that the table does not show may be heard");
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), command in 0_u8..12) {
            let bytes = [vec![command, 0, 0, 0], bytes].concat();
            let _ = (parse(&bytes), config(&bytes), unqueued(&bytes), is_heard(&bytes, 1));
        }
    }
}
