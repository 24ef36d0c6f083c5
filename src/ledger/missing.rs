//! What is missing in the balances: what may explain it, and what is left.

use super::{Line, family_of, more, sum};
use crate::model::flow::FORWARDED;
use crate::model::{Changes, Counter, Flow, Scope, Span, Uncounted};

/// A counter's edge, and the stage that declares it.
type Edge = (&'static str, &'static Counter, Flow);

/// Counters that also hold packets of other ways, and probes, explain at most what is missing; then what is within the
/// uncertainty is no longer called unexplained.
pub fn explain(edges: &[Edge], changes: &Changes, uncounted: &mut [Uncounted], lines: &mut [Line]) {
    let mut onward = Onward::of(edges, changes);
    for (_, counter, flow) in edges {
        let counted = changes.delta(counter).unwrap_or(0);
        let (at, from, counted) = match *flow {
            Flow::MayExplain { at, from } => (at, from, counted),
            Flow::MayExplainBeyond { at, from, known } => {
                (at, from, counted.saturating_sub(changes.delta(known).unwrap_or(0)))
            }
            _ => continue,
        };
        let explained = onward.take(lines, from, families_of(counter), counted);
        if let Some(line) = lines.iter_mut().find(|line| line.stage == at) {
            more(&mut line.lost, explained);
            line.scope = line.scope.or(Some(counter.group.scope));
            if explained > 0 {
                let more = format!("of {}, as many as are missing at {from} or onward", counter.id());
                line.identity = joined(&line.identity, more);
            }
        }
    }
    for Uncounted { at, from, v6, packets, unwanted, reason, explained } in uncounted {
        *explained = onward.take(lines, from, &[usize::from(*v6)], *packets);
        let explained = *explained;
        if let Some(line) = lines.iter_mut().find(|line| line.stage == *at).filter(|_| explained > 0) {
            more(if *unwanted { &mut line.unwanted } else { &mut line.lost }, explained);
            line.scope = line.scope.or(Some(Scope::Netns));
            let seen = format!("{reason} seen by the drop probe, as many as are missing at {from} or onward");
            line.identity = joined(&line.identity, seen);
        }
    }
    for line in lines.iter_mut() {
        if let Some(unexplained) = &mut line.unexplained {
            let beyond = line.missing.into_iter().filter(|(missing, uncertainty)| missing > uncertainty);
            *unexplained = sum(beyond.map(|(missing, _)| missing));
        }
    }
    onward.unexplained(lines);
}

fn joined(identity: &str, more: String) -> String {
    if identity.is_empty() { more } else { format!("{identity}; {more}") }
}

/// What was counted as sent on to other hosts, and did not leave: on kernels that count a packet as sent on before they
/// drop it, and count what leaves. For IPv4 (0) and IPv6 (1).
#[derive(Default)]
struct Onward {
    /// The stage that sends on.
    stage: &'static str,
    /// So many at most. Fragments leave one by one, so it may be more.
    missing: [u64; 2],
    /// So many of them may have been made here, or were counted while the counters were read.
    uncertainty: [u64; 2],
}

impl Onward {
    fn of(edges: &[Edge], changes: &Changes) -> Self {
        let (mut sent_on, mut made, mut left) = ([0; 2], [0; 2], [None; 2]);
        let mut onward = Onward::default();
        for (stage, counter, flow) in edges {
            let Some(amount) = changes.delta(counter) else { continue };
            let family = family_of(counter);
            match *flow {
                Flow::Pass { to: FORWARDED, .. } => more(&mut sent_on[family], amount),
                Flow::Joins => more(&mut made[family], amount),
                Flow::Leaves => {
                    more(left[family].get_or_insert(0), amount);
                    onward.stage = stage;
                    let reading: f64 =
                        changes.table(counter.group).iter().flat_map(|it| it.read).map(Span::seconds).sum();
                    let passed = changes.seconds.map_or(0.0, |seconds| amount as f64 / seconds * reading);
                    onward.uncertainty[family] = passed.ceil() as u64;
                }
                _ => {}
            }
        }
        for family in [0, 1] {
            let Some(left) = left[family] else { continue };
            let all = sum([sent_on[family], made[family]]);
            onward.missing[family] = all.saturating_sub(left).min(sent_on[family]);
            more(&mut onward.uncertainty[family], made[family]);
        }
        onward
    }

    /// Takes so many packets, at most, out of what is missing in the balance of a stage, and then out of what did not
    /// leave. Returns how many there were.
    fn take(&mut self, lines: &mut [Line], from: &str, families: &[usize], packets: u64) -> u64 {
        let Some(line) = lines.iter_mut().find(|line| line.stage == from) else { return 0 };
        let mut left = packets;
        let mut take = |missing: &mut u64| {
            let part = left.min(*missing);
            *missing -= part;
            left -= part;
        };
        families.iter().for_each(|family| take(&mut line.missing[*family].0));
        families.iter().for_each(|family| take(&mut self.missing[*family]));
        packets - left
    }

    /// What nothing explains stands with the stage that sends on.
    fn unexplained(&self, lines: &mut [Line]) {
        let both = || self.missing.iter().zip(&self.uncertainty);
        let beyond = sum(both().filter(|(missing, uncertainty)| missing > uncertainty).map(|(missing, _)| *missing));
        if let Some(line) = lines.iter_mut().find(|line| line.stage == self.stage).filter(|_| beyond > 0) {
            line.scope = line.scope.or(Some(Scope::Netns));
            line.unexplained = Some(beyond);
            line.uncertainty = Some(sum(self.uncertainty));
            line.identity = joined(&line.identity, "sent on + made here = given to a device + unexplained".into());
        }
    }
}

/// The balances to which a counter belongs. Conntrack counts packets of both protocols.
fn families_of(counter: &Counter) -> &'static [usize] {
    match counter.group.id {
        "Ip" => &[0],
        "Ip6" => &[1],
        _ => &[0, 1],
    }
}
