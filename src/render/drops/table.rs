//! The table of drops: what shares a line, and what stands in it.

use std::collections::HashMap;
use std::io::{self, Write};

use anstyle::Style;

use super::{View, WIDTH, cut, line, mark, process};
use crate::cli::By;
use crate::model::{Drop, DropTotals, Harm, Victim};
use crate::render::path::DIM;
use crate::render::policy;
use crate::render::words::{grouped, share};

/// Lines of a table other than that of reasons, at most.
const LINES: usize = 40;

/// Drops that share a line of the table.
pub(super) struct Group<'a> {
    label: String,
    harm: Harm,
    count: u64,
    /// Those in it, with their part of the count, the largest first.
    drops: Vec<(&'a Drop, u64)>,
}

/// The lines, the most harmful first.
pub(super) fn groups<'a>(drops: &[&'a Drop], by: By) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut at: HashMap<(String, Option<(Harm, String)>), usize> = HashMap::new();
    let mut add = |label: String, drop: &'a Drop, count: u64| {
        // A reason means something else at each stage (NO_SOCKET of UDP and of TCP); a place or device has all in one line.
        let key = (label.clone(), (by == By::Reason).then(|| (drop.harm, drop.stage.clone())));
        let at = *at.entry(key).or_insert_with(|| {
            groups.push(Group { label, harm: drop.harm, count: 0, drops: Vec::new() });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.harm = group.harm.max(drop.harm);
        group.count += count;
        group.drops.push((drop, count));
    };
    for drop in drops {
        match by {
            By::Process | By::Unit => {
                let mut rest = drop.count;
                for victim in &drop.victims {
                    rest = rest.saturating_sub(victim.lost);
                    let label = if by == By::Process { Some(process(victim)) } else { victim.unit.clone() };
                    add(label.unwrap_or_else(|| "no unit".into()), drop, victim.lost);
                }
                if rest > 0 {
                    add("socket unknown".into(), drop, rest);
                }
            }
            By::Flow => {
                let mut rest = drop.count;
                for flow in &drop.flows {
                    rest = rest.saturating_sub(flow.count);
                    let protocol = drop.protocol.as_deref().unwrap_or("ip");
                    add(format!("{protocol} {} > {}", flow.from, flow.to), drop, flow.count);
                }
                if rest > 0 {
                    add("other flows, or no IP".into(), drop, rest);
                }
            }
            By::Rule => {
                let mut rest = drop.count;
                for (label, _, count) in drop.refusers() {
                    rest = rest.saturating_sub(count);
                    add(label, drop, count);
                }
                if rest > 0 {
                    let layer = drop.policy.as_ref().map(|policy| policy::unknown(policy, drop));
                    add(layer.unwrap_or_else(|| "no policy".into()), drop, rest);
                }
            }
            _ => add(label(drop, by), drop, drop.count),
        }
    }
    for group in &mut groups {
        group.drops.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    }
    groups.sort_by(|a, b| (b.harm, b.count, &a.label).cmp(&(a.harm, a.count, &b.label)));
    groups
}

fn label(drop: &Drop, by: By) -> String {
    let or = |value: Option<&String>, other: &str| value.cloned().unwrap_or_else(|| other.into());
    match by {
        By::Location => or(drop.location.as_ref(), "place not kept"),
        By::Stage => drop.stage.clone(),
        By::Device => or(drop.device.as_ref(), "no device"),
        By::Netns => namespace(drop).unwrap_or_else(|| "namespace unknown".into()),
        _ => reason(drop),
    }
}

/// `SOCKET_RCVBUFF`; `SOCKET_RCVBUFF?` where only the place tells.
fn reason(drop: &Drop) -> String {
    drop.likely.as_ref().map_or(drop.reason.clone(), |likely| format!("{likely}?"))
}

fn namespace(drop: &Drop) -> Option<String> {
    drop.netns_name.clone().or_else(|| drop.netns.clone())
}

/// The table.
pub(super) fn table(groups: &[Group], view: View, totals: &DropTotals, out: &mut dyn Write) -> io::Result<()> {
    let heading = match view.by {
        By::Reason => "reason",
        By::Location => "place",
        By::Stage => "stage",
        By::Device => "device",
        By::Netns => "namespace",
        By::Process => "process",
        By::Unit => "unit",
        By::Flow => "flow",
        By::Rule => "refused by",
    };
    let wide = if view.by == By::Reason { 24 } else { 30 };
    writeln!(out, "\n{DIM}  {:>12} {:>8}   {heading:<wide$} {}{DIM:#}", "packets", "share", columns(view.by))?;
    for group in groups.iter().take(LINES) {
        let (mark, style) = mark(group.harm);
        let (count, part) = (grouped(group.count), share(group.count, totals.packets));
        let right = right(group, view.by);
        if group.label.chars().count() <= 24 {
            writeln!(
                out,
                "{style}{mark}{style:#} {count:>12} {part:>8}   {style}{:<24}{style:#} {right}",
                group.label
            )?;
        } else {
            // A long label has its line for itself.
            let label = cut(&group.label, WIDTH - 26);
            writeln!(out, "{style}{mark}{style:#} {count:>12} {part:>8}   {style}{label}{style:#}")?;
            writeln!(out, "{:26}{right}", "")?;
        }
        details(group, view, out)?;
    }
    if groups.len() > LINES {
        let rest: u64 = groups[LINES..].iter().map(|group| group.count).sum();
        writeln!(out, "{DIM}  {:>12} {:>8}   {} more lines{DIM:#}", grouped(rest), "", groups.len() - LINES)?;
    }
    Ok(())
}

fn columns(by: By) -> &'static str {
    if by == By::Reason { "stage        device" } else { "mostly for" }
}

/// What stands behind the label: stage and device of a reason, else the reason that counts most.
fn right(group: &Group, by: By) -> String {
    let Some((first, _)) = group.drops.first() else { return String::new() };
    if by != By::Reason {
        return cut(&reason(first), 23);
    }
    let mut devices: Vec<&str> = group.drops.iter().filter_map(|(drop, _)| drop.device.as_deref()).collect();
    devices.dedup();
    let device = match devices[..] {
        [] => String::new(),
        [one] => one.to_owned(),
        [one, ..] => format!("{one} +{}", devices.len() - 1),
    };
    let left = 26_usize.saturating_sub(first.stage.len().max(12));
    format!("{:<12} {}", first.stage, cut(&device, left))
}

fn details(group: &Group, view: View, out: &mut dyn Write) -> io::Result<()> {
    let Some((first, _)) = group.drops.first() else { return Ok(()) };
    if view.by != By::Reason {
        return Ok(());
    }
    line("", &first.normal, Style::new(), out)?;
    let mut places: Vec<String> = Vec::new();
    for (drop, _) in &group.drops {
        let Some(place) = &drop.location else { continue };
        let inside = namespace(drop).map(|netns| format!(" in {netns}")).unwrap_or_default();
        let protocol = drop.protocol.as_deref().map(|protocol| format!(" {protocol}")).unwrap_or_default();
        places.push(format!("{place}{inside}{protocol}"));
    }
    places.dedup();
    let most = if view.verbose > 0 { usize::MAX } else { 2 };
    for place in places.iter().take(most) {
        line("at", place, DIM, out)?;
    }
    if places.len() > most {
        line("", &format!("and {} more places: -v shows them", places.len() - most), DIM, out)?;
    }
    for (word, text) in policy::lines(group.drops.iter().map(|(drop, _)| *drop)) {
        line(word, &text, Style::new(), out)?;
    }
    let mut victims: Vec<&Victim> = group.drops.iter().flat_map(|(drop, _)| &drop.victims).collect();
    victims.sort_by_key(|victim| std::cmp::Reverse(victim.lost));
    for victim in victims.iter().take(3) {
        let mut parts = vec![process(victim)];
        parts.extend(victim.unit.clone());
        parts.extend(victim.local.clone());
        parts.extend(victim.remote.as_ref().map(|remote| format!("from {remote}")));
        parts.push(format!("lost {}", grouped(victim.lost)));
        line("who", &parts.join(", "), Style::new(), out)?;
    }
    let mut flows: Vec<_> = group.drops.iter().flat_map(|(drop, _)| &drop.flows).collect();
    flows.sort_by_key(|flow| std::cmp::Reverse(flow.count));
    for flow in flows.iter().take(3) {
        line("flow", &format!("{} > {}, {}", flow.from, flow.to, grouped(flow.count)), Style::new(), out)?;
    }
    if let Some((drop, _)) = group.drops.iter().find(|(drop, _)| !drop.stack.is_empty()) {
        // The first are our own program and what called it.
        let ours = |frame: &&String| frame.starts_with("bpf_");
        for (i, frame) in drop.stack.iter().skip_while(ours).enumerate() {
            line(if i == 0 { "via" } else { "" }, frame, DIM, out)?;
        }
    }
    Ok(())
}
