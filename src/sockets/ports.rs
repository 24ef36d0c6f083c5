//! Who is short of local ports: those in use by local address and service, in bounded memory.

use std::io;
use std::net::SocketAddr;

use super::census::{Destination, plain, plain_end};
use super::heavy::{Heavy, Weight};
use crate::model::PortUse;
use crate::source::Host;
use crate::source::netlink::Dumped;
use crate::source::sockdiag::ports;

/// Services told apart, twice as many in between.
const SERVICES: usize = 2048;
/// Services told of, at most.
const TOLD: usize = 5;

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    open: u64,
    fresh: u64,
    rested: u64,
    inode: u32,
    cookie: u64,
}

impl Weight for Held {
    fn weight(&self) -> u64 {
        self.open + self.fresh + self.rested
    }
}

/// The services to which most of the ports that `ours` holds are in use, the most first. `delay` is that after which a
/// port in TIME_WAIT may be given away, in milliseconds.
pub fn in_use(host: &Host, delay: u32, ours: impl Fn(u16) -> bool) -> io::Result<(Vec<PortUse>, Dumped)> {
    let mut services: Heavy<Destination, Held> = Heavy::new(SERVICES);
    let again = |services: &mut Heavy<Destination, Held>| *services = Heavy::new(SERVICES);
    let each = |services: &mut Heavy<Destination, Held>, holder: ports::Holder| {
        if !ours(holder.local.port()) || holder.remote.port() == 0 {
            return;
        }
        let remote = plain_end(holder.remote);
        let held = services.of((plain(holder.local.ip()), remote.ip(), remote.port()));
        match holder.resting {
            None => held.open += 1,
            Some(millis) if millis < delay => held.fresh += 1,
            Some(_) => held.rested += 1,
        }
        if holder.inode != 0 {
            (held.inode, held.cookie) = (holder.inode, holder.cookie);
        }
    };
    let dumped = ports::read(host, &mut services, again, each)?;
    let told = services.heaviest(TOLD).into_iter().map(|((from, to, port), held)| {
        let Held { open, fresh, rested, inode, cookie } = held;
        PortUse { from, to: SocketAddr::new(to, port), open, fresh, rested, inode, cookie }
    });
    Ok((told.collect(), dumped))
}
