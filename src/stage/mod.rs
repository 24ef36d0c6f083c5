//! The path of a packet, a file per stage, in the order in which a packet meets them. Each file says, in this order, what
//! is counted there, what can be wrong there, and what can be turned there.

pub mod arp;
pub mod backlog;
pub mod conntrack;
pub mod driver_rx;
pub mod driver_tx;
pub mod egress;
pub mod forward;
pub mod gro;
pub mod ingress;
pub mod interrupt;
pub mod ip_in;
pub mod link;
pub mod netfilter;
pub mod qdisc;
pub mod read;
pub mod ring;
pub mod socket_memory;
pub mod softirq;
pub mod tcp_in;
pub mod tcp_listen;
pub mod udp_in;

use crate::model::{Counter, Group, Knob, Rule, Stage};

/// The receive path.
pub static RECEIVE: &[&Stage] = &[
    &link::STAGE,
    &ring::STAGE,
    &interrupt::STAGE,
    &softirq::STAGE,
    &driver_rx::STAGE,
    &gro::STAGE,
    &backlog::STAGE,
    &ingress::STAGE,
    &arp::STAGE,
    &ip_in::STAGE,
    &netfilter::STAGE,
    &conntrack::STAGE,
    &forward::STAGE,
    &udp_in::STAGE,
    &tcp_listen::STAGE,
    &tcp_in::STAGE,
    &socket_memory::STAGE,
    &read::STAGE,
];

/// The send path, as far as something can be turned on it.
pub static SEND: &[&Stage] = &[&egress::STAGE, &qdisc::STAGE, &driver_tx::STAGE];

/// Every stage, in the order of the paths.
pub fn stages() -> impl Iterator<Item = &'static Stage> {
    RECEIVE.iter().chain(SEND).copied()
}

/// Every counter, with its stage.
pub fn counters() -> impl Iterator<Item = (&'static Stage, &'static Counter)> {
    stages().flat_map(|stage| stage.counters.iter().map(move |counter| (stage, *counter)))
}

/// Every rule, with its stage.
pub fn rules() -> impl Iterator<Item = (&'static Stage, &'static Rule)> {
    stages().flat_map(|stage| stage.rules.iter().map(move |rule| (stage, *rule)))
}

/// Every knob, with its stage.
pub fn knobs() -> impl Iterator<Item = (&'static Stage, &'static Knob)> {
    stages().flat_map(|stage| stage.knobs.iter().map(move |knob| (stage, *knob)))
}

/// The counters of one kernel table, wherever on the path they are declared.
pub fn counters_of(group: &'static Group) -> Vec<&'static Counter> {
    counters().map(|(_, counter)| counter).filter(|counter| counter.group == group).collect()
}
