//! T10, completion: the device says that packets were sent.

use crate::counters;
use crate::model::{Stage, Unit};
use crate::source::groups::BQL;

counters! {
    /// Times that a transmit queue got no word of sent packets for longer than bql.stall_thrs, since 6.9; 0 while that is off.
    /// lib/dynamic_queue_limits.c dql_check_stall().
    STALLS = BQL.total("stall_cnt", Unit::Events);
    /// The longest of these so far. lib/dynamic_queue_limits.c dql_check_stall(), since 6.9.
    LONGEST_STALL = BQL.gauge("stall_max", Unit::Milliseconds);
}

/// T10.
pub static STAGE: Stage = Stage {
    id: "completion",
    title: "TX completion",
    explain: "The device tells by an interrupt which packets it has sent. Only then their memory is free, the socket's send \
              buffer has room again, BQL lets more into the ring, and TCP hands over the next. Nothing is lost here; late word \
              makes everybody wait.",
    chapter: include_str!("chapter/completion.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[],
    reasons: &[],
    knobs: &[],
};
