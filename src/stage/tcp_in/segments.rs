//! What may be turned on how segments and windows are judged. Most of it is best left alone; some of it does nothing any
//! more.

use super::NETNS;
use crate::model::{Knob, Place, Risk, Scope};

pub static WINDOW_SCALING: Knob = Knob {
    id: "net.ipv4.tcp_window_scaling",
    unit: "switch",
    range: 0..=1,
    default: "1",
    help: "Windows of more than 64 KiB (RFC 7323). Off, no connection gets more than 64 KiB on its way, however \
           long the path.",
    formula: "1",
    risk: Risk::Low,
    harm: "some broken middleboxes of long ago",
    takes_effect: "for new connections",
    waits: true,
    ..NETNS
};

pub static TIMESTAMPS: Knob = Knob {
    id: "net.ipv4.tcp_timestamps",
    unit: "switch",
    range: 0..=2,
    default: "1",
    help: "Timestamps in every segment: exact round trips, protection against old duplicates, and what cookies \
           need to keep SACK and window scaling. 2: without a random start.",
    formula: "1",
    risk: Risk::Low,
    harm: "12 bytes a segment",
    takes_effect: "for new connections",
    waits: true,
    ..NETNS
};

pub static SACK: Knob = Knob {
    id: "net.ipv4.tcp_sack",
    unit: "switch",
    range: 0..=1,
    default: "1",
    help: "Selective acknowledgements: the receiver says which segments it has, so that only what is missing is \
           sent again.",
    formula: "1",
    risk: Risk::Low,
    harm: "CPU time with many losses",
    takes_effect: "for new connections",
    waits: true,
    ..NETNS
};

pub static DSACK: Knob = Knob {
    id: "net.ipv4.tcp_dsack",
    unit: "switch",
    range: 0..=1,
    default: "1",
    help: "The receiver says which segments came twice, so that a sender learns when it was too hasty.",
    formula: "1",
    risk: Risk::Low,
    harm: "none that is known",
    takes_effect: "at once",
    ..NETNS
};

pub static ADV_WIN_SCALE: Knob = Knob {
    id: "net.ipv4.tcp_adv_win_scale",
    unit: "share",
    range: 0..=31,
    default: "1",
    help: "How much of a receive buffer is kept back for what memory costs besides the payload: 1 is half. Since \
           6.6 nothing asks for it: the kernel measures the share of each connection.",
    formula: "leave it; without effect since 6.6",
    risk: Risk::Medium,
    harm: "before 6.6: windows that promise more than the buffer holds, and pruning",
    takes_effect: "at once",
    ..NETNS
};

pub static APP_WIN: Knob = Knob {
    id: "net.ipv4.tcp_app_win",
    unit: "share",
    range: 0..=31,
    default: "31",
    help: "How much of the window was kept back for the application. Without effect since 6.6.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "none",
    takes_effect: "at once",
    ..NETNS
};

pub static SHRINK_WINDOW: Knob = Knob {
    id: "net.ipv4.tcp_shrink_window",
    unit: "switch",
    range: 0..=1,
    default: "0",
    help: "Whether a window that was offered may be taken back, in part, when memory gets short. Off, memory may \
           run over with many slow readers. Since 6.5, and in some older stable kernels.",
    formula: "1 only with many slow readers and memory that runs over",
    risk: Risk::Medium,
    harm: "some senders are confused by a window that shrinks",
    takes_effect: "at once",
    ..NETNS
};

pub static WINDOW_CLAMP: Knob = Knob {
    id: "TCP_WINDOW_CLAMP",
    place: Place::APPLICATION,
    scope: Scope::Application,
    keep: "the application's configuration",
    unit: "bytes",
    range: 0..=1_073_741_823,
    default: "no limit",
    help: "The largest window that the application lets its connection offer. An application that sets it limits \
           its own throughput to that many bytes for each round trip.",
    formula: "not set at all",
    risk: Risk::Low,
    harm: "memory of this connection",
    takes_effect: "when the application sets it",
    waits: true,
    ..NETNS
};

pub static INVALID_RATELIMIT: Knob = Knob {
    id: "net.ipv4.tcp_invalid_ratelimit",
    unit: "ms",
    range: 0..=1_000_000_000,
    default: "500",
    help: "How long no second answer is sent to a duplicate or odd segment of a connection: two ends that answer \
           each other would never stop.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "loops of acknowledgements",
    takes_effect: "at once",
    ..NETNS
};

pub static CHALLENGE_ACK_LIMIT: Knob = Knob {
    id: "net.ipv4.tcp_challenge_ack_limit",
    unit: "segments/s",
    range: 0..=2_147_483_647,
    default: "no limit since 6.1, 1000 before",
    help: "How many challenge acknowledgements the namespace sends in a second. A limit that all connections share \
           lets an attacker find out about others.",
    formula: "leave it",
    risk: Risk::Medium,
    harm: "what is told through a shared limit",
    takes_effect: "at once",
    ..NETNS
};

pub static COMP_SACK_DELAY: Knob = Knob {
    id: "net.ipv4.tcp_comp_sack_delay_ns",
    unit: "ns",
    range: 0..=4_294_967_295,
    default: "1000000, since 4.19",
    help: "How long acknowledgements of segments out of order are held back to be sent as one.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "more acknowledgements, and CPU time for them",
    takes_effect: "at once",
    ..NETNS
};

pub static COMP_SACK_NR: Knob = Knob {
    id: "net.ipv4.tcp_comp_sack_nr",
    unit: "acknowledgements",
    range: 0..=255,
    default: "44, since 4.19",
    help: "How many acknowledgements may be held back to be sent as one; 0: none.",
    formula: "leave it; 0 if a sender on a shared medium starves for them",
    risk: Risk::Low,
    harm: "more acknowledgements, and CPU time for them",
    takes_effect: "at once",
    ..NETNS
};

pub static COMP_SACK_SLACK: Knob = Knob {
    id: "net.ipv4.tcp_comp_sack_slack_ns",
    unit: "ns",
    range: 0..=4_294_967_295,
    default: "100000, since 5.7",
    help: "By how much the timer of held back acknowledgements may be late.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "none",
    takes_effect: "at once",
    ..NETNS
};

pub static BACKLOG_ACK_DEFER: Knob = Knob {
    id: "net.ipv4.tcp_backlog_ack_defer",
    unit: "switch",
    range: 0..=1,
    default: "1, since 6.7",
    help: "Whether one acknowledgement is sent for all that waited in a socket's backlog, and not one for each \
           segment.",
    formula: "1",
    risk: Risk::Low,
    harm: "more acknowledgements, and CPU time for them",
    takes_effect: "at once",
    ..NETNS
};

pub static EARLY_DEMUX: Knob = Knob {
    id: "net.ipv4.ip_early_demux",
    unit: "switch",
    range: 0..=1,
    default: "1",
    help: "Whether a received packet is matched with a connection before it is routed, which then saves the \
           routing. On a router it is wasted.",
    formula: "0 on a host that only forwards",
    risk: Risk::Low,
    harm: "a few % of CPU time, on the wrong kind of host",
    takes_effect: "at once",
    ..NETNS
};

pub static TCP_EARLY_DEMUX: Knob = Knob {
    id: "net.ipv4.tcp_early_demux",
    unit: "switch",
    range: 0..=1,
    default: "1",
    help: "The same for TCP alone.",
    formula: "0 on a host that only forwards TCP",
    risk: Risk::Low,
    harm: "a few % of CPU time",
    takes_effect: "at once",
    ..NETNS
};
