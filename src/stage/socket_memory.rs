//! R15, socket memory: what all sockets of a protocol may hold together.

use crate::counters;
use crate::model::{Stage, Unit};
use crate::source::groups::{SOCKSTAT, TCP_EXT};

counters! {
    /// Sockets of all kinds in this namespace. net/socket.c socket_seq_show().
    SOCKETS_USED = SOCKSTAT.gauge("sockets_used", Unit::Sockets);
    /// Pages of memory that TCP holds in its queues, of the whole machine; the limit is net.ipv4.tcp_mem.
    /// net/ipv4/proc.c sockstat_seq_show().
    TCP_MEM = SOCKSTAT.gauge("TCP_mem", Unit::Pages);
    /// Pages of memory that UDP holds in its queues, of the whole machine; the limit is net.ipv4.udp_mem.
    /// net/ipv4/proc.c sockstat_seq_show().
    UDP_MEM = SOCKSTAT.gauge("UDP_mem", Unit::Pages);
    /// TCP connections that no process holds any more but that still have data to send, of the whole machine.
    /// net/ipv4/proc.c sockstat_seq_show().
    TCP_ORPHAN = SOCKSTAT.gauge("TCP_orphan", Unit::Sockets);
    /// TCP sockets that hold memory, of the whole machine. net/ipv4/proc.c sockstat_seq_show().
    TCP_ALLOC = SOCKSTAT.gauge("TCP_alloc", Unit::Sockets);
    /// Times that TCP came under memory pressure: over the middle value of net.ipv4.tcp_mem.
    /// net/ipv4/tcp.c tcp_enter_memory_pressure().
    TCP_MEMORY_PRESSURES = TCP_EXT.total("TCPMemoryPressures", Unit::Events);
    /// How long TCP was under memory pressure. net/ipv4/tcp.c tcp_leave_memory_pressure(), since 4.14.
    TCP_MEMORY_PRESSURES_CHRONO = TCP_EXT.total("TCPMemoryPressuresChrono", Unit::Milliseconds);
    /// Connections that were cut off because memory was short. net/ipv4/tcp_timer.c tcp_out_of_resources().
    TCP_ABORT_ON_MEMORY = TCP_EXT.total("TCPAbortOnMemory", Unit::Connections);
}

/// R15.
pub static STAGE: Stage = Stage {
    id: "socket_memory",
    title: "socket memory",
    explain: "Every packet in a queue is charged to its protocol (net.ipv4.tcp_mem, udp_mem, in pages, one limit for the \
              machine) and to the memory cgroup of the socket. Above the limit packets are dropped although the \
              socket's own buffer has room. On 6.18 such a loss of UDP is in no Udp counter, only in the socket's own.",
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[],
    knobs: &[],
};
