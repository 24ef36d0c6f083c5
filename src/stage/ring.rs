//! R2, receive ring: the device writes frames into buffers that the kernel has put out for it.

use crate::counters;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::LINK;

counters! {
    /// Frames that the device threw away because the kernel had put out no empty buffer. The CPU came too late, or the
    /// ring is too short for the bursts. No trace of them reaches the kernel's own drop tracing.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_MISSED_ERRORS =
        LINK.total("rx_missed_errors", Unit::WirePackets).same_loss("ring").flow(Flow::Lost { at: "ring" });
    /// Frames lost in the device's own memory. Drivers differ in what they count here; often the same frames as
    /// `link.rx_missed_errors` or `link.rx_errors`. include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_FIFO_ERRORS = LINK.total("rx_fifo_errors", Unit::WirePackets).same_loss("ring");
    /// An old name for frames that found no room; drivers differ. Often the same frames as `link.rx_missed_errors`.
    /// include/uapi/linux/if_link.h struct rtnl_link_stats64.
    RX_OVER_ERRORS = LINK.total("rx_over_errors", Unit::WirePackets).same_loss("ring");
}

/// R2.
pub static STAGE: Stage = Stage {
    id: "ring",
    title: "receive ring",
    explain: "The device picks a queue for the frame and writes it into the next empty buffer of that queue's ring. If \
              the kernel has not emptied the ring in time there is no buffer, and the frame is gone before any software \
              saw it. Short bursts ask for a longer ring; a ring that is always full asks for more CPU.",
    chapter: include_str!("chapter/ring.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: &[],
    rules: &[],
    knobs: &[],
};
