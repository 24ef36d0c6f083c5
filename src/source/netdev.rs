//! netdev generic netlink: statistics of queues with standard names, the NAPI instances with their interrupts, and the
//! page pools of receive buffers. Since 6.10, and only of drivers that take part.

use std::collections::BTreeMap;
use std::io;

use super::ethtool::number;
use super::genl::{self, header, push};
use super::groups::{PAGE_POOL, QSTATS, QSTATS_QUEUE};
use super::netlink::{Client, Dumped, Request, attributes};
use super::sheet::{Owner, Rows};

// include/uapi/linux/netdev.h
const PAGE_POOL_STATS_GET: u8 = 9;
const NAPI_GET: u8 = 11;
const QSTATS_GET: u8 = 12;
const QSTATS_IFINDEX: u16 = 1;
const QSTATS_QUEUE_TYPE: u16 = 2;
const QSTATS_QUEUE_ID: u16 = 3;
const QSTATS_SCOPE: u16 = 4;
const SCOPE_QUEUE: u32 = 1;
const QUEUE_TYPE_RX: u64 = 0;
/// Attributes from here on are statistics.
const FIRST: u16 = 8;
const POOL_INFO: u16 = 1;
const INFO_IFINDEX: u16 = 2;
const QUEUE_GET: u8 = 10;
const QUEUE_ID: u16 = 1;
const QUEUE_IFINDEX: u16 = 2;
const QUEUE_TYPE: u16 = 3;
const QUEUE_NAPI_ID: u16 = 4;
const NAPI_IFINDEX: u16 = 1;
const NAPI_ID: u16 = 2;
const NAPI_IRQ: u16 = 3;

/// The statistics of queues, in the order of their attributes.
static QUEUE_COLUMNS: [&str; 27] = [
    "rx-packets",
    "rx-bytes",
    "tx-packets",
    "tx-bytes",
    "rx-alloc-fail",
    "rx-hw-drops",
    "rx-hw-drop-overruns",
    "rx-csum-complete",
    "rx-csum-unnecessary",
    "rx-csum-none",
    "rx-csum-bad",
    "rx-hw-gro-packets",
    "rx-hw-gro-bytes",
    "rx-hw-gro-wire-packets",
    "rx-hw-gro-wire-bytes",
    "rx-hw-drop-ratelimits",
    "tx-hw-drops",
    "tx-hw-drop-errors",
    "tx-csum-none",
    "tx-needs-csum",
    "tx-hw-gso-packets",
    "tx-hw-gso-bytes",
    "tx-hw-gso-wire-packets",
    "tx-hw-gso-wire-bytes",
    "tx-hw-drop-ratelimits",
    "tx-stop",
    "tx-wake",
];

/// The statistics of page pools, in the order of their attributes.
static POOL_COLUMNS: [&str; 11] = [
    "alloc-fast",
    "alloc-slow",
    "alloc-slow-high-order",
    "alloc-empty",
    "alloc-refill",
    "alloc-waive",
    "recycle-cached",
    "recycle-cache-full",
    "recycle-ring",
    "recycle-ring-full",
    "recycle-released-refcnt",
];

/// The names of devices by the kernel's numbers.
pub type Names = BTreeMap<u32, Vec<u8>>;

/// A NAPI instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Napi {
    /// The kernel's number of its device.
    pub device: u32,
    /// Its own number.
    pub id: u32,
    /// The interrupt that wakes it.
    pub irq: Option<u32>,
}

fn request(client: &Client, name: &'static str, command: u8, more: &[u8]) -> io::Result<Request> {
    let kind = if client.is_recorded() { 0 } else { genl::fixed("netdev")? };
    Ok(Request { name, kind, payload: [header(command, 1), more.to_vec()].concat() })
}

/// The statistics of whole devices.
pub fn qstats(client: &mut Client, names: &Names) -> io::Result<(Vec<Rows>, Dumped)> {
    let request = request(client, "qstats-get", QSTATS_GET, &[])?;
    gather(client, &request, Rows::new(&QSTATS, &QUEUE_COLUMNS), names, queue_statistics)
}

/// The statistics of each queue.
pub fn qstats_by_queue(client: &mut Client, names: &Names) -> io::Result<(Vec<Rows>, Dumped)> {
    let mut scope = Vec::new();
    push(&mut scope, QSTATS_SCOPE, &SCOPE_QUEUE.to_ne_bytes());
    let request = request(client, "qstats-get-queue", QSTATS_GET, &scope)?;
    gather(client, &request, Rows::new(&QSTATS_QUEUE, &QUEUE_COLUMNS), names, queue_statistics)
}

/// The page pools, those of a device added up.
pub fn page_pools(client: &mut Client, names: &Names) -> io::Result<(Vec<Rows>, Dumped)> {
    let request = request(client, "page-pool-stats-get", PAGE_POOL_STATS_GET, &[])?;
    gather(client, &request, Rows::new(&PAGE_POOL, &POOL_COLUMNS), names, |payload, names| {
        let message = payload.get(genl::HEADER..)?;
        let (_, info) = attributes(message).find(|(kind, _)| *kind == POOL_INFO)?;
        let (_, index) = attributes(info).find(|(kind, _)| *kind == INFO_IFINDEX)?;
        Some((Owner::Device(name(names, index)?), values(message, POOL_COLUMNS.len())))
    })
}

/// The NAPI instances of all devices.
pub fn napis(client: &mut Client) -> io::Result<(Vec<Napi>, Dumped)> {
    let request = request(client, "napi-get", NAPI_GET, &[])?;
    let mut napis = Vec::new();
    let dumped = client.dump(&request, &mut napis, Vec::clear, |napis, payload| {
        napi(payload).map(|napi| napis.push(napi)).is_some()
    })?;
    Ok((napis, dumped))
}

/// A NAPI instance from the payload of a message.
pub fn napi(payload: &[u8]) -> Option<Napi> {
    let of = |wanted| {
        let (_, value) = attributes(payload.get(genl::HEADER..)?).find(|(kind, _)| *kind == wanted)?;
        number(value).and_then(|number| u32::try_from(number).ok())
    };
    Some(Napi { device: of(NAPI_IFINDEX)?, id: of(NAPI_ID)?, irq: of(NAPI_IRQ) })
}

/// A queue, and the NAPI instance that polls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// The kernel's number of its device.
    pub device: u32,
    /// True for one that receives.
    pub receives: bool,
    /// Its number.
    pub id: u32,
    /// The NAPI instance's number.
    pub napi: Option<u32>,
}

/// The queues of all devices.
pub fn queues(client: &mut Client) -> io::Result<(Vec<Queue>, Dumped)> {
    let request = request(client, "queue-get", QUEUE_GET, &[])?;
    let mut queues = Vec::new();
    let dumped = client.dump(&request, &mut queues, Vec::clear, |queues, payload| {
        queue(payload).map(|queue| queues.push(queue)).is_some()
    })?;
    Ok((queues, dumped))
}

/// A queue from the payload of a message.
pub fn queue(payload: &[u8]) -> Option<Queue> {
    let of = |wanted| {
        let (_, value) = attributes(payload.get(genl::HEADER..)?).find(|(kind, _)| *kind == wanted)?;
        number(value).and_then(|number| u32::try_from(number).ok())
    };
    let receives = u64::from(of(QUEUE_TYPE)?) == QUEUE_TYPE_RX;
    Some(Queue { device: of(QUEUE_IFINDEX)?, receives, id: of(QUEUE_ID)?, napi: of(QUEUE_NAPI_ID) })
}

fn gather(
    client: &mut Client,
    request: &Request,
    mut rows: Rows,
    names: &Names,
    one: impl Fn(&[u8], &Names) -> Option<(Owner, Vec<Option<u64>>)>,
) -> io::Result<(Vec<Rows>, Dumped)> {
    let dumped = client.dump(
        request,
        &mut rows,
        |rows| rows.rows.clear(),
        |rows, payload| {
            let Some((owner, cells)) = one(payload, names) else { return false };
            match rows.rows.last_mut() {
                // A device's pools stand together.
                Some((last, sums)) if *last == owner => {
                    for (sum, cell) in sums.iter_mut().zip(cells) {
                        *sum = sum.map_or(cell, |sum| Some(sum.saturating_add(cell.unwrap_or(0))));
                    }
                }
                _ => rows.rows.push((owner, cells)),
            }
            true
        },
    )?;
    Ok((vec![rows], dumped))
}

/// Whose they are, and the statistics, from the payload of a message.
pub fn queue_statistics(payload: &[u8], names: &Names) -> Option<(Owner, Vec<Option<u64>>)> {
    let message = payload.get(genl::HEADER..)?;
    let of = |wanted| attributes(message).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let device = name(names, of(QSTATS_IFINDEX)?)?;
    let owner = match (of(QSTATS_QUEUE_TYPE).and_then(number), of(QSTATS_QUEUE_ID).and_then(number)) {
        (Some(kind), Some(id)) => {
            let id = u32::try_from(id).ok()?;
            if kind == QUEUE_TYPE_RX { Owner::RxQueue(device, id) } else { Owner::TxQueue(device, id) }
        }
        _ => Owner::Device(device),
    };
    Some((owner, values(message, QUEUE_COLUMNS.len())))
}

fn name(names: &Names, index: &[u8]) -> Option<Vec<u8>> {
    names.get(&u32::try_from(number(index)?).ok()?).cloned()
}

/// The attributes from the first statistic on. The kernel sends each in four bytes if they are enough, else in eight
/// (include/net/netlink.h nla_put_uint()).
fn values(message: &[u8], count: usize) -> Vec<Option<u64>> {
    let mut cells = vec![None; count];
    for (kind, value) in attributes(message) {
        if let Some(cell) = kind.checked_sub(FIRST).and_then(|at| cells.get_mut(usize::from(at))) {
            *cell = number(value);
        }
    }
    cells
}

#[cfg(test)]
mod tests;
