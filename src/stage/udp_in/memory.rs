//! UDP as a whole, or the cgroup of a socket, has no memory left.

use super::{
    IN_DATAGRAMS, IN_ERRORS, IN6_DATAGRAMS, IN6_ERRORS, LITE_IN_ERRORS, LITE6_IN_ERRORS, MEM_ERRORS, MEM6_ERRORS,
    RCVBUF_ERRORS,
};
use crate::model::{
    Drop, Evidence, Example, Finding, Instance, Knob, Memory, Observed, Place, Protocol, Risk, Rule, Scope, Severity,
    Socket, SocketChange, Sockets, Threshold, Victim, numbers,
};
use crate::stage::backlog::PROCESSED;
use crate::stage::socket_memory::UDP_MEM;

pub static EXHAUSTED: Rule = Rule {
    id: "udp-memory-exhausted",
    title: "UDP has used up its memory, and datagrams are lost although their sockets have room",
    explain: "What waits in UDP queues is charged, beside the socket's own buffer, to all UDP sockets of the machine \
              together (net.ipv4.udp_mem, in pages) and to the memory cgroup of the application. Above the third number \
              datagrams are dropped, of whichever socket comes next: a few sockets with large buffers and slow readers \
              starve everybody else, in every container. The kernel counts these as Udp.MemErrors since 5.11; 6.18 with \
              its queues per NUMA node counts them nowhere but in the socket, so that here they show as what sockets lost \
              beyond Udp.InErrors. Look first for the sockets that hold so much: their readers do not keep up, and then a \
              higher limit only takes longer to fill. If UDP is far from its limit, a cgroup's limit refused the memory.",
    triggers: &[&MEM_ERRORS, &MEM6_ERRORS, &UDP_MEM],
    seen: &[PROTO_MEM, Sockets::LOSS],
    knobs: &[&UDP_MEM_LIMIT],
    thresholds: &[Threshold {
        key: "critical_per_second",
        default: 1.0,
        help: "datagrams/s lost; own: below, a warning",
    }],
    fires: exhausted,
    examples: &[
        Example {
            what: "7,547 datagrams lost, counted as MemErrors",
            severity: Some(Severity::Critical),
            observed: || holding(380_028).with(&MEM_ERRORS, 7_547).with(&IN_ERRORS, 7_547),
        },
        Example {
            what: "the socket lost 8,000 that no counter of UDP knows of, as on 6.18",
            severity: Some(Severity::Critical),
            observed: || socket_lost(holding(380_028), 8_000),
        },
        Example {
            what: "the probe saw the reason",
            severity: Some(Severity::Critical),
            observed: || holding(380_028).with_drops(Drop::example(PROTO_MEM, 300)),
        },
        Example {
            what: "UDP is far from its limit: it was the cgroup's",
            severity: Some(Severity::Critical),
            observed: || socket_lost(holding(40), 8_000),
        },
        Example {
            what: "nothing is lost yet, but UDP is above the middle number",
            severity: Some(Severity::Warning),
            observed: || holding(300_000),
        },
        Example {
            what: "full receive buffers: every loss of the socket is counted",
            severity: None,
            observed: || socket_lost(holding(60), 9_000).with(&IN_ERRORS, 9_000).with(&RCVBUF_ERRORS, 9_000),
        },
        Example {
            what: "TCP had no memory",
            severity: None,
            observed: || {
                let tcp = Drop { protocol: Some("tcp".into()), ..Drop::example(PROTO_MEM, 300) };
                holding(40).with_drops(tcp)
            },
        },
    ],
};

const PROTO_MEM: &str = "PROTO_MEM";

fn holding(pages: u64) -> Observed {
    let seen = Observed::quiet().with(&UDP_MEM, pages).with(&IN_DATAGRAMS, 10_000);
    seen.with_setting("net/ipv4/udp_mem", "190014 253355 380028")
}

fn socket_lost(seen: Observed, lost: u64) -> Observed {
    let local = Socket::address([0; 16], false, 53);
    let drops = lost as u32;
    let socket = Socket { cookie: 1, protocol: Protocol::Udp, local, inode: 0, queue: 0, limit: 212_992, drops };
    let mut seen = seen.with_socket(SocketChange { socket, lost, queue_max: 0, queue_min: 0, looks: 1 });
    seen.sockets.get_or_insert_default().udp_lost = lost;
    seen
}

fn exhausted(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let counted = seen.delta_of(&[&MEM_ERRORS, &MEM6_ERRORS]);
    let probed = seen.drops_for(PROTO_MEM).filter(|drop| drop.protocol.as_deref() == Some("udp"));
    let probed = probed.map(|drop| drop.count).fold(0, u64::saturating_add);
    let by_sockets = uncounted(seen);
    let lost = counted.max(probed).max(by_sockets);
    let pages = seen.changes.gauge(&UDP_MEM).map_or(0, |(max, _)| max);
    let limits =
        seen.settings.get(&UDP_MEM_LIMIT.path()).and_then(numbers).and_then(|all| <[u64; 3]>::try_from(all).ok());
    let pressed = limits.is_some_and(|[_, pressure, _]| pages > pressure);
    if lost == 0 && !pressed {
        return Vec::new();
    }
    let many = seen.threshold(rule, "critical_per_second");
    let severity = if seen.rate(lost).is_some_and(|rate| rate > many) { Severity::Critical } else { Severity::Warning };
    let mut why = format!("all UDP sockets together held up to {pages} pages when it was looked at");
    if let Some([least, pressure, most]) = limits {
        why += &format!(", of {most}; from {pressure} they are pressed, below {least} they are free");
    }
    let mut finding = Finding::new(rule, severity, Scope::Machine, lost, why);
    finding.evidence = [&MEM_ERRORS, &MEM6_ERRORS]
        .into_iter()
        .filter(|counter| seen.delta(counter) > 0)
        .map(|counter| seen.evidence(counter, Some(many)))
        .collect();
    if by_sockets > 0 {
        let (counter, per_second) = ("sockets.udp_uncounted".into(), seen.rate(by_sockets));
        let threshold = Some(many);
        finding.evidence.push(Evidence { counter, instance: Instance::Only, delta: by_sockets, per_second, threshold });
    }
    if probed > 0 {
        finding.evidence.push(seen.probe_evidence(PROTO_MEM, probed, Some(many)));
    }
    finding.evidence.push(seen.evidence(&UDP_MEM, limits.map(|[_, pressure, _]| pressure as f64)));
    // Who lost for want of a buffer can't be told from who lost for want of memory.
    if lost > 0 && seen.delta_of(&[&RCVBUF_ERRORS, &super::RCVBUF6_ERRORS]) == 0 {
        let worst = seen.sockets.iter().flat_map(|sockets| sockets.worst_of(Protocol::Udp));
        finding.victims = worst.map(|change| Victim::of(&change.socket, change.lost)).collect();
    }
    // Each CPU takes and gives back its pages in lots (net.core.mem_pcpu_rsv, 256): the sum is off by so many at most.
    let off = 256 * seen.changes.each(&PROCESSED).count().max(1) as u64;
    if limits.is_some_and(|[least, ..]| pages.saturating_add(off) < least) {
        finding.no_setting_helps = Some(
            "UDP is far from its limit, so it was the memory cgroup of the application that refused: raise the memory \
             limit of its container or service (memory.max), or let its reader keep up"
                .into(),
        );
        finding.refuse(UDP_MEM_LIMIT.id, "there is room: nobody is refused by it");
        return vec![finding];
    }
    // A datagram is charged a page at most, unless it is larger than one.
    let room = |most: u64| most.saturating_add(lost).clamp(most.saturating_mul(2), most.saturating_mul(2).max(1 << 16));
    let to = |present: &[u64]| {
        let most = room(present.last().copied().unwrap_or(0));
        vec![most / 2, most / 3 * 2, most]
    };
    let why = "twice what there is, or room for what was lost; the middle number two thirds of it, the first a half";
    finding.suggest(seen.raise_all(&UDP_MEM_LIMIT, to, why, |more| more.saturating_mul(4096)));
    vec![finding]
}

/// What UDP sockets lost and no counter of UDP knows of.
fn uncounted(seen: &Observed) -> u64 {
    let counted = seen.delta_of(&[&IN_ERRORS, &IN6_ERRORS, &LITE_IN_ERRORS, &LITE6_IN_ERRORS]);
    // Where the counters can't be read, everything would seem uncounted.
    let known = seen.changes.delta(&IN_ERRORS).is_some() || seen.delta_of(&[&IN_DATAGRAMS, &IN6_DATAGRAMS]) > 0;
    seen.sockets.as_ref().filter(|_| known).map_or(0, |sockets| sockets.udp_lost.saturating_sub(counted))
}

pub static UDP_MEM_LIMIT: Knob = Knob {
    id: "net.ipv4.udp_mem",
    place: Place::Sysctl,
    scope: Scope::Machine,
    unit: "pages",
    range: 1..=1_073_741_823,
    default: "9.37, 12.5 and 18.7 % of the memory that is free when the machine boots",
    help: "Three numbers: up to the first, UDP sockets take memory as they like; above the second, each may still have \
           net.ipv4.udp_rmem_min; above the third, datagrams are dropped. One limit for the machine, of all network \
           namespaces together; a container does not see it. Only the third binds since 4.14 (udp_recvmsg() and \
           __udp_enqueue_schedule_skb() in net/ipv4/udp.c).",
    formula: "the third at most a quarter of the memory, the second two thirds of it, the first a half; only if that memory \
              really is free",
    risk: Risk::Medium,
    harm: "readers that do not keep up may hold that much of the machine's memory",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Kernel,
    keep: "sysctl.d",
};

const RMEM_MIN_BASE: Knob = Knob {
    id: "net.ipv4.udp_rmem_min",
    place: Place::Sysctl,
    scope: Scope::Netns,
    unit: "bytes",
    range: 2304..=1_073_741_823,
    default: "4096",
    help: "What each UDP socket may have in its receive queue although UDP as a whole is above its limit \
           (__sk_mem_raise_allocated() in net/core/sock.c).",
    formula: "8192 to 16384 where many small sockets must live beside a few greedy ones",
    risk: Risk::Low,
    harm: "memory beyond net.ipv4.udp_mem, so much for each socket",
    takes_effect: "at once",
    waits: false,
    memory: Memory::Udp,
    keep: "sysctl.d",
};

pub static RMEM_MIN: Knob = RMEM_MIN_BASE;

pub static WMEM_MIN: Knob = Knob {
    id: "net.ipv4.udp_wmem_min",
    help: "Nothing: the kernel keeps the value and never uses it.",
    formula: "leave it",
    risk: Risk::Low,
    harm: "none",
    takes_effect: "never",
    ..RMEM_MIN_BASE
};
