//! Words for the numbers of a drop: reason, protocols.

use crate::model::Harm;
use crate::source::probe::drops::Key;
use crate::source::reasons::{ReasonNames, subsystem};
use crate::stage;

/// The kernel's name for having no reason.
const NOT_SPECIFIED: &str = "NOT_SPECIFIED";

/// What a reason means.
#[derive(Debug, PartialEq)]
pub struct Class {
    pub name: String,
    pub likely: Option<String>,
    pub harm: Harm,
    pub normal: String,
    pub stage: String,
}

impl Class {
    /// By the kernel's reason; where it gives none, by the function that dropped the packet.
    pub fn of(names: &ReasonNames, reason: u32, location: Option<&str>, protocol: Option<&str>) -> Self {
        let name = match names.get(reason) {
            Some(name) => name.to_owned(),
            None if names.is_empty() => NOT_SPECIFIED.into(),
            None => reason.to_string(),
        };
        if name == NOT_SPECIFIED {
            return Self::by_place(location, !names.is_empty());
        }
        if let Some((stage, reason)) = stage::reason(&name, protocol) {
            return Class { name, likely: None, harm: reason.harm, normal: reason.normal.into(), stage: stage.into() };
        }
        let part = subsystem(reason);
        let (harm, normal, stage) = match part.as_str() {
            "core" if name == "CONSUMED" || name == "NOT_DROPPED_YET" => {
                (Harm::Harmless, "Not a drop: the packet was used up.".into(), "unknown")
            }
            "mac80211" => (Harm::Watch, "The Wi-Fi stack refused the frame.".into(), "driver_rx"),
            "openvswitch" => {
                (Harm::Watch, "Open vSwitch dropped the packet, by a flow's action or an error.".into(), "ingress")
            }
            _ => {
                (Harm::Watch, format!("A reason of {part} that this version of netstat-deep does not know."), "unknown")
            }
        };
        Class { name, likely: None, harm, normal, stage: stage.into() }
    }

    fn by_place(location: Option<&str>, others_named: bool) -> Self {
        let function = location.and_then(|place| place.split('+').next());
        let name = NOT_SPECIFIED.to_owned();
        match function.and_then(|function| stage::reason_in(function, others_named)) {
            Some((stage, reason)) => Class {
                name,
                likely: Some(reason.name.into()),
                harm: reason.harm,
                normal: format!("By its place: {}", reason.normal),
                stage: stage.into(),
            },
            None => Class {
                name,
                likely: None,
                harm: Harm::Watch,
                normal: "The kernel gives no reason: the place is all there is to know.".into(),
                stage: "unknown".into(),
            },
        }
    }
}

/// The network protocol, by its EtherType (include/uapi/linux/if_ether.h).
pub fn network(key: &Key) -> Option<String> {
    Some(match key.network {
        0 => return None,
        0x0800 => "ipv4".into(),
        0x86dd => "ipv6".into(),
        0x0806 => "arp".into(),
        0x8100 => "vlan".into(),
        0x88cc => "lldp".into(),
        other => format!("{other:#06x}"),
    })
}

/// The transport protocol, by its number in the IP header (include/uapi/linux/in.h).
pub fn protocol(key: &Key) -> Option<String> {
    protocol_name(key.protocol)
}

/// The same by the number alone.
pub fn protocol_name(number: u8) -> Option<String> {
    Some(match number {
        0 => return None,
        1 => "icmp".into(),
        2 => "igmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        47 => "gre".into(),
        50 => "esp".into(),
        58 => "icmpv6".into(),
        132 => "sctp".into(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_reason_the_place_tells() {
        let none = ReasonNames::default();
        let buffer = Class::of(&none, 0, Some("udp_queue_rcv_one_skb+0x1a0"), Some("udp"));
        assert_eq!((buffer.name.as_str(), buffer.likely.as_deref()), (NOT_SPECIFIED, Some("SOCKET_RCVBUFF")));
        assert_eq!((buffer.harm, buffer.stage.as_str()), (Harm::Harmful, "udp_in"));
        let port = Class::of(&none, 0, Some("tcp_v4_rcv+0x8"), Some("tcp"));
        assert_eq!((port.likely.as_deref(), port.stage.as_str()), (Some("NO_SOCKET"), "tcp_in"));
        let nowhere = Class::of(&none, 0, Some("0xffffffff81000000"), None);
        assert_eq!((nowhere.likely, nowhere.harm), (None, Harm::Watch));
    }

    #[test]
    fn a_reason_that_several_protocols_have_is_told_by_the_protocol() {
        for (protocol, stage) in [(Some("udp"), "udp_in"), (Some("tcp"), "tcp_in"), (None, "udp_in")] {
            assert_eq!(crate::stage::reason("NO_SOCKET", protocol).unwrap().0, stage);
        }
    }

    #[test]
    fn ports_and_protocols_have_names() {
        let key = Key { network: 0x86dd, protocol: 58, ..Key::default() };
        assert_eq!((network(&key), protocol(&key)), (Some("ipv6".into()), Some("icmpv6".into())));
        let other = Key { network: 0x1234, protocol: 99, ..Key::default() };
        assert_eq!((network(&other), protocol(&other)), (Some("0x1234".into()), Some("99".into())));
    }
}
