//! Netfilter: firewall rules at five hooks of the path.

use crate::counters;
use crate::model::{Stage, Unit};
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

/// Between R8 and R11.
pub static STAGE: Stage = Stage {
    id: "netfilter",
    title: "firewall",
    explain: "Rules of nftables and iptables see the packet before routing (PREROUTING), on its way to a socket (INPUT) \
              and on its way out again (FORWARD). What a rule drops is in no counter of IP, UDP or TCP: the ledger \
              shows it as unexplained at ip_in. The rules' own counters tell more ('nft list ruleset').",
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[],
    knobs: &[],
};
