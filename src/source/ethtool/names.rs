//! What each driver calls its statistics, brought to one set of columns.
//!
//! The same loss has another name in each driver, and stands elsewhere in the device's own counters
//! (struct rtnl_link_stats64): in rx_missed_errors, in rx_dropped, or nowhere. What is listed for a driver does not
//! overlap: it can be added up. Names of a driver that is not listed are only guessed at, and kept apart.

use std::collections::BTreeMap;

use super::driver::Driver;
use crate::source::groups::{NIC, NIC_QUEUE};
use crate::source::sheet::{Owner, Rows};

/// What a statistic means; the column it goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    /// Frames lost because the kernel had put out no buffer, or the device's own memory was full. The driver also adds
    /// them to rx_missed_errors, or to nothing.
    RingFull,
    /// The same, but the driver adds them to rx_dropped (on some kernels).
    RingDropped,
    /// Times that a ring was found empty of buffers.
    RingEmpty,
    /// Frames that the driver itself threw away; it adds them to rx_dropped. XDP's drops are taken out.
    DriverDrops,
    /// Times that no memory was to be had for a buffer.
    AllocFailed,
    /// Frames that an XDP program dropped on purpose.
    XdpDrops,
    /// Frames that the physical layer found damaged.
    SymbolErrors,
    /// Frames that the network of a cloud held back or dropped because the machine exceeded what it may use.
    RateLimited,
    /// Of those, packets received beyond the bandwidth,
    LimitedIn,
    /// sent beyond it,
    LimitedOut,
    /// beyond the packets of a second,
    LimitedPackets,
    /// beyond the connections that are tracked,
    LimitedConnections,
    /// and beyond what the cloud's own services take.
    LimitedLocal,
    /// Pause frames received.
    RxPause,
    /// Pause frames sent.
    TxPause,
    /// What a driver that is not listed may lose, by the sound of its names.
    Guessed,
    /// Frames that a receive queue took in.
    Took,
    /// Frames that a transmit queue sent.
    Sent,
}

impl Meaning {
    /// False for what is said of a transmit queue.
    fn receives(self) -> bool {
        self != Sent
    }
}

const COLUMNS: [&str; 18] = [
    "rx_ring_full",
    "rx_ring_dropped",
    "rx_ring_empty",
    "rx_driver_drops",
    "rx_alloc_failed",
    "rx_xdp_drops",
    "rx_symbol_errors",
    "rate_limited",
    "limited_bandwidth_in",
    "limited_bandwidth_out",
    "limited_packets",
    "limited_connections",
    "limited_local_services",
    "rx_pause",
    "tx_pause",
    "rx_guessed_drops",
    "rx_packets",
    "tx_packets",
];

/// A driver: its names in the table of modules, and those of its statistics. `#` stands for a queue's number.
struct Known {
    drivers: &'static [&'static str],
    names: &'static [(&'static str, Meaning)],
}

use Meaning::*;

/// By the drivers' sources in Linux 6.18; the files are below drivers/net/ethernet where nothing else is said.
static KNOWN: &[Known] = &[
    // intel/e1000/e1000_ethtool.c, intel/e1000e/ethtool.c. rx_no_buffer_count only says that the FIFO had to hold frames.
    Known {
        drivers: &["e1000", "e1000e"],
        names: &[
            ("rx_missed_errors", RingFull),
            ("alloc_rx_buff_failed", AllocFailed),
            ("rx_flow_control_xoff", RxPause),
            ("tx_flow_control_xoff", TxPause),
        ],
    },
    // intel/igb/igb_ethtool.c: queues drop by themselves (RQDPC), besides the FIFO (MPC).
    Known {
        drivers: &["igb", "igc"],
        names: &[
            ("rx_missed_errors", RingFull),
            ("rx_queue_#_drops", RingFull),
            ("rx_queue_#_alloc_failed", AllocFailed),
            ("rx_flow_control_xoff", RxPause),
            ("tx_flow_control_xoff", TxPause),
            ("rx_queue_#_packets", Took),
            ("tx_queue_#_packets", Sent),
        ],
    },
    // intel/ixgbe/ixgbe_ethtool.c: MPC, and what the queues drop by themselves (QPRDC).
    Known {
        drivers: &["ixgbe"],
        names: &[
            ("rx_missed_errors", RingFull),
            ("rx_no_dma_resources", RingFull),
            ("alloc_rx_page_failed", AllocFailed),
            ("alloc_rx_buff_failed", AllocFailed),
            ("rx_flow_control_xoff", RxPause),
            ("tx_flow_control_xoff", TxPause),
            ("rx_queue_#_packets", Took),
            ("tx_queue_#_packets", Sent),
        ],
    },
    // intel/i40e/i40e_ethtool.c. i40e_update_vsi_stats() puts the discards into rx_dropped, newer ones into rx_missed_errors.
    Known {
        drivers: &["i40e"],
        names: &[
            ("port.rx_discards", RingDropped),
            ("rx_alloc_fail", AllocFailed),
            ("rx_pg_alloc_fail", AllocFailed),
            ("port.link_xoff_rx", RxPause),
            ("port.link_xoff_tx", TxPause),
            ("rx-#.packets", Took),
            ("tx-#.packets", Sent),
        ],
    },
    // intel/ice/ice_ethtool.c; ice_update_vsi_stats() puts the discards into rx_dropped.
    Known {
        drivers: &["ice"],
        names: &[
            ("rx_dropped.nic", RingDropped),
            ("rx_alloc_fail", AllocFailed),
            ("rx_pg_alloc_fail", AllocFailed),
            ("link_xoff_rx.nic", RxPause),
            ("link_xoff_tx.nic", TxPause),
            ("rx_queue_#_packets", Took),
            ("tx_queue_#_packets", Sent),
        ],
    },
    // mellanox/mlx5/core/en_stats.c; mlx5e_get_stats() puts out_of_buffer into rx_missed_errors and, since 6.14, the
    // discards into rx_dropped. The prio counters are parts of these.
    Known {
        drivers: &["mlx5_core"],
        names: &[
            ("rx_out_of_buffer", RingFull),
            ("rx_discards_phy", RingDropped),
            ("rx_buff_alloc_err", AllocFailed),
            ("rx_xdp_drop", XdpDrops),
            ("rx_symbol_err_phy", SymbolErrors),
            ("rx_pause_ctrl_phy", RxPause),
            ("tx_pause_ctrl_phy", TxPause),
            ("rx#_packets", Took),
            ("tx#_packets", Sent),
        ],
    },
    // amazon/ena/ena_ethtool.c; rx_drops and rx_overruns only in Amazon's own edition of the driver.
    Known {
        drivers: &["ena"],
        names: &[
            ("rx_drops", RingDropped),
            ("rx_overruns", RingDropped),
            ("queue_#_rx_empty_rx_ring", RingEmpty),
            ("queue_#_rx_page_alloc_fail", AllocFailed),
            ("queue_#_rx_skb_alloc_fail", AllocFailed),
            ("queue_#_rx_refil_partial", AllocFailed),
            ("queue_#_rx_xdp_drop", XdpDrops),
            ("queue_#_rx_cnt", Took),
            ("queue_#_tx_cnt", Sent),
            ("bw_in_allowance_exceeded", RateLimited),
            ("bw_out_allowance_exceeded", RateLimited),
            ("pps_allowance_exceeded", RateLimited),
            ("conntrack_allowance_exceeded", RateLimited),
            ("linklocal_allowance_exceeded", RateLimited),
            ("bw_in_allowance_exceeded", LimitedIn),
            ("bw_out_allowance_exceeded", LimitedOut),
            ("pps_allowance_exceeded", LimitedPackets),
            ("conntrack_allowance_exceeded", LimitedConnections),
            ("linklocal_allowance_exceeded", LimitedLocal),
        ],
    },
    // drivers/net/virtio_net.c: virtnet_stats() adds the queues' drops to rx_dropped; XDP's drops are among them.
    // Before 6.12 the queues were called rx_queue_N.
    Known {
        drivers: &["virtio_net"],
        names: &[
            ("rx#_drops", DriverDrops),
            ("rx_queue_#_drops", DriverDrops),
            ("rx#_xdp_drops", XdpDrops),
            ("rx_queue_#_xdp_drops", XdpDrops),
            ("rx#_packets", Took),
            ("rx_queue_#_packets", Took),
            ("tx#_packets", Sent),
            ("tx_queue_#_packets", Sent),
        ],
    },
    // drivers/net/vmxnet3/vmxnet3_ethtool.c: the same names once more for every queue, below a heading. What ran out of
    // buffers is in no counter of the device; what the driver dropped is in rx_dropped.
    Known {
        drivers: &["vmxnet3"],
        names: &[
            ("pkts rx OOB", RingFull),
            ("drv dropped rx total", DriverDrops),
            ("rx buf alloc fail", AllocFailed),
            ("xdp drops", XdpDrops),
            ("ucast pkts rx", Took),
            ("mcast pkts rx", Took),
            ("bcast pkts rx", Took),
        ],
    },
    // drivers/net/hyperv/netvsc_drv.c
    Known {
        drivers: &["hv_netvsc"],
        names: &[("rx_no_memory", AllocFailed), ("rx_queue_#_packets", Took), ("tx_queue_#_packets", Sent)],
    },
    // drivers/net/veth.c: of peers that are polled (GRO or XDP); the name speaks of XDP, and counts all. What a queue of the
    // other end sent.
    Known { drivers: &["veth"], names: &[("rx_queue_#_xdp_packets", Took)] },
    // broadcom/bnxt/bnxt_ethtool.c; bnxt_get_stats64() puts ring discards into rx_missed_errors.
    Known {
        drivers: &["bnxt_en"],
        names: &[
            ("rx_total_ring_discards", RingFull),
            ("rx_total_oom_discards", AllocFailed),
            ("rx_pause_frames", RxPause),
            ("tx_pause_frames", TxPause),
        ],
    },
    // broadcom/tg3.c, realtek/r8169_main.c: both are rx_missed_errors.
    Known { drivers: &["tg3"], names: &[("rx_discards", RingFull), ("rx_xoff_pause_rcvd", RxPause)] },
    Known { drivers: &["r8169"], names: &[("rx_missed", RingFull)] },
    // google/gve/gve_ethtool.c: what the device dropped is in no counter of the device. rx_no_buffers_posted says why.
    Known {
        drivers: &["gve"],
        names: &[
            ("rx_queue_drop_cnt[#]", RingFull),
            ("rx_skb_alloc_fail[#]", AllocFailed),
            ("rx_buf_alloc_fail[#]", AllocFailed),
            ("rx_xdp_drop[#]", XdpDrops),
        ],
    },
];

/// What precedes a name of vmxnet3 tells its queue: this heading's value is the number.
const HEADING: &[u8] = b"Rx Queue#";

/// The statistics of one device by meaning, in all and by queue.
#[derive(Debug, Default, PartialEq)]
struct Meant {
    all: [Option<u64>; COLUMNS.len()],
    /// By whether the queue receives, and its number.
    queues: BTreeMap<(bool, u32), [Option<u64>; COLUMNS.len()]>,
}

impl Meant {
    /// By the names of the device's driver.
    fn of(driver: &Driver) -> Self {
        let known = KNOWN.iter().find(|known| known.drivers.iter().any(|name| name.as_bytes() == driver.name));
        let mut meant = Meant::default();
        match known {
            Some(known) => meant.take_known(known, driver),
            None => meant.guess(driver),
        }
        for values in std::iter::once(&mut meant.all).chain(meant.queues.values_mut()) {
            let xdp = values[XdpDrops as usize].unwrap_or(0);
            values[DriverDrops as usize] = values[DriverDrops as usize].map(|drops| drops.saturating_sub(xdp));
        }
        meant
    }

    fn take_known(&mut self, known: &Known, driver: &Driver) {
        let mut heading = None;
        for (name, value) in &driver.statistics {
            let name = name.trim_ascii();
            if name.ends_with(b" Queue#") {
                heading = (name == HEADING).then(|| u32::try_from(*value).ok()).flatten();
            }
            for (pattern, meaning) in known.names {
                if let Some(queue) = fits(pattern.as_bytes(), name) {
                    self.add(*meaning, queue.or(heading), *value);
                }
            }
        }
    }

    /// A total, and parts of it by queue, may both be there: then the total counts.
    fn guess(&mut self, driver: &Driver) {
        let (mut total, mut parts) = (None, None);
        for (name, value) in &driver.statistics {
            if sounds_like_drops(name) {
                let sum = if name.iter().any(u8::is_ascii_digit) { &mut parts } else { &mut total };
                more(sum, *value);
            }
        }
        self.all[Guessed as usize] = total.or(parts);
    }

    fn add(&mut self, meaning: Meaning, queue: Option<u32>, value: u64) {
        // The device has better counters of all its packets.
        if !matches!(meaning, Took | Sent) {
            more(&mut self.all[meaning as usize], value);
        }
        if let Some(queue) = queue {
            more(&mut self.queues.entry((meaning.receives(), queue)).or_default()[meaning as usize], value);
        }
    }
}

fn more(sum: &mut Option<u64>, value: u64) {
    *sum = Some(sum.unwrap_or(0).saturating_add(value));
}

/// Whether the pattern stands for this name, and the number at its `#`.
fn fits(pattern: &[u8], name: &[u8]) -> Option<Option<u32>> {
    let Some(at) = pattern.iter().position(|&b| b == b'#') else { return (pattern == name).then_some(None) };
    let digits = name.strip_prefix(&pattern[..at])?.strip_suffix(&pattern[at + 1..])?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().map(Some)
}

/// What drivers mostly call received frames that found no room.
fn sounds_like_drops(name: &[u8]) -> bool {
    const WORDS: [&str; 11] = [
        "drop",
        "discard",
        "miss",
        "no_buf",
        "nobuf",
        "no_desc",
        "nodesc",
        "overflow",
        "overrun",
        "out_of_buf",
        "fifo",
    ];
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let after = name.split_once("rx").map_or("", |(_, after)| after);
    // XDP programs drop on purpose.
    !name.contains("xdp") && WORDS.iter().any(|word| after.contains(word))
}

/// One device as two tables: a row for itself, and one for each of its queues that has something of its own.
pub fn rows(device: &[u8], driver: &Driver) -> [Rows; 2] {
    let meant = Meant::of(driver);
    let something = meant.all.iter().any(Option::is_some);
    let all = something.then(|| (Owner::Device(device.into()), meant.all.to_vec())).into_iter().collect();
    let owner = |(receives, number)| match receives {
        true => Owner::RxQueue(device.into(), number),
        false => Owner::TxQueue(device.into(), number),
    };
    let queues = meant.queues.into_iter().map(|(queue, values)| (owner(queue), values.to_vec())).collect();
    [(&NIC, all), (&NIC_QUEUE, queues)].map(|(group, rows)| Rows { group, columns: &COLUMNS, rows })
}

#[cfg(test)]
mod tests;
