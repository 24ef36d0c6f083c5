//! What refused packets, in words: as the tool that the operator would use calls it.

use super::words::grouped;
use crate::model::{Drop, Layer, Means, Policy};

/// Refusers named for each group, at most.
const NAMED: usize = 5;

/// What stands for the packets of which that is not known.
pub fn unknown(policy: &Policy, drop: &Drop) -> String {
    let layer = match policy.layer {
        Layer::Nftables => "nftables",
        Layer::Iptables => "iptables",
        Layer::Netfilter => "netfilter",
        Layer::Tc => "tc",
        Layer::Xdp => "xdp",
        Layer::CgroupBpf => "cgroup program",
        Layer::SocketFilter => "socket filter",
        Layer::Xfrm => "IPsec policy",
        Layer::Lsm => "security module",
        Layer::ReversePathFilter => "rp_filter",
    };
    match (&policy.candidates[..], &drop.device) {
        ([], _) => layer.into(),
        ([one], _) => format!("{}?", one.label(policy.layer)),
        (several, _) => format!("{layer}: one of {}", several.len()),
    }
}

/// Lines for a group of rows: who refused how many, who may have, and what is not known; each with a word in the margin.
pub fn lines<'a>(drops: impl Iterator<Item = &'a Drop>) -> Vec<(&'static str, String)> {
    let mut sums: Vec<(String, Means, u64)> = Vec::new();
    let mut maybe: Vec<String> = Vec::new();
    let mut notes: Vec<(String, u64)> = Vec::new();
    for drop in drops {
        for (label, by, count) in drop.refusers() {
            match sums.iter_mut().find(|(known, means, _)| *known == label && *means == by) {
                Some((_, _, sum)) => *sum += count,
                None => sums.push((label, by, count)),
            }
        }
        let Some(policy) = &drop.policy else { continue };
        maybe.extend(policy.candidates.iter().map(|candidate| candidate.label(policy.layer)));
        if let Some(note) = &policy.note {
            match notes.iter_mut().find(|(known, _)| known == note) {
                Some((_, sum)) => *sum += policy.unattributed,
                None => notes.push((note.clone(), policy.unattributed)),
            }
        }
    }
    sums.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    maybe.retain({
        let mut seen = std::collections::HashSet::new();
        move |label| seen.insert(label.clone())
    });
    let mut lines = Vec::new();
    let texts = sums.iter().map(|(label, by, count)| format!("{label}, {} ({})", grouped(*count), by.words()));
    add(&mut lines, "refused by", texts.collect());
    add(&mut lines, "perhaps by", maybe);
    lines.extend(notes.into_iter().map(|(note, count)| match count {
        0 => ("", note),
        count => ("", format!("{} of them: {note}", grouped(count))),
    }));
    lines
}

fn add(lines: &mut Vec<(&'static str, String)>, word: &'static str, texts: Vec<String>) {
    let more = texts.len().saturating_sub(NAMED);
    for (at, text) in texts.into_iter().take(NAMED).enumerate() {
        lines.push((if at == 0 { word } else { "" }, text));
    }
    if more > 0 {
        lines.push(("", format!("and {more} more: --by rule or --json shows them")));
    }
}
