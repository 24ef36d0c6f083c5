//! T7, qdisc: packets wait for the device.

mod drops;
mod fq;
mod knobs;
mod requeues;

pub use knobs::TXQUEUELEN;

use crate::counters;
use crate::model::flow::WIRE;
use crate::model::{Flow, Stage, Unit};
use crate::source::groups::{CAKE, FQ, FQ_CODEL, HTB, QDISC, QDISC_CHILD};

counters! {
    /// Packets that left the device's qdisc for the driver; of a large one that the device cuts, each piece.
    /// include/net/sch_generic.h bstats_update().
    SENT = QDISC.total("packets", Unit::WirePackets).sends(Flow::Pass { from: "qdisc", to: WIRE });
    /// Bytes that left the device's qdisc for the driver. include/net/sch_generic.h bstats_update().
    SENT_BYTES = QDISC.total("bytes", Unit::Bytes);
    /// Packets that the device's qdiscs and classes dropped; a large one that the device would have cut counts once. In no
    /// counter of the device. include/net/sch_generic.h qdisc_qstats_drop(), net/sched/sch_api.c qdisc_tree_reduce_backlog().
    DROPS = QDISC.total("drops", Unit::Packets).same_loss("qdisc").sends(Flow::Lost { at: "qdisc" });
    /// Times that the driver did not take a packet, which went back to the head of the queue: nothing is lost.
    /// net/sched/sch_generic.c dev_requeue_skb().
    REQUEUES = QDISC.total("requeues", Unit::Events);
    /// Times that a packet had to wait because a rate was used up; nothing is lost by that alone.
    /// include/net/sch_generic.h qdisc_qstats_overlimit().
    OVERLIMITS = QDISC.total("overlimits", Unit::Events);
    /// Packets that wait in the device's qdiscs. include/net/sch_generic.h struct gnet_stats_queue.
    QLEN = QDISC.gauge("qlen", Unit::Packets).sends(Flow::Queued { at: "qdisc" });
    /// Bytes that wait in the device's qdiscs. include/net/sch_generic.h struct gnet_stats_queue.
    BACKLOG = QDISC.gauge("backlog", Unit::Bytes);
    /// Packets that left a qdisc or class below a root. A part of `qdisc.packets`. include/net/sch_generic.h bstats_update().
    CHILD_SENT = QDISC_CHILD.total("packets", Unit::WirePackets);
    /// Packets that a qdisc or class below a root dropped. A part of `qdisc.drops`, or all of it.
    /// include/net/sch_generic.h qdisc_qstats_drop().
    CHILD_DROPS = QDISC_CHILD.total("drops", Unit::Packets).same_loss("qdisc");
    /// Times that a class or a qdisc below a root had used up its rate. include/net/sch_generic.h qdisc_qstats_overlimit().
    CHILD_OVERLIMITS = QDISC_CHILD.total("overlimits", Unit::Events);
    /// Packets that wait below a root. include/net/sch_generic.h struct gnet_stats_queue.
    CHILD_QLEN = QDISC_CHILD.gauge("qlen", Unit::Packets);
    /// Bytes that wait below a root. include/net/sch_generic.h struct gnet_stats_queue.
    CHILD_BACKLOG = QDISC_CHILD.gauge("backlog", Unit::Bytes);
    /// Packets dropped because their flow alone held all that fq grants to one flow. A part of `qdisc.drops`.
    /// net/sched/sch_fq.c fq_enqueue().
    FQ_FLOW_LIMIT = FQ.total("flows_plimit", Unit::Packets).same_loss("qdisc");
    /// Packets dropped because the time at which they were to be sent lies beyond fq's horizon, since 5.8. A part of
    /// `qdisc.drops`. net/sched/sch_fq.c fq_enqueue().
    FQ_HORIZON_DROPS = FQ.total("horizon_drops", Unit::Packets).same_loss("qdisc");
    /// Packets whose time to be sent was brought forward to fq's horizon, since 5.8. net/sched/sch_fq.c fq_enqueue().
    FQ_HORIZON_CAPS = FQ.total("horizon_caps", Unit::Packets);
    /// Packets that fq sent one by one because there was no memory for a flow. net/sched/sch_fq.c fq_classify().
    FQ_ALLOCATION_ERRORS = FQ.total("allocation_errors", Unit::Packets);
    /// Times that fq held back a flow until its next packet was due: pacing, as wanted. net/sched/sch_fq.c fq_dequeue().
    FQ_THROTTLED = FQ.total("throttled", Unit::Events);
    /// Packets whose size alone would take longer than fq may hold a flow. net/sched/sch_fq.c fq_dequeue().
    FQ_TOO_LONG = FQ.total("pkts_too_long", Unit::Packets);
    /// Packets that fq marked instead of dropping them (ECN). net/sched/sch_fq.c fq_dequeue(), since 5.0.
    FQ_CE_MARK = FQ.total("ce_mark", Unit::Packets);
    /// Packets dropped because fq_codel held all that it may, the longest flow first. A part of `qdisc.drops`.
    /// net/sched/sch_fq_codel.c fq_codel_drop().
    FQ_CODEL_OVERLIMIT = FQ_CODEL.total("drop_overlimit", Unit::Packets).same_loss("qdisc");
    /// Packets dropped because fq_codel used all the memory that it may. A part of `fq_codel.drop_overlimit`.
    /// net/sched/sch_fq_codel.c fq_codel_enqueue().
    FQ_CODEL_OVERMEMORY = FQ_CODEL.total("drop_overmemory", Unit::Packets).same_loss("qdisc");
    /// Packets that fq_codel marked instead of dropping them (ECN). include/net/codel_impl.h codel_dequeue().
    FQ_CODEL_ECN_MARK = FQ_CODEL.total("ecn_mark", Unit::Packets);
    /// Memory of what waits in fq_codel. net/sched/sch_fq_codel.c fq_codel_dump_stats().
    FQ_CODEL_MEMORY = FQ_CODEL.gauge("memory_usage", Unit::Bytes);
    /// Packets that a class of htb sent within its own rate. net/sched/sch_htb.c htb_charge_class().
    HTB_LENDS = HTB.total("lends", Unit::Packets);
    /// Packets that a class of htb sent at the cost of the class above it. net/sched/sch_htb.c htb_charge_class().
    HTB_BORROWS = HTB.total("borrows", Unit::Packets);
    /// ACKs that cake dropped because a later one says the same: wanted. A part of `qdisc.drops`.
    /// net/sched/sch_cake.c cake_enqueue().
    CAKE_ACKS = CAKE.total("acks_dropped", Unit::Packets);
    /// Packets that cake marked instead of dropping them (ECN). net/sched/sch_cake.c cake_dump_stats().
    CAKE_ECN_MARKED = CAKE.total("ecn_marked", Unit::Packets);
    /// Memory of what waits in cake. net/sched/sch_cake.c cake_dump_stats().
    CAKE_MEMORY = CAKE.gauge("memory_used", Unit::Bytes);
}

/// T7.
pub static STAGE: Stage = Stage {
    id: "qdisc",
    title: "qdisc",
    explain: "The queueing discipline holds packets until the device takes them: in order (pfifo_fast), flow by flow (fq, \
              fq_codel), or shaped (htb, tbf). What exceeds its limit is dropped here, and in no counter of the device. \
              Most virtual devices have none (noqueue).",
    chapter: include_str!("chapter/qdisc.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    rules: &[&drops::DROPPING, &fq::FLOW_LIMIT, &fq::HORIZON_OR_MEMORY, &requeues::BUSY],
    reasons: &[],
    knobs: knobs::ALL,
};
