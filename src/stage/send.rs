//! T1, sending socket: an application hands data over.

use crate::counters;
use crate::model::{Stage, Unit};
use crate::source::groups::TCP_EXT;

counters! {
    /// Times that a write was held back because what waits to be sent is too much, in memory, for the data in it, since
    /// 4.20. net/ipv4/tcp_output.c tcp_fragment().
    WQUEUE_TOO_BIG = TCP_EXT.total("TCPWqueueTooBig", Unit::Events);
    /// Times that a small write waited for the next, because earlier data was still in a queue of this host.
    /// net/ipv4/tcp.c tcp_push().
    AUTO_CORKING = TCP_EXT.total("TCPAutoCorking", Unit::Events);
}

/// T1.
pub static STAGE: Stage = Stage {
    id: "send",
    title: "sending socket",
    explain: "The application hands data over, and the kernel copies it into the socket's send buffer. TCP keeps it there \
              until the peer has acknowledged it, so a full buffer means a slow path or a slow peer, and the application \
              waits. UDP keeps a datagram only until the device has sent it.",
    chapter: include_str!("chapter/send.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[],
    reasons: &[],
    knobs: &[],
};
