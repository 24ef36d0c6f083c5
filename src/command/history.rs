//! `history`: what was changed, by whom, why, and what became of it. With --verify, what is not known yet is found out.

use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::panel::{Switches, boot_id, find_again, is_ours};
use super::path::Run;
use super::revert::unreadable;
use super::verdict::verify;
use crate::cli::HistoryArgs;
use crate::error::{EXIT_INCOMPLETE, EXIT_ROLLED_BACK, Error};
use crate::render::plan as show;
use crate::source::place::Place;
use crate::stage::Way;
use crate::tune::journal::{Change, Journal, Step, read};
use crate::tune::revert::Outcome;

/// Lists all changes, the newest last.
pub fn run(args: &HistoryArgs, out: &mut dyn Write, stop: &AtomicBool) -> Result<u8, Error> {
    let (mut changes, damaged) = read(&args.state_dir).map_err(|e| unreadable(&args.state_dir, &e))?;
    let mut outcomes = Vec::new();
    if args.verify {
        let journal = Journal::open(&args.state_dir)?;
        // Read again: another writer may have been at it until now.
        changes = read(&args.state_dir).map_err(|e| unreadable(&args.state_dir, &e))?.0;
        for change in changes.iter_mut().filter(|change| is_ours(change) && change.boot_id == boot_id()) {
            outcomes.extend(look_again(change, &journal, args.keep, stop)?);
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &changes).map_err(|e| Error::output(e.into()))?;
        writeln!(out).map_err(Error::output)?;
    } else {
        let list = if changes.is_empty() { "nothing was changed\n".into() } else { show::history(&changes) };
        out.write_all(list.as_bytes()).map_err(Error::output)?;
    }
    damaged.iter().for_each(|damaged| eprintln!("netstat-deep: {damaged}"));
    Ok(if damaged.iter().any(|damaged| !damaged.copied) || outcomes.iter().any(|outcome| outcome.left) {
        EXIT_INCOMPLETE
    } else if outcomes.is_empty() {
        0
    } else {
        EXIT_ROLLED_BACK
    })
}

/// Judges the steps of a change that are not decided, in the namespace in which it was made.
fn look_again(change: &mut Change, journal: &Journal, keep: bool, stop: &AtomicBool) -> Result<Vec<Outcome>, Error> {
    let Some(before) = change.before.as_ref().filter(|_| change.steps.iter().any(Step::undecided)) else {
        return Ok(Vec::new());
    };
    // If its namespace is gone there is nothing to look at; `revert` says so.
    let Some(place) = find_again(&change.netns) else { return Ok(Vec::new()) };
    let window = Duration::try_from_secs_f64(before.seconds).unwrap_or(Duration::from_secs(1));
    let run = Run::at(Way::Both, place, stop);
    let home = Place::here_pinned();
    let panel = Switches { home: &home, place: Some(&run.place) };
    verify(&run, window, change, &panel, journal, keep)
}
