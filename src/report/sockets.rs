//! The report on sockets, as a renderer sees it.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Netns, Own};
use crate::model::{SourceStatus, State, Transport};
use crate::sockets::By;
use crate::sockets::limits::SetBy;
use crate::sockets::trouble::Trouble;

/// Sockets of one network namespace over one window, or over their lives.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SocketReport {
    /// The version of this format.
    pub schema: &'static str,
    /// Always `sockets`.
    pub kind: Kind,
    /// The version of the program.
    pub tool_version: &'static str,
    /// The host's name; of a recording, if it holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The kernel's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The end of the window: RFC 3339, UTC, milliseconds; of a recording, if it holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Length of the window in seconds. Absent if the changes are those of the sockets' whole lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<f64>,
    /// True if it was made of a recording.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// The network namespace; of a recording, if it holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<Netns>,
    /// What the sockets are ranked by.
    pub ranked_by: By,
    /// How many sockets could be ranked; the first of them follow.
    pub ranked: u64,
    /// The first sockets, in order.
    pub sockets: Vec<SocketRow>,
    /// Listening TCP sockets, the fullest first; at most 64.
    pub listeners: Vec<SocketRow>,
    /// How many sockets there are in each state.
    pub states: Vec<StateCount>,
    /// Packets that all sockets lost.
    pub drops: u64,
    /// Packets that sockets may have lost besides: it is not known what those had lost before the window.
    pub drops_at_most: u64,
    /// Connections by congestion control, most first.
    pub congestion: Vec<Group>,
    /// Connections by remote network (an IPv4 address's first 24 bits, an IPv6 address's first 48), most first.
    pub networks: Vec<Group>,
    /// Connections to further networks.
    pub networks_others: u64,
    /// How many ports there are for connections that are made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_ports: Option<u64>,
    /// The destinations that most of these are used for.
    pub destinations: Vec<Destination>,
    /// False if the kernel's tables changed while they were read, each time: sockets may be missing or counted twice.
    pub consistent: bool,
    /// Sockets for which the table of what they had counted before had no room: what those changed may be marked `at_most`.
    pub untracked: u64,
    /// Sockets that had counted something when the window began and were gone at its end: what they did in the window is not
    /// in here. (Of those that were tracked.)
    pub gone: u64,
    /// How the sources went.
    pub sources: Vec<SourceStatus>,
    /// What the program itself cost so far.
    #[serde(rename = "self")]
    pub own: Own,
}

/// Which report.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sockets.
    Sockets,
}

/// How many sockets are in a state.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct StateCount {
    /// What they speak.
    pub transport: Transport,
    /// Their state; of UDP and raw sockets, `established` if they are connected and `close` if they are not.
    pub state: State,
    /// How many.
    pub count: u64,
}

/// A socket.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct SocketRow {
    /// What it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Its own end.
    pub local: String,
    /// The other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The kernel's number for it, never used again.
    pub cookie: u64,
    /// What is wrong with it, the worst first.
    pub troubles: Vec<Trouble>,
    /// The process that has it, the lowest number of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The process's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Its cgroup's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Its systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its container's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The user that made it.
    pub uid: u32,
    /// Packets it lost in the window.
    pub drops: u64,
    /// Packets it lost in its life.
    pub drops_total: u32,
    /// True if what it changed in the window is known as an upper bound only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most: bool,
    /// Bytes that lie unread. Of UDP and raw sockets, the memory that they take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<u32>,
    /// Milliseconds that these have waited at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_milliseconds: Option<u64>,
    /// Bytes that were not acknowledged or not sent yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<u32>,
    /// Of a listener: its accept queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_queue: Option<AcceptQueue>,
    /// Its receive buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_buffer: Option<Buffer>,
    /// Its send buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_buffer: Option<Buffer>,
    /// Bytes received while the application held the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
    /// What TCP knows of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpRow>,
}

/// A listener's connections that were not accepted yet.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct AcceptQueue {
    /// Now.
    pub length: u32,
    /// Its limit; one more has room.
    pub limit: u32,
    /// What sets the limit: the smaller one of what the application gives to listen() and net.core.somaxconn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_by: Option<Binds>,
}

/// What sets a listener's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Binds {
    /// What the application gave to listen(): it is smaller than net.core.somaxconn.
    Application,
    /// net.core.somaxconn as it is now. An application that asks for just as much looks the same.
    Somaxconn,
    /// net.core.somaxconn was larger, or the namespace's another, when the application called listen(): it is smaller now.
    Earlier,
}

/// A buffer.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Buffer {
    /// Bytes of memory in it.
    pub used: u32,
    /// Bytes it may hold.
    pub size: u32,
    /// Who set that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_by: Option<SetBy>,
}

/// What TCP knows of a connection. Shares are of the window.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct TcpRow {
    /// Its congestion control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub congestion: Option<String>,
    /// Smoothed round-trip time.
    pub rtt_microseconds: u32,
    /// The least of the last minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt_microseconds: Option<u32>,
    /// The first as a multiple of the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inflation: Option<f64>,
    /// Segments with data that were sent, also again.
    pub sent: u64,
    /// Segments that were sent again.
    pub retransmitted: u64,
    /// Segments that were sent again, in its life.
    pub retransmitted_total: u32,
    /// The share of these among all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmitted_share: Option<f64>,
    /// How often the timer ran out since something was acknowledged.
    pub unanswered: u8,
    /// Bytes that were acknowledged.
    pub acknowledged_bytes: u64,
    /// Bytes that came.
    pub received_bytes: u64,
    /// The share of the time with something to send that the peer's window held it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_limited: Option<f64>,
    /// The same for its send buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_buffer_limited: Option<f64>,
    /// Milliseconds with something to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_milliseconds: Option<u64>,
    /// The congestion window, in segments.
    pub congestion_window: u32,
    /// Bytes in a segment.
    pub segment_bytes: u32,
    /// Bytes a second that lately arrived at the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<u64>,
    /// True if that rate was measured while the application had nothing to send.
    pub application_limited: bool,
    /// The peer's window in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_window: Option<u32>,
    /// The window that it offers, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_window: Option<u32>,
}

/// Connections that belong together, and how they fare.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Group {
    /// The congestion control, or the network.
    pub name: String,
    /// How many connections.
    pub connections: u64,
    /// Segments with data that they sent, also again.
    pub sent: u64,
    /// Segments that they sent again.
    pub retransmitted: u64,
    /// Round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_microseconds: Option<Percentiles>,
    /// The least of the last minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt_microseconds: Option<Percentiles>,
    /// The first as a multiple of the second, in hundredths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inflation_percent: Option<Percentiles>,
    /// The share of segments that a connection sent again, in millionths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmitted_ppm: Option<Percentiles>,
    /// Bytes a second that arrived, where the application did not hold back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<Percentiles>,
    /// Bytes on the way at that rate: the bandwidth-delay product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_delay_bytes: Option<Percentiles>,
    /// Connections that would need twice that, which is more than tcp_wmem allows.
    pub beyond_send_limit: u64,
}

/// Values that half, nine in ten, and all but one in a hundred are not above; right to an eighth.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Percentiles {
    /// Half.
    pub p50: u64,
    /// Nine in ten.
    pub p90: u64,
    /// All but one in a hundred.
    pub p99: u64,
}

/// Ports in use for connections to one service.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Destination {
    /// Our address.
    pub source: IpAddr,
    /// The other side's.
    pub destination: IpAddr,
    /// Its port.
    pub port: u16,
    /// How many local ports have a connection to it, also one that is over and rests.
    pub used: u64,
    /// Of all ports there are.
    pub share: f64,
}
