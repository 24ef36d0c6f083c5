//! Reasons for which packets are dropped on stages that have no file yet: the send path, and virtual devices.

use crate::model::Reason;

/// Stage and its reasons, in the order of the path.
pub static ELSEWHERE: &[(&str, &[Reason])] = &[
    ("ip_out", &[
        Reason::watch(
            "IP_OUTNOROUTES",
            "There is no route to where a local process sends. The process gets an error.",
        )
        .in_functions(&["ip_queue_xmit", "__ip_local_out"]),
        Reason::harmful(
            "BPF_CGROUP_EGRESS",
            "A BPF program of the sender's cgroup (systemd IPAddressDeny=, a container policy) refused the packet.",
        )
        .in_functions(&["ip_finish_output", "ip6_finish_output"])
        .missing_on_send("ip_out"),
    ]),
    ("neighbour", &[
        Reason::harmful(
            "NEIGH_CREATEFAIL",
            "The neighbour table is full or could not be extended: no packet reaches a new neighbour. See \
             net.ipv4.neigh.default.gc_thresh3.",
        )
        .missing_on_send("neighbour"),
        Reason::harmful(
            "NEIGH_FAILED",
            "The next hop does not answer ARP or neighbour discovery: it is down, or not on this network.",
        )
        .in_functions(&["arp_error_report", "ndisc_error_report", "ip_finish_output2", "__neigh_event_send", "neigh_invalidate"])
        .missing_on_send("neighbour"),
        Reason::harmful(
            "NEIGH_QUEUEFULL",
            "Too many packets wait for the next hop's address. It does not answer, or does so slowly.",
        )
        .missing_on_send("neighbour"),
        Reason::watch("NEIGH_DEAD", "The neighbour entry was removed while packets waited for it.").missing_on_send("neighbour"),
        Reason::watch("NEIGH_HH_FILLFAIL", "The cached link header could not be written.").missing_on_send("neighbour"),
    ]),
    ("egress", &[
        Reason::watch(
            "TC_EGRESS",
            "A tc filter or tcx program on the way out dropped the packet. Normal if it is meant to filter; no other \
             counter shows it.",
        )
        .in_functions(&["sch_handle_egress"])
        .missing_on_send("neighbour"),
    ]),
    ("qdisc", &[
        Reason::harmful(
            "QDISC_DROP",
            "The queueing discipline of a device dropped the packet: it is full, or keeps a rate. 'tc -s qdisc' shows \
             which.",
        )
        .in_functions(&["__dev_xmit_skb", "__dev_queue_xmit", "qdisc_"]),
        Reason::harmful(
            "QDISC_OVERLIMIT",
            "The queueing discipline is full: more is sent than the device, or the rate set, lets through.",
        ),
        Reason::watch(
            "QDISC_CONGESTED",
            "The queueing discipline (CoDel, RED ...) drops early to keep delays short. Normal: TCP slows down by it.",
        ),
        Reason::watch("CAKE_FLOOD", "CAKE throttles a flow that does not react to loss."),
        Reason::harmful("FQ_BAND_LIMIT", "A priority band of the fq queueing discipline is full."),
        Reason::harmful(
            "FQ_HORIZON_LIMIT",
            "A packet was to be sent too far in the future for fq (horizon_drop): a wrong SO_TXTIME or pacing rate.",
        ),
        Reason::harmful("FQ_FLOW_LIMIT", "One flow fills its share of the fq queueing discipline (flow_limit)."),
        Reason::watch("DUALPI2_STEP_DROP", "DualPI2 drops to keep delays short. Normal: the senders slow down by it."),
    ]),
    ("validate", &[
        Reason::harmful("SKB_CSUM", "A checksum that the device does not compute could not be computed by the kernel."),
        Reason::harmful(
            "SKB_GSO_SEG",
            "A large packet could not be cut into segments for the device.",
        )
        .in_functions(&["validate_xmit_skb"]),
    ]),
    ("driver_tx", &[
        Reason::watch("DEV_HDR", "The driver or device does not take the packet's header."),
        Reason::watch("DEV_READY", "The device is down or not connected. Normal while it is brought up."),
        Reason::watch(
            "RECURSION_LIMIT",
            "Devices are stacked in a circle: a packet comes by the same one again and again. A mistake in the set- \
             up.",
        ),
    ]),
    ("virtual_devices", &[
        Reason::harmful(
            "FULL_RING",
            "The ring of a virtual device (tun, tap, veth with XDP) is full: the program or guest behind it is too \
             slow.",
        )
        .in_functions(&["tun_net_xmit", "veth_xmit", "tap_handle_frame"]),
        Reason::watch(
            "HDR_TRUNC",
            "A program wrote a packet that is shorter than its header into a tun or tap device.",
        ),
        Reason::harmless(
            "TAP_FILTER",
            "The filter that a program set on its tap device did not want the packet. Normal.",
        ),
        Reason::harmless("TAP_TXFILTER", "The address filter of a tap device did not want the packet. Normal."),
        Reason::watch("VXLAN_INVALID_HDR", "A VXLAN packet with a header that is not understood."),
        Reason::watch(
            "VXLAN_VNI_NOT_FOUND",
            "A VXLAN packet for a network identifier that no device here has. Some are normal in a shared overlay.",
        ),
        Reason::watch(
            "VXLAN_ENTRY_EXISTS",
            "A VXLAN neighbour moved although its entry is fixed: a copied address or a loop.",
        ),
        Reason::harmful(
            "NO_TX_TARGET",
            "A tunnel, bond or macvlan knows nobody to send to: no remote end, no working member.",
        )
        .in_functions(&["vxlan_xmit", "bond_"]),
        Reason::watch(
            "IP_TUNNEL_ECN",
            "The congestion marks inside and outside of a tunnel contradict each other (RFC 6040).",
        ),
        Reason::watch("TUNNEL_TXINFO", "A packet reached a tunnel without the data that says where it should go."),
    ]),
];
