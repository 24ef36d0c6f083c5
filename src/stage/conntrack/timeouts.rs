//! How long flows are remembered that nobody uses. No rule turns these: what is right depends on the applications.

use crate::model::{Knob, Memory, Place, Risk, Scope};

const fn timeout(id: &'static str, default: &'static str, help: &'static str, formula: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        scope: Scope::Netns,
        unit: "s",
        range: 1..=2_147_483,
        default,
        help,
        formula,
        risk: Risk::Medium,
        harm: "shorter: connections that were idle for longer are cut off behind NAT or a stateful firewall, without a word",
        takes_effect: "for flows whose next packet comes after the change",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d, and the module in modules-load.d: the key exists only once it is loaded",
    }
}

pub static ESTABLISHED: Knob = timeout(
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "432000, that is five days",
    "How long a TCP connection is remembered on which nothing passes. Peers that vanish without a word leave entries that \
     stay for so long: the usual reason for a table that fills over days.",
    "86400, or twice the keepalive time of the applications; a namespace's own, so a container can help itself with it",
);

pub static TIME_WAIT: Knob = timeout(
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
    "120",
    "How long a closed TCP connection is remembered, for segments that come late.",
    "30 to 60 where very many short connections fill the table",
);

pub static CLOSE_WAIT: Knob = timeout(
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "60",
    "How long a connection is remembered that one side has closed and the other has not.",
    "leave it; many of them mean an application that does not close",
);

pub static UDP: Knob = timeout(
    "net.netfilter.nf_conntrack_udp_timeout",
    "30",
    "How long a UDP flow is remembered that went one way only, or was answered once.",
    "10 where DNS queries of many clients fill the table; or no tracking of them (notrack)",
);

pub static UDP_STREAM: Knob = timeout(
    "net.netfilter.nf_conntrack_udp_timeout_stream",
    "120 since 4.18, 180 before",
    "How long a UDP flow is remembered that went both ways for more than two seconds.",
    "longer than the keepalives of VPNs and telephony that pass here",
);

pub static GENERIC: Knob = timeout(
    "net.netfilter.nf_conntrack_generic_timeout",
    "600",
    "How long a flow of a protocol is remembered that connection tracking knows nothing of.",
    "leave it",
);
