//! The kernel's hooks that the program wants to count at.

use std::io;

use super::FoundIn;
use crate::report::card::Hook;
use crate::source::tracepoint::{self, Types};

/// The one that sees every dropped packet.
pub const DROPS: &str = "skb:kfree_skb";

/// Tracepoints, each by group and name, and what is counted there. Not every kernel has all of them; each missing one
/// costs only what it gives.
const HOOKS: &[(&str, &str)] = &[
    (DROPS, "every packet that the kernel drops"),
    ("udp:udp_fail_queue_rcv_skb", "datagrams that a UDP socket refused"),
    ("sock:sock_exceed_buf_limit", "sockets that hit a memory limit"),
    ("sock:sock_rcvqueue_full", "full receive queues of raw and packet sockets"),
    ("sock:inet_sock_set_state", "connections that open, fail and close"),
    ("sock:inet_sk_error_report", "errors that reached a socket"),
    ("tcp:tcp_retransmit_skb", "segments sent again, by connection"),
    ("tcp:tcp_retransmit_synack", "handshakes answered again"),
    ("tcp:tcp_send_reset", "connections that this host reset"),
    ("tcp:tcp_receive_reset", "connections that the other side reset"),
    ("icmp:icmp_send", "errors that this host sent"),
    ("xdp:xdp_exception", "packets that an XDP program lost"),
    ("xdp:xdp_redirect_err", "packets that XDP could not redirect"),
    ("xdp:xdp_devmap_xmit", "packets that XDP could not send"),
    ("xdp:xdp_cpumap_enqueue", "packets that XDP could not hand to a CPU"),
    ("net:net_dev_xmit", "packets that a driver refused to send"),
    ("net:net_dev_xmit_timeout", "transmit queues that hung"),
    ("napi:dql_stall_detected", "transmit queues that stalled"),
    ("qdisc:qdisc_enqueue", "packets that wait to be sent"),
    ("qdisc:qdisc_dequeue", "how long they waited"),
    ("qdisc:qdisc_drop", "packets that a queueing discipline dropped"),
    ("neigh:neigh_event_send_dead", "neighbours that can't be asked for"),
    ("neigh:neigh_timer_handler", "neighbours that do not answer"),
    ("page_pool:page_pool_release", "receive memory that does not come back"),
    ("devlink:devlink_trap_report", "packets that the network card kept back"),
];

/// Looks for each.
pub fn look(types: &io::Result<Types>) -> Vec<Hook> {
    HOOKS.iter().map(|(id, gives)| one(id, gives, types)).collect()
}

fn one(id: &'static str, gives: &'static str, types: &io::Result<Types>) -> Hook {
    let name = id.split_once(':').map_or(id, |(_, name)| name);
    let in_types = types.as_ref().is_ok_and(|types| types.tracepoints.contains(name.as_bytes()));
    let (found, reason) = if in_types {
        (Some(FoundIn::Btf), None)
    } else {
        match tracepoint::in_tracefs(&id.replace(':', "/")) {
            Ok(true) => (Some(FoundIn::Tracefs), None),
            Ok(false) => (None, Some("this kernel does not have it".into())),
            Err(_) if types.is_ok() => (None, Some("not among this kernel's types".into())),
            Err(e) => (None, Some(format!("not known: no types, and tracefs can't be read ({})", super::why(&e)))),
        }
    };
    Hook { id, gives, found, reason }
}
