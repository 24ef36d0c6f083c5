//! One socket of any kind, as sock_diag tells it. It is as long as it is, whatever the kernel says: a dump of half a million
//! costs no allocation for any of them.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP, over IPv4 and IPv6.
    Tcp,
    /// UDP.
    Udp,
    /// Raw IP; the local port is the protocol's number.
    Raw,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Raw];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Raw => "raw",
        }
    }
}

/// The state of a socket: TCP's, which the kernel uses for the others too (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Connected.
    Established = 1,
    /// Our SYN was sent.
    SynSent,
    /// A SYN came; the last ACK of the handshake did not yet.
    SynRecv,
    /// We closed; our FIN was sent.
    FinWait1,
    /// We closed, and the other side knows.
    FinWait2,
    /// Over: the pair of ports rests for a minute.
    TimeWait,
    /// Not connected.
    Close,
    /// The other side closed; the application here did not yet.
    CloseWait,
    /// Both closed; our FIN was not acknowledged yet.
    LastAck,
    /// Listens.
    Listen,
    /// Both closed at the same time.
    Closing,
    /// A handshake, as the kernel keeps it beside the sockets.
    NewSynRecv,
}

impl State {
    /// All of them, by the kernel's number.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
    ];

    /// By the kernel's number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::SynRecv => "syn-recv",
            Self::FinWait1 => "fin-wait1",
            Self::FinWait2 => "fin-wait2",
            Self::TimeWait => "time-wait",
            Self::Close => "close",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
            Self::NewSynRecv => "new-syn-recv",
        }
    }
}

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it speaks.
    pub transport: Transport,
    /// Its state.
    pub state: State,
    /// The kernel's number for it, never used again.
    pub cookie: u64,
    /// Its own end.
    pub local: SocketAddr,
    /// The other end; the port is 0 where there is none.
    pub remote: SocketAddr,
    /// Its inode, by which its owner is found; 0 where no process has it.
    pub inode: u32,
    /// The user that made it.
    pub uid: u32,
    /// The index of the device it is bound to; 0 if it is bound to none.
    pub device: u32,
    /// Which timer runs (idiag_timer): 1 retransmission, 2 keepalive, 3 time-wait, 4 probe of a closed window.
    pub timer: u8,
    /// How often the timer ran out since something was acknowledged.
    pub unanswered: u8,
    /// Bytes not read yet; of a listener, connections not accepted yet; of UDP and raw, memory of what was not read.
    pub receive_queue: u32,
    /// Bytes not acknowledged yet; of a listener, its backlog.
    pub send_queue: u32,
    /// Its memory. Absent of handshakes and of what is over.
    pub memory: Option<Memory>,
    /// What TCP knows of it.
    pub tcp: Option<TcpInfo>,
    /// Its congestion control; zeros if the kernel names none.
    pub congestion: [u8; 16],
}

/// A socket's memory in bytes: SK_MEMINFO (include/uapi/linux/sock_diag.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Received and not read (truesize).
    pub received: u32,
    /// What it may hold of that.
    pub receive_buffer: u32,
    /// What it may hold of what is sent.
    pub send_buffer: u32,
    /// Queued to be sent or acknowledged (truesize).
    pub queued: u32,
    /// Received while the application held the socket.
    pub backlog: u32,
    /// Packets it lost since it was made; 32 bits wide.
    pub drops: u32,
}

/// What TCP knows of a connection: struct tcp_info (include/uapi/linux/tcp.h). What an older kernel does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Timeouts in a row.
    pub backoff: u8,
    /// The rate was measured while the application had nothing to send.
    pub application_limited: bool,
    /// Bytes in a segment that is sent.
    pub segment: u32,
    /// Milliseconds since data was sent, came, and since an acknowledgement came.
    pub idle: [u32; 3],
    /// Smoothed round-trip time in microseconds.
    pub rtt: u32,
    /// The congestion window in segments.
    pub window: u32,
    /// Segments that were sent again, in its life; 32 bits wide.
    pub retransmitted: u32,
    /// Bytes that were acknowledged, in its life.
    pub acked: u64,
    /// Bytes that came, in its life.
    pub received: u64,
    /// Bytes that wait to be sent for the first time.
    pub unsent: Option<u32>,
    /// The least round-trip time of the last minutes, in microseconds.
    pub least_rtt: Option<u32>,
    /// Segments with data that were sent, also again, in its life; 32 bits wide.
    pub sent: Option<u32>,
    /// Bytes a second that lately arrived at the other end.
    pub rate: Option<u64>,
    /// Microseconds, in its life: with something to send; of those, held by the peer's window, and by the send buffer.
    pub limited: Option<[u64; 3]>,
    /// The peer's window in bytes, since 5.4.
    pub peer_window: Option<u32>,
    /// The window that it offers, in bytes, since 6.2.
    pub own_window: Option<u32>,
}

impl TcpInfo {
    /// Milliseconds since anything happened.
    pub fn quiet(&self) -> u32 {
        self.idle.iter().copied().min().unwrap_or(u32::MAX)
    }
}

impl Endpoint {
    /// The name of its congestion control.
    pub fn congestion(&self) -> Option<&str> {
        Self::control(&self.congestion)
    }

    /// The name of a congestion control, of bytes that end with zeros. None if it has none, or one that is no name.
    pub fn control(bytes: &[u8; 16]) -> Option<&str> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let name = std::str::from_utf8(&bytes[..end]).ok()?;
        (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())).then_some(name)
    }

    /// A listener's queue of connections that were not accepted, and its backlog.
    pub fn accept_queue(&self) -> Option<[u32; 2]> {
        (self.transport == Transport::Tcp && self.state == State::Listen)
            .then_some([self.receive_queue, self.send_queue])
    }

    /// Packets it lost since it was made.
    pub fn drops(&self) -> u32 {
        self.memory.map_or(0, |memory| memory.drops)
    }
}
