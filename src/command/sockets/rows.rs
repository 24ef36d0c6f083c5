//! What was seen of sockets, as the report has it.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::model::{Endpoint, SourceStatus, State, Transport, Victim};
use crate::report::sockets::{
    AcceptQueue, Binds, Buffer, Destination, Group, Percentiles, SocketRow, StateCount, TcpRow,
};
use crate::sockets::census::{Census, Quality, plain_end};
use crate::sockets::limits::Limits;
use crate::sockets::spread::Spread;
use crate::sockets::trouble::{Trouble, age, inflation, limited, retransmitted};
use crate::sockets::{Seen, Survey};
use crate::source::{Host, owner};

/// Networks and destinations in a report, at most.
const LISTED: usize = 50;

/// The ranked sockets and the listeners, with their owners (`thorough`: also of listeners whose queue is empty); and how the
/// look-up of these went.
pub fn rows(
    host: &Host,
    survey: &Survey,
    limits: &Limits,
    thorough: bool,
) -> ([Vec<SocketRow>; 2], Option<SourceStatus>) {
    // Looking through the open files of all processes takes longer than all else, where they have many: not for listeners
    // of which there is nothing to tell, unless they are asked for.
    let busy = |seen: &&Seen| thorough || seen.grown.drops > 0 || seen.socket.receive_queue > 0;
    let all = || survey.top.iter().chain(survey.listeners.iter().filter(busy));
    // A socket that stands in both lists is looked up once.
    let mut victims: BTreeMap<u32, Victim> = all()
        .filter(|seen| seen.socket.inode != 0)
        .map(|seen| (seen.socket.inode, Victim { inode: seen.socket.inode, ..Victim::default() }))
        .collect();
    let start = Instant::now();
    let found = owner::find(host, &mut victims.values_mut().collect::<Vec<_>>());
    let microseconds = start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    let status = (!victims.is_empty()).then(|| SourceStatus {
        name: "owners of sockets".into(),
        ok: found.is_ok(),
        reason: found.err(),
        microseconds,
    });
    let rows = [&survey.top, &survey.listeners];
    (rows.map(|list| list.iter().map(|seen| row(seen, victims.get(&seen.socket.inode), limits)).collect()), status)
}

fn row(seen: &Seen, owner: Option<&Victim>, limits: &Limits) -> SocketRow {
    let Seen { socket, grown } = seen;
    let listener = socket.accept_queue().is_some();
    let owner = owner.cloned().unwrap_or_default();
    let buffer = |used, size, set_by| Buffer { used, size, set_by };
    let memory = socket.memory.filter(|_| !listener);
    SocketRow {
        transport: Some(socket.transport),
        state: Some(socket.state),
        local: plain_end(socket.local).to_string(),
        remote: (socket.remote.port() != 0).then(|| plain_end(socket.remote).to_string()),
        cookie: socket.cookie,
        troubles: Trouble::ALL.into_iter().filter(|trouble| trouble.of(socket, grown).is_some()).collect(),
        pid: owner.pid,
        comm: owner.comm,
        cgroup: owner.cgroup,
        unit: owner.unit,
        container: owner.container,
        uid: socket.uid,
        drops: grown.drops,
        drops_total: socket.drops(),
        at_most: grown.at_most,
        unread: (!listener).then_some(socket.receive_queue),
        unread_milliseconds: age(socket),
        unacknowledged: (!listener).then_some(socket.send_queue),
        accept_queue: socket.accept_queue().map(|[length, limit]| AcceptQueue {
            length,
            limit,
            bound_by: limits.somaxconn.map(|most| match u64::from(limit).cmp(&most) {
                std::cmp::Ordering::Less => Binds::Application,
                std::cmp::Ordering::Equal => Binds::Somaxconn,
                std::cmp::Ordering::Greater => Binds::Earlier,
            }),
        }),
        receive_buffer: memory
            .map(|memory| buffer(memory.received, memory.receive_buffer, limits.receive_buffer(socket))),
        send_buffer: memory.map(|memory| buffer(memory.queued, memory.send_buffer, limits.send_buffer(socket))),
        backlog: memory.map(|memory| memory.backlog),
        tcp: socket.tcp.filter(|_| !listener).map(|_| tcp(seen)),
    }
}

fn tcp(Seen { socket, grown }: &Seen) -> TcpRow {
    let info = socket.tcp.unwrap_or_default();
    let share = |thousandths: Option<u64>| thousandths.map(|share| share as f64 / 1e3);
    TcpRow {
        congestion: socket.congestion().map(str::to_owned),
        rtt_microseconds: info.rtt,
        min_rtt_microseconds: info.least_rtt,
        inflation: inflation(socket).map(|times| times as f64 / 100.0),
        sent: grown.sent,
        retransmitted: grown.retransmitted,
        retransmitted_total: info.retransmitted,
        retransmitted_share: retransmitted(grown).map(|share| share as f64 / 1e6),
        unanswered: socket.unanswered,
        acknowledged_bytes: grown.acked,
        received_bytes: grown.received,
        window_limited: share(limited(grown, 1)),
        send_buffer_limited: share(limited(grown, 2)),
        busy_milliseconds: info.limited.map(|_| grown.limited[0]),
        congestion_window: info.window,
        segment_bytes: info.segment,
        delivery_rate: info.rate,
        application_limited: info.application_limited,
        peer_window: info.peer_window,
        own_window: info.own_window,
    }
}

/// What all sockets add up to, as the report has it.
pub struct Totals {
    pub states: Vec<StateCount>,
    pub drops: u64,
    pub drops_at_most: u64,
    pub congestion: Vec<Group>,
    pub networks: Vec<Group>,
    pub networks_others: u64,
    pub destinations: Vec<Destination>,
}

/// The census in rows.
pub fn totals(census: Census, limits: &Limits) -> Totals {
    let Census { states, drops, drops_at_most, mut controls, networks, ports } = census;
    let states = Transport::ALL.into_iter().zip(states).flat_map(|(transport, counts)| {
        let counts = State::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        counts.map(move |(state, count)| StateCount { transport, state, count })
    });
    controls.sort_by_key(|(name, quality)| (std::cmp::Reverse(quality.connections), *name));
    let named = |name: &[u8; 16]| Endpoint::control(name).unwrap_or("unknown").to_owned();
    let given_up = networks.others;
    let mut networks = networks.heaviest(usize::MAX);
    let rest = networks.split_off(LISTED.min(networks.len()));
    let there = limits.ports();
    let destination = |((source, destination, port), used): ((_, _, u16), u64)| {
        let share = there.filter(|ports| *ports > 0).map_or(0.0, |ports| used as f64 / ports as f64);
        Destination { source, destination, port, used, share }
    };
    Totals {
        states: states.collect(),
        drops,
        drops_at_most,
        congestion: controls.iter().map(|(name, quality)| group(named(name), quality)).collect(),
        networks: networks
            .iter()
            .map(|((address, bits), quality)| group(format!("{address}/{bits}"), quality))
            .collect(),
        networks_others: given_up + rest.iter().map(|(_, quality)| quality.connections).sum::<u64>(),
        destinations: ports.heaviest(LISTED).into_iter().map(destination).collect(),
    }
}

fn group(name: String, quality: &Quality) -> Group {
    Group {
        name,
        connections: quality.connections,
        sent: quality.segments[0],
        retransmitted: quality.segments[1],
        rtt_microseconds: percentiles(&quality.rtt),
        min_rtt_microseconds: percentiles(&quality.least_rtt),
        inflation_percent: percentiles(&quality.inflation),
        retransmitted_ppm: percentiles(&quality.retransmitted),
        delivery_rate: percentiles(&quality.rate),
        bandwidth_delay_bytes: percentiles(&quality.on_the_way),
        beyond_send_limit: quality.beyond_limit,
    }
}

fn percentiles(spread: &Spread) -> Option<Percentiles> {
    let of = |percent| spread.percentile(percent);
    Some(Percentiles { p50: of(50)?, p90: of(90)?, p99: of(99)? })
}
