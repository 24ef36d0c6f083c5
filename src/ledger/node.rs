//! One stage while it is solved: what its counters say, and what follows from that.

use std::collections::BTreeMap;

use super::counted::counted;
use super::{Line, family_of, more, sum};
use crate::model::{Changes, Counter, Flow, Scope, Sockets, Span, Stage};

/// A queued packet is charged at least this many bytes (an empty skb: SKB_TRUESIZE(0) in include/linux/skbuff.h is 576
/// on 64-bit kernels; 512 leaves room for others).
const LEAST_TRUESIZE: u64 = 512;

/// What the counters say of one stage.
#[derive(Default)]
pub(super) struct Node {
    pub taken: Option<u64>,
    out: Option<u64>,
    pub lost: u64,
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
pub(super) enum Side {
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

pub(super) fn put(nodes: &mut BTreeMap<&'static str, Node>, counter: &'static Counter, flow: Flow, changes: &Changes) {
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
pub(super) fn reach(nodes: &mut BTreeMap<&'static str, Node>, stages: &[&'static Stage]) {
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

/// By how many packets the sockets' queues grew: what the stage before took in and nobody else took out, as far as the
/// bytes in the queues allow that number.
pub(super) fn settle_queue(nodes: &mut BTreeMap<&'static str, Node>, stage: &Stage, sockets: &Sockets) {
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
    pub fn line(&self, stage: &'static str, before: Option<&Line>, feeds_others: bool, changes: &Changes) -> Line {
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
