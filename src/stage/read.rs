//! R16, the reader: an application takes the data; for ICMP the reader is the kernel itself.

use crate::counters;
use crate::model::flow::APPLICATION;
use crate::model::{
    Drop, Example, Finding, Flow, Observed, PathMtu, Reason, Rule, Scope, Severity, Stage, Threshold, Unit,
};
use crate::source::groups::{ICMP, ICMP6, NETLINK, TCP_EXT, TLS};

counters! {
    /// ICMP messages received. net/ipv4/icmp.c icmp_rcv().
    ICMP_IN_MSGS = ICMP.total("InMsgs", Unit::Packets).flow(Flow::Pass { from: "forward", to: APPLICATION });
    /// ICMPv6 messages received, neighbour discovery among them. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_MSGS = ICMP6.total("InMsgs", Unit::Packets).flow(Flow::Pass { from: "forward", to: APPLICATION });
    /// ICMP messages that made no sense, or were about a packet that we never sent. net/ipv4/icmp.c icmp_rcv().
    ICMP_IN_ERRORS = ICMP.total("InErrors", Unit::Packets);
    /// ICMPv6 messages that made no sense. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_ERRORS = ICMP6.total("InErrors", Unit::Packets);
    /// ICMP messages with a wrong checksum; also in `Icmp.InErrors`. net/ipv4/icmp.c icmp_rcv().
    ICMP_IN_CSUM_ERRORS = ICMP.total("InCsumErrors", Unit::Packets);
    /// ICMPv6 messages with a wrong checksum; also in `Icmp6.InErrors`. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_CSUM_ERRORS = ICMP6.total("InCsumErrors", Unit::Packets);
    /// Others told us that something we sent could not be delivered, or was too big. net/ipv4/icmp.c icmp_unreach().
    ICMP_IN_DEST_UNREACHS = ICMP.total("InDestUnreachs", Unit::Packets);
    /// Others told us that something we sent over IPv6 could not be delivered. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_DEST_UNREACHS = ICMP6.total("InDestUnreachs", Unit::Packets);
    /// Others told us that something we sent over IPv6 was too big for their link. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_PKT_TOO_BIGS = ICMP6.total("InPktTooBigs", Unit::Packets);
    /// Others told us that something we sent was too long on its way. net/ipv4/icmp.c icmp_unreach().
    ICMP_IN_TIME_EXCDS = ICMP.total("InTimeExcds", Unit::Packets);
    /// Others told us to use another router. net/ipv4/icmp.c icmp_redirect().
    ICMP_IN_REDIRECTS = ICMP.total("InRedirects", Unit::Packets);
    /// Pings received. net/ipv4/icmp.c icmp_echo().
    ICMP_IN_ECHOS = ICMP.total("InEchos", Unit::Packets);
    /// Answers to our pings received. net/ipv4/icmp.c icmp_rcv().
    ICMP_IN_ECHO_REPS = ICMP.total("InEchoReps", Unit::Packets);
    /// Pings received over IPv6. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_ECHOS = ICMP6.total("InEchos", Unit::Packets);
    /// Answers to our pings received over IPv6. net/ipv6/icmp.c icmpv6_rcv().
    ICMP6_IN_ECHO_REPLIES = ICMP6.total("InEchoReplies", Unit::Packets);
    /// Packets that a waiting reader fetched from the device itself (busy polling). net/core/dev.c napi_busy_loop().
    BUSY_POLL_RX_PACKETS = TCP_EXT.total("BusyPollRxPackets", Unit::Packets);
    /// Connections that the kernel encrypts now, by the CPU. net/tls/tls_main.c do_tls_setsockopt_conf(), since 5.5.
    TLS_CURR_TX_SW = TLS.gauge("TlsCurrTxSw", Unit::Connections);
    /// Connections that the kernel decrypts now, by the CPU. net/tls/tls_main.c do_tls_setsockopt_conf(), since 5.5.
    TLS_CURR_RX_SW = TLS.gauge("TlsCurrRxSw", Unit::Connections);
    /// Connections that a card encrypts now. net/tls/tls_main.c do_tls_setsockopt_conf(), since 5.5.
    TLS_CURR_TX_DEVICE = TLS.gauge("TlsCurrTxDevice", Unit::Connections);
    /// Connections that a card decrypts now. net/tls/tls_main.c do_tls_setsockopt_conf(), since 5.5.
    TLS_CURR_RX_DEVICE = TLS.gauge("TlsCurrRxDevice", Unit::Connections);
    /// Connections that the CPU was set to encrypt. net/tls/tls_main.c do_tls_setsockopt_conf(), since 5.5.
    TLS_TX_SW = TLS.total("TlsTxSw", Unit::Connections);
    /// Connections that the CPU was set to decrypt. net/tls/tls_main.c do_tls_setsockopt_conf(), since 5.5.
    TLS_RX_SW = TLS.total("TlsRxSw", Unit::Connections);
    /// Connections that a card was set to encrypt. net/tls/tls_main.c do_tls_setsockopt_conf(), since 5.5.
    TLS_TX_DEVICE = TLS.total("TlsTxDevice", Unit::Connections);
    /// Connections that a card was set to decrypt. net/tls/tls_main.c do_tls_setsockopt_conf(), since 5.5.
    TLS_RX_DEVICE = TLS.total("TlsRxDevice", Unit::Connections);
    /// Records that could not be decrypted: damaged, or with a wrong key. net/tls/tls_sw.c tls_decrypt_done().
    TLS_DECRYPT_ERROR = TLS.total("TlsDecryptError", Unit::Messages);
    /// Times that a card was told where a record begins, after a loss. net/tls/tls_device.c tls_device_resync_rx().
    TLS_RX_DEVICE_RESYNC = TLS.total("TlsRxDeviceResync", Unit::Events);
    /// Records that had to be decrypted twice, since 6.0. net/tls/tls_sw.c tls_rx_one_record().
    TLS_DECRYPT_RETRY = TLS.total("TlsDecryptRetry", Unit::Messages);
    /// Records with padding although the peer was said to use none, since 6.0. net/tls/tls_sw.c tls_decrypt_sw().
    TLS_RX_NO_PAD_VIOLATION = TLS.total("TlsRxNoPadViolation", Unit::Messages);
    /// Times that a new key was set for receiving, since 6.14. net/tls/tls_main.c do_tls_setsockopt_conf().
    TLS_RX_REKEY_OK = TLS.total("TlsRxRekeyOk", Unit::Events);
    /// Times that setting a new key for receiving failed, since 6.14. net/tls/tls_main.c do_tls_setsockopt_conf().
    TLS_RX_REKEY_ERROR = TLS.total("TlsRxRekeyError", Unit::Events);
    /// Times that a new key was set for sending, since 6.14. net/tls/tls_main.c do_tls_setsockopt_conf().
    TLS_TX_REKEY_OK = TLS.total("TlsTxRekeyOk", Unit::Events);
    /// Times that setting a new key for sending failed, since 6.14. net/tls/tls_main.c do_tls_setsockopt_conf().
    TLS_TX_REKEY_ERROR = TLS.total("TlsTxRekeyError", Unit::Events);
    /// Messages of a peer that it goes on with a new key, since 6.14. net/tls/tls_sw.c tls_check_pending_rekey().
    TLS_RX_REKEY_RECEIVED = TLS.total("TlsRxRekeyReceived", Unit::Messages);
    /// Messages of the kernel that netlink sockets lost because their reader was too slow: routing daemons, container
    /// agents and firewalls then work with old knowledge. Of the sockets that there are: the sum falls when one is closed.
    /// net/netlink/af_netlink.c netlink_overrun().
    NETLINK_DROPS = NETLINK.total("Drops", Unit::Messages);
    /// Bytes that wait in all netlink sockets. net/netlink/af_netlink.c netlink_native_seq_show().
    NETLINK_RMEM = NETLINK.gauge("Rmem", Unit::Bytes);
}

static PATH_MTU: Rule = Rule {
    id: "path-mtu-events",
    title: "Packets are too big for a link on their way",
    explain: "A packet that must not be fragmented and is larger than the next link's MTU is dropped, and its sender is told \
              by ICMP (fragmentation needed, packet too big). A few at the start of a connection are how the path's MTU is \
              found. Many mean that an MTU is set wrong somewhere (a tunnel, a VPN, a cloud network with 1400), or that \
              those ICMP messages are filtered: then connections stall as soon as they send much. Of IPv4 the kernel has \
              no counter of such messages alone, but it remembers for ten minutes what it was told of a path ('ip route \
              show cache'). What this host itself could not pass on is what the probe sees.",
    triggers: &[&ICMP6_IN_PKT_TOO_BIGS, &ICMP_IN_DEST_UNREACHS],
    seen: &[TOO_BIG],
    knobs: &[],
    thresholds: &[Threshold { key: "warning_per_second", default: 10.0, help: "packets/s; own: below, a remark" }],
    fires: path_mtu,
    examples: &[
        Example {
            what: "one message of packet too big",
            severity: Some(Severity::Info),
            observed: || Observed::quiet().with(&ICMP6_IN_PKT_TOO_BIGS, 1),
        },
        Example {
            what: "this router drops 300 packets a second that the next link does not take",
            severity: Some(Severity::Warning),
            observed: || Observed::quiet().with_drops(Drop::example(TOO_BIG, 300)),
        },
        Example {
            what: "a router told of one path over IPv4",
            severity: Some(Severity::Info),
            observed: || {
                let path = PathMtu { to: [192, 0, 2, 1].into(), mtu: 1400, age: 0.2 };
                let seen = Observed::quiet().with(&ICMP_IN_DEST_UNREACHS, 1);
                Observed { path_mtus: vec![path], ..seen }
            },
        },
        Example {
            what: "others tell that a host is not there",
            severity: None,
            observed: || Observed::quiet().with(&ICMP_IN_DEST_UNREACHS, 40),
        },
    ],
};

const TOO_BIG: &str = "PKT_TOO_BIG";
/// Paths named, at most.
const NAMED: usize = 3;

fn path_mtu(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (told6, dropped) = (seen.delta(&ICMP6_IN_PKT_TOO_BIGS), seen.dropped(TOO_BIG));
    let paths4 = seen.path_mtus.iter().filter(|path| path.to.is_ipv4()).count() as u64;
    let told = told6.saturating_add(paths4);
    if told == 0 && dropped == 0 {
        return Vec::new();
    }
    let limit = seen.threshold(rule, "warning_per_second");
    let many = seen.rate(told.saturating_add(dropped)).is_some_and(|rate| rate > limit);
    let severity = if many { Severity::Warning } else { Severity::Info };
    let mut parts = Vec::new();
    if told6 > 0 {
        parts.push(format!(
            "others told this host {told6} times that what it sent over IPv6 was too big for their link"
        ));
    }
    if paths4 > 0 {
        let paths = if paths4 == 1 { "one path".into() } else { format!("{paths4} paths") };
        parts
            .push(format!("others told this host of {paths} over IPv4 that what it sent was too big for a link there"));
    }
    if dropped > 0 {
        parts.push(format!("this host could not pass {dropped} packets on: the next link's MTU is too small"));
    }
    let named: Vec<String> = seen
        .path_mtus
        .iter()
        .take(NAMED)
        .map(|path| format!("the path to {} takes {} bytes", path.to, path.mtu))
        .collect();
    if !named.is_empty() {
        parts.push(named.join(", "));
    }
    let why = parts.join("; ");
    let mut finding = Finding::new(rule, severity, Scope::Netns, dropped, why);
    if paths4 > 0 {
        finding.evidence.push(seen.evidence(&ICMP_IN_DEST_UNREACHS, None));
    }
    if told6 > 0 {
        finding.evidence.push(seen.evidence(&ICMP6_IN_PKT_TOO_BIGS, Some(limit)));
    }
    if dropped > 0 {
        finding.evidence.push(seen.probe_evidence(TOO_BIG, dropped, Some(limit)));
    }
    finding.no_setting_helps = Some(
        "compare the MTUs along the way ('tracepath HOST' shows them), and let ICMP 'fragmentation needed' and 'packet \
         too big' pass every firewall"
            .into(),
    );
    vec![finding]
}

static REASONS: &[Reason] = &[
    Reason::harmless(
        "QUEUE_PURGE",
        "What still waited in a queue that was thrown away: a socket was closed, a device taken down. Normal.",
    )
    .in_functions(&[
        "skb_queue_purge",
        "skb_release_all",
        "inet_sock_destruct",
        "__sk_destruct",
        "sk_stream_kill_queues",
        "netlink_",
        "udp_destruct_common",
    ])
    .unnamed_in(&["netlink_", "udp_destruct_common"]),
    Reason::watch("SKB_UCOPY_FAULT", "The reader gave a buffer that could not be written to."),
];

/// R16.
pub static STAGE: Stage = Stage {
    id: "read",
    title: "reader",
    explain: "The application is woken and copies the data out of its socket's queue. How long it lets data wait there \
              is in no counter; that it waits too long shows as a full queue one stage before.",
    chapter: include_str!("chapter/read.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&PATH_MTU],
    knobs: &[],
};
