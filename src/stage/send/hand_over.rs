//! How much an application may hand over before it is sent.

use crate::model::{Knob, Memory, Place, Risk, Scope};
use crate::stage::tcp_in::NETNS;

pub static NOTSENT_LOWAT: Knob = Knob {
    id: "net.ipv4.tcp_notsent_lowat",
    unit: "bytes",
    range: 1..=4_294_967_295,
    default: "4294967295: no limit",
    help: "How much may wait in a connection's send buffer that was never sent: above it the socket takes no more and is not \
           writable. What is on its way does not count, so it does not slow the sender down as a small send buffer does. \
           TCP_NOTSENT_LOWAT sets it for one connection.",
    formula: "131072 where memory or answers that are out of date by the time they are sent are the trouble; 16384 for HTTP/2",
    risk: Risk::Low,
    harm: "more and smaller writes by the application",
    takes_effect: "at once, for each connection that did not set its own",
    memory: Memory::Tcp,
    ..NETNS
};

pub static TCP_NOTSENT_LOWAT: Knob = Knob {
    id: "TCP_NOTSENT_LOWAT",
    place: Place::APPLICATION,
    scope: Scope::Application,
    default: "0: net.ipv4.tcp_notsent_lowat",
    help: "The same for one connection.",
    takes_effect: "when the application sets it",
    waits: true,
    keep: "the application's configuration",
    ..NOTSENT_LOWAT_BASE
};

/// What both have in common.
const NOTSENT_LOWAT_BASE: Knob = Knob {
    unit: "bytes",
    range: 1..=4_294_967_295,
    formula: "16384 to 131072",
    risk: Risk::Low,
    harm: "more and smaller writes by the application",
    memory: Memory::Tcp,
    ..NETNS
};
