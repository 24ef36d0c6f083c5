//! T8, validation: a packet is made into what its device can send.

use crate::model::Stage;

/// T8.
pub static STAGE: Stage = Stage {
    id: "validate",
    title: "cut and checked",
    explain: "What a device can't do is done for it: the VLAN tag is put in, a large packet is cut into segments, parts are \
              put together, a checksum is computed. What can't be made so is dropped, and counted in the device's tx_dropped \
              with all else that it did not send; the reason is seen by the drop probe alone.",
    chapter: include_str!("chapter/validate.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: &[],
    rules: &[],
    reasons: &[],
    knobs: &[],
};
