//! Netfilter: firewall rules at five hooks of the path.

use crate::counters;
use crate::model::{Reason, Stage, Unit};
use crate::source::groups::SYNPROXY;

counters! {
    /// SYNs that the SYN proxy answered for a server behind it. net/netfilter/nf_synproxy_core.c.
    SYN_RECEIVED = SYNPROXY.total("syn_received", Unit::Packets);
    /// ACKs with a wrong cookie that the SYN proxy dropped. net/netfilter/nf_synproxy_core.c.
    COOKIE_INVALID = SYNPROXY.total("cookie_invalid", Unit::Packets);
    /// ACKs with a right cookie: connections that the SYN proxy passed on. net/netfilter/nf_synproxy_core.c.
    COOKIE_VALID = SYNPROXY.total("cookie_valid", Unit::Packets);
    /// SYNs that the SYN proxy sent again to a server. net/netfilter/nf_synproxy_core.c.
    COOKIE_RETRANS = SYNPROXY.total("cookie_retrans", Unit::Packets);
}

static REASONS: &[Reason] = &[
    Reason::harmful(
        "NETFILTER_DROP",
        "A firewall rule or policy dropped the packet (nftables, iptables, or their connection tracking). Normal if \
         the rule is meant. 'drops' names the rule if it has a counter ('counter drop'), which costs next to nothing.",
    )
    .in_functions(&["nf_hook_slow", "nft_do_chain", "ipt_do_table", "ip6t_do_table"]),
    Reason::harmful(
        "XFRM_POLICY",
        "An IPsec policy does not allow the packet, or its protection is missing. See /proc/net/xfrm_stat.",
    )
    .in_functions(&["xfrm4_", "xfrm6_", "xfrm_", "__xfrm_policy_check"]),
    Reason::watch(
        "SOCKET_FILTER",
        "The application's own filter on its socket (SO_ATTACH_FILTER) did not want the packet. Normal: that is what \
         it is for.",
    )
    .in_functions(&["sk_filter_trim_cap", "raw_rcv", "raw_v4_input", "raw_local_deliver"]),
    Reason::harmful(
        "SECURITY_HOOK",
        "A security module (SELinux, AppArmor, BPF LSM) refused the packet. See the audit log.",
    )
    .in_functions(&["security_sock_rcv_skb"]),
    Reason::watch("PSP_INPUT", "A packet of a PSP connection was not encrypted as it must be."),
    Reason::watch("PSP_OUTPUT", "A packet of a PSP connection could not be encrypted."),
];

/// Between R8 and R11.
pub static STAGE: Stage = Stage {
    id: "netfilter",
    title: "firewall",
    explain: "Rules of nftables and iptables see the packet before routing (PREROUTING), on its way to a socket (INPUT) \
              and on its way out again (FORWARD). What a rule drops is in no counter of IP, UDP or TCP: the ledger \
              shows it as unexplained at ip_in. 'netstat-deep drops --by rule' names the rules, by their own counters.",
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[],
    knobs: &[],
};
