//! A connection could send more, but its send buffer holds no more.

use crate::model::{
    Example, Finding, Instance, Knob, Memory, Observed, Place, Risk, Rule, Scope, Sender, Senders, Severity,
    SocketMemory, Threshold, Victim, sender::Counts,
};
use crate::stage::socket_memory::limits::{WMEM, WMEM_MAX};

pub static LIMITED: Rule = Rule {
    id: "tcp-limited-by-send-buffer",
    title: "The send buffer of a connection is too small for its path",
    explain: "What was sent stays in the send buffer until the peer has acknowledged it, a round trip later. Where the buffer \
              holds less than the path can have on its way, the sender has sent all of it, both windows are open, and the \
              application waits for room: the kernel counts that time (sndbuf_limited in 'ss -ti'), against the time with \
              anything to send (busy). What binds is tcp_wmem's last number where the kernel grew the buffer that far, \
              wmem_max where the application asked for more with SO_SNDBUF, else the application's own SO_SNDBUF, which \
              also switches off the growing. A full buffer alone is no sign of this: behind a slow path each is full. \
              The kernel counts it only where it sends while the application waits already (pacing, large segments), and in \
              slow start blames a window below twice what is on its way: others may be held by their buffer unseen.",
    triggers: &[],
    seen: &[Senders::BUFFER],
    knobs: &[&WMEM, &WMEM_MAX, &SO_SNDBUF],
    thresholds: &[
        Threshold { key: "warning_percent", default: 10.0, help: "of the time with something to send, in %; own" },
        Threshold { key: "least_percent", default: 5.0, help: "of the window, in %; own: below, silent" },
    ],
    fires: limited,
    examples: &[
        Example {
            what: "half of the time, and the kernel grew the buffer as far as it may",
            severity: Some(Severity::Warning),
            observed: || held(500_000, 4_194_304, 0),
        },
        Example {
            what: "half of the time, with as much as wmem_max lets the application ask for",
            severity: Some(Severity::Warning),
            observed: || held(500_000, 425_984, 0),
        },
        Example {
            what: "half of the time, with a size of the application's own",
            severity: Some(Severity::Warning),
            observed: || held(500_000, 9_216, 0),
        },
        Example {
            what: "the kernel lets the buffer grow: what it lacked at first",
            severity: None,
            observed: || held(500_000, 2_000_000, 1_000_000),
        },
        Example { what: "5 % of the time", severity: None, observed: || held(50_000, 4_194_304, 0) },
        Example {
            what: "all of a hundredth of the window: a short answer",
            severity: None,
            observed: || busy(10_000, 10_000, 4_194_304, 0),
        },
        Example {
            what: "it was held by the peer's window",
            severity: None,
            observed: || {
                let mut sender = sender(900_000, 0, 4_194_304, 0);
                sender.grown.get_or_insert_default().limited[1] = 800_000;
                Observed::quiet().with_senders(Senders { window: vec![sender], ..Senders::default() })
            },
        },
    ],
};

fn sender(busy: u64, held: u64, buffer: u32, grew: u32) -> Sender {
    let mut sender = Sender::example();
    sender.socket.memory = Some(SocketMemory { send_buffer: buffer, queued: buffer, ..SocketMemory::default() });
    sender.grown = Some(Counts { limited: [busy, 0, held], acked: 30_000_000, buffer: grew, ..Counts::default() });
    sender
}

fn busy(busy: u64, held: u64, buffer: u32, grew: u32) -> Observed {
    let sender = sender(busy, held, buffer, grew);
    Observed::quiet()
        .with_senders(Senders { buffer: vec![sender], ..Senders::default() })
        .with_setting("net/ipv4/tcp_wmem", "4096 16384 4194304")
        .with_setting("net/core/wmem_max", "212992")
}

fn held(held: u64, buffer: u32, grew: u32) -> Observed {
    busy(1_000_000, held, buffer, grew)
}

/// Whether a sender was held back by `by` (1: the peer's window, 2: its buffer) for long enough, by the limits of `rule`.
pub fn is_held(seen: &Observed, rule: &Rule, sender: &Sender, by: usize) -> bool {
    let (Some(grown), Some(seconds)) = (sender.grown, seen.changes.seconds) else { return false };
    let [percent, least] = ["warning_percent", "least_percent"].map(|key| seen.threshold(rule, key));
    let held = grown.limited[by] as f64;
    held * 100.0 > percent * grown.limited[0] as f64 && held / 1e4 >= least * seconds
}

/// What limits a send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The kernel grew it as far as it may: tcp_wmem's last number.
    Maximum,
    /// The application asked for as much as wmem_max allows, or more.
    Capped,
    /// The application's own size.
    Own,
}

fn limit(seen: &Observed, sender: &Sender) -> Option<Limit> {
    let buffer = u64::from(sender.socket.memory?.send_buffer);
    let most = seen.settings.numbers(&WMEM.path()).and_then(|all| all.get(2).copied());
    let capped = seen.settings.number(&WMEM_MAX.path()).is_some_and(|max| max.checked_mul(2) == Some(buffer));
    Some(match most {
        Some(most) if buffer == most => Limit::Maximum,
        _ if capped => Limit::Capped,
        _ => Limit::Own,
    })
}

fn limited(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let mut causes: Vec<(Limit, Vec<&Sender>)> = Vec::new();
    for sender in seen.senders(|senders| &senders.buffer).iter().filter(|one| is_held(seen, rule, one, 2)) {
        // One that grew within the window, and not as far as it may, will go on growing.
        let grew = sender.grown.is_some_and(|grown| grown.buffer > 0);
        let Some(limit) = limit(seen, sender).filter(|limit| *limit != Limit::Own || !grew) else { continue };
        match causes.iter_mut().find(|(other, _)| *other == limit) {
            Some((_, alike)) => alike.push(sender),
            None => causes.push((limit, vec![sender])),
        }
    }
    causes.into_iter().filter_map(|(limit, alike)| found(seen, rule, limit, &alike)).collect()
}

fn found(seen: &Observed, rule: &Rule, limit: Limit, alike: &[&Sender]) -> Option<Finding> {
    let worst = *alike.first()?;
    let grown = worst.grown?;
    let (buffer, count) = (u64::from(worst.socket.memory?.send_buffer), alike.len() as u64);
    let share = grown.limited[2] as f64 * 100.0 / grown.limited[0].max(1) as f64;
    let why = format!(
        "to {}: {share:.0} % of the time with something to send all of it was sent and the buffer of {buffer} bytes was \
         full, at a round trip of {:.1} ms",
        worst.socket.remote,
        f64::from(worst.tcp.rtt) / 1e3
    );
    let mut finding = Finding::new(rule, Severity::Warning, Scope::Socket, 0, why);
    finding.instance = Instance::Socket { socket: worst.socket.local.to_string() };
    finding.victims = alike.iter().map(|sender| Victim::of_sender(sender, 0)).collect();
    let threshold = seen.rate(grown.limited[0]).map(|busy| busy * seen.threshold(rule, "warning_percent") / 100.0);
    finding.evidence.push(seen.sender_evidence("sndbuf_limited", worst, grown.limited[2], threshold));
    finding.evidence.push(seen.sender_evidence("busy_time", worst, grown.limited[0], None));
    enlarge(seen, limit, worst, count, buffer, &mut finding);
    Some(finding)
}

/// What kernels let a send buffer grow to, where memory is not scarce.
const USUAL_MOST: u64 = 4_194_304;

fn enlarge(seen: &Observed, limit: Limit, worst: &Sender, count: u64, buffer: u64, finding: &mut Finding) {
    match limit {
        Limit::Maximum => {
            finding.why += "; that is as far as net.ipv4.tcp_wmem lets the kernel grow it";
            // In memory, what is on its way takes about twice its bytes.
            let in_flight = 2 * u64::from(worst.tcp.window) * u64::from(worst.tcp.segment);
            let most = |present: &[u64]| {
                let twice = present.last().map_or(0, |most| most.saturating_mul(2));
                vec![0, 0, twice.max(in_flight).max(USUAL_MOST)]
            };
            let why = "twice the present maximum, or what the congestion window lets out, and no less than kernels begin \
                       with";
            finding.suggest(seen.raise_all(&WMEM, most, why, |more| more.saturating_mul(count)));
            finding.refuse("net.core.wmem_max", "it only caps SO_SNDBUF, which these connections do not use");
        }
        Limit::Capped => {
            finding.why += "; it is twice net.core.wmem_max: the application asked for as much or more";
            let why =
                "twice the present size; or let the application drop its SO_SNDBUF, and the kernel sizes the buffer";
            finding.suggest(seen.raise(&WMEM_MAX, buffer, why, |more| more.saturating_mul(2 * count)));
            finding.refuse("net.ipv4.tcp_wmem", "it does not act on a connection whose application sets SO_SNDBUF");
        }
        Limit::Own => {
            finding.why += "; the kernel did not let it grow: the application sets SO_SNDBUF";
            let instance = Instance::Socket { socket: worst.socket.local.to_string() };
            let why = "twice the present size; better none at all, then the kernel sizes the buffer";
            let mut own = seen.suggest(&SO_SNDBUF, instance, (buffer / 2).to_string(), buffer.to_string(), why);
            own.memory_bytes = buffer.saturating_mul(count);
            finding.suggestions.push(own);
            finding.no_setting_helps =
                Some("the application sets this size itself: only its configuration or its code changes it".into());
            finding.refuse("net.ipv4.tcp_wmem", "it does not act on a connection whose application sets SO_SNDBUF");
            finding.refuse("net.core.wmem_max", "it allows what the application asks for");
        }
    }
    finding.refuse("txqueuelen", "the queue of the device is not what is full");
}

pub static SO_SNDBUF: Knob = Knob {
    id: "SO_SNDBUF",
    place: Place::APPLICATION,
    scope: Scope::Application,
    unit: "bytes",
    range: 2_304..=1_073_741_823,
    default: "not set: TCP sizes the buffer itself (tcp_wmem), others get net.core.wmem_default",
    help: "Send buffer that an application asks for; the kernel allows twice that, and no more than twice \
           net.core.wmem_max. With it TCP no longer grows the buffer.",
    formula: "leave it unset for TCP; else what is sent in a round trip, in bytes",
    risk: Risk::Medium,
    harm: "kernel memory for each socket of the application; more data waits where the application can't take it back",
    takes_effect: "when the application sets it",
    waits: true,
    memory: Memory::Tcp,
    keep: "the application's configuration",
};
