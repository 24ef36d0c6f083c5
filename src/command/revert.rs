//! `revert`: takes back what was changed.

use std::io::Write;
use std::path::Path;

use super::panel::{Switches, boot_id, find_again, is_ours};
use crate::cli::RevertArgs;
use crate::error::{EXIT_INCOMPLETE, Error};
use crate::model::Scope;
use crate::source::place::Place;
use crate::tune::journal::{Change, Journal, read};
use crate::tune::persist;
use crate::tune::revert::{gone, revert};

/// Takes back the newest open change, a given one, or all, the newest first.
pub fn run(args: &RevertArgs, out: &mut dyn Write) -> Result<u8, Error> {
    let (changes, damaged) = read(&args.state_dir).map_err(|e| unreadable(&args.state_dir, &e))?;
    damaged.iter().for_each(|damaged| eprintln!("netstat-deep: {damaged}"));
    let lost = damaged.iter().any(|damaged| !damaged.copied);
    let mut wanted: Vec<Change> = match args.id {
        Some(id) => {
            let found = changes.into_iter().find(|change| change.id == id);
            let hint = "'netstat-deep history' lists the changes";
            vec![found.ok_or_else(|| Error::usage(format!("there is no change {id}")).hint(hint))?]
        }
        None => changes.into_iter().filter(Change::open).collect(),
    };
    wanted.reverse();
    if !args.all && args.id.is_none() {
        wanted.truncate(1);
    }
    if wanted.iter().all(|change| !change.open()) {
        writeln!(out, "nothing to take back").map_err(Error::output)?;
        return Ok(if lost { EXIT_INCOMPLETE } else { 0 });
    }
    let journal = Journal::open(&args.state_dir)?;
    let home = Place::here_pinned();
    let mut left = lost;
    for change in &mut wanted {
        left |= one(change, &home, &journal, out)?;
    }
    Ok(if left { EXIT_INCOMPLETE } else { 0 })
}

/// Takes back one change. True if something of it is left.
pub(super) fn one(change: &mut Change, home: &Place, journal: &Journal, out: &mut dyn Write) -> Result<bool, Error> {
    let mut say = |line: String| writeln!(out, "{line}").map_err(Error::output);
    if !is_ours(change) {
        say(format!("change {} was made on another host ({}): left alone", change.id, change.host))?;
        return Ok(true);
    }
    let failed = |e: std::io::Error| Error::incomplete(format!("the journal can't be written: {e}"));
    if let Some(etc) = &change.persist {
        let steps: Vec<_> = change.steps.iter().filter(|step| step.open()).collect();
        let failed = |e: std::io::Error| {
            Error::incomplete(format!("what was kept below {} can't be removed: {e}", etc.display()))
                .hint("make it writable, and revert again")
        };
        for path in persist::forget(etc, &steps).map_err(failed)? {
            say(format!("change {}: removed from {}", change.id, path.display()))?;
        }
    }
    // What was kept over a reboot is in force again, in the host's own namespace: that is where it could be kept.
    let rebooted = change.boot_id != boot_id();
    if rebooted && change.persist.is_none() {
        let count = gone(change, |_| true, journal).map_err(failed)?;
        say(format!("change {}: {count} values went with the reboot since", change.id))?;
        return Ok(false);
    }
    let place = if rebooted { Some(Place::here_pinned()) } else { find_again(&change.netns) };
    if place.is_none() {
        let count = gone(change, |step| step.scope != Scope::Machine, journal).map_err(failed)?;
        if count > 0 {
            say(format!("change {}: {count} values went with their network namespace", change.id))?;
        }
    }
    let panel = Switches { home, place: place.as_ref() };
    let outcomes = revert(change, &panel, journal, |_| true);
    for outcome in &outcomes {
        say(format!("change {}: {} {}", change.id, outcome.knob, outcome.what))?;
    }
    Ok(outcomes.iter().any(|outcome| outcome.left))
}

pub(super) fn unreadable(folder: &Path, error: &std::io::Error) -> Error {
    Error::usage(format!("the journal in {} can't be read: {error}", folder.display()))
        .hint("run as root, or name its folder with --state-dir")
}
