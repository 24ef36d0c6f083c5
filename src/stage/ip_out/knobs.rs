//! What can be turned on the choice of a route, and on what is remembered of its MTU.

use crate::model::{Knob, Risk};
use crate::stage::tcp_in::NETNS;

pub static ALL: &[&Knob] = &[&NO_PMTU_DISC, &MIN_PMTU, &MTU_EXPIRES, &MULTIPATH_HASH, &ROUTES6];

static NO_PMTU_DISC: Knob = Knob {
    id: "net.ipv4.ip_no_pmtu_disc",
    unit: "mode",
    range: 0..=3,
    default: "0",
    help: "Whether packets may be cut on their way instead of finding out how large they may be: 0 they find out, 1 a path's \
           MTU falls to min_pmtu at the first message, 2 nothing is believed, 3 only what is about a known connection.",
    formula: "leave it: 0",
    risk: Risk::Medium,
    harm: "1 and 2 let packets be cut into fragments, of which one that is lost costs all",
    takes_effect: "for new routes",
    ..NETNS
};

static MIN_PMTU: Knob = Knob {
    id: "net.ipv4.route.min_pmtu",
    unit: "bytes",
    range: 68..=2_147_483_647,
    default: "552; for each namespace since 5.18",
    help: "The smallest MTU of a path that an ICMP message is believed about; a smaller one counts as this.",
    formula: "leave it; 1000 or more where nobody has so small a link and forged messages are feared",
    risk: Risk::Medium,
    harm: "above what a link of the path carries, packets vanish there",
    takes_effect: "with the next such message",
    ..NETNS
};

static MTU_EXPIRES: Knob = Knob {
    id: "net.ipv4.route.mtu_expires",
    unit: "s",
    range: 1..=2_147_483,
    default: "600; for each namespace since 5.18",
    help: "How long the MTU of a path is remembered that an ICMP message told of. Then packets are tried at full size again.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "shorter: a lost packet each time; longer: small packets long after the path has become better",
    takes_effect: "with the next such message",
    ..NETNS
};

static MULTIPATH_HASH: Knob = Knob {
    id: "net.ipv4.fib_multipath_hash_policy",
    unit: "mode",
    range: 0..=3,
    default: "0: by addresses",
    help: "What chooses among several routes to the same destination: 0 the addresses, 1 also the ports, 2 those inside of a \
           tunnel, 3 (since 5.13) the fields of fib_multipath_hash_fields.",
    formula: "1 where uplinks of equal cost are used unevenly, 2 in front of tunnels",
    risk: Risk::Medium,
    harm: "flows change their path at that moment; fragments of one packet may take different ones",
    takes_effect: "at once",
    ..NETNS
};

static ROUTES6: Knob = Knob {
    id: "net.ipv6.route.max_size",
    unit: "routes",
    range: 1..=2_147_483_647,
    default: "no limit since 6.3, 4096 before",
    help: "How many IPv6 routes with something remembered (an MTU, a redirect) there may be. Beyond it, before 6.3, sends \
           failed with ENETUNREACH, and the log said 'Route cache is full'.",
    formula: "before 6.3 twice the hosts that are spoken to at a time; since then leave it",
    risk: Risk::Low,
    harm: "memory for each",
    takes_effect: "at once",
    ..NETNS
};
