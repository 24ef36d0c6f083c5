//! Solves *packets in = packets out + lost + queued* for every stage, over the edges that the counters declare. Knows no
//! stage by itself.
//!
//! What is not counted is worked out where the others leave only one answer, and is absent elsewhere. Two counters are
//! not read at the same instant: `uncertainty` is the packets that may have passed in between, and nothing is called
//! unexplained within it.

mod counted;
mod missing;
mod node;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use self::node::{Node, put, reach, settle_queue};
use crate::model::{Changes, Counter, Flow, Scope, Sockets, Uncounted};
use crate::stage::{self, RECEIVE, SEND, Way};

/// What one stage did with packets in the window. What is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Line {
    /// The stage of the packet's path.
    pub stage: &'static str,
    /// What the line is about: a namespace, or its devices together.
    pub scope: Option<Scope>,
    /// Packets taken in.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub taken: Option<u64>,
    /// Packets passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<u64>,
    /// Packets lost.
    pub lost: u64,
    /// Packets discarded because nobody here asked for them: no listener, not for us. Not a loss.
    pub unwanted: u64,
    /// Packets more in the stage's queues at the end than at the start; negative if they drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<i64>,
    /// Packets that went in, did not come out, and were counted by nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexplained: Option<u64>,
    /// Packets by which `unexplained` may be wrong: those that passed while the counters were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<u64>,
    /// What is counted: packets after GRO, or wire packets.
    pub unit: &'static str,
    /// The equation that the line was solved from.
    pub identity: String,
    /// Fragments that became part of other packets.
    #[serde(skip)]
    merged: u64,
    /// Fragments that other packets became.
    #[serde(skip)]
    cut: u64,
    /// What does not balance, and by how much that may be wrong, for IPv4 and for IPv6 (and for what is of neither, with
    /// IPv4). Apart, so that multicast that IPv6 ignores does not hide a loss of IPv4.
    #[serde(skip)]
    missing: [(u64, u64); 2],
}

/// The path as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    /// Packets that came in, after GRO; of the send path, packets that IP was to send, before the device cuts them.
    #[serde(rename = "in")]
    pub taken: u64,
    /// Packets that an application read, the kernel answered, or that were sent on; of the send path, those that a device
    /// took.
    pub delivered: u64,
    /// Packets lost.
    pub lost: u64,
    /// Packets that nobody here asked for.
    pub unwanted: u64,
    /// Packets more in socket queues at the end than at the start.
    pub queued: i64,
    /// Packets of which nobody knows.
    pub unexplained: u64,
}

/// The edges of one way, with the counters that declare them.
fn edges(way: Way) -> Vec<(&'static str, &'static Counter, Flow)> {
    let edge = |counter: &Counter| if way == Way::Send { counter.sends } else { counter.flow };
    let all = stage::stages().filter(|stage| way == Way::Send || RECEIVE.iter().any(|own| own.id == stage.id));
    let counters = all.flat_map(|stage| stage.counters.iter().map(move |counter| (stage.id, *counter)));
    counters.filter_map(|(stage, counter)| Some((stage, counter, edge(counter)?))).collect()
}

/// The lines of all stages of one way, in the order of the path, and their sum.
pub fn solve(
    way: Way,
    changes: &Changes,
    sockets: Option<&Sockets>,
    uncounted: &mut [Uncounted],
) -> (Vec<Line>, Totals) {
    let mut nodes: BTreeMap<&'static str, Node> = BTreeMap::new();
    let edges = edges(way);
    for (_, counter, flow) in &edges {
        put(&mut nodes, counter, *flow, changes);
    }
    let stages = if way == Way::Send { SEND } else { RECEIVE };
    reach(&mut nodes, stages);
    if let (Some(stage), Some(sockets)) = (stages.iter().find(|stage| stage.queues_in_sockets), sockets) {
        // What sockets say they lost and no protocol counter knows of (UDP over its memory limit, on 6.18).
        let node = nodes.entry(stage.id).or_default();
        node.lost = node.lost.max(sockets.udp_lost);
        settle_queue(&mut nodes, stage, sockets);
    }
    let nothing = Node::default();
    let mut lines: Vec<Line> = Vec::with_capacity(stages.len());
    for stage in stages {
        let node = nodes.get(stage.id).unwrap_or(&nothing);
        let before = stage.fed_by.and_then(|id| lines.iter().find(|line| line.stage == id));
        // What it feeds may be counted there nevertheless, on newer kernels.
        let uncounted = |id: &str| nodes.get(id).is_none_or(|node| node.taken.is_none());
        let feeds_others = stages.iter().any(|other| other.fed_by == Some(stage.id) && uncounted(other.id));
        lines.push(node.line(stage.id, before, feeds_others, changes));
    }
    missing::explain(&edges, changes, uncounted, &mut lines);
    let says_something = |line: &Line| sum([line.lost, line.unwanted, line.unexplained.unwrap_or(0)]) > 0;
    lines.retain(|line| line.taken.is_some() || line.out.is_some() || says_something(line));
    let totals = total(&lines);
    (lines, totals)
}

/// Takes back what is missing at a stage, because its packets were counted twice: nothing balances there, and it is not
/// known how many there were.
pub fn counted_twice(stage: &str, why: &str, lines: &mut [Line], totals: &mut Totals) {
    let Some(line) = lines.iter_mut().find(|line| line.stage == stage) else { return };
    let missing = line.unexplained.take().unwrap_or(0);
    line.uncertainty = None;
    line.identity = format!("none: {why}");
    totals.taken = totals.taken.saturating_sub(missing);
    totals.unexplained = totals.unexplained.saturating_sub(missing);
}

/// 1 for a counter of IPv6 alone.
fn family_of(counter: &Counter) -> usize {
    usize::from(counter.group.id.ends_with('6'))
}

/// Adds without running over: a recording may hold any numbers.
fn more(sum: &mut u64, amount: u64) {
    *sum = sum.saturating_add(amount);
}

/// The sum, without running over.
fn sum(amounts: impl IntoIterator<Item = u64>) -> u64 {
    amounts.into_iter().fold(0, u64::saturating_add)
}

/// All that came in is what the first stage that counts arrivals took, and what was lost before it.
fn total(lines: &[Line]) -> Totals {
    let mut totals = Totals::default();
    let counted = |line: &Line| line.taken.is_some() && line.scope == Some(Scope::Netns);
    let first = lines.iter().position(counted).unwrap_or(lines.len());
    let before = lines[..first].iter().flat_map(|line| [line.lost, line.unwanted]);
    totals.taken = sum(before.chain(lines.get(first).and_then(|line| line.taken)));
    for line in lines {
        more(&mut totals.lost, line.lost);
        more(&mut totals.unwanted, line.unwanted);
        more(&mut totals.unexplained, line.unexplained.unwrap_or(0));
        totals.queued = totals.queued.saturating_add(line.queued.unwrap_or(0));
    }
    more(&mut totals.taken, sum(lines.iter().map(|line| line.cut)));
    let merged = sum(lines.iter().map(|line| line.merged));
    let gone = sum([totals.lost, totals.unwanted, totals.unexplained, merged]);
    // What bridges and packet sockets send is not IP's: where that was lost, as much at least was to be sent.
    totals.taken = totals.taken.max(gone);
    totals.delivered = totals.taken.saturating_sub(gone).saturating_add_signed(totals.queued.saturating_neg());
    totals
}
