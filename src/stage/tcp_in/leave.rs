//! What TCP has found out for itself by now, and what is best left as it is: how it notices losses, and how it gathers small
//! writes.

use super::NETNS;
use crate::model::{Knob, Risk};

const BASE: Knob = Knob { unit: "switch", range: 0..=1, formula: "leave it", risk: Risk::Low, ..NETNS };

pub static EARLY_RETRANS: Knob = Knob {
    id: "net.ipv4.tcp_early_retrans",
    unit: "mode",
    range: 0..=4,
    default: "3",
    help: "Whether the end of what was sent is sent once more when nothing comes back (tail loss probe: 3 or 4), so that a \
           loss there is noticed before the timeout.",
    harm: "0: losses at the end of an answer cost a whole timeout",
    ..BASE
};

pub static RECOVERY: Knob = Knob {
    id: "net.ipv4.tcp_recovery",
    unit: "bitmap",
    range: 0..=7,
    default: "1",
    help: "How losses are noticed: bit 0 by time (RACK), bit 1 with a fixed reordering window, bit 2 without counting \
           duplicates.",
    harm: "0: lost retransmissions are noticed only by the timeout",
    ..BASE
};

pub static FRTO: Knob = Knob {
    id: "net.ipv4.tcp_frto",
    unit: "mode",
    range: 0..=2,
    default: "2",
    help: "Whether a sender looks after a timeout whether it was too hasty before it sends all again (F-RTO, RFC 5682).",
    harm: "0: on paths whose delay jumps, much is sent twice",
    ..BASE
};

pub static REORDERING: Knob = Knob {
    id: "net.ipv4.tcp_reordering",
    unit: "segments",
    range: 1..=127,
    default: "3",
    help: "How far segments may be out of order on a new connection before one counts as lost; each connection then finds \
           its own.",
    formula: "leave it: up to net.ipv4.tcp_max_reordering connections find it out by themselves",
    harm: "a larger one notices losses later",
    ..BASE
};

pub static MAX_REORDERING: Knob = Knob {
    id: "net.ipv4.tcp_max_reordering",
    unit: "segments",
    range: 1..=100_000,
    default: "300",
    help: "How far out of order a connection may take its segments to be. Packets of one flow over several paths (balancing \
           by packet) exceed it.",
    formula: "300; 1000 where the path can't be mended. Better: balance by flow",
    harm: "losses are noticed later",
    ..BASE
};

pub static AUTOCORKING: Knob = Knob {
    id: "net.ipv4.tcp_autocorking",
    default: "1",
    help: "Whether small writes wait for each other while a packet of the connection is still in the qdisc or the device.",
    harm: "0: more and smaller packets",
    ..BASE
};

pub static THIN_LINEAR: Knob = Knob {
    id: "net.ipv4.tcp_thin_linear_timeouts",
    default: "0",
    help: "Whether connections with fewer than four segments under way do not double their timeout for the first six times.",
    harm: "1: a path that is overloaded is asked more often",
    ..BASE
};

pub static PLB: Knob = Knob {
    id: "net.ipv4.tcp_plb_enabled",
    default: "0; since 6.2",
    help: "Whether a connection takes another path (by another flow label, and only with a congestion control that tells, as \
           dctcp) when it meets congestion round after round.",
    formula: "leave it, outside of a datacenter that hashes by IPv6's flow label",
    harm: "segments change order when the path changes",
    ..BASE
};

pub static TXREHASH: Knob = Knob {
    id: "net.core.txrehash",
    default: "1; since 5.17",
    help: "Whether a connection takes another hash after a timeout, so that routers send it another way.",
    harm: "0: connections stay on a broken path",
    ..BASE
};

pub static BLACKHOLE: Knob = Knob {
    id: "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
    unit: "s",
    range: 0..=2_147_483_647,
    default: "0 since 5.14, that is off; 3600 before",
    help: "How long Fast Open is not used any more on connects after a firewall on the way swallowed it.",
    harm: "connects with Fast Open fall back to the ordinary handshake for so long",
    ..BASE
};
