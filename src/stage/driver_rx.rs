//! R5, driver poll: buffers become skbs, XDP programs run.

use crate::model::Stage;

/// R5. What is counted here is each driver's own business and comes by ethtool.
pub static STAGE: Stage = Stage {
    id: "driver_rx",
    title: "driver and XDP",
    explain: "The driver takes up to 64 frames from the ring, gives each to the XDP program if there is one (which may \
              drop it on purpose), builds an skb around it and puts a new empty buffer into the ring. If memory is \
              short there is no new buffer, and the loss shows at the ring.",
    fed_by: None,
    queues_in_sockets: false,
    counters: &[],
    rules: &[],
    knobs: &[],
};
