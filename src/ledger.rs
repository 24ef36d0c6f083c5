//! Solves *packets in = packets out + lost + queued* for every stage, over the edges that the counters declare. Knows no
//! stage by itself.
//!
//! What is not counted is worked out where the others leave only one answer, and is absent elsewhere. Two counters are
//! not read at the same instant: `uncertainty` is the packets that may have passed in between, and nothing is called
//! unexplained within it.

mod counted;
mod missing;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use self::counted::counted;
use crate::model::{Changes, Counter, Flow, Scope, Sockets, Span, Stage, Uncounted};
use crate::stage::{self, RECEIVE, SEND, Way};

/// A queued packet is charged at least this many bytes (an empty skb: SKB_TRUESIZE(0) in include/linux/skbuff.h is 576
/// on 64-bit kernels; 512 leaves room for others).
const LEAST_TRUESIZE: u64 = 512;

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

/// What the counters say of one stage.
#[derive(Default)]
struct Node {
    taken: Option<u64>,
    out: Option<u64>,
    lost: u64,
    unwanted: u64,
    merged: u64,
    unmerged: u64,
    lost_merged: u64,
    queued: Option<i64>,
    /// What is seen of its packets further on, in whole or in pieces: of the rest nothing is known.
    reached: Option<u64>,
    /// In less out, for IPv4 and IPv6; what came in; and what may end here uncounted.
    balance: [i128; 2],
    taken_of: [u64; 2],
    uncertain: [u64; 2],
    /// A counter of the stage is there, but its change is not known (it was reset): nothing balances then, and nothing
    /// can be worked out.
    broken: bool,
    /// The same, for a counter of what goes in, or of what comes out.
    unknown: [bool; 2],
    scope: Option<Scope>,
    unit: Option<&'static str>,
    /// The two sides of its equation.
    sides: [Vec<String>; 2],
    read: Option<[Span; 2]>,
}

/// Where a counter stands in the equation of a stage.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    In = 0,
    Out = 1,
    Neither,
}

impl Node {
    /// Notes that `counter` says something of this stage.
    fn touch(&mut self, counter: &'static Counter, amount: u64, side: Side, passes: bool, read: [Span; 2]) {
        if passes || self.scope.is_none() {
            self.scope = Some(counter.group.scope);
            self.unit = Some(counter.unit.word());
        }
        self.read = Some(match self.read {
            Some([first, last]) => [first.cover(read[0]), last.cover(read[1])],
            None => read,
        });
        // Those that did not move would only make the equation long.
        if side != Side::Neither && (passes || amount > 0) {
            self.sides[side as usize].push(counter.id());
        }
    }
}

fn put(nodes: &mut BTreeMap<&'static str, Node>, counter: &'static Counter, flow: Flow, changes: &Changes) {
    let Some(table) = changes.table(counter.group) else { return };
    let amount = counted(counter, flow, changes);
    if amount.is_none() && changes.each(counter).next().is_none() {
        // Not on this kernel.
        return;
    }
    let passes = matches!(flow, Flow::Pass { .. } | Flow::PassBeside { .. } | Flow::Reaches { .. });
    let seen = Seen { counter, amount, passes, read: table.read };
    let amount = amount.unwrap_or(0);
    match flow {
        Flow::PassBeside { beside, .. } if changes.each(beside).next().is_none() => {}
        Flow::Pass { from, to } | Flow::PassBeside { from, to, .. } => {
            more(seen.at(nodes, from, Side::Out, amount).out.get_or_insert_default(), amount);
            let node = seen.at(nodes, to, Side::In, amount);
            more(node.taken.get_or_insert_default(), amount);
            more(&mut node.taken_of[seen.family()], amount);
        }
        Flow::Lost { at } => more(&mut seen.at(nodes, at, Side::Out, amount).lost, amount),
        Flow::Unwanted { at } => more(&mut seen.at(nodes, at, Side::Out, amount).unwanted, amount),
        Flow::LostBeyond { at, .. } | Flow::LostAsIn { at, .. } => {
            more(&mut seen.at(nodes, at, Side::Out, amount).lost, amount)
        }
        Flow::LostUpTo { at, limit, rest, .. } => {
            let lost = amount.min(changes.delta(limit).unwrap_or(0));
            more(&mut seen.at(nodes, at, Side::Out, lost).lost, lost);
            more(&mut seen.at(nodes, rest, Side::Out, amount - lost).unwanted, amount - lost);
        }
        Flow::Merged { at } => more(&mut seen.at(nodes, at, Side::Out, amount).merged, amount),
        Flow::Unmerged { at } => more(&mut seen.at(nodes, at, Side::In, amount).unmerged, amount),
        Flow::LostMerged { at } => more(&mut seen.at(nodes, at, Side::Neither, amount).lost_merged, amount),
        Flow::Uncertain { at } => more(&mut seen.at(nodes, at, Side::Neither, amount).uncertain[seen.family()], amount),
        // Need the balance of other stages: see missing::explain().
        Flow::MayExplain { .. } | Flow::MayExplainBeyond { .. } | Flow::Joins | Flow::Leaves => {}
        Flow::Reaches { past, at, or } => {
            more(seen.at(nodes, at, Side::Out, amount).out.get_or_insert_default(), amount);
            let reached = larger(counter, or, changes);
            more(seen.at(nodes, past, Side::Neither, 0).reached.get_or_insert_default(), reached);
        }
        Flow::Queued { at } => {
            // Is a gauge: there is nothing by which it could have been reset.
            if let Some(risen) = changes.risen(counter) {
                let node = nodes.entry(at).or_default();
                node.queued = Some(node.queued.unwrap_or(0).saturating_add(risen));
            }
        }
    }
}

/// By how much two counters grew that may hold the same packets of a device: of each device, the larger one.
fn larger(one: &'static Counter, other: &'static Counter, changes: &Changes) -> u64 {
    let mut devices: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (at, counter) in [one, other].into_iter().enumerate() {
        for (instance, grown) in changes.grown(counter) {
            let Some(device) = instance.of_device() else { continue };
            more(&mut devices.entry(device).or_default()[at], grown);
        }
    }
    sum(devices.values().map(|[one, other]| *one.max(other)))
}

/// What was lost on the way from a stage to where its packets are seen again, or waits there, has passed it too.
fn reach(nodes: &mut BTreeMap<&'static str, Node>, stages: &[&'static Stage]) {
    for (at, stage) in stages.iter().enumerate() {
        let behind = stages[at + 1..].iter().filter_map(|stage| nodes.get(stage.id));
        let kept = behind.map(|node| sum([node.lost, node.unwanted, node.queued.unwrap_or(0).try_into().unwrap_or(0)]));
        let kept = sum(kept);
        if let Some(reached) = nodes.get_mut(stage.id).and_then(|node| node.reached.as_mut()) {
            more(reached, kept);
        }
    }
}

/// What one counter says, and when it was read.
struct Seen {
    counter: &'static Counter,
    amount: Option<u64>,
    /// True if they went on, instead of ending.
    passes: bool,
    read: [Span; 2],
}

impl Seen {
    fn family(&self) -> usize {
        family_of(self.counter)
    }

    /// The node of a stage, of which the counter says something: this many packets came in or went out.
    fn at<'n>(
        &self,
        nodes: &'n mut BTreeMap<&'static str, Node>,
        stage: &'static str,
        side: Side,
        amount: u64,
    ) -> &'n mut Node {
        let node = nodes.entry(stage).or_default();
        if self.amount.is_none() {
            node.broken = true;
            if side != Side::Neither && self.passes {
                node.unknown[side as usize] = true;
            }
        }
        match side {
            Side::In => node.balance[self.family()] += i128::from(amount),
            Side::Out => node.balance[self.family()] -= i128::from(amount),
            Side::Neither => {}
        }
        node.touch(self.counter, amount, side, self.passes, self.read);
        node
    }
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

/// By how many packets the sockets' queues grew: what the stage before took in and nobody else took out, as far as the
/// bytes in the queues allow that number.
fn settle_queue(nodes: &mut BTreeMap<&'static str, Node>, stage: &Stage, sockets: &Sockets) {
    let Some(before) = stage.fed_by.and_then(|id| nodes.get(id)) else { return };
    let (Some(taken), Some(elsewhere), Some(node)) = (before.taken, before.out, nodes.get(stage.id)) else { return };
    let here = sum([node.out.unwrap_or(0), node.lost, node.unwanted]);
    let missing = i128::from(taken) - i128::from(elsewhere) - i128::from(here);
    let [start, end] = sockets.udp_queued.map(|bytes| (i128::from(bytes > 0), i128::from(bytes / LEAST_TRUESIZE)));
    let (least, most) = (end.0 - start.1, end.1 - start.0);
    let queued = i64::try_from(missing.clamp(least.min(most), most.max(least))).ok();
    nodes.entry(stage.id).or_default().queued = queued;
}

impl Node {
    /// Solves the stage. `before` is the line of the stage that feeds it uncounted, if one does.
    fn line(&self, stage: &'static str, before: Option<&Line>, feeds_others: bool, changes: &Changes) -> Line {
        let gone = self.lost.saturating_add(self.unwanted);
        let mut line = Line {
            stage,
            scope: self.scope,
            lost: self.lost.saturating_add(self.lost_merged),
            unwanted: self.unwanted,
            queued: self.queued,
            unit: self.unit.unwrap_or("packets"),
            merged: self.merged.saturating_sub(self.unmerged).saturating_sub(self.lost_merged),
            cut: self.unmerged.saturating_sub(self.merged),
            ..Line::default()
        };
        let [ins, outs] = &self.sides;
        if self.broken {
            line.taken = self.taken.filter(|_| !self.unknown[Side::In as usize]);
            line.out = self.out.filter(|_| !self.unknown[Side::Out as usize]);
            line.identity = "none: a counter was reset".into();
            return line;
        }
        if let (Some(reached), Some(taken)) = (self.reached, self.taken.or(before.and_then(|before| before.out))) {
            self.reaches(reached, taken, changes, &mut line);
            return line;
        }
        match (self.taken, self.out) {
            // All is counted: it must balance.
            (Some(taken), Some(out)) if !feeds_others => {
                (line.taken, line.out) = (Some(taken), Some(out));
                line.identity = format!("{} = {} + unexplained", ins.join(" + "), outs.join(" + "));
                let missing = |family: usize| {
                    let missing = u64::try_from(self.balance[family].max(0)).unwrap_or(u64::MAX);
                    (missing, self.uncertainty(family, changes))
                };
                line.missing = [missing(0), missing(1)];
                line.unexplained = Some(0);
                line.uncertainty = Some(sum(line.missing.map(|(_, uncertainty)| uncertainty)));
            }
            // What it passes on is not counted, or not all of it: all that it did not lose.
            (Some(taken), _) => {
                line.taken = Some(taken);
                line.out = Some(taken.saturating_add(line.cut).saturating_sub(gone));
                line.identity = format!("in = {}, out = in - lost", ins.join(" + "));
            }
            // What it takes in is not counted: all that is seen to leave it.
            (None, Some(out)) => {
                line.out = Some(out);
                line.taken = sum([out, gone]).checked_add_signed(self.queued.unwrap_or(0));
                let queued = if self.queued.is_some() { " + queued" } else { "" };
                line.identity = format!("in = {}{queued}", outs.join(" + "));
            }
            (None, None) => {
                if let Some(taken) = before.and_then(|before| before.out) {
                    (line.taken, line.out) = (Some(taken), Some(taken.saturating_sub(gone)));
                    line.scope = before.and_then(|before| before.scope);
                    line.identity = format!("in = out of {}", before.map_or("", |before| before.stage));
                } else {
                    line.identity = format!("lost = {}", outs.join(" + "));
                }
            }
        }
        line
    }

    /// Solves a stage of whose packets more may be seen further on than went in (pieces, and packets of other ways): at
    /// least what is not seen there is missing. Both IP versions together, for devices do not tell them apart.
    fn reaches(&self, reached: u64, taken: u64, changes: &Changes, line: &mut Line) {
        let gone = self.lost.saturating_add(self.unwanted);
        let missing = taken.saturating_sub(gone).saturating_sub(reached);
        let uncertainty = sum([0, 1].map(|family| self.uncertainty(family, changes)));
        line.taken = Some(taken);
        line.out = Some(taken.saturating_sub(gone).saturating_sub(missing));
        line.missing = [(missing, uncertainty), (0, 0)];
        line.unexplained = Some(0);
        line.uncertainty = Some(uncertainty);
        line.identity = "in = out + lost + unexplained; of out, at most what devices sent, lost or hold".into();
    }

    /// Packets that may have passed while the counters were read, in both snapshots, and those that may end here
    /// uncounted.
    fn uncertainty(&self, family: usize, changes: &Changes) -> u64 {
        let apart: f64 = self.read.iter().flatten().map(|span| span.seconds()).sum();
        let passed = changes.seconds.map_or(0.0, |seconds| self.taken_of[family] as f64 / seconds * apart);
        self.uncertain[family].saturating_add(passed.ceil() as u64)
    }
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
