//! What can be turned at the neighbour tables.

use crate::model::{Knob, Memory, Place, Risk, Scope};

const MOST: u64 = 2_147_483_647;

const fn threshold(id: &'static str, default: &'static str, help: &'static str, formula: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        // Shown and set in the initial network namespace only.
        scope: Scope::Machine,
        unit: "entries",
        range: 0..=MOST,
        default,
        help,
        formula,
        risk: Risk::Low,
        harm: "about a kilobyte of kernel memory an entry",
        takes_effect: "at once",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d",
    }
}

const THRESH1: &str = "Entries below which none is thrown out for its age.";
const THRESH2: &str = "Entries above which those older than 5 s are thrown out to make room for another.";
const THRESH3: &str = "Most entries that the table may hold, of all network namespaces together; those that somebody made \
                       (permanent) do not count.";
const STEADY: &str = "the entries that there are at any time";
const HALF: &str = "half of gc_thresh3";
const DOUBLE: &str = "a power of two above twice the hosts and containers that this machine talks to on its own links";

pub static V4_THRESH1: Knob = threshold("net.ipv4.neigh.default.gc_thresh1", "128", THRESH1, STEADY);
pub static V4_THRESH2: Knob = threshold("net.ipv4.neigh.default.gc_thresh2", "512", THRESH2, HALF);
pub static V4_THRESH3: Knob = threshold("net.ipv4.neigh.default.gc_thresh3", "1024", THRESH3, DOUBLE);
pub static V6_THRESH1: Knob = threshold("net.ipv6.neigh.default.gc_thresh1", "128", THRESH1, STEADY);
pub static V6_THRESH2: Knob = threshold("net.ipv6.neigh.default.gc_thresh2", "512", THRESH2, HALF);
pub static V6_THRESH3: Knob = threshold("net.ipv6.neigh.default.gc_thresh3", "1024", THRESH3, DOUBLE);

const fn waiting(id: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        scope: Scope::Netns,
        unit: "bytes",
        range: 0..=MOST,
        default: "212992",
        help: "Bytes, as they are charged, that wait for the link address of one next hop.",
        formula: "what is sent to a new next hop in the second until it answers",
        risk: Risk::Low,
        harm: "that much memory for each next hop that does not answer",
        takes_effect: "at once",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d",
    }
}

pub static V4_WAITING: Knob = waiting("net.ipv4.neigh.DEV.unres_qlen_bytes");
pub static V6_WAITING: Knob = waiting("net.ipv6.neigh.DEV.unres_qlen_bytes");

const fn reachable(id: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        scope: Scope::Netns,
        unit: "ms",
        // Kept in ticks: a day is a whole number of them on every kernel.
        range: 1..=86_400_000,
        default: "30000",
        help: "How long a link address is trusted without a sign of life, between half and one and a half of this.",
        formula: "leave it; 4 to 8 times as much on a large network that hardly changes, where ARP is a load",
        risk: Risk::Medium,
        harm: "a next hop that moved is noticed later",
        takes_effect: "within five minutes",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d",
    }
}

static V4_REACHABLE: Knob = reachable("net.ipv4.neigh.DEV.base_reachable_time_ms");
static V6_REACHABLE: Knob = reachable("net.ipv6.neigh.DEV.base_reachable_time_ms");

const fn time(id: &'static str, unit: &'static str, most: u64, default: &'static str, help: &'static str) -> Knob {
    Knob {
        id,
        place: Place::Sysctl,
        scope: Scope::Netns,
        unit,
        range: 1..=most,
        default,
        help,
        formula: "leave it",
        risk: Risk::Medium,
        harm: "longer: a next hop that died or moved is noticed later; shorter: more requests",
        takes_effect: "with the next entry",
        waits: false,
        memory: Memory::Kernel,
        keep: "sysctl.d",
    }
}

/// Of times that are kept in ticks, a day is a whole number of them on every kernel.
const DAY: u64 = 86_400;
const STALE: &str = "How long an entry that is not used is kept, as long as there is room.";
const RETRANS: &str = "How long an answer is waited for until the next request.";
const FIRST: &str =
    "How long after an entry has become stale the next hop is asked, if nothing else shows that it is there.";

static V4_STALE: Knob = time("net.ipv4.neigh.DEV.gc_stale_time", "s", DAY, "60", STALE);
static V6_STALE: Knob = time("net.ipv6.neigh.DEV.gc_stale_time", "s", DAY, "60", STALE);
static V4_RETRANS: Knob = time("net.ipv4.neigh.DEV.retrans_time_ms", "ms", DAY * 1000, "1000", RETRANS);
static V6_RETRANS: Knob = time("net.ipv6.neigh.DEV.retrans_time_ms", "ms", DAY * 1000, "1000", RETRANS);
static V4_FIRST: Knob = time("net.ipv4.neigh.DEV.delay_first_probe_time", "s", DAY, "5", FIRST);
static V6_FIRST: Knob = time("net.ipv6.neigh.DEV.delay_first_probe_time", "s", DAY, "5", FIRST);

const UCAST: &str = "How many requests go to the address that was known, before all on the link are asked.";
const MCAST: &str = "How many requests go to all on the link until a next hop counts as dead.";
const APP: &str = "How many requests go to a program (a user-space daemon) before any are sent.";

static V4_UCAST: Knob = time("net.ipv4.neigh.DEV.ucast_solicit", "requests", MOST, "3", UCAST);
static V6_UCAST: Knob = time("net.ipv6.neigh.DEV.ucast_solicit", "requests", MOST, "3", UCAST);
static V4_MCAST: Knob = time("net.ipv4.neigh.DEV.mcast_solicit", "requests", MOST, "3", MCAST);
static V6_MCAST: Knob = time("net.ipv6.neigh.DEV.mcast_solicit", "requests", MOST, "3", MCAST);
static V4_APP: Knob = time("net.ipv4.neigh.DEV.app_solicit", "requests", MOST, "0", APP);
static V6_APP: Knob = time("net.ipv6.neigh.DEV.app_solicit", "requests", MOST, "0", APP);

/// All of them.
pub static ALL: &[&Knob] = &[
    &V4_THRESH1,
    &V4_THRESH2,
    &V4_THRESH3,
    &V6_THRESH1,
    &V6_THRESH2,
    &V6_THRESH3,
    &V4_WAITING,
    &V6_WAITING,
    &V4_REACHABLE,
    &V6_REACHABLE,
    &V4_STALE,
    &V6_STALE,
    &V4_RETRANS,
    &V6_RETRANS,
    &V4_FIRST,
    &V6_FIRST,
    &V4_UCAST,
    &V6_UCAST,
    &V4_MCAST,
    &V6_MCAST,
    &V4_APP,
    &V6_APP,
];
