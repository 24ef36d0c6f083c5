//! Local ports that connections made here hold.

use std::net::{IpAddr, SocketAddr};

/// From where a new connection to one service takes its port: the ports of one local address, less those that
/// connections to the same service hold already (net/ipv4/inet_hashtables.c __inet_hash_connect()).
#[derive(Clone, Debug, PartialEq)]
pub struct PortUse {
    /// The local address.
    pub from: IpAddr,
    /// The service.
    pub to: SocketAddr,
    /// Ports of connections that are not over.
    pub open: u64,
    /// Ports in TIME_WAIT for less than net.ipv4.tcp_tw_reuse_delay: nobody may take them.
    pub fresh: u64,
    /// Ports in TIME_WAIT for longer: tcp_tw_reuse gives them away.
    pub rested: u64,
    /// The inode of one of the connections, by which its process is found; 0 if no process holds any.
    pub inode: u32,
    /// Its cookie.
    pub cookie: u64,
}

impl PortUse {
    /// An example: so many ports towards a database.
    pub fn example(open: u64, fresh: u64, rested: u64) -> Self {
        let from = IpAddr::from([10, 0, 0, 1]);
        let to = SocketAddr::from(([10, 0, 0, 2], 5432));
        PortUse { from, to, open, fresh, rested, inode: 0, cookie: 0 }
    }

    /// Both ends are on this host: for those the kernel gives ports away more freely.
    pub fn is_loopback(&self) -> bool {
        self.from.is_loopback() || self.to.ip().is_loopback()
    }
}
