//! `confirm`, and what happens without it: a guard takes the change back, or, if the guard was killed, the next run of any
//! verb does.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::panel::boot_id;
use super::revert::{one, unreadable};
use crate::cli::{ConfirmArgs, GuardArgs};
use crate::error::Error;
use crate::source::place::Place;
use crate::tune::journal::{Change, Journal, read};

/// How often the guard looks whether it was confirmed.
const LOOK: Duration = Duration::from_millis(200);
/// How long the guard waits for another writer to end.
const PATIENCE: Duration = Duration::from_secs(600);

/// Keeps a change that waits for it.
pub fn run(args: &ConfirmArgs, out: &mut dyn Write) -> Result<u8, Error> {
    let journal = Journal::open(&args.state_dir)?;
    let (changes, _) = read(&args.state_dir).map_err(|e| unreadable(&args.state_dir, &e))?;
    let waits = |change: &Change| change.open() && change.confirm_by.is_some() && change.boot_id == boot_id();
    let found = changes.into_iter().rev().find(|change| waits(change) && args.id.is_none_or(|id| id == change.id));
    let hint = "'netstat-deep history' shows what became of it";
    let mut change = found.ok_or_else(|| Error::usage("no change waits to be confirmed").hint(hint))?;
    if change.overdue(since_boot()) {
        return Err(
            Error::usage(format!("change {} is too late to confirm, and is being taken back", change.id)).hint(hint)
        );
    }
    change.confirm_by = None;
    journal.put(&change).map_err(|e| Error::incomplete(format!("the journal can't be written: {e}")))?;
    let kept = super::tune::keep_over_reboot(&change)?;
    write!(out, "change {} is kept\n{kept}", change.id).map_err(Error::output)?;
    Ok(0)
}

/// Leaves a process behind that takes the change back in time, whatever becomes of this one.
pub(super) fn leave_guard(change: &Change, folder: &Path) -> std::io::Result<()> {
    let mut guard = Command::new(std::env::current_exe()?);
    guard.arg("guard").arg(change.id.to_string()).arg("--state-dir").arg(folder);
    guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(drop)
}

/// The guard: waits, and takes the change back unless it was confirmed.
pub fn guard(args: &GuardArgs) -> Result<u8, Error> {
    // Out of the terminal's session, so that losing the terminal does not end it. It is no group leader: this works.
    let _ = rustix::process::setsid();
    loop {
        let (changes, _) = read(&args.state_dir).map_err(|e| unreadable(&args.state_dir, &e))?;
        let change = changes.into_iter().find(|change| change.id == args.id);
        match change.and_then(|change| change.confirm_by) {
            None => return Ok(0),
            Some(limit) if limit <= since_boot() => break,
            Some(_) => std::thread::sleep(LOOK),
        }
    }
    let start = Instant::now();
    let journal = loop {
        match Journal::open(&args.state_dir) {
            Ok(journal) => break journal,
            Err(e) if start.elapsed() > PATIENCE => return Err(e),
            Err(_) => std::thread::sleep(LOOK),
        }
    };
    take_back(&journal, &args.state_dir, &mut std::io::sink())?;
    Ok(0)
}

/// Takes back what was not confirmed in time, because its guard was killed. Says so; a journal that can't be read or is
/// in use is left for the next run.
pub fn finish_overdue(folder: &Path) {
    let Ok((changes, _)) = read(folder) else { return };
    let now = since_boot();
    if !changes.iter().any(|change| change.overdue(now) && change.boot_id == boot_id()) {
        return;
    }
    if let Ok(journal) = Journal::open(folder)
        && let Err(e) = take_back(&journal, folder, &mut std::io::stderr())
    {
        eprintln!("netstat-deep: {e}");
    }
}

fn take_back(journal: &Journal, folder: &Path, out: &mut dyn Write) -> Result<(), Error> {
    // Read again: it may have been confirmed before the journal was ours.
    let (changes, _) = read(folder).map_err(|e| unreadable(folder, &e))?;
    let now = since_boot();
    for mut change in changes.into_iter().rev().filter(|change| change.overdue(now) && change.boot_id == boot_id()) {
        writeln!(out, "netstat-deep: change {} was not confirmed in time and is taken back", change.id)
            .map_err(Error::output)?;
        one(&mut change, &Place::here_pinned(), journal, out)?;
    }
    Ok(())
}

/// Seconds since boot, time asleep included.
pub(super) fn since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.try_into().unwrap_or(0)
}
