//! `tune`, and `rx --apply`: findings become a plan, the plan a change, and the change is judged.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::confirm::{leave_guard, since_boot};
use super::panel::{Sysctls, boot_id, host};
use super::rx::Run;
use crate::cli::{Apply, Format, RxArgs};
use crate::error::{EXIT_ROLLED_BACK, Error};
use crate::model::Finding;
use crate::render::{self, Look, plan as show};
use crate::report::{Netns, Report};
use crate::source::{Host, text};
use crate::tune::apply::{Failed, apply, steps};
use crate::tune::journal::{Change, Journal, Namespace, State, new_change};
use crate::tune::persist;
use crate::tune::plan::{Allowed, plan};
use crate::tune::revert::revert;
use crate::tune::verify::{Measured, judge};

/// Looks and plans; with --apply, changes and looks again.
pub fn run(args: &RxArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    let run = Run::new(args, stop)?;
    refuse_what_makes_no_sense(args)?;
    let before = run.once(args.interval)?;
    render::write(&before, Look { format: Format::Table, verbose: args.verbose }, out).map_err(Error::output)?;
    let allowed = Allowed {
        all: args.change.apply == Some(Apply::All),
        only: args.change.only.clone(),
        memory: available_memory(),
    };
    let plan = plan(&before.findings, &allowed);
    let owners = |knob: &str| persist::setters(&args.change.root_etc, knob);
    out.write_all(show::plan(&plan, owners).as_bytes()).map_err(Error::output)?;
    if args.change.dry_run || args.change.apply.is_none() || plan.steps.is_empty() {
        return Ok(0);
    }
    out.flush().map_err(Error::output)?;
    agreed(args.change.yes)?;

    let journal = Journal::open(&args.change.state_dir)?;
    let mut change = describe(&journal, &args.change.state_dir, &before, args.netns.as_deref())?;
    change.steps = steps(&plan);
    change.persist = args.change.persist.then(|| args.change.root_etc.clone());
    if let Some(time) = args.change.confirm_within {
        change.confirm_by = Some(since_boot() + time.as_secs().max(1));
        let failed =
            |e: std::io::Error| Error::usage(format!("no guard could be left: {e}")).hint("nothing was changed");
        journal.put(&change).and_then(|()| leave_guard(&change, &args.change.state_dir)).map_err(failed)?;
    }
    let panel = Sysctls { home: &run.home, place: Some(&run.place) };
    apply(&mut change, &panel, &journal).map_err(|failed| error(failed, change.id))?;
    out.write_all(show::applied(&change).as_bytes()).and_then(|()| out.flush()).map_err(Error::output)?;

    let after = run.once(args.interval)?;
    judge_steps(&mut change, &measured(&before), &measured(&after));
    journal.put(&change).map_err(|e| Error::incomplete(format!("the verdict can't be written down: {e}")))?;
    let useless = |step: &crate::tune::journal::Step| step.verdict.as_deref().is_some_and(take_back);
    let outcomes = if args.change.keep { Vec::new() } else { revert(&mut change, &panel, &journal, useless) };
    out.write_all(show::verdicts(&change, &outcomes).as_bytes()).map_err(Error::output)?;
    if change.confirm_by.is_none() {
        keep_over_reboot(&change, out)?;
    }
    if outcomes.iter().any(|outcome| outcome.left) {
        return Err(Error::incomplete(format!("change {} could not be taken back wholly", change.id))
            .hint("the journal still holds it: 'netstat-deep revert' tries again"));
    }
    Ok(if outcomes.is_empty() { 0 } else { EXIT_ROLLED_BACK })
}

/// Writes into sysctl.d what is in force and was to be kept.
pub(super) fn keep_over_reboot(change: &Change, out: &mut dyn Write) -> Result<(), Error> {
    let Some(etc) = &change.persist else { return Ok(()) };
    let kept: Vec<_> = change.steps.iter().filter(|step| step.state == State::Written).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let path = persist::keep(etc, &kept).map_err(|e| {
        Error::incomplete(format!("{} can't be written: {e}", persist::file(etc).display()))
            .hint("the change is in force until the next boot")
    })?;
    writeln!(out, "\nKept over a reboot by {}", path.display()).map_err(Error::output)?;
    for step in kept {
        for other in persist::setters(etc, &step.knob) {
            let (file, line, value) = (other.path.display(), other.line, &other.value);
            writeln!(out, "  but {file}, line {line}, sets {} = {value}", step.knob).map_err(Error::output)?;
        }
        if step.knob.starts_with("net.netfilter.") {
            let hint = "exists only once its module is loaded: put nf_conntrack into /etc/modules-load.d";
            writeln!(out, "  {} {hint}", step.knob).map_err(Error::output)?;
        }
    }
    Ok(())
}

fn refuse_what_makes_no_sense(args: &RxArgs) -> Result<(), Error> {
    let hint = "'netstat-deep rx' without --apply shows reports of every kind";
    if args.root.is_some() {
        return Err(Error::usage("a recorded tree can't be tuned").hint(hint));
    }
    if args.format() != Format::Table || args.interval.is_zero() || args.count != 1 {
        return Err(Error::usage("a plan is made from one window, and shown as a screen").hint(hint));
    }
    Ok(())
}

/// Asks on a terminal; elsewhere nobody could answer.
fn agreed(yes: bool) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    let nothing = |what: &str| Error::usage(what).hint("nothing was changed");
    if !std::io::stdin().is_terminal() {
        return Err(nothing("--apply needs --yes where nobody can be asked"));
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr(), "\nMake these changes? [y/N] ").and_then(|()| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        answer = line;
        Ok(())
    });
    match (asked, answer.trim()) {
        (Ok(()), "y" | "Y" | "yes") => Ok(()),
        _ => Err(nothing("not agreed to")),
    }
}

fn describe(journal: &Journal, folder: &Path, report: &Report, reference: Option<&str>) -> Result<Change, Error> {
    let id = journal.next_id().map_err(|e| {
        Error::usage(format!("the journal in {} can't be read: {e}", folder.display())).hint("nothing was changed")
    })?;
    let who = |name: &str| std::env::var(name).ok().filter(|name| !name.is_empty());
    let uid = rustix::process::getuid().as_raw();
    let user = who("USER").unwrap_or_else(|| format!("uid {uid}"));
    let netns = report.netns.as_ref();
    Ok(Change {
        host: host(),
        boot_id: boot_id(),
        at: report.taken_at.clone().unwrap_or_default(),
        who: who("SUDO_USER").map_or(user.clone(), |before| format!("{user}, for {before}")),
        netns: Namespace {
            id: netns.and_then(|netns: &Netns| netns.id.clone()),
            cookie: netns.and_then(|netns| netns.cookie),
            reference: reference.map(str::to_owned),
        },
        ..new_change(id)
    })
}

fn error(failed: Failed, id: u64) -> Error {
    match failed {
        Failed::Check(wrong) => Error::rolled_back(wrong.join("; ")).hint("nothing was changed"),
        Failed::RolledBack(why) => Error::rolled_back(why).hint("all that was changed before it was taken back"),
        Failed::Incomplete(why, left) => Error::incomplete(format!("{why}; and not taken back: {}", left.join("; ")))
            .hint(format!("the journal still holds it: 'netstat-deep revert {id}' tries again")),
    }
}

fn measured(report: &Report) -> Measured {
    let totals = report.totals.unwrap_or_default();
    Measured {
        seconds: report.window_seconds.unwrap_or_default(),
        arrived: totals.taken,
        lost: totals.lost,
        findings: report.findings.clone(),
    }
}

fn judge_steps(change: &mut Change, before: &Measured, after: &Measured) {
    let alive = alive_sockets(&before.findings);
    for step in change.steps.iter_mut().filter(|step| step.state == State::Written) {
        let (verdict, numbers) = judge(&step.findings, before, after, step.waits, |inode| alive.contains(&inode));
        step.verdict = Some(format!("{verdict}: {numbers}"));
    }
}

/// True for the verdicts after which a change is taken back.
fn take_back(verdict: &str) -> bool {
    ["no effect:", "hurt:"].iter().any(|word| verdict.starts_with(word))
}

/// Of the sockets that lost, those that some process still holds.
fn alive_sockets(findings: &[Finding]) -> Vec<u32> {
    let mut victims: Vec<_> = findings.iter().flat_map(|finding| finding.victims.clone()).collect();
    victims.iter_mut().for_each(|victim| victim.pid = None);
    let mut wanted: Vec<_> = victims.iter_mut().collect();
    // What can't be seen counts as alive: then the verdict waits.
    let all_seen = crate::source::owner::find(&Host::Live, &mut wanted).is_ok();
    victims.iter().filter(|victim| victim.pid.is_some() || !all_seen).map(|victim| victim.inode).collect()
}

fn available_memory() -> Option<u64> {
    let mut bytes = Vec::new();
    Host::Live.read("proc/meminfo", &mut bytes).ok()?;
    let line = bytes.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"MemAvailable:"))?;
    Some(text::first_number(line)? * 1024)
}
