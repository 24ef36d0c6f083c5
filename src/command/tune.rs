//! `tune`, and `rx` and `tx` with `--apply`: findings become a plan, the plan a change, and the change is judged.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::confirm::{leave_guard, since_boot};
use super::memory;
use super::panel::{Switches, boot_id, host};
use super::path::Run;
use super::verdict::{measured, verify};
use crate::cli::{Apply, Format, PathArgs};
use crate::error::{EXIT_ROLLED_BACK, Error, did_you_mean};
use crate::ledger::Line;
use crate::render::{self, Look, plan as show};
use crate::report::{Netns, Report, Verb};
use crate::source::Host;
use crate::stage::{Way, knobs, neighbour};
use crate::tune::apply::{Failed, apply, steps};
use crate::tune::journal::{Change, Journal, Namespace, State, new_change};
use crate::tune::owner::owners;
use crate::tune::persist;
use crate::tune::plan::{Allowed, Plan, plan};

/// Looks and plans; with --apply, changes and looks again.
pub fn run(way: Way, args: &PathArgs, out: &mut (dyn Write + Send), stop: &AtomicBool) -> Result<u8, Error> {
    let run = Run::new(way, args, stop)?;
    refuse_what_makes_no_sense(args)?;
    args.change.only.iter().try_for_each(|name| known_knob(name))?;
    let window = args.change.verify.unwrap_or(args.interval);
    let hosts = args.hosts()?;
    let (host, seen) = match &hosts[..] {
        [Host::Live] => (&Host::Live, run.once(window)?),
        [_, after] => (after, run.sampled(&hosts, || ())?),
        _ => {
            return Err(Error::usage("a plan is made from a window, and this recording is one sample")
                .hint("'netstat-deep record --bundle DIR -i 1s' takes two; 'rx --root' shows the totals"));
        }
    };
    let mut report = Report { kind: Verb::Tune, ..seen };
    let look = Look { format: args.show.format(), verbose: args.verbose };
    let is_screen = look.format == Format::Table;
    if is_screen {
        render::write(&report, look, out).map_err(Error::output)?;
    }
    let etc = &args.change.root_etc;
    let allowed = Allowed {
        all: args.change.apply == Some(Apply::All),
        only: args.change.only.clone(),
        memory: memory::available(host),
        udp: memory::udp(host),
        tcp: memory::tcp(host),
    };
    let mut planned = plan(&report.findings, &allowed, |suggestion| {
        // Who else sets a setting of a recorded host is not known here.
        let file = suggestion.file.as_ref().filter(|_| !host.is_recorded());
        file.map_or_else(Vec::new, |file| owners(etc, &suggestion.knob, file))
    });
    // What is missing at a neighbour has a finding of its own, with its setting.
    let told = |line: &&Line| line.stage != neighbour::STAGE.id;
    let missing = report.ledger.iter().flatten().filter(told).filter_map(|line| line.unexplained);
    planned.note_unexplained(missing.fold(0, u64::saturating_add));
    let mut talk = Talk { out, is_screen };
    talk.say(&show::plan(&planned))?;
    let change_it = !args.change.dry_run && args.change.apply.is_some() && !planned.steps.is_empty();
    let result = if change_it { make(&run, args, window, &planned, &mut report, &mut talk) } else { Ok(0) };
    if !is_screen {
        report.plan = Some(planned);
        render::write(&report, look, out).map_err(Error::output)?;
    }
    result
}

/// What is told as it happens: on a screen everything, in a document nothing, for there it stands at the end.
struct Talk<'a> {
    out: &'a mut (dyn Write + Send),
    is_screen: bool,
}

impl Talk<'_> {
    fn say(&mut self, text: &str) -> Result<(), Error> {
        if self.is_screen {
            self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(Error::output)?;
        }
        Ok(())
    }
}

/// Makes the change, and judges it.
fn make(
    run: &Run,
    args: &PathArgs,
    window: Duration,
    planned: &Plan,
    report: &mut Report,
    talk: &mut Talk,
) -> Result<u8, Error> {
    agreed(args.change.yes)?;
    let journal = Journal::open(&args.change.state_dir)?;
    let mut change = describe(&journal, &args.change.state_dir, report, args.netns.as_deref())?;
    change.steps = steps(planned);
    change.before = Some(measured(report));
    change.persist = args.change.persist.then(|| args.change.root_etc.clone());
    if let Some(time) = args.change.confirm_within {
        change.confirm_by = Some(since_boot() + time.as_secs().max(1));
        let failed =
            |e: std::io::Error| Error::usage(format!("no guard could be left: {e}")).hint("nothing was changed");
        journal.put(&change).and_then(|()| leave_guard(&change, &args.change.state_dir)).map_err(failed)?;
    }
    let result = carry_out(run, args, window, &mut change, &journal, talk);
    report.change = Some(change);
    result
}

fn carry_out(
    run: &Run,
    args: &PathArgs,
    window: Duration,
    change: &mut Change,
    journal: &Journal,
    talk: &mut Talk,
) -> Result<u8, Error> {
    let panel = Switches { home: &run.home, place: Some(&run.place) };
    apply(change, &panel, journal).map_err(|failed| error(failed, change.id))?;
    talk.say(&show::applied(change))?;
    let outcomes = verify(run, window, change, &panel, journal, args.change.keep)?;
    talk.say(&show::verdicts(change, &outcomes))?;
    if change.confirm_by.is_none() {
        talk.say(&keep_over_reboot(change)?)?;
    } else if let Some(etc) = &change.persist {
        talk.say(&format!("\nKept over a reboot below {} once it is confirmed.\n", etc.display()))?;
    }
    if outcomes.iter().any(|outcome| outcome.left) {
        return Err(Error::incomplete(format!("change {} could not be taken back wholly", change.id))
            .hint("the journal still holds it: 'netstat-deep revert' tries again"));
    }
    Ok(if outcomes.is_empty() { 0 } else { EXIT_ROLLED_BACK })
}

/// Writes what is in force and was to be kept. Returns what to say of it.
pub(super) fn keep_over_reboot(change: &Change) -> Result<String, Error> {
    let Some(etc) = &change.persist else { return Ok(String::new()) };
    let kept: Vec<_> = change.steps.iter().filter(|step| step.state == State::Written).collect();
    if kept.is_empty() {
        return Ok(String::new());
    }
    let files = persist::keep(etc, &kept).map_err(|e| {
        Error::incomplete(format!("what was to be kept below {} can't be written: {e}", etc.display()))
            .hint("the change is in force until the next boot")
    })?;
    let conflicts = kept.iter().flat_map(|step| owners(etc, &step.knob, &step.file));
    Ok(show::kept(&files, conflicts))
}

fn refuse_what_makes_no_sense(args: &PathArgs) -> Result<(), Error> {
    let hint = "'netstat-deep rx' without --apply shows reports of every kind";
    if args.root.is_some() && args.change.apply.is_some() {
        return Err(
            Error::usage("a recording can't be changed").hint("without --apply, the plan for that host is shown")
        );
    }
    if args.interval.is_zero() || args.show.windows() != 1 {
        return Err(Error::usage("a plan is made from one window").hint(hint));
    }
    if args.change.verify.is_some_and(|time| time.is_zero()) {
        return Err(Error::usage("a change can't be judged by a window of no length").hint(hint));
    }
    if !matches!(args.show.format(), Format::Table | Format::Json) {
        return Err(Error::usage("a plan is shown as a screen, or as one JSON document").hint(hint));
    }
    Ok(())
}

fn known_knob(name: &str) -> Result<(), Error> {
    if knobs().any(|(_, knob)| knob.is_called(name)) {
        return Ok(());
    }
    let ids = knobs().map(|(_, knob)| knob.id.to_owned());
    let hint = did_you_mean(name, ids, "'netstat-deep explain --list' shows all knobs");
    Err(Error::usage(format!("there is no knob '{name}'")).hint(hint))
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
        Failed::Forbidden(wrong) => Error::missing(wrong.join("; ")).hint("nothing was changed"),
        Failed::RolledBack(why) => Error::rolled_back(why).hint("all that was changed before it was taken back"),
        Failed::Incomplete(why, left) => Error::incomplete(format!("{why}; and not taken back: {}", left.join("; ")))
            .hint(format!("the journal still holds it: 'netstat-deep revert {id}' tries again")),
    }
}
