//! Sockets of one device: those that are bound to it, those whose packets leave over it, those of one of its addresses.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use super::census::plain;
use crate::model::{Endpoint, Transport};
use crate::source::Host;
use crate::source::route::{Routes, addresses};

/// A device whose sockets are wanted.
pub struct Through {
    index: u32,
    addresses: HashSet<IpAddr>,
    /// Asked while sockets are handed over, one after the other.
    routes: RefCell<Routes<'static>>,
}

/// Whether a socket is the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// It is.
    Yes,
    /// It is another one's, or none's.
    No,
    /// Packets of every device come to it: it is bound to none, and to no address.
    Every,
}

impl Through {
    /// A device of the calling thread's network namespace, by its index.
    pub fn new(index: u32) -> io::Result<Self> {
        let addresses = addresses(&Host::Live, index)?;
        Ok(Through { index, addresses, routes: RefCell::new(Routes::new(&Host::Live)) })
    }

    /// Whether it is this device's. A connection is the one's over which it sends.
    pub fn holds(&self, socket: &Endpoint) -> Belongs {
        let (local, remote) = (plain(socket.local.ip()), plain(socket.remote.ip()));
        let is = |yes| if yes { Belongs::Yes } else { Belongs::No };
        match socket {
            Endpoint { transport: Transport::Unix, .. } => Belongs::No,
            // sk_bound_dev_if, by SO_BINDTODEVICE or of a link-local address.
            Endpoint { device, .. } if *device != 0 => is(*device == self.index),
            _ if !remote.is_unspecified() => is(self.routes.borrow_mut().device(local, remote) == Some(self.index)),
            _ if local.is_unspecified() => Belongs::Every,
            _ => is(self.addresses.contains(&local)),
        }
    }
}

impl std::fmt::Debug for Through {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Through").field("index", &self.index).field("addresses", &self.addresses).finish()
    }
}
