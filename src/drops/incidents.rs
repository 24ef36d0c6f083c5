//! Words for what the hooks saw.

use std::collections::HashMap;

use super::stream;
use crate::model::{Harm, Incident, Victim};
use crate::source::probe::hooks::Hit;
use crate::source::text;
use crate::stage::socket_memory::CGROUP_LIMIT;

/// What a hook means: stage, harm, and a sentence.
pub fn meaning(hook: &str) -> (&'static str, Harm, &'static str) {
    match hook {
        "udp_fail_queue_rcv_skb" => {
            ("udp_in", Harm::Harmful, "A datagram could not be put into its socket's queue; the error says why.")
        }
        "sock_exceed_buf_limit" => (
            "socket_memory",
            Harm::Harmful,
            "A socket was refused memory: its protocol (udp_mem, tcp_mem) or its cgroup has used up its share.",
        ),
        "sock_rcvqueue_full" => (
            "read",
            Harm::Harmful,
            "The receive queue of a raw, ping or packet socket is full: its reader is too slow.",
        ),
        "tcp_retransmit_skb" => {
            ("tcp_out", Harm::Watch, "A TCP segment was sent again: it, or its acknowledgement, was lost on the way.")
        }
        "tcp_retransmit_synack" => (
            "tcp_listen",
            Harm::Watch,
            "The answer to a connection request was sent again: the client does not go on. Scans and lost packets.",
        ),
        "tcp_send_reset" => ("tcp_in", Harm::Watch, "A reset was sent: the peer's connection breaks off."),
        "xdp_exception" => (
            "driver_rx",
            Harm::Harmful,
            "An XDP program failed, or gave a verdict that the driver can't carry out: the frame is lost.",
        ),
        "xdp_redirect_err" => {
            ("driver_rx", Harm::Harmful, "An XDP program redirected a frame to where it can't go: the frame is lost.")
        }
        "net_dev_xmit_timeout" => (
            "watchdog",
            Harm::Harmful,
            "A queue of the device sent nothing for so long that the driver was told to reset it.",
        ),
        "neigh_timer_handler" => (
            "neighbour",
            Harm::Harmful,
            "A next hop does not answer ARP or neighbour discovery: what waited for its address is lost.",
        ),
        "net_dev_xmit" => (
            "driver_tx",
            Harm::Harmful,
            "A driver did not take a packet: busy means that it is tried again, anything else that it is lost.",
        ),
        "dql_stall_detected" => (
            "completion",
            Harm::Watch,
            "A device held what it was to send for longer than its queue's stall_thrs: its completions come late.",
        ),
        "page_pool_release" => (
            "driver_rx",
            Harm::Watch,
            "A device's receive pool is to go, but some of its pages are still held: by packets that wait in a queue, or, \
             if it goes on for minutes, by a leak.",
        ),
        _ => ("unknown", Harm::Watch, "A hook that this version does not know."),
    }
}

/// A hit in words; `name` is that of its device or protocol.
pub fn describe(hit: &Hit, count: u64, name: &[u8], resets: &HashMap<u32, String>) -> Incident {
    let (stage, mut harm, normal) = meaning(hit.hook);
    let code_name = code_name(hit, resets);
    // The peer asked for a port or connection that is not there.
    if hit.hook == "tcp_send_reset" && code_name.as_deref().is_some_and(|reason| reason == "NO_SOCKET") {
        harm = Harm::Harmless;
    }
    let name = (!name.is_empty()).then(|| text::printable(name));
    let (device, protocol) = if hit.ifindex != 0 { (name, None) } else { (None, name) };
    Incident {
        hook: hit.hook.into(),
        stage: stage.into(),
        harm,
        normal: normal.into(),
        code: (hit.code != 0).then_some(hit.code),
        code_name,
        device,
        protocol,
        netns: (hit.netns != 0).then(|| format!("net:[{}]", hit.netns)),
        netns_name: None,
        remote: hit.remote.map(stream::words),
        victim: (hit.inode != 0).then(|| Victim {
            inode: u32::try_from(hit.inode).unwrap_or(0),
            lost: count,
            ..Victim::default()
        }),
        count,
    }
}

fn code_name(hit: &Hit, resets: &HashMap<u32, String>) -> Option<String> {
    match hit.hook {
        // SK_MEM_SEND and SK_MEM_RECV in include/net/sock.h; the second bit is of `ebpf/hooks.bpf.c`.
        "sock_exceed_buf_limit" => {
            let what = if hit.code & 1 == 0 { "sending" } else { "receiving" };
            let whose = if hit.code & 2 == 0 { "the protocol's limit" } else { CGROUP_LIMIT };
            Some(format!("{what}, {whose}"))
        }
        "tcp_send_reset" => {
            let name = resets.get(&u32::try_from(hit.code).ok()?)?;
            Some(name.strip_prefix("SK_RST_REASON_").unwrap_or(name).to_owned())
        }
        // enum xdp_action, include/uapi/linux/bpf.h.
        "xdp_exception" => {
            let actions = ["aborted", "drop", "pass", "tx", "redirect"];
            usize::try_from(hit.code).ok().and_then(|code| actions.get(code)).map(|action| (*action).to_owned())
        }
        // enum netdev_tx and the NET_XMIT_ codes in include/linux/netdevice.h.
        "net_dev_xmit" if hit.code > 0 => Some(match hit.code {
            0x10 => "busy".into(),
            0x01 => "dropped".into(),
            0x02 => "congested".into(),
            other => format!("code {other}"),
        }),
        // In jiffies (lib/dynamic_queue_limits.c dql_check_stall()).
        "dql_stall_detected" => Some(format!("longer than {} ticks", hit.code)),
        "page_pool_release" => Some(format!("{} pages held", hit.code)),
        "net_dev_xmit_timeout" => Some(format!("queue {}", hit.code)),
        _ if hit.code < 0 => {
            let error = std::io::Error::from_raw_os_error(-hit.code).to_string();
            Some(error.split(" (os").next().unwrap_or_default().to_lowercase())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_a_meaning() {
        for hook in crate::source::probe::hooks::names() {
            assert_ne!(meaning(hook).0, "unknown", "{hook}");
        }
    }

    #[test]
    fn codes_have_names() {
        let hit = |hook, code| Hit { hook, code, netns: 0, ifindex: 0, inode: 0, remote: None };
        let resets = HashMap::from([(2, "SK_RST_REASON_NO_SOCKET".to_owned())]);
        let name = |hook, code| describe(&hit(hook, code), 1, b"", &resets).code_name;
        assert_eq!(name("tcp_send_reset", 2).as_deref(), Some("NO_SOCKET"));
        assert_eq!(name("tcp_send_reset", 9), None);
        assert_eq!(name("udp_fail_queue_rcv_skb", -12).as_deref(), Some("cannot allocate memory"));
        assert_eq!(name("xdp_exception", 0).as_deref(), Some("aborted"));
        assert_eq!(name("tcp_retransmit_skb", 0), None);
    }
}
