//! R1, wire and MAC: frames arrive, are checked and filtered.

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::LINK;

counters! {
    /// Frames that the device handed to the kernel, before GRO merges any. On the wire there were more if any were lost
    /// below. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_PACKETS = LINK.total("rx_packets", Unit::WirePackets).flow(Flow::Pass { from: "ring", to: "driver_rx" });
    /// Bytes that the device handed to the kernel. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_BYTES = LINK.total("rx_bytes", Unit::Bytes);
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
    rules: &[],
    knobs: &[],
};
