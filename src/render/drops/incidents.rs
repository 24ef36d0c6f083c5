//! What went wrong besides the packets that were freed.

use std::io::{self, Write};

use anstyle::Style;

use super::{View, line, mark, process};
use crate::model::{Harm, Incident};
use crate::render::path::DIM;
use crate::render::words::grouped;

/// What went wrong besides: a line for each hook and code, with those it happened to.
pub(super) fn beside(incidents: &[&Incident], view: View, out: &mut dyn Write) -> io::Result<()> {
    let mut groups: Vec<(&Incident, u64, Vec<&Incident>)> = Vec::new();
    for &incident in incidents.iter().filter(|incident| view.harmless || incident.harm > Harm::Harmless) {
        let same = |other: &Incident| other.hook == incident.hook && other.code == incident.code;
        match groups.iter_mut().find(|(first, _, _)| same(first)) {
            Some((_, count, all)) => {
                *count += incident.count;
                all.push(incident);
            }
            None => groups.push((incident, incident.count, vec![incident])),
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{DIM}  {:>12} {:>8}   {:<24} stage{DIM:#}", "times", "", "seen besides")?;
    for (first, count, all) in groups {
        let (mark, style) = mark(first.harm);
        let count = grouped(count);
        writeln!(
            out,
            "{style}{mark}{style:#} {count:>12} {:>8}   {style}{:<24}{style:#} {}",
            "", first.hook, first.stage
        )?;
        let code = first.code_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        line("", &format!("{}{code}", first.normal), Style::new(), out)?;
        for incident in all.iter().take(3) {
            let mut parts: Vec<String> = incident.victim.iter().map(process).collect();
            parts.extend(incident.remote.as_ref().map(|remote| format!("to {remote}")));
            parts.extend(incident.device.as_ref().or(incident.protocol.as_ref()).cloned());
            parts.extend(incident.netns_name.as_ref().or(incident.netns.as_ref()).map(|netns| format!("in {netns}")));
            // Of some things the hook does not tell where they happened.
            if parts.is_empty() {
                continue;
            }
            parts.push(grouped(incident.count));
            line("who", &parts.join(", "), Style::new(), out)?;
        }
    }
    Ok(())
}
