//! T4, IP output: packets get a route, pass the firewall, and are cut to the size of the link.

mod fragments;
mod icmp;
mod knobs;
mod route;

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::{ICMP, ICMP6, IP, IP_EXT, IP6, XFRM};
use crate::stage::qdisc;

counters! {
    /// Packets that were dropped on their way out for want of memory, or that a rule of the firewall or a queue below
    /// refused. net/ipv4/ip_output.c ip_send_skb().
    OUT_DISCARDS = IP
        .total("OutDiscards", Unit::Packets)
        .sends(Flow::MayExplainBeyond { at: "ip_out", from: "ip_out", known: &qdisc::DROPS });
    /// The same over IPv6. net/ipv6/ip6_output.c ip6_send_skb().
    OUT6_DISCARDS = IP6
        .total("OutDiscards", Unit::Packets)
        .sends(Flow::MayExplainBeyond { at: "ip_out", from: "ip_out", known: &qdisc::DROPS });
    /// Packets that were cut into fragments. net/ipv4/ip_output.c ip_do_fragment().
    FRAG_OKS = IP.total("FragOKs", Unit::Packets).sends(Flow::Merged { at: "ip_out" });
    /// Fragments that were made of them. net/ipv4/ip_output.c ip_do_fragment().
    FRAG_CREATES = IP.total("FragCreates", Unit::Fragments).sends(Flow::Unmerged { at: "ip_out" });
    /// Packets over IPv6 that were cut into fragments: only by their sender, never on the way. net/ipv6/ip6_output.c
    /// ip6_fragment().
    FRAG6_OKS = IP6.total("FragOKs", Unit::Packets).sends(Flow::Merged { at: "ip_out" });
    /// Packets over IPv6 that would have had to be cut and could not be. net/ipv6/ip6_output.c ip6_fragment().
    FRAG6_FAILS =
        IP6.total("FragFails", Unit::Packets).sends(Flow::MayExplain { at: "ip_out", from: "ip_out" });
    /// Fragments that were made of IPv6 packets. net/ipv6/ip6_output.c ip6_fragment().
    FRAG6_CREATES = IP6.total("FragCreates", Unit::Fragments).sends(Flow::Unmerged { at: "ip_out" });
    /// Bytes sent over IPv4, headers included. net/ipv4/ip_output.c ip_finish_output2().
    OUT_OCTETS = IP_EXT.total("OutOctets", Unit::Bytes);
    /// Bytes sent over IPv6, headers included. net/ipv6/ip6_output.c ip6_finish_output2().
    OUT6_OCTETS = IP6.total("OutOctets", Unit::Bytes);
    /// Multicast packets sent. net/ipv4/ip_output.c ip_finish_output2().
    OUT_MCAST_PKTS = IP_EXT.total("OutMcastPkts", Unit::Packets);
    /// Broadcast packets sent. net/ipv4/ip_output.c ip_finish_output2().
    OUT_BCAST_PKTS = IP_EXT.total("OutBcastPkts", Unit::Packets);
    /// Multicast packets sent over IPv6. net/ipv6/ip6_output.c ip6_finish_output2().
    OUT6_MCAST_PKTS = IP6.total("OutMcastPkts", Unit::Packets);
    /// ICMP messages sent. net/ipv4/icmp.c icmp_out_count().
    ICMP_OUT_MSGS = ICMP.total("OutMsgs", Unit::Messages);
    /// ICMP messages that could not be sent. net/ipv4/icmp.c icmp_push_reply().
    ICMP_OUT_ERRORS = ICMP.total("OutErrors", Unit::Messages);
    /// ICMP errors not sent because this host sends too many in all, since 6.2. net/ipv4/icmp.c icmpv4_global_allow().
    ICMP_OUT_RATE_LIMIT_GLOBAL = ICMP.total("OutRateLimitGlobal", Unit::Messages);
    /// ICMP errors not sent because their receiver got one a moment ago, since 6.2. net/ipv4/icmp.c
    /// icmpv4_xrlim_allow().
    ICMP_OUT_RATE_LIMIT_HOST = ICMP.total("OutRateLimitHost", Unit::Messages);
    /// ICMPv6 messages sent. net/ipv6/icmp.c icmpv6_push_pending_frames().
    ICMP6_OUT_MSGS = ICMP6.total("OutMsgs", Unit::Messages);
    /// ICMPv6 messages that could not be sent. net/ipv6/icmp.c icmpv6_push_pending_frames().
    ICMP6_OUT_ERRORS = ICMP6.total("OutErrors", Unit::Messages);
    /// ICMPv6 errors not sent because their receiver got one a moment ago, since 6.2. net/ipv6/icmp.c
    /// icmpv6_xrlim_allow().
    ICMP6_OUT_RATE_LIMIT_HOST = ICMP6.total("OutRateLimitHost", Unit::Messages);
    /// Packets that IPsec could not protect, for another reason than those below. net/xfrm/xfrm_output.c xfrm_output().
    XFRM_OUT_ERROR = XFRM.total("XfrmOutError", Unit::Packets).sends(REFUSED);
    /// Packets for which no way through IPsec could be made. net/xfrm/xfrm_policy.c xfrm_resolve_and_create_bundle().
    XFRM_OUT_BUNDLE_GEN_ERROR = XFRM.total("XfrmOutBundleGenError", Unit::Packets).sends(REFUSED);
    /// Packets whose way through IPsec did not hold. net/xfrm/xfrm_policy.c xfrm_lookup_with_ifid().
    XFRM_OUT_BUNDLE_CHECK_ERROR = XFRM.total("XfrmOutBundleCheckError", Unit::Packets).sends(REFUSED);
    /// Packets that a policy wants protected, and no keys are there yet: the key daemon has not answered, or does not run.
    /// net/xfrm/xfrm_policy.c xfrm_lookup_with_ifid().
    XFRM_OUT_NO_STATES = XFRM.total("XfrmOutNoStates", Unit::Packets).sends(REFUSED);
    /// Packets that the protocol (ESP, AH) could not put together. net/xfrm/xfrm_output.c xfrm_output_one().
    XFRM_OUT_STATE_PROTO_ERROR = XFRM.total("XfrmOutStateProtoError", Unit::Packets).sends(REFUSED);
    /// Packets that did not fit the mode, transport or tunnel. net/xfrm/xfrm_output.c xfrm_output_one().
    XFRM_OUT_STATE_MODE_ERROR = XFRM.total("XfrmOutStateModeError", Unit::Packets).sends(REFUSED);
    /// Packets for which there was no sequence number left. net/xfrm/xfrm_output.c xfrm_output_one().
    XFRM_OUT_STATE_SEQ_ERROR = XFRM.total("XfrmOutStateSeqError", Unit::Packets).sends(REFUSED);
    /// Packets whose keys had expired. net/xfrm/xfrm_output.c xfrm_output_one().
    XFRM_OUT_STATE_EXPIRED = XFRM.total("XfrmOutStateExpired", Unit::Packets).sends(REFUSED);
    /// Packets that a policy forbids to send. net/xfrm/xfrm_policy.c xfrm_lookup_with_ifid().
    XFRM_OUT_POL_BLOCK = XFRM.total("XfrmOutPolBlock", Unit::Packets).sends(REFUSED);
    /// Packets whose policy was taken away meanwhile. net/xfrm/xfrm_policy.c xfrm_lookup_with_ifid().
    XFRM_OUT_POL_DEAD = XFRM.total("XfrmOutPolDead", Unit::Packets).sends(REFUSED);
    /// Packets for which the look-up of a policy failed. net/xfrm/xfrm_policy.c xfrm_expand_policies().
    XFRM_OUT_POL_ERROR = XFRM.total("XfrmOutPolError", Unit::Packets).sends(REFUSED);
    /// Packets whose keys had become invalid. net/xfrm/xfrm_output.c xfrm_output_one(), since 3.10.
    XFRM_OUT_STATE_INVALID = XFRM.total("XfrmOutStateInvalid", Unit::Packets).sends(REFUSED);
}

/// What IPsec refuses, after IP has counted it.
const REFUSED: Flow = Flow::MayExplain { at: "ip_out", from: "ip_out" };

/// T4.
pub static STAGE: Stage = Stage {
    id: "ip_out",
    title: "IP output",
    explain: "A packet needs a route, passes the firewall's OUTPUT and POSTROUTING rules and the BPF programs of its sender's \
              cgroup, and is cut into fragments if it is larger than the link's MTU and may be cut. Without a route the \
              application gets an error, and nothing is sent.",
    chapter: include_str!("chapter/ip_out.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[&route::NO_ROUTE, &fragments::FRAGMENTING, &icmp::SUPPRESSED],
    reasons: &[],
    knobs: knobs::ALL,
};
