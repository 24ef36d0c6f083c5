//! What all sockets add up to: how many in which state, how connections fare by congestion control and by remote network,
//! and how many ports are in use towards one destination.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::before::Grown;
use super::heavy::{Heavy, Weight};
use super::limits::Limits;
use super::spread::Spread;
use super::trouble::{inflation, retransmitted};
use crate::model::{Endpoint, State, Transport};

/// Congestion controls told apart; a kernel has about fifteen.
const CONTROLS: usize = 16;
/// Remote networks told apart, twice as many in between.
const NETWORKS: usize = 256;
/// Destinations whose ports are counted, twice as many in between.
const DESTINATIONS: usize = 2048;

/// How some connections fare.
#[derive(Clone, Debug, Default)]
pub struct Quality {
    /// How many connections.
    pub connections: u64,
    /// Round-trip time in microseconds.
    pub rtt: Spread,
    /// The least of the last minutes.
    pub least_rtt: Spread,
    /// The first as a multiple of the second, in hundredths.
    pub inflation: Spread,
    /// The share of segments that were sent again, in millionths, of those that sent in the window.
    pub retransmitted: Spread,
    /// Bytes a second that arrived, of those that were not held by their application.
    pub rate: Spread,
    /// Bytes on the way at that rate.
    pub on_the_way: Spread,
    /// Segments sent, and sent again.
    pub segments: [u64; 2],
    /// Connections that would need a larger send buffer than TCP may give itself.
    pub beyond_limit: u64,
}

impl Weight for Box<Quality> {
    fn weight(&self) -> u64 {
        self.connections
    }
}

/// What one connection adds to a quality.
struct Sample {
    rtt: u64,
    least: Option<(u64, u64)>,
    retransmitted: Option<u64>,
    segments: [u64; 2],
    rate: Option<(u64, u64)>,
    beyond_limit: bool,
}

impl Sample {
    fn of(socket: &Endpoint, grown: &Grown, limits: &Limits) -> Option<Self> {
        let tcp = socket.tcp.as_ref().filter(|tcp| tcp.rtt > 0)?;
        let least = tcp.least_rtt.map(u64::from);
        let retransmitted = retransmitted(grown).filter(|_| !grown.at_most);
        let rate = tcp.rate.filter(|_| !tcp.application_limited).zip(least);
        let rate = rate.map(|(rate, least)| (rate, (u128::from(rate) * u128::from(least) / 1_000_000) as u64));
        Some(Sample {
            rtt: tcp.rtt.into(),
            least: least.zip(inflation(socket)),
            retransmitted,
            segments: retransmitted.map_or([0; 2], |_| [grown.sent, grown.retransmitted]),
            rate,
            // What is on the way, and as much again until a lost segment is repaired.
            beyond_limit: rate
                .zip(limits.tcp_send_most())
                .is_some_and(|((_, on_the_way), most)| on_the_way.saturating_mul(2) > most),
        })
    }
}

impl Quality {
    fn add(&mut self, sample: &Sample) {
        self.connections += 1;
        self.rtt.add(sample.rtt);
        if let Some((least, times)) = sample.least {
            self.least_rtt.add(least);
            self.inflation.add(times);
        }
        if let Some(share) = sample.retransmitted {
            self.retransmitted.add(share);
        }
        for (sum, segments) in self.segments.iter_mut().zip(sample.segments) {
            *sum = sum.saturating_add(segments);
        }
        if let Some((rate, on_the_way)) = sample.rate {
            self.rate.add(rate);
            self.on_the_way.add(on_the_way);
        }
        self.beyond_limit += u64::from(sample.beyond_limit);
    }
}

/// A remote network: an IPv4 address's first 24 bits, an IPv6 address's first 48.
pub type Network = (IpAddr, u8);

/// Where connections from one address to one service take their ports from.
pub type Destination = (IpAddr, IpAddr, u16);

/// The census.
#[derive(Clone, Debug)]
pub struct Census {
    /// Sockets by transport and state.
    pub states: [[u64; State::ALL.len()]; Transport::ALL.len()],
    /// Packets that sockets lost in the window.
    pub drops: u64,
    /// Packets that sockets may have lost besides, of which it is not known what they lost before.
    pub drops_at_most: u64,
    /// Connections by congestion control.
    pub controls: Vec<([u8; 16], Quality)>,
    /// Connections by remote network.
    pub networks: Heavy<Network, Box<Quality>>,
    /// Ports in use by destination.
    pub ports: Heavy<Destination, u64>,
}

impl Default for Census {
    fn default() -> Self {
        Census {
            states: Default::default(),
            drops: 0,
            drops_at_most: 0,
            controls: Vec::new(),
            networks: Heavy::new(NETWORKS),
            ports: Heavy::new(DESTINATIONS),
        }
    }
}

impl Census {
    /// Counts a socket.
    pub fn add(&mut self, socket: &Endpoint, grown: &Grown, limits: &Limits) {
        self.states[socket.transport as usize][socket.state as usize - 1] += 1;
        let drops = if grown.at_most { &mut self.drops_at_most } else { &mut self.drops };
        *drops = drops.saturating_add(grown.drops);
        if socket.transport != Transport::Tcp || socket.remote.port() == 0 {
            return;
        }
        let (local, remote) = (plain(socket.local.ip()), plain(socket.remote.ip()));
        if limits.is_ephemeral(socket.local.port()) {
            *self.ports.of((local, remote, socket.remote.port())) += 1;
        }
        let Some(sample) = Sample::of(socket, grown, limits).filter(|_| socket.state != State::SynSent) else { return };
        if let Some(at) = self.control(socket.congestion) {
            self.controls[at].1.add(&sample);
        }
        self.networks.of(network(remote)).add(&sample);
    }

    fn control(&mut self, name: [u8; 16]) -> Option<usize> {
        let known = self.controls.iter().position(|(known, _)| *known == name);
        known.or_else(|| {
            (self.controls.len() < CONTROLS).then(|| {
                self.controls.push((name, Quality::default()));
                self.controls.len() - 1
            })
        })
    }

    /// How many sockets there are.
    pub fn count(&self) -> u64 {
        self.states.iter().flatten().sum()
    }
}

/// An IPv4 address as such, also where a socket of IPv6 has it.
pub fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// An end with its address as such.
pub fn plain_end(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(plain(end.ip()), end.port())
}

fn network(address: IpAddr) -> Network {
    match address {
        IpAddr::V4(v4) => (Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(), 24),
        IpAddr::V6(v6) => (Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80).into(), 48),
    }
}
