//! A line for each dropped packet.

use std::io::{self, Write};

use super::drops::process;
use super::path::{BAD, DIM, ODD};
use super::policy;
use crate::model::{DropEvent, Harm};

/// For machines.
pub fn json(event: &DropEvent, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    out.write_all(b"\n")
}

/// For people: time, reason, from where to where, device, place.
pub fn text(event: &DropEvent, out: &mut dyn Write) -> io::Result<()> {
    let drop = &event.drop;
    let (mark, style) = match drop.harm {
        Harm::Harmful => ("✗", BAD),
        Harm::Watch => ("!", ODD),
        Harm::Harmless => ("·", DIM),
    };
    let reason = drop.likely.as_ref().map_or(drop.reason.clone(), |likely| format!("{likely}?"));
    let time = event.time.split_once('T').map_or(event.time.as_str(), |(_, time)| time.trim_end_matches('Z'));
    write!(out, "{DIM}{time}{DIM:#} {style}{mark} {reason}{style:#}")?;
    let protocol = drop.protocol.as_ref().or(drop.network.as_ref());
    for word in [protocol, event.from.as_ref()].into_iter().flatten() {
        write!(out, " {word}")?;
    }
    if let Some(to) = &event.to {
        write!(out, " > {to}")?;
    }
    write!(out, " {} B", event.length)?;
    if let Some(device) = &drop.device {
        write!(out, " {device}")?;
    }
    if let Some(victim) = drop.victims.first() {
        write!(out, " {}", process(victim))?;
    }
    if let Some(policy) = &drop.policy {
        let by = match &drop.refusers()[..] {
            [(refuser, ..), ..] => refuser.clone(),
            [] => policy::unknown(policy, drop),
        };
        write!(out, " {style}by {by}{style:#}")?;
    }
    writeln!(out, " {DIM}{}{DIM:#}", drop.location.as_deref().unwrap_or_default())
}
