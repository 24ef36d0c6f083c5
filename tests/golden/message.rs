//! Netlink answers as the kernel sends them, for recorded trees: struct nlmsghdr, then the payload, message after message.

const RTM_NEWLINK: u16 = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
/// Of the subsystem 1, NFNL_SUBSYS_CTNETLINK.
const IPCTNL_MSG_CT_GET_STATS_CPU: u16 = 1 << 8 | 4;

/// Where a tree keeps the devices.
pub const LINKS: &str = ".netlink/route/getlink.bin";
/// Where a tree keeps the UDP sockets over IPv4.
pub const UDP4: &str = ".netlink/sock_diag/udp4.bin";
/// Where a tree keeps the UDP sockets over IPv6.
pub const UDP6: &str = ".netlink/sock_diag/udp6.bin";
/// Where a tree keeps the listening TCP sockets over IPv4.
pub const LISTEN4: &str = ".netlink/sock_diag/listen4.bin";

/// Where a tree keeps what connection tracking counted.
pub const CONNTRACK: &str = ".netlink/netfilter/ct_stats_cpu.bin";
/// Where a tree keeps how many flows there are.
pub const CONNTRACK_FILL: &str = ".netlink/netfilter/ct_stats.bin";

/// A device: struct ifinfomsg, then IFLA_IFNAME (3), IFLA_STATS64 (23), IFLA_LINKINFO (18) with IFLA_INFO_KIND (1), and
/// IFLA_CARRIER_DOWN_COUNT (48). Hardware has no kind.
pub struct Link<'a> {
    pub name: &'a [u8],
    pub kind: &'a [u8],
    /// In the order of struct rtnl_link_stats64: 0 rx_packets, 6 rx_dropped, 15 rx_missed_errors.
    pub stats: [u64; 25],
    /// How often it lost its carrier.
    pub carrier: u32,
}

impl<'a> Link<'a> {
    pub fn new(name: &'a [u8]) -> Self {
        Link { name, kind: b"veth", stats: [0; 25], carrier: 0 }
    }

    pub fn stat(mut self, at: usize, value: u64) -> Self {
        self.stats[at] = value;
        self
    }

    fn payload(&self) -> Vec<u8> {
        let stats: Vec<u8> = self.stats.iter().flat_map(|value| value.to_ne_bytes()).collect();
        let kind = attribute(1, &[self.kind, b"\0"].concat());
        let kind = if self.kind.is_empty() { Vec::new() } else { attribute(18, &kind) };
        let carrier = attribute(48, &self.carrier.to_ne_bytes());
        [vec![0; 16], attribute(3, &[self.name, b"\0"].concat()), attribute(23, &stats), kind, carrier].concat()
    }
}

/// A socket: struct inet_diag_msg, then INET_DIAG_SKMEMINFO (7).
#[derive(Clone, Copy)]
pub struct Socket {
    pub v6: bool,
    pub port: u16,
    pub cookie: u32,
    /// Bytes in the receive queue, or connections in the accept queue.
    pub queue: u32,
    /// The receive buffer, or the backlog.
    pub limit: u32,
    pub drops: u32,
}

impl Socket {
    fn payload(&self) -> Vec<u8> {
        let mut fixed = vec![0; 72];
        fixed[0] = if self.v6 { 10 } else { 2 };
        fixed[4..6].copy_from_slice(&self.port.to_be_bytes());
        for (at, word) in [(44, self.cookie), (56, self.queue), (60, self.limit), (68, 7_000_000 + self.cookie)] {
            fixed[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        // rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, optmem, backlog, drops
        let memory = [self.queue, self.limit, 0, 0, 0, 0, 0, 0, self.drops];
        fixed.extend(attribute(7, &memory.map(u32::to_ne_bytes).concat()));
        fixed
    }
}

/// All devices, and the end of the dump.
pub fn links(links: &[Link]) -> Vec<u8> {
    stream(RTM_NEWLINK, links.iter().map(Link::payload))
}

/// All sockets of one query, and the end of the dump.
pub fn sockets(sockets: &[Socket]) -> Vec<u8> {
    stream(SOCK_DIAG_BY_FAMILY, sockets.iter().map(Socket::payload))
}

/// What sock_diag says of each socket, as it is, and the end of the dump.
pub fn diag(payloads: &[Vec<u8>]) -> Vec<u8> {
    stream(SOCK_DIAG_BY_FAMILY, payloads.iter().cloned())
}

/// What connection tracking counted on each CPU: struct nfgenmsg with the CPU's number, then CTA_STATS_* in network order.
pub fn conntrack(cpus: &[&[(u16, u32)]]) -> Vec<u8> {
    let payload = |(cpu, counters): (usize, &&[(u16, u32)])| {
        let header = [&[0, 0][..], &u16::try_from(cpu).unwrap().to_be_bytes()].concat();
        let counters = counters.iter().flat_map(|(kind, value)| attribute(*kind, &value.to_be_bytes()));
        header.into_iter().chain(counters).collect()
    };
    stream(IPCTNL_MSG_CT_GET_STATS_CPU, cpus.iter().enumerate().map(payload))
}

/// One device's answer of ethtool, and the end of the dump: struct genlmsghdr, the header (1) with the device's name (2), and
/// whatever follows.
pub fn generic(device: &[u8], attributes: &[u8]) -> Vec<u8> {
    let header = attribute(1, &attribute(2, &[device, b"\0"].concat()));
    stream(32, std::iter::once([vec![0; 4], header, attributes.to_vec()].concat()))
}

/// Messages of generic netlink about no device in particular: struct genlmsghdr, then the attributes.
pub fn family(messages: &[Vec<u8>]) -> Vec<u8> {
    stream(32, messages.iter().map(|attributes| [vec![0; 4], attributes.clone()].concat()))
}

/// Queueing disciplines: struct tcmsg with handle and parent, TCA_KIND (1), TCA_STATS2 (7) with TCA_STATS_BASIC (1).
pub fn qdiscs(qdiscs: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
    let payload = |(handle, parent, kind, packets): &(u32, u32, &[u8], u32)| {
        let fixed = [0, 0, *handle, *parent, 0].map(u32::to_ne_bytes).concat();
        let basic = [&0_u64.to_ne_bytes()[..], &packets.to_ne_bytes()].concat();
        [fixed, attribute(1, kind), attribute(7, &attribute(1, &basic))].concat()
    };
    stream(36, qdiscs.iter().map(payload))
}

/// A driver's name and statistics: struct ethtool_drvinfo, struct ethtool_gstrings, struct ethtool_stats.
pub fn driver(driver: &str, statistics: &[(&[u8], u64)]) -> Vec<u8> {
    let mut bytes = vec![0; 196];
    bytes[4..4 + driver.len()].copy_from_slice(driver.as_bytes());
    let count = u32::try_from(statistics.len()).unwrap();
    bytes.extend([0x1b, 1, count].map(u32::to_ne_bytes).concat());
    for (name, _) in statistics {
        let end = bytes.len() + 32;
        bytes.extend(*name);
        bytes.resize(end, 0);
    }
    bytes.extend([0x1d, count].map(u32::to_ne_bytes).concat());
    bytes.extend(statistics.iter().flat_map(|(_, value)| value.to_ne_bytes()));
    bytes
}

fn stream(kind: u16, payloads: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes: Vec<u8> = payloads.flat_map(|payload| message(kind, &payload)).collect();
    bytes.extend(message(NLMSG_DONE, &[0; 4]));
    bytes
}

fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    // NLM_F_MULTI, sequence number, port.
    bytes.extend(2_u16.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    padded(bytes)
}

pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    padded(bytes)
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
