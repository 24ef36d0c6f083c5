//! The path of a packet, a file per stage, in the order in which a packet meets them. Each file says, in this order, what
//! is counted there, what can be wrong there, and what can be turned there.

pub mod arp;
pub mod backlog;
pub mod completion;
pub mod conntrack;
pub mod driver_rx;
pub mod driver_tx;
pub mod egress;
mod elsewhere;
pub mod forward;
pub mod gro;
pub mod ingress;
pub mod interrupt;
pub mod ip_in;
pub mod ip_out;
pub mod link;
pub mod neighbour;
pub mod netfilter;
pub mod placement;
pub mod qdisc;
pub mod read;
pub mod ring;
pub mod send;
pub mod settings;
pub mod socket_memory;
pub mod softirq;
pub mod tcp_in;
pub mod tcp_listen;
pub mod tcp_out;
pub mod udp_in;
pub mod udp_out;
pub mod validate;
pub mod virtual_devices;
pub mod watchdog;

use crate::model::{Counter, Group, Knob, Reason, Rule, Stage};

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

/// The send path.
pub static SEND: &[&Stage] = &[
    &send::STAGE,
    &tcp_out::STAGE,
    &udp_out::STAGE,
    &ip_out::STAGE,
    &neighbour::STAGE,
    &egress::STAGE,
    &qdisc::STAGE,
    &validate::STAGE,
    &driver_tx::STAGE,
    &completion::STAGE,
    &watchdog::STAGE,
    &virtual_devices::STAGE,
    &settings::STAGE,
];

/// A way of packets through this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the wire to an application.
    Receive,
    /// From an application to the wire.
    Send,
    /// Both, one after the other.
    Both,
}

impl Way {
    /// Its stages, in the order in which a packet meets them.
    pub fn stages(self) -> Vec<&'static Stage> {
        match self {
            Way::Receive => RECEIVE.to_vec(),
            Way::Send => SEND.to_vec(),
            Way::Both => stages().collect(),
        }
    }

    /// The rules of its stages. Who looks at both ways wants to know which CPU does whose work, too.
    pub fn rules(self) -> Vec<Rules> {
        let placed = if self == Way::Both { placement::RULES } else { &[] };
        let own = self.stages().into_iter().map(|stage| (stage, stage.rules));
        own.chain(placed.iter().copied()).collect()
    }
}

/// Rules, each list with the stage that it belongs to.
pub type Rules = (&'static Stage, &'static [&'static Rule]);

/// What the single TCP connections explain: they are worth the reading where one of these counters moved, or one of these
/// gauges is so high.
pub static CONNECTIONS_TELL: &[(&Counter, u64)] = &[
    (&tcp_listen::REQ_Q_FULL_DO_COOKIES, 1),
    (&tcp_listen::REQ_Q_FULL_DROP, 1),
    (&tcp_in::BACKLOG_DROP, 1),
    (&tcp_in::PRUNE_CALLED, 1),
    (&tcp_in::RCV_PRUNED, 1),
    (&tcp_in::OFO_PRUNED, 1),
    (&tcp_in::RCV_Q_DROP, 1),
    (&tcp_in::OFO_DROP, 1),
    (&tcp_in::ZERO_WINDOW_DROP, 1),
    (&tcp_in::BEYOND_WINDOW, 1),
    (&tcp_in::TO_ZERO_WINDOW_ADV, 1),
    (&socket_memory::TCP_MEMORY_PRESSURES, 1),
    (&socket_memory::TCP_ABORT_ON_MEMORY, 1),
    // A quarter of a gigabyte.
    (&socket_memory::TCP_MEM, 65_536),
];

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
    let all = Way::Both.rules().into_iter();
    all.flat_map(|(stage, rules)| rules.iter().map(move |rule| (stage, *rule)))
}

/// The rules of one stage, those about placement too.
pub fn rules_of(stage: &Stage) -> Vec<&'static Rule> {
    rules().filter(|(of, _)| of.id == stage.id).map(|(_, rule)| rule).collect()
}

/// Every knob, with its stage.
pub fn knobs() -> impl Iterator<Item = (&'static Stage, &'static Knob)> {
    stages().flat_map(|stage| stage.knobs.iter().map(move |knob| (stage, *knob)))
}

/// The counters of one kernel table, wherever on the path they are declared.
pub fn counters_of(group: &'static Group) -> Vec<&'static Counter> {
    counters().map(|(_, counter)| counter).filter(|counter| counter.group == group).collect()
}

/// Every drop reason, with the id of its stage, in the order of the path. One that several protocols have stands at the
/// stage of each.
pub fn reasons() -> impl Iterator<Item = (&'static str, &'static Reason)> {
    let here = RECEIVE.iter().map(|stage| (stage.id, stage.reasons));
    let all = here.chain(elsewhere::ELSEWHERE.iter().copied());
    all.flat_map(|(stage, reasons)| reasons.iter().map(move |reason| (stage, reason)))
}

/// The reason of this name, as it is for a packet of `protocol` (`udp`, `tcp`).
pub fn reason(name: &str, protocol: Option<&str>) -> Option<(&'static str, &'static Reason)> {
    let mut named = reasons().filter(|(_, reason)| reason.name == name).peekable();
    let first = named.peek().copied();
    named.find(|(stage, _)| protocol.is_some_and(|protocol| stage.starts_with(protocol))).or(first)
}

/// The reason for which `function` drops packets where the kernel gives none: that with the longest fitting beginning.
/// `others_named` on kernels that give reasons elsewhere: then a reason of theirs is not meant.
pub fn reason_in(function: &str, others_named: bool) -> Option<(&'static str, &'static Reason)> {
    let fits = |reason: &Reason| {
        let starts = if others_named { reason.unnamed_in } else { reason.functions };
        starts.iter().filter(|start| function.starts_with(**start)).map(|start| start.len()).max()
    };
    let fitting = reasons().filter_map(|(stage, reason)| Some((fits(reason)?, stage, reason)));
    fitting.max_by_key(|(length, _, _)| *length).map(|(_, stage, reason)| (stage, reason))
}
