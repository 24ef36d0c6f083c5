//! Statistics as the drivers print them, by their sources in Linux 6.18.

use super::*;

/// `ethtool -S` as text: a name, a colon, a number. Returns the columns that are there, of the device and of its queues.
fn meant(driver: &str, text: &str) -> Vec<(String, u64)> {
    let line = |line: &'static str| {
        line.rsplit_once(": ").map(|(name, n)| (name.trim().as_bytes(), n.trim().parse().unwrap()))
    };
    let text: &'static str = text.to_owned().leak();
    let statistics: Vec<(&[u8], u64)> = text.lines().filter(|line| !line.trim().is_empty()).filter_map(line).collect();
    let bytes = crate::source::ethtool::driver::structures(driver, &statistics);
    let parsed = crate::source::ethtool::driver::parse(&bytes).unwrap();
    let [all, queues] = rows(b"eth0", &parsed);
    let mut found = Vec::new();
    for (owner, cells) in all.rows.iter().chain(&queues.rows) {
        let start = match owner {
            Owner::RxQueue(_, number) => format!("{number}:"),
            Owner::TxQueue(_, number) => format!("tx{number}:"),
            _ => String::new(),
        };
        let known = COLUMNS.iter().zip(cells).filter_map(|(name, cell)| Some((name, (*cell)?)));
        found.extend(known.filter(|(_, n)| *n > 0).map(|(name, n)| (format!("{start}{name}"), n)));
    }
    found
}

fn same(found: Vec<(String, u64)>, expected: &[(&str, u64)]) {
    assert_eq!(found, expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>());
}

#[test]
fn igb_drops_in_the_fifo_and_by_queue() {
    let text = "
     rx_packets: 5000
     rx_no_buffer_count: 44
     rx_missed_errors: 7
     rx_fifo_errors: 12
     tx_flow_control_xoff: 3
     rx_flow_control_xoff: 9
     tx_queue_0_restart: 2
     rx_queue_0_packets: 2500
     rx_queue_0_drops: 5
     rx_queue_0_csum_err: 1
     rx_queue_0_alloc_failed: 4
     rx_queue_1_drops: 8
     rx_queue_1_alloc_failed: 0";
    // rx_fifo_errors is the sum of the queues' drops, and rx_no_buffer_count only says that the FIFO had to wait.
    same(
        meant("igb", text),
        &[
            ("rx_ring_full", 7 + 5 + 8),
            ("rx_alloc_failed", 4),
            ("rx_pause", 9),
            ("tx_pause", 3),
            ("0:rx_ring_full", 5),
            ("0:rx_alloc_failed", 4),
            ("0:rx_packets", 2500),
            ("1:rx_ring_full", 8),
        ],
    );
}

#[test]
fn ixgbe_drops_in_the_fifo_and_by_queue() {
    let text = "
     rx_packets: 77
     rx_missed_errors: 6
     rx_no_buffer_count: 0
     rx_no_dma_resources: 20
     rx_fifo_errors: 0
     alloc_rx_page: 900
     alloc_rx_page_failed: 3
     alloc_rx_buff_failed: 1
     rx_csum_offload_errors: 5
     fdir_overflow: 2";
    same(meant("ixgbe", text), &[("rx_ring_full", 26), ("rx_alloc_failed", 4)]);
}

#[test]
fn mlx5_adds_up_no_priorities() {
    let text = "
     rx_packets: 1000
     rx_out_of_buffer: 31
     rx_xdp_drop: 2
     rx_buff_alloc_err: 4
     rx_discards_phy: 50
     rx_symbol_err_phy: 11
     rx_crc_errors_phy: 1
     rx_prio0_discards: 50
     rx_prio0_buf_discard: 50
     rx_pause_ctrl_phy: 8
     tx_pause_ctrl_phy: 9
     rx0_packets: 500
     rx0_xdp_drop: 2
     rx0_buff_alloc_err: 4";
    same(
        meant("mlx5_core", text),
        &[
            ("rx_ring_full", 31),
            ("rx_ring_dropped", 50),
            ("rx_alloc_failed", 4),
            ("rx_xdp_drops", 2),
            ("rx_symbol_errors", 11),
            ("rx_pause", 8),
            ("tx_pause", 9),
            ("0:rx_packets", 500),
        ],
    );
}

#[test]
fn ena_tells_when_a_ring_was_empty_and_when_the_cloud_was_asked_too_much() {
    let text = "
     tx_timeout: 0
     bw_in_allowance_exceeded: 5
     bw_out_allowance_exceeded: 0
     pps_allowance_exceeded: 70
     conntrack_allowance_exceeded: 1
     linklocal_allowance_exceeded: 0
     queue_0_tx_cnt: 55
     queue_0_rx_cnt: 66
     queue_0_rx_refil_partial: 2
     queue_0_rx_page_alloc_fail: 3
     queue_0_rx_empty_rx_ring: 4
     queue_1_rx_empty_rx_ring: 6
     queue_1_rx_xdp_drop: 9";
    same(
        meant("ena", text),
        &[
            ("rx_ring_empty", 10),
            ("rx_alloc_failed", 5),
            ("rx_xdp_drops", 9),
            ("rate_limited", 76),
            ("limited_bandwidth_in", 5),
            ("limited_packets", 70),
            ("limited_connections", 1),
            ("tx0:tx_packets", 55),
            ("0:rx_ring_empty", 4),
            ("0:rx_alloc_failed", 5),
            ("0:rx_packets", 66),
            ("1:rx_ring_empty", 6),
            ("1:rx_xdp_drops", 9),
        ],
    );
}

#[test]
fn virtio_net_drops_on_purpose_and_otherwise() {
    let new = "
     rx_drops: 30
     rx_xdp_drops: 20
     rx0_drops: 30
     rx0_xdp_drops: 20
     rx1_drops: 0
     tx0_tx_timeouts: 0";
    let old = "
     rx_queue_0_packets: 9
     rx_queue_0_drops: 30
     rx_queue_0_xdp_drops: 20";
    let expected = [("rx_driver_drops", 10), ("rx_xdp_drops", 20), ("0:rx_driver_drops", 10), ("0:rx_xdp_drops", 20)];
    same(meant("virtio_net", new), &expected);
    same(meant("virtio_net", old), &[&expected[..], &[("0:rx_packets", 9)]].concat());
}

#[test]
fn vmxnet3_gives_each_queue_the_same_names() {
    let text = "
Tx Queue#: 0
  TSO pkts tx: 1
  drv dropped tx total: 900
Tx Queue#: 1
  drv dropped tx total: 900
Rx Queue#: 0
  LRO pkts rx: 3
  pkts rx OOB: 5
  pkts rx err: 1
  drv dropped rx total: 2
     err: 1
     fcs: 1
  rx buf alloc fail: 7
Rx Queue#: 1
  pkts rx OOB: 6
  drv dropped rx total: 0
  rx buf alloc fail: 0
tx timeout count: 0";
    same(
        meant("vmxnet3", text),
        &[
            ("rx_ring_full", 11),
            ("rx_driver_drops", 2),
            ("rx_alloc_failed", 7),
            ("0:rx_ring_full", 5),
            ("0:rx_driver_drops", 2),
            ("0:rx_alloc_failed", 7),
            ("1:rx_ring_full", 6),
        ],
    );
}

#[test]
fn other_drivers_are_guessed_at() {
    let parts_and_total = "
     rx_packets: 5
     rx_dropped_total: 12
     rx_q0_dropped: 6
     rx_q1_dropped: 6
     rx_xdp_drops: 90
     tx_dropped: 80";
    same(meant("newnic", parts_and_total), &[("rx_guessed_drops", 12)]);
    same(meant("newnic", "  RX0_NoDesc: 4\n  RX1_NoDesc: 5"), &[("rx_guessed_drops", 9)]);
    same(meant("newnic", "  rx_packets: 5"), &[]);
}

#[test]
fn hostile_names_do_no_harm() {
    let statistics: Vec<(&[u8], u64)> = (0..9_000).map(|_| (&b"rx_drops"[..], u64::MAX)).collect();
    let bytes = crate::source::ethtool::driver::structures("ena", &statistics);
    let parsed = crate::source::ethtool::driver::parse(&bytes).unwrap();
    let [all, _] = rows(b"eth0", &parsed);
    assert_eq!(all.rows[0].1[RingDropped as usize], Some(u64::MAX));
    for name in [&b""[..], &[0xff; 32], b"queue_99999999999_rx_empty_rx_ring", b"queue__rx_empty_rx_ring"] {
        let driver = Driver { name: b"ena", bus: b"", statistics: vec![(name, 5)] };
        assert_eq!(Meant::of(&driver), Meant::default(), "{name:?}");
    }
}
