//! T5, neighbour: the link address of the next hop is found.

use crate::model::Stage;

/// T5.
pub static STAGE: Stage = Stage {
    id: "neighbour",
    title: "neighbour",
    explain: "The packet needs the link address of its next hop. While that is asked for (ARP, neighbour discovery), a few \
              packets wait; if there is no answer they are lost, and no counter of IP or UDP says so.",
    chapter: include_str!("chapter/neighbour.md"),
    fed_by: Some("ip_out"),
    queues_in_sockets: false,
    counters: &[],
    rules: &[],
    reasons: &[],
    knobs: &[],
};
