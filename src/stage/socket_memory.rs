//! R15, socket memory: what all sockets of a protocol may hold together.

mod cgroup;
mod limits;
pub(in crate::stage) mod orphans;
pub(in crate::stage) mod pressure;

use crate::counters;
use crate::model::{Example, Finding, Incident, Observed, Rule, Scope, Severity, Stage, Threshold, Unit, Victim};
use crate::source::groups::{PRESSURE_MEMORY, PROTOCOLS, SOCKSTAT, TCP_EXT};

counters! {
    /// Sockets of all kinds in this namespace. net/socket.c socket_seq_show().
    SOCKETS_USED = SOCKSTAT.gauge("sockets_used", Unit::Sockets);
    /// Pages of memory that TCP holds in its queues, of the whole machine; the limit is net.ipv4.tcp_mem.
    /// net/ipv4/proc.c sockstat_seq_show().
    /// The kernel adds up per CPU first, so it may be wrong by some pages a CPU.
    TCP_MEM = SOCKSTAT.gauge("TCP_mem", Unit::Pages).quiet_below(1024);
    /// Pages of memory that UDP holds in its queues, of the whole machine; the limit is net.ipv4.udp_mem.
    /// net/ipv4/proc.c sockstat_seq_show().
    UDP_MEM = SOCKSTAT.gauge("UDP_mem", Unit::Pages);
    /// Pages of memory that TCP holds, as its protocol shows it, of the whole machine: the same as `sockstat.TCP_mem`, but
    /// with what each CPU keeps in reserve. net/core/sock.c proto_seq_printf().
    TCP_PROTOCOL_MEMORY = PROTOCOLS.gauge("TCP_memory", Unit::Pages);
    /// Whether TCP is under memory pressure (1) or not (0), of the whole machine. net/core/sock.c proto_seq_printf().
    TCP_UNDER_PRESSURE = PROTOCOLS.gauge("TCP_press", Unit::Events);
    /// Pages of memory that UDP holds, as its protocol shows it, of the whole machine. net/core/sock.c
    /// proto_seq_printf().
    UDP_PROTOCOL_MEMORY = PROTOCOLS.gauge("UDP_memory", Unit::Pages);
    /// Time in which some task waited for memory, of the whole machine. kernel/sched/psi.c psi_show(), since 4.20.
    MEMORY_PRESSURE = PRESSURE_MEMORY.total("some", Unit::Microseconds);
    /// Time in which all tasks waited for memory, of the whole machine. kernel/sched/psi.c psi_show(), since 4.20.
    MEMORY_PRESSURE_FULL = PRESSURE_MEMORY.total("full", Unit::Microseconds);
    /// TCP connections that no process holds any more but that still have data to send, of the whole machine.
    /// net/ipv4/proc.c sockstat_seq_show().
    TCP_ORPHAN = SOCKSTAT.gauge("TCP_orphan", Unit::Sockets).quiet_below(16);
    /// TCP sockets that hold memory, of the whole machine. net/ipv4/proc.c sockstat_seq_show().
    TCP_ALLOC = SOCKSTAT.gauge("TCP_alloc", Unit::Sockets);
    /// Times that TCP came under memory pressure: over the middle value of net.ipv4.tcp_mem.
    /// net/ipv4/tcp.c tcp_enter_memory_pressure().
    TCP_MEMORY_PRESSURES = TCP_EXT.total("TCPMemoryPressures", Unit::Events);
    /// How long TCP was under memory pressure. net/ipv4/tcp.c tcp_leave_memory_pressure(), since 4.14.
    TCP_MEMORY_PRESSURES_CHRONO = TCP_EXT.total("TCPMemoryPressuresChrono", Unit::Milliseconds);
    /// Connections that were cut off because memory was short, or there were too many orphans. net/ipv4/tcp.c
    /// __tcp_close(), net/ipv4/tcp_timer.c tcp_out_of_resources().
    TCP_ABORT_ON_MEMORY = TCP_EXT.total("TCPAbortOnMemory", Unit::Connections);
}

static CGROUP: Rule = Rule {
    id: "socket-memory-cgroup-limit",
    title: "The memory limit of a cgroup refuses memory to its sockets",
    explain: "What waits in a socket's queues is charged to the memory cgroup of its application as well. A container at its \
              limit gets no memory for packets: UDP datagrams are dropped, TCP windows shrink and senders stall, although \
              the machine, the protocol (udp_mem, tcp_mem) and the socket's own buffer have room. No counter of the network \
              tells; the cgroup's memory.events and memory.stat (sock) do.",
    triggers: &[],
    seen: &[EXCEED],
    knobs: &[],
    thresholds: &[Threshold {
        key: "info_below_per_second",
        default: 1.0,
        help: "refusals/s below which it is noise; own",
    }],
    fires: cgroup_limit,
    examples: &[
        Example {
            what: "200 refusals in a second, far below udp_mem",
            severity: Some(Severity::Warning),
            observed: || refused(200, "receiving, its cgroup's limit"),
        },
        Example {
            what: "one refusal in ten seconds",
            severity: Some(Severity::Info),
            observed: || {
                let mut seen = refused(1, "sending, its cgroup's limit");
                seen.changes.seconds = Some(10.0);
                seen
            },
        },
        Example {
            what: "the protocol as a whole is at its limit",
            severity: None,
            observed: || refused(200, "receiving, the protocol's limit"),
        },
    ],
};

/// The hook that sees it (include/trace/events/sock.h).
const EXCEED: &str = "sock_exceed_buf_limit";
/// Whose limit it was, in the words of the hook.
pub const CGROUP_LIMIT: &str = "its cgroup's limit";

fn refused(count: u64, how: &str) -> Observed {
    let incident =
        Incident { code_name: Some(how.into()), protocol: Some("UDP".into()), ..Incident::example(EXCEED, count) };
    Observed::quiet().with_incident(incident)
}

fn cgroup_limit(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let is_ours = |incident: &&Incident| {
        incident.hook == EXCEED && incident.code_name.as_deref().is_some_and(|how| how.ends_with(CGROUP_LIMIT))
    };
    let ours: Vec<&Incident> = seen.probed.iter().flat_map(|probed| &probed.incidents).filter(is_ours).collect();
    let count = ours.iter().map(|incident| incident.count).fold(0, u64::saturating_add);
    if count == 0 {
        return Vec::new();
    }
    let noise = seen.threshold(rule, "info_below_per_second");
    let severity = if seen.rate(count).is_some_and(|rate| rate < noise) { Severity::Info } else { Severity::Warning };
    let mut protocols: Vec<&str> = ours.iter().filter_map(|incident| incident.protocol.as_deref()).collect();
    protocols.sort_unstable();
    protocols.dedup();
    let why = format!(
        "{} sockets were refused memory {count} times, with the protocol below its limit",
        protocols.join(", ")
    );
    // A refusal is no packet: what was lost by it, the drops tell (PROTO_MEM).
    let mut finding = Finding::new(rule, severity, Scope::Socket, 0, why);
    finding.evidence.push(seen.probe_evidence(EXCEED, count, Some(noise)));
    let victim = |incident: &&Incident| incident.victim.clone().map(|victim| Victim { lost: 0, ..victim });
    finding.victims = ours.iter().filter_map(victim).take(10).collect();
    finding.no_setting_helps = Some(
        "the limit of the container or service is what binds: raise its memory limit (memory.max), or let its readers \
         keep up"
            .into(),
    );
    vec![finding]
}

/// R15.
pub static STAGE: Stage = Stage {
    id: "socket_memory",
    title: "socket memory",
    explain: "Every packet in a queue is charged to its protocol (net.ipv4.tcp_mem, udp_mem, in pages, one limit for the \
              machine) and to the memory cgroup of the socket. Above the limit packets are dropped although the \
              socket's own buffer has room. On 6.18 such a loss of UDP is in no Udp counter, only in the socket's own.",
    chapter: include_str!("chapter/socket_memory.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[&CGROUP, &pressure::PRESSURE, &orphans::ORPHANS],
    knobs: &[
        &pressure::TCP_MEM_LIMIT,
        &orphans::MAX_ORPHANS,
        &limits::WMEM,
        &limits::WMEM_MAX,
        &limits::WMEM_DEFAULT,
        &limits::OPTMEM_MAX,
        &cgroup::MAX,
        &cgroup::HIGH,
        &cgroup::PCPU_RESERVE,
    ],
};
