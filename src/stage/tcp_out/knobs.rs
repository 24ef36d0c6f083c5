//! How fast TCP sends, and how it hands its segments down.

use crate::model::{Knob, Risk};
use crate::stage::tcp_in::NETNS;

pub static ALL: &[&Knob] = &[
    &CONGESTION_CONTROL,
    &SLOW_START_AFTER_IDLE,
    &NO_METRICS_SAVE,
    &NO_SSTHRESH_METRICS_SAVE,
    &ECN,
    &LIMIT_OUTPUT_BYTES,
    &MIN_TSO_SEGS,
    &TSO_WIN_DIVISOR,
    &TSO_RTT_LOG,
    &PACING_SS_RATIO,
    &PACING_CA_RATIO,
];

const BASE: Knob = Knob { risk: Risk::Low, formula: "leave it", ..NETNS };

pub static CONGESTION_CONTROL: Knob = Knob {
    id: "net.ipv4.tcp_congestion_control",
    unit: "name",
    default: "cubic, unless the kernel was built otherwise",
    help: "How a connection finds out how fast it may send: cubic and reno slow down at each loss, bbr follows the rate that \
           gets through. net.ipv4.tcp_available_congestion_control lists what the kernel has loaded; TCP_CONGESTION sets it \
           for one connection, 'ip route ... congctl' for a destination.",
    formula: "cubic; bbr, with the qdisc fq, for long paths that lose though nothing is full",
    risk: Risk::Medium,
    harm: "bbr takes more than its share beside cubic, and sends more again where buffers are short",
    takes_effect: "for new connections; in a namespace other than the first only those of \
                   net.ipv4.tcp_allowed_congestion_control",
    waits: true,
    ..BASE
};

static SLOW_START_AFTER_IDLE: Knob = Knob {
    id: "net.ipv4.tcp_slow_start_after_idle",
    unit: "switch",
    range: 0..=1,
    default: "1",
    help: "Whether a connection begins anew with a small congestion window when it was idle for longer than its retransmission \
           timeout. Connections that are kept open for the next answer pay for it on long paths.",
    formula: "0 where answers over kept connections are slow to start on long paths",
    harm: "0: a burst of a whole old window after a pause, into a path that may have changed",
    takes_effect: "at the next pause",
    ..BASE
};

static NO_METRICS_SAVE: Knob = Knob {
    id: "net.ipv4.tcp_no_metrics_save",
    unit: "switch",
    range: 0..=1,
    default: "0",
    help: "Whether what a connection found out of its path (round trip, reordering) is forgotten with it; else the next one to \
           the same host begins with it ('ip tcp_metrics show').",
    formula: "1 on proxies, whose peers share an address but not a path",
    harm: "1: each connection finds its path out anew",
    takes_effect: "for connections that end from now on",
    ..BASE
};

static NO_SSTHRESH_METRICS_SAVE: Knob = Knob {
    id: "net.ipv4.tcp_no_ssthresh_metrics_save",
    unit: "switch",
    range: 0..=1,
    default: "1, since 5.6",
    help: "Whether the slow-start threshold is left out of what is remembered of a path: remembered, one bad period slows all \
           later connections.",
    harm: "0: later connections may begin slowly for long",
    takes_effect: "for connections that end from now on",
    ..BASE
};

static ECN: Knob = Knob {
    id: "net.ipv4.tcp_ecn",
    unit: "mode",
    // 3 to 5 on kernels with AccECN alone (net/ipv4/sysctl_net_ipv4.c).
    range: 0..=2,
    default: "2: only if the peer asks; kernels with AccECN (in 6.18, not in all builds) also know 3 to 5",
    help: "Whether connections let routers mark packets instead of dropping them (ECN): 1 asks for it, 2 answers, 0 never.",
    formula: "1 within a network whose queues mark",
    harm: "1: a few middleboxes drop the SYN; the kernel then tries without",
    takes_effect: "for new connections",
    waits: true,
    ..BASE
};

static LIMIT_OUTPUT_BYTES: Knob = Knob {
    id: "net.ipv4.tcp_limit_output_bytes",
    unit: "bytes",
    range: 1..=2_147_483_647,
    default: "4194304 since 6.18, 1048576 since 5.4, 262144 before",
    help: "Most of one connection that may wait in the qdisc and the device (TSQ); mostly it is less: about a millisecond's \
           worth.",
    formula: "bytes per second x the time in which the device tells what it has sent, x 2",
    harm: "more: longer queues in this host, and all its connections feel them",
    takes_effect: "at once",
    ..BASE
};

static MIN_TSO_SEGS: Knob = Knob {
    id: "net.ipv4.tcp_min_tso_segs",
    unit: "segments",
    range: 1..=255,
    default: "2",
    help: "Least segments that are handed down as one packet.",
    harm: "more: bursts on slow connections",
    takes_effect: "at once",
    ..BASE
};

static TSO_WIN_DIVISOR: Knob = Knob {
    id: "net.ipv4.tcp_tso_win_divisor",
    unit: "parts",
    range: 0..=255,
    default: "3",
    help: "Which part of the congestion window may go down as one packet.",
    harm: "less: larger bursts; more: more packets, more CPU time",
    takes_effect: "at once",
    ..BASE
};

static TSO_RTT_LOG: Knob = Knob {
    id: "net.ipv4.tcp_tso_rtt_log",
    unit: "power of two, in microseconds",
    range: 0..=31,
    default: "9, since 5.18",
    help: "How short a round trip must be for a connection to hand down larger packets than its rate alone would: each such \
           time longer halves what is added.",
    harm: "more: larger bursts on longer paths",
    takes_effect: "at once",
    ..BASE
};

static PACING_SS_RATIO: Knob = Knob {
    id: "net.ipv4.tcp_pacing_ss_ratio",
    unit: "percent",
    range: 0..=1000,
    default: "200",
    help: "How fast a paced connection sends in slow start, of the rate that its window and round trip make. Paced are those of \
           the qdisc fq, of bbr, and with SO_MAX_PACING_RATE.",
    harm: "less: a slower start",
    takes_effect: "at once",
    ..BASE
};

static PACING_CA_RATIO: Knob = Knob {
    id: "net.ipv4.tcp_pacing_ca_ratio",
    unit: "percent",
    range: 0..=1000,
    default: "120",
    help: "The same after slow start.",
    harm: "less than 100: it never fills its window",
    takes_effect: "at once",
    ..BASE
};
