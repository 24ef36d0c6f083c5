//! `history`: what was changed, by whom, why, and what became of it.

use std::io::Write;

use super::revert::unreadable;
use crate::cli::HistoryArgs;
use crate::error::{EXIT_INCOMPLETE, Error};
use crate::render::plan as show;
use crate::tune::journal::read;

/// Lists all changes, the newest last.
pub fn run(args: &HistoryArgs, out: &mut dyn Write) -> Result<u8, Error> {
    let (changes, damaged) = read(&args.state_dir).map_err(|e| unreadable(&args.state_dir, &e))?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &changes).map_err(|e| Error::output(e.into()))?;
        writeln!(out).map_err(Error::output)?;
    } else if changes.is_empty() {
        writeln!(out, "nothing was changed").map_err(Error::output)?;
    }
    for change in changes.iter().filter(|_| !args.json) {
        out.write_all(show::change(change).as_bytes()).map_err(Error::output)?;
    }
    for damaged in &damaged {
        eprintln!("netstat-deep: {} can't be read, and is left as it is: {}", damaged.path.display(), damaged.why);
    }
    Ok(if damaged.is_empty() { 0 } else { EXIT_INCOMPLETE })
}
