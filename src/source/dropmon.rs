//! The kernel's drop monitor: every packet that the kernel frees as dropped, one message each. For hosts without BPF.
//!
//! It is one for the whole machine and is either on or off: two programs can't use it at once, and one that is killed
//! leaves it on. [`watch`] takes over what nobody listens to, and puts back how it was configured. It needs CAP_NET_ADMIN,
//! CAP_SYS_ADMIN to listen (since 6.7, and stable kernels before it), the initial network namespace, and the module
//! drop_monitor, which the kernel loads by itself.
//!
//! A message per packet costs far more than a count in BPF: at most [`QUEUE`] wait per CPU, and the kernel sends them up to
//! a second late (net/core/drop_monitor.c dm_delay). What did not fit is told as lost.

mod control;
pub mod message;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use control::Monitor;
pub use control::QUEUE;
pub use message::Packet;

use super::netlink::{Dumped, messages};

/// The kernel gathers for one second, then sends.
const LATE: Duration = Duration::from_millis(1300);
/// Once it sends, it sends one after the other: after such a pause there are no more.
const PAUSE: Duration = Duration::from_millis(500);
/// How long is waited at most for what is late.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the end is looked for while nothing comes.
const LOOK: Duration = Duration::from_millis(100);

/// Packets that were dropped alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What they have in common.
    pub packet: Packet,
    /// How many.
    pub count: u64,
}

/// What the drop monitor told.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The most frequent first.
    pub rows: Vec<Row>,
    /// Drops that were not told, for want of room in the kernel's queues or in ours: the rows are short by so many.
    pub lost: u64,
    /// Messages that made no sense.
    pub bad: usize,
    /// False if the kernel still had drops of this window to tell when it was waited for no longer: then the rows are short
    /// by an unknown number.
    pub complete: bool,
    /// How long was watched.
    pub seconds: f64,
    /// Until when.
    pub end: SystemTime,
}

impl Default for Watched {
    /// Nothing, as if nothing had been watched yet.
    fn default() -> Self {
        Watched { rows: Vec::new(), lost: 0, bad: 0, complete: false, seconds: 0.0, end: UNIX_EPOCH }
    }
}

/// Watches every drop on this machine for as long as `window`, or until `stop`. Returns a second and a bit after, because
/// the kernel tells so late, or later if there is much to tell. The drop monitor is off again however this ends.
pub fn watch(window: Duration, stop: &AtomicBool) -> io::Result<Watched> {
    let monitor = Monitor::start()?;
    let mut heard = Heard { begin: since_epoch(), ..Heard::default() };
    let start = Instant::now();
    while start.elapsed() < window && !stop.load(Ordering::Relaxed) {
        monitor.hear(LOOK.min(window.saturating_sub(start.elapsed())), |bytes| heard.take(bytes))?;
    }
    heard.end = Some(since_epoch());
    let (ended, end) = (SystemTime::now(), Instant::now());
    let is_late = |heard: &Heard| end.elapsed() < LATE || heard.last.is_some_and(|last| last.elapsed() < PAUSE);
    while is_late(&heard) && end.elapsed() < PATIENCE {
        monitor.hear(LOOK, |bytes| heard.take(bytes))?;
    }
    let complete = !is_late(&heard);
    let lost = monitor.lost()?;
    monitor.stop()?;
    let mut rows: Vec<Row> = heard.counts.into_iter().map(|(packet, count)| Row { packet, count }).collect();
    rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.packet.cmp(&b.packet)));
    let seconds = end.saturating_duration_since(start).as_secs_f64();
    Ok(Watched { rows, lost, bad: heard.dumped.bad, complete, seconds, end: ended })
}

/// What was heard so far, by the time at which the kernel dropped it.
#[derive(Default)]
struct Heard {
    begin: u64,
    /// Absent while the window lasts.
    end: Option<u64>,
    counts: HashMap<Packet, u64>,
    /// When the last one came that counts.
    last: Option<Instant>,
    dumped: Dumped,
}

impl Heard {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Heard { begin, end, counts, last, dumped } = self;
        messages(bytes, None, dumped, |payload| {
            let Some((packet, time)) = message::parse(payload) else { return false };
            if time >= *begin && end.is_none_or(|end| time <= end) {
                *counts.entry(packet).or_default() += 1;
                *last = Some(Instant::now());
            }
            true
        })
        .map(drop)
    }
}

/// Nanoseconds, as the kernel stamps its messages.
fn since_epoch() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
