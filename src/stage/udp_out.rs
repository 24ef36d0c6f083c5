//! T3, UDP output: datagrams are handed to IP.

mod refused;

use crate::counters;
use crate::model::{Stage, Unit};
use crate::source::groups::{UDP, UDP_LITE, UDP_LITE6, UDP6};

counters! {
    /// Datagrams that were handed over to IP. net/ipv4/udp.c udp_send_skb().
    OUT_DATAGRAMS = UDP.total("OutDatagrams", Unit::Packets);
    /// Datagrams that a full send buffer, or a full queue below, refused; the application learns of the latter only with
    /// IP_RECVERR. net/ipv4/udp.c udp_sendmsg(), udp_send_skb().
    SNDBUF_ERRORS = UDP.total("SndbufErrors", Unit::Packets);
    /// Datagrams over IPv6 that were handed over. net/ipv6/udp.c udp_v6_send_skb().
    OUT6_DATAGRAMS = UDP6.total("OutDatagrams", Unit::Packets);
    /// Datagrams over IPv6 that were refused in the same ways. net/ipv6/udp.c udpv6_sendmsg().
    SNDBUF6_ERRORS = UDP6.total("SndbufErrors", Unit::Packets);
    /// UDP-Lite datagrams that were handed over. net/ipv4/udp.c udp_send_skb().
    LITE_OUT_DATAGRAMS = UDP_LITE.total("OutDatagrams", Unit::Packets);
    /// UDP-Lite datagrams that were refused. net/ipv4/udp.c udp_sendmsg().
    LITE_SNDBUF_ERRORS = UDP_LITE.total("SndbufErrors", Unit::Packets);
    /// UDP-Lite datagrams over IPv6 that were handed over. net/ipv6/udp.c udp_v6_send_skb().
    LITE6_OUT_DATAGRAMS = UDP_LITE6.total("OutDatagrams", Unit::Packets);
    /// UDP-Lite datagrams over IPv6 that were refused. net/ipv6/udp.c udpv6_sendmsg().
    LITE6_SNDBUF_ERRORS = UDP_LITE6.total("SndbufErrors", Unit::Packets);
}

/// T3.
pub static STAGE: Stage = Stage {
    id: "udp_out",
    title: "UDP output",
    explain: "A datagram gets its header and goes to IP at once: UDP keeps nothing and sends nothing again. What a queue \
              below refuses is lost, and the application learns of it only if it asked to (IP_RECVERR).",
    chapter: include_str!("chapter/udp_out.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[&refused::SEND_FAILS],
    reasons: &[],
    knobs: &[],
};
