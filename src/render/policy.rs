//! What refused packets, in words: as the tool that the operator would use calls it.

use super::words::grouped;
use crate::model::{Drop, Layer, Means, Policy, Refuser};

/// Refusers named for each group, at most.
const NAMED: usize = 5;

/// What is known to have refused packets of a row, and how many.
pub fn known(drop: &Drop) -> Vec<(String, u64)> {
    let Some(policy) = &drop.policy else { return Vec::new() };
    if policy.by != Means::Reason && policy.shares.is_empty() {
        return vec![(label(policy.layer, &policy.refuser), drop.count)];
    }
    policy.shares.iter().map(|share| (label(policy.layer, &share.refuser), share.count)).collect()
}

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
        ([one], _) => format!("{}?", label(policy.layer, one)),
        (several, _) => format!("{layer}: one of {}", several.len()),
    }
}

/// Lines for a group of rows: who refused how many, who may have, and what is not known; each with a word in the margin.
pub fn lines<'a>(drops: impl Iterator<Item = &'a Drop>) -> Vec<(&'static str, String)> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    let mut maybe: Vec<String> = Vec::new();
    let mut notes: Vec<(String, u64)> = Vec::new();
    for drop in drops {
        for (label, count) in known(drop) {
            match sums.iter_mut().find(|(known, _)| *known == label) {
                Some((_, sum)) => *sum += count,
                None => sums.push((label, count)),
            }
        }
        let Some(policy) = &drop.policy else { continue };
        maybe.extend(policy.candidates.iter().map(|candidate| label(policy.layer, candidate)));
        if let Some(note) = &policy.note {
            match notes.iter_mut().find(|(known, _)| known == note) {
                Some((_, sum)) => *sum += policy.unattributed,
                None => notes.push((note.clone(), policy.unattributed)),
            }
        }
    }
    sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    maybe.retain({
        let mut seen = std::collections::HashSet::new();
        move |label| seen.insert(label.clone())
    });
    let mut lines = Vec::new();
    let texts = sums.iter().map(|(label, count)| format!("{label}, {}", grouped(*count)));
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

/// One refuser.
fn label(layer: Layer, refuser: &Refuser) -> String {
    let mut words: Vec<String> = Vec::new();
    match layer {
        Layer::Nftables | Layer::Iptables | Layer::Netfilter => {
            words.push(refuser.tool.clone().unwrap_or_else(|| "nft".into()));
            words.extend(refuser.family.clone().filter(|_| refuser.tool.is_none()));
            words.extend(refuser.table.clone());
            words.extend(refuser.chain.clone());
            // As the tool itself counts: 'nft delete rule' takes the handle, 'iptables -D' the number.
            words.extend(match (refuser.handle, refuser.rule) {
                (_, Some(number)) if refuser.tool.is_some() => Some(format!("rule {number}")),
                (Some(handle), _) => Some(format!("handle {handle}")),
                _ => Some("policy drop".into()),
            });
        }
        Layer::CgroupBpf => {
            words.push("cgroup".into());
            words.extend(refuser.cgroup.clone());
            words.extend(refuser.hook.clone());
        }
        Layer::ReversePathFilter => words.extend(refuser.setting.clone()),
        Layer::Tc | Layer::Xdp | Layer::SocketFilter | Layer::Xfrm | Layer::Lsm => {
            let filter = refuser.filter.as_ref();
            words.push(
                if layer == Layer::Xdp {
                    "xdp"
                } else if filter.is_some_and(|f| f == "tcx") {
                    "tcx"
                } else {
                    "tc"
                }
                .into(),
            );
            words.extend(refuser.device.clone());
            words.extend(refuser.hook.clone());
            words.extend(filter.filter(|filter| *filter != "tcx").cloned());
        }
    }
    words.extend(refuser.program.clone());
    words.extend(refuser.program_id.map(|id| format!("(program {id})")));
    words.extend(refuser.comment.as_ref().map(|comment| format!("\"{comment}\"")));
    words.join(" ")
}
