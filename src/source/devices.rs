//! All that the kernel and the drivers tell of the network devices: rtnetlink, ethtool, netdev. Read on threads of their
//! own, for the kernel answers under its rtnl lock, which a driver may hold for long.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::ethtool::{driver, names, statistics};
use super::interrupts::Card;
use super::netdev::{self, Names};
use super::netlink::{self, Client, DEADLINE, Dumped, Family};
use super::sheet::Rows;
use super::{Host, interrupts, link, qdisc, text, transmit};

/// Enough for a dump, whose buffer is on the heap.
const STACK: usize = 128 << 10;

/// The source that tells which devices there are.
pub const LINKS: &str = "rtnetlink links";
/// How closely devices are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// What they tell of themselves.
    Devices,
    /// Their qdiscs as well.
    Qdiscs,
    /// Each queue as well, also of software that tells of its queues if it is asked.
    Queues,
}

/// What one source gave.
#[derive(Debug)]
pub struct Answer {
    /// The source.
    pub name: String,
    /// When it was asked and when it had answered, on the clock that was given.
    pub span: [Duration; 2],
    /// Its tables, and what was wrong with single messages.
    pub result: io::Result<(Vec<Rows>, Dumped)>,
    /// How closely one must look to be told of it.
    pub detail: Detail,
}

/// Answers on their way.
pub struct Answers {
    receive: mpsc::Receiver<Sent>,
    clock: Instant,
    started: Duration,
    asked: Vec<(String, Duration, Detail)>,
}

enum Sent {
    /// It was asked, and may be slow.
    Asked(String, Duration, Detail),
    Answer(Answer),
}

/// Starts to ask about all devices of the calling thread's network namespace. Drivers that were `slow` are asked last, so
/// that they do not keep others waiting. Times are taken from `clock`.
pub fn start(host: &Host, clock: Instant, slow: &BTreeSet<String>, detail: Detail) -> io::Result<Answers> {
    let (send, receive) = mpsc::channel();
    let (host, slow, started) = (host.clone(), slow.clone(), clock.elapsed());
    spawn(move || ask(&Asking { host, clock, send }, &slow, detail))?;
    Ok(Answers { receive, clock, started, asked: Vec::new() })
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("devices".into()).stack_size(STACK).spawn(work).map(drop)
}

impl Iterator for Answers {
    type Item = Answer;

    /// The next answer, until there are none left or the deadline has passed. What was asked and did not answer until then
    /// gives an error of its own.
    fn next(&mut self) -> Option<Answer> {
        loop {
            let left = (self.started + DEADLINE).saturating_sub(self.clock.elapsed());
            match self.receive.recv_timeout(left) {
                Ok(Sent::Asked(name, at, detail)) => self.asked.push((name, at, detail)),
                Ok(Sent::Answer(answer)) => {
                    self.asked.retain(|(name, ..)| *name != answer.name);
                    return Some(answer);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let (name, at, detail) = self.asked.pop()?;
                    let (span, result) = ([at, self.clock.elapsed()], Err(netlink::late()));
                    return Some(Answer { name, span, result, detail });
                }
            }
        }
    }
}

struct Asking {
    host: Host,
    clock: Instant,
    send: mpsc::Sender<Sent>,
}

impl Asking {
    fn answer<T>(&self, name: &str, work: impl FnOnce() -> io::Result<(T, Vec<Rows>, Dumped)>) -> Option<T> {
        self.answer_at(Detail::Devices, name, work)
    }

    /// An answer that only those want who look so closely.
    fn answer_at<T>(
        &self,
        detail: Detail,
        name: &str,
        work: impl FnOnce() -> io::Result<(T, Vec<Rows>, Dumped)>,
    ) -> Option<T> {
        let begin = self.clock.elapsed();
        // Nobody listens any more when the deadline has passed.
        let _ = self.send.send(Sent::Asked(name.into(), begin, detail));
        let (kept, result) = match work() {
            Ok((kept, rows, dumped)) => (Some(kept), Ok((rows, dumped))),
            Err(e) => (None, Err(e)),
        };
        let answer = Answer { name: name.into(), span: [begin, self.clock.elapsed()], result, detail };
        let _ = self.send.send(Sent::Answer(answer));
        kept
    }
}

fn ask(asking: &Asking, slow: &BTreeSet<String>, detail: Detail) {
    let links = asking.answer(LINKS, || {
        let (links, dumped) = link::read(&asking.host)?;
        if links.is_empty() {
            // Every namespace has its loopback.
            return Err(io::Error::other(format!(
                "no device in the answer, and {} messages made no sense",
                dumped.bad
            )));
        }
        let rows = link::rows(&links).into();
        Ok((links, rows, dumped))
    });
    let Some(links) = links else { return };
    let drivers = Asking { host: asking.host.clone(), clock: asking.clock, send: asking.send.clone() };
    let asked = links
        .iter()
        .filter(|link| link.hardware || (detail == Detail::Queues && link.by_queue))
        .map(|link| (driver_source(&link.name), link.name.clone(), detail_of(link.hardware)));
    let mut devices: Vec<(String, Vec<u8>, Detail)> = asked.collect();
    devices.sort_by_key(|(source, ..)| slow.contains(source));
    if !devices.is_empty()
        && let Err(e) = spawn(move || ask_drivers(&drivers, &devices))
    {
        asking.answer("driver statistics", || Err::<((), _, _), _>(e));
    }
    let cards: Vec<Vec<u8>> = links.iter().filter(|link| link.hardware).map(|link| link.name.clone()).collect();
    if detail >= Detail::Qdiscs && !cards.is_empty() {
        asking.answer_at(Detail::Qdiscs, "transmit queues", || {
            transmit::read(&asking.host, &cards).map(|(rows, dumped)| ((), rows, dumped))
        });
    }
    let names: Names = links.into_iter().map(|link| (link.index, link.name)).collect();
    if detail >= Detail::Qdiscs {
        asking.answer_at(Detail::Qdiscs, "rtnetlink qdiscs", || {
            qdisc::read(&mut qdisc::client(&asking.host), &names).map(|(rows, dumped)| ((), rows, dumped))
        });
    }
    let mut client = Client::new(&asking.host, Family::Generic);
    for Dump { name, take } in DUMPS {
        asking.answer(name, || take(&mut client, &names).map(|(rows, dumped)| ((), rows, dumped)));
    }
}

/// A question about all devices at once.
struct Dump {
    name: &'static str,
    take: fn(&mut Client, &Names) -> Gathered,
}

type Gathered = io::Result<(Vec<Rows>, Dumped)>;

static DUMPS: &[Dump] = &[
    Dump { name: "ethtool standard statistics", take: |client, _| statistics::standard(client) },
    Dump { name: "ethtool pause", take: |client, _| statistics::pause(client) },
    Dump { name: "ethtool fec", take: |client, _| statistics::fec(client) },
    Dump { name: "ethtool linkstate", take: |client, _| statistics::linkstate(client) },
    Dump { name: "netdev qstats", take: netdev::qstats },
    Dump { name: "netdev qstats by queue", take: netdev::qstats_by_queue },
    Dump { name: "netdev page pools", take: netdev::page_pools },
];

fn driver_source(device: &[u8]) -> String {
    format!("driver statistics of {}", text::printable(device))
}

/// Software tells of its queues only to those who look at each.
fn detail_of(hardware: bool) -> Detail {
    if hardware { Detail::Devices } else { Detail::Queues }
}

fn ask_drivers(asking: &Asking, devices: &[(String, Vec<u8>, Detail)]) {
    let mut asker = match driver::Asker::new(&asking.host) {
        Ok(asker) => asker,
        Err(e) => {
            asking.answer("driver statistics", || Err::<((), _, _), _>(e));
            return;
        }
    };
    let mut cards = Vec::new();
    for (source, device, detail) in devices {
        cards.extend(asking.answer_at(*detail, source, || {
            let bytes = asker.ask(device)?;
            let driver = driver::parse(&bytes).ok_or_else(|| io::Error::other("the driver's answer makes no sense"))?;
            let card = Card { device: device.clone(), bus: driver.bus.into(), irqs: Vec::new() };
            Ok((card, names::rows(device, &driver).into(), Dumped::default()))
        }));
    }
    let closest = devices.iter().map(|(.., detail)| *detail).min().unwrap_or(Detail::Devices);
    asking.answer_at(closest, "proc/interrupts", || {
        let (rows, dumped) = interrupts::read(&asking.host, &cards)?;
        Ok(((), rows, dumped))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(work: impl FnOnce(Asking) + Send + 'static) -> Answers {
        let (send, receive) = mpsc::channel();
        let clock = Instant::now();
        std::thread::spawn(move || work(Asking { host: Host::Live, clock, send }));
        Answers { receive, clock, started: Duration::ZERO, asked: Vec::new() }
    }

    fn nothing() -> io::Result<((), Vec<Rows>, Dumped)> {
        Ok(((), Vec::new(), Dumped::default()))
    }

    #[test]
    fn a_driver_that_takes_too_long_costs_its_own_answer_only() {
        let mut answers = answers(|asking| {
            asking.answer("first", nothing);
            asking.answer("slow", || {
                std::thread::sleep(Duration::from_secs(30));
                nothing()
            });
        });
        let first = answers.next().unwrap();
        assert!(first.name == "first" && first.result.is_ok());
        let slow = answers.next().unwrap();
        assert_eq!((slow.name.as_str(), slow.result.unwrap_err().kind()), ("slow", io::ErrorKind::TimedOut));
        assert!(answers.next().is_none());
        assert!(answers.clock.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn this_machine_s_devices_answer() {
        let answers = start(&Host::Live, Instant::now(), &BTreeSet::new(), Detail::Devices).unwrap();
        let all: Vec<Answer> = answers.collect();
        let links = all.iter().find(|answer| answer.name == LINKS).unwrap();
        assert!(links.result.is_ok(), "{links:?}");
        for Dump { name, .. } in DUMPS {
            assert!(all.iter().any(|answer| answer.name == *name), "{name} was not asked");
        }
    }
}
