//! How long a connection is kept, asked after, and remembered.

use super::NETNS;
use crate::model::{Knob, Risk};

pub static FIN_TIMEOUT: Knob = Knob {
    id: "net.ipv4.tcp_fin_timeout",
    unit: "s",
    range: 1..=86_400,
    default: "60",
    help: "How long a connection that was closed here waits for the peer's FIN (FIN_WAIT2). Up to 60 it is no \
           orphan in that time but an entry of TIME_WAIT; longer values make orphans. It is not how long TIME_WAIT \
           lasts: that is fixed at 60 s.",
    formula: "60; 15 to 30 with very many of them",
    risk: Risk::Low,
    harm: "late data of the peer is answered by a reset",
    takes_effect: "for connections that are closed from now on",
    ..NETNS
};

pub static ORPHAN_RETRIES: Knob = Knob {
    id: "net.ipv4.tcp_orphan_retries",
    unit: "times",
    range: 0..=255,
    default: "0, which means 8",
    help: "How often what a closed connection still has to send is sent again before it is given up: 8 is about \
           100 s.",
    formula: "3 to 5 where many peers vanish",
    risk: Risk::Medium,
    harm: "data that was handed over before close() is lost to slow peers",
    takes_effect: "at the next timeout",
    ..NETNS
};

pub static KEEPALIVE_TIME: Knob = Knob {
    id: "net.ipv4.tcp_keepalive_time",
    unit: "s",
    range: 1..=32_767,
    default: "7200",
    help: "How long a connection is silent before the peer is asked whether it is still there. Only with \
           SO_KEEPALIVE.",
    formula: "300, or less than what NAT and load balancers on the way forget after (350 s is common)",
    risk: Risk::Low,
    harm: "a packet for each idle connection",
    takes_effect: "when the timer is next set",
    ..NETNS
};

pub static KEEPALIVE_INTVL: Knob = Knob {
    id: "net.ipv4.tcp_keepalive_intvl",
    unit: "s",
    range: 1..=32_767,
    default: "75",
    help: "How long after a question without an answer the next is asked.",
    formula: "30",
    risk: Risk::Low,
    harm: "connections over bad links are cut off",
    takes_effect: "when the timer is next set",
    ..NETNS
};

pub static KEEPALIVE_PROBES: Knob = Knob {
    id: "net.ipv4.tcp_keepalive_probes",
    unit: "times",
    range: 1..=127,
    default: "9",
    help: "How many questions without an answer end a connection.",
    formula: "5",
    risk: Risk::Low,
    harm: "connections over bad links are cut off",
    takes_effect: "when the timer is next set",
    ..NETNS
};

pub static RETRIES1: Knob = Knob {
    id: "net.ipv4.tcp_retries1",
    unit: "times",
    range: 0..=255,
    default: "3",
    help: "How often a segment is sent again before the route is thought to be bad.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "routes are looked up again",
    takes_effect: "at once",
    ..NETNS
};

pub static RETRIES2: Knob = Knob {
    id: "net.ipv4.tcp_retries2",
    unit: "times",
    range: 0..=255,
    default: "15, about 15 minutes",
    help: "How often a segment is sent again before the connection is given up.",
    formula: "8 to 10 where peers must be known dead sooner; TCP_USER_TIMEOUT for one application",
    risk: Risk::Medium,
    harm: "connections are cut off that would have come back",
    takes_effect: "at once",
    ..NETNS
};

pub static SYN_RETRIES: Knob = Knob {
    id: "net.ipv4.tcp_syn_retries",
    unit: "times",
    range: 1..=127,
    default: "6, about two minutes",
    help: "How often a SYN of ours is sent again before connect() fails.",
    formula: "3 to 4 where a dead server should be known sooner",
    risk: Risk::Medium,
    harm: "connects over bad links fail",
    takes_effect: "for new connections",
    ..NETNS
};

pub static SYN_LINEAR_TIMEOUTS: Knob = Knob {
    id: "net.ipv4.tcp_syn_linear_timeouts",
    unit: "times",
    range: 0..=127,
    default: "4, since 6.5",
    help: "How many SYNs of ours are sent a second apart before the pauses double.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "more SYNs to a dead server",
    takes_effect: "for new connections",
    ..NETNS
};

pub static MAX_TW_BUCKETS: Knob = Knob {
    id: "net.ipv4.tcp_max_tw_buckets",
    unit: "connections",
    range: 1..=2_147_483_647,
    default: "half of the places for connections (tcp_established hash)",
    help: "How many connections in TIME_WAIT are remembered; further ones are forgotten at once.",
    formula: "twice the peak; never lower it",
    risk: Risk::Low,
    harm: "about 250 bytes each",
    takes_effect: "at once",
    ..NETNS
};

pub static TW_REUSE: Knob = Knob {
    id: "net.ipv4.tcp_tw_reuse",
    unit: "switch",
    range: 0..=2,
    default: "2 since 4.19: for loopback; 0 before",
    help: "Whether a new connection of ours may take the port of one in TIME_WAIT, a second after its last \
           timestamp. For those that we open; it does nothing for a server. tcp_tw_recycle, which broke clients \
           behind NAT, is gone since 4.12.",
    formula: "1 on a client that runs out of ports to one destination",
    risk: Risk::Low,
    harm: "relies on the peer's timestamps",
    takes_effect: "at once",
    ..NETNS
};

pub static TW_REUSE_DELAY: Knob = Knob {
    id: "net.ipv4.tcp_tw_reuse_delay",
    unit: "ms",
    range: 1..=60_000,
    default: "1000, since 6.14",
    help: "After what time a port in TIME_WAIT may be taken anew.",
    formula: "leave it",
    risk: Risk::Medium,
    harm: "old duplicates may hit a new connection",
    takes_effect: "at once",
    ..NETNS
};

pub static LOCAL_PORT_RANGE: Knob = Knob {
    id: "net.ipv4.ip_local_port_range",
    unit: "ports: first, last",
    range: 1..=65_535,
    default: "32768 60999",
    help: "The ports that connect() and bind(0) choose from: 28,232 for each destination.",
    formula: "10240 65535; before that more addresses, or IP_BIND_ADDRESS_NO_PORT",
    risk: Risk::Medium,
    harm: "a port is taken that a service wants to listen on: ip_local_reserved_ports keeps it free",
    takes_effect: "at once",
    ..NETNS
};

pub static RTO_MIN: Knob = Knob {
    id: "net.ipv4.tcp_rto_min_us",
    unit: "us",
    range: 1..=2_147_483_647,
    default: "200000, since 6.11",
    help: "The shortest time after which a segment without an acknowledgement is sent again.",
    formula: "20000 to 50000 within a data centre only; before 6.11 by route (rto_min)",
    risk: Risk::Medium,
    harm: "segments are sent again that were only acknowledged late",
    takes_effect: "at once",
    ..NETNS
};

pub static RTO_MAX: Knob = Knob {
    id: "net.ipv4.tcp_rto_max_ms",
    unit: "ms",
    range: 1_000..=120_000,
    default: "120000, since 6.15",
    help: "The longest pause between two times that a segment is sent again.",
    formula: "leave it",
    risk: Risk::Medium,
    harm: "more traffic to dead peers",
    takes_effect: "at once",
    ..NETNS
};

pub static MTU_PROBING: Knob = Knob {
    id: "net.ipv4.tcp_mtu_probing",
    unit: "switch",
    range: 0..=2,
    default: "0",
    help: "Whether a connection whose full-size segments do not arrive tries smaller ones (1), or always probes \
           (2): where ICMP is filtered.",
    formula: "1 where connections stall on large transfers and ICMP cannot be let through",
    risk: Risk::Low,
    harm: "smaller segments after losses of another cause",
    takes_effect: "for new connections",
    ..NETNS
};

pub static BASE_MSS: Knob = Knob {
    id: "net.ipv4.tcp_base_mss",
    unit: "bytes",
    range: 48..=65_535,
    default: "1024",
    help: "The size that such probing begins with.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "none",
    takes_effect: "for new connections",
    ..NETNS
};
