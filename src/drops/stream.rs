//! Single drops in words.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

use crate::model::{Drop, DropEvent, Victim};
use crate::source::probe::event::{self, Event};
use crate::source::{Host, owner, text};

/// The version and kind of a line.
const SCHEMA: &str = "netstat-deep/1";
const KIND: &str = "drop";

/// Turns the kernel's clock, which does not jump, into the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What to add, in nanoseconds.
    offset: i128,
}

impl Clock {
    /// As both clocks stand now.
    pub fn now() -> Self {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let since_boot = i128::from(monotonic.tv_sec) * 1_000_000_000 + i128::from(monotonic.tv_nsec);
        Clock { offset: Timestamp::now().as_nanosecond() - since_boot }
    }

    /// The time of day in nanoseconds since 1970.
    pub fn nanoseconds(self, kernel: u64) -> i128 {
        self.offset + i128::from(kernel)
    }

    fn words(self, kernel: u64) -> String {
        let time = Timestamp::from_nanosecond(self.nanoseconds(kernel)).unwrap_or_default();
        time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }
}

/// An event in words; `drop` says why and where.
pub fn describe(event: &Event, mut drop: Drop, clock: Clock, netns_names: &HashMap<u32, String>) -> DropEvent {
    drop.per_second = None;
    drop.netns_name = netns_names.get(&event.key.netns).cloned();
    drop.device = match (&event.device[..], event.key.ifindex) {
        ([], 0) => None,
        ([], number) => Some(format!("if{number}")),
        (name, _) => Some(text::printable(name)),
    };
    let [from, to] = event::ends(&event.packet).map_or([None, None], |ends| ends.map(|end| Some(words(end))));
    DropEvent {
        schema: SCHEMA,
        kind: KIND,
        time: clock.words(event.time),
        from,
        to,
        length: event.length,
        socket_inode: Some(event.inode).filter(|inode| *inode != 0),
        drop,
    }
}

/// Whose sockets are, by their inodes: of those that lost single packets, so that each is looked up once.
#[derive(Default)]
pub struct Owners(HashMap<u64, Victim>);

/// Sockets that are remembered, at most.
const OWNERS: usize = 4096;

impl Owners {
    /// Names whose each packet was. What can't be seen stays absent: the report at the end says why.
    pub fn name(&mut self, events: &mut [(Event, DropEvent)]) {
        if self.0.len() > OWNERS {
            self.0.clear();
        }
        let mut new: HashMap<u64, Victim> = HashMap::new();
        for (event, _) in events.iter().filter(|(event, _)| event.inode != 0 && !self.0.contains_key(&event.inode)) {
            let inode = u32::try_from(event.inode).unwrap_or(0);
            new.insert(event.inode, Victim { inode, lost: 1, ..Victim::default() });
        }
        let _ = owner::find(&Host::Live, &mut new.values_mut().collect::<Vec<_>>());
        self.0.extend(new);
        for (event, said) in events {
            said.drop.victims =
                self.0.get(&event.inode).filter(|victim| victim.pid.is_some()).cloned().into_iter().collect();
        }
    }
}

/// An address, with its port if there is one.
pub fn words((address, port): (IpAddr, u16)) -> String {
    if port == 0 { address.to_string() } else { SocketAddr::new(address, port).to_string() }
}
