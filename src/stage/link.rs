//! R1, wire and MAC: frames arrive, are checked and filtered.

mod errors;
mod flaps;
mod hidden;
pub(in crate::stage) mod knobs;
mod pause;

pub use errors::devices;
pub(crate) use knobs::SPEED;

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::{CARRIER, ETH_CTRL, ETH_MAC, ETH_PHY, FEC, LINK, LINKSTATE, NIC, PAUSE, RMON};

/// Fewer bytes than this fill no link: 10 Mbit/s are 1.25 MB in a second.
const BUSY: u64 = 1_000_000;

counters! {
    /// Frames that the device handed to the kernel, before GRO merges any. On the wire there were more if any were lost
    /// below. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_PACKETS = LINK.total("rx_packets", Unit::WirePackets).flow(Flow::Pass { from: "ring", to: "driver_rx" });
    /// Bytes that the device handed to the kernel. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_BYTES = LINK.total("rx_bytes", Unit::Bytes).quiet_below(BUSY);
    /// Bytes that the device sent: how much of the link is used while the switch asks it to wait.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    TX_BYTES = LINK.total("tx_bytes", Unit::Bytes).quiet_below(BUSY);
    /// Frames that arrived damaged and were thrown away: wrong checksum, length or alignment. The cable, the plug or the
    /// other end, not a setting. Holds the more special `rx_*_errors`, except `rx_missed_errors`.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_ERRORS = LINK.total("rx_errors", Unit::WirePackets).same_loss("rx_errors").flow(Flow::Lost { at: "link" });
    /// Frames with a wrong checksum: a bad cable, plug or optic. Part of `link.rx_errors`.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_CRC_ERRORS = LINK.total("rx_crc_errors", Unit::WirePackets).same_loss("rx_errors");
    /// Frames that did not end on a byte. Part of `link.rx_errors`. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_FRAME_ERRORS = LINK.total("rx_frame_errors", Unit::WirePackets).same_loss("rx_errors");
    /// Frames too long or too short; some devices count here what they do not support. Part of `link.rx_errors`.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_LENGTH_ERRORS = LINK.total("rx_length_errors", Unit::WirePackets).same_loss("rx_errors");
    /// Multicast frames that were received. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    MULTICAST = LINK.total("multicast", Unit::WirePackets);
    /// Times that a device lost its carrier: the cable, the other end, or somebody set it down.
    /// net/sched/sch_generic.c netif_carrier_off(), since 4.16.
    CARRIER_DOWN = CARRIER.total("down_count", Unit::Events);
    /// Times that a device got its carrier. net/sched/sch_generic.c netif_carrier_on(), since 4.16.
    CARRIER_UP = CARRIER.total("up_count", Unit::Events);
    /// Times that the physical link went down, also where the carrier stayed up for the kernel. Few drivers count it.
    /// net/ethtool/linkstate.c linkstate_get_link_ext_stats(), since 6.4.
    EXT_DOWN = LINKSTATE.total("ext_down_cnt", Unit::Events);
    /// Symbols that the physical layer could not read while there was a carrier: cable, optic or the other end.
    /// net/ethtool/stats.c stats_put_phy_stats(), since 5.13.
    SYMBOL_ERRORS = ETH_PHY.total("SymbolErrorDuringCarrier", Unit::Events);
    /// The same by the driver's own name (rx_symbol_err_phy of mlx5).
    /// drivers/net/ethernet/mellanox/mlx5/core/en_stats.c pport_phy_statistical_stats_desc.
    NIC_SYMBOL_ERRORS = NIC.total("rx_symbol_errors", Unit::Events);
    /// Frames with a wrong checksum, as the MAC counts them. Mostly the same as `link.rx_crc_errors`.
    /// net/ethtool/stats.c stats_put_mac_stats(), since 5.13.
    FCS_ERRORS = ETH_MAC.total("FrameCheckSequenceErrors", Unit::WirePackets).same_loss("rx_errors");
    /// Frames that did not end on a byte, as the MAC counts them. Mostly the same as `link.rx_frame_errors`.
    /// net/ethtool/stats.c stats_put_mac_stats(), since 5.13.
    ALIGNMENT_ERRORS = ETH_MAC.total("AlignmentErrors", Unit::WirePackets).same_loss("rx_errors");
    /// Frames that the MAC lost inside itself. net/ethtool/stats.c stats_put_mac_stats(), since 5.13.
    MAC_LOST = ETH_MAC.total("FramesLostDueToIntMACRcvError", Unit::WirePackets);
    /// Frames whose length field is not their length. net/ethtool/stats.c stats_put_mac_stats(), since 5.13.
    MAC_LENGTH = ETH_MAC.total("InRangeLengthErrors", Unit::WirePackets);
    /// Frames longer than the MAC takes. net/ethtool/stats.c stats_put_mac_stats(), since 5.13.
    MAC_TOO_LONG = ETH_MAC.total("FrameTooLongErrors", Unit::WirePackets);
    /// Control frames that the MAC received, pause frames among them. net/ethtool/stats.c stats_put_ctrl_stats(), since 5.13.
    CTRL_RECEIVED = ETH_CTRL.total("MACControlFramesReceived", Unit::Frames);
    /// Control frames that the MAC does not know. net/ethtool/stats.c stats_put_ctrl_stats(), since 5.13.
    CTRL_UNSUPPORTED = ETH_CTRL.total("UnsupportedOpcodesReceived", Unit::Frames);
    /// Frames of less than 64 bytes, but whole. net/ethtool/stats.c stats_put_rmon_stats(), since 5.13.
    RMON_UNDERSIZE = RMON.total("undersize_pkts", Unit::WirePackets);
    /// Frames longer than the device takes, but whole. net/ethtool/stats.c stats_put_rmon_stats(), since 5.13.
    RMON_OVERSIZE = RMON.total("oversize_pkts", Unit::WirePackets);
    /// Frames of less than 64 bytes with a wrong checksum. net/ethtool/stats.c stats_put_rmon_stats(), since 5.13.
    RMON_FRAGMENTS = RMON.total("fragments", Unit::WirePackets);
    /// Frames too long and with a wrong checksum. net/ethtool/stats.c stats_put_rmon_stats(), since 5.13.
    RMON_JABBERS = RMON.total("jabbers", Unit::WirePackets);
    /// Blocks that forward error correction mended: normal, on some links many a second.
    /// net/ethtool/fec.c fec_put_stats(), since 5.13.
    FEC_CORRECTED = FEC.total("corrected_blocks", Unit::Blocks);
    /// Blocks that forward error correction could not mend: the frames in them are lost, and counted as damaged.
    /// net/ethtool/fec.c fec_put_stats(), since 5.13.
    FEC_UNCORRECTABLE = FEC.total("uncorrectable_blocks", Unit::Blocks);
    /// Pause frames that the device sent: it asks the switch to wait. net/ethtool/pause.c pause_put_stats(), since 5.9.
    TX_PAUSE = PAUSE.total("tx_pause_frames", Unit::Frames);
    /// Pause frames that the device received: the switch asks it to wait. net/ethtool/pause.c pause_put_stats(), since 5.9.
    RX_PAUSE = PAUSE.total("rx_pause_frames", Unit::Frames);
    /// Pause frames that the device sent, by the driver's own name (tx_flow_control_xoff, tx_pause_ctrl_phy): the same as
    /// `pause.tx_pause_frames` where both are there. drivers/net/ethernet/intel/igb/igb_ethtool.c and others.
    NIC_TX_PAUSE = NIC.total("tx_pause", Unit::Frames);
    /// Pause frames that the device received, by the driver's own name: the same as `pause.rx_pause_frames` where both are
    /// there. drivers/net/ethernet/intel/igb/igb_ethtool.c and others.
    NIC_RX_PAUSE = NIC.total("rx_pause", Unit::Frames);
}

/// R1.
pub static STAGE: Stage = Stage {
    id: "link",
    title: "wire and MAC",
    explain: "The device takes a frame off the wire, checks its checksum and length, and drops what is not addressed to \
              it. A frame that is damaged here was damaged on its way: look at cables, optics, duplex and the switch \
              port. No setting of this host brings it back.",
    chapter: include_str!("chapter/link.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[
        &errors::ERRORS,
        &errors::UNCORRECTABLE,
        &flaps::FLAPS,
        &pause::HOST_SENDS,
        &pause::SWITCH_SENDS,
        &hidden::HIDDEN,
    ],
    knobs: knobs::ALL,
};
