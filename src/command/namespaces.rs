//! `rx` and `tx` with `--netns all`: every network namespace of the host over the same window, and what is the same in all
//! of them once.
//!
//! Each is entered three times: for the first sample, for the last one, and for the look-ups that its findings ask for.
//! None is held in between, so that one that is given up goes away; a few threads go through the list, so that neither
//! threads nor descriptors grow with it. Levels are looked at within the window only where this program was started:
//! elsewhere at its ends.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::bar::Bar;
use super::live::Live;
use super::path::{Run, devices, known_device};
use super::probing::{Probing, Seen};
use crate::cli::PathArgs;
use crate::error::{EXIT_MISSING, Error};
use crate::model::{Changes, Flow, Lasting, Severity, Snapshot, SourceStatus};
use crate::observe::{Observer, Window};
use crate::render::{self, Look};
use crate::report::Report;
use crate::report::namespaces::{NetnsReport, rank};
use crate::source::Host;
use crate::source::namespaces::{self, Found, Id, Namespace};
use crate::source::place::{self, Place};
use crate::stage;

/// Threads that go through the namespaces, at most: the kernel's locks let no more work at a time.
const THREADS: usize = 4;

/// Reports on window after window; returns the worst severity found. Runs where this program was started.
pub(super) fn windows(run: &Run, args: &PathArgs, out: &mut (dyn Write + Send)) -> Result<Option<Severity>, Error> {
    let mut worst = None;
    let mut live = Live::begin(args.show.watch).map_err(Error::output)?;
    let look = Look { format: args.show.format(), verbose: args.verbose };
    let mut show = |report: Report| -> Result<(), Error> {
        worst = worst.max(report.all_findings().first().map(|(_, finding)| finding.severity));
        live.show(out, |out| render::write(&report, look, out)).map_err(Error::output)
    };
    let every = Every { run, clock: Instant::now() };
    let mut home = Observer::new(Host::Live, run.way);
    if args.interval.is_zero() {
        let found = find()?;
        let taken = every.since_boot(&found.all);
        let looks = found.all.iter().cloned().zip(taken).map(Looked::of).collect();
        show(every.report(home.since_boot(), Seen::default(), looks, found.hidden)?)?;
    } else {
        let mut probing = Probing::everywhere(run.probes)?;
        let mut found = find()?;
        let mut before = Before::default();
        before.keep(&found.all, every.samples(&found.all, &before));
        let mut first = home.snapshot();
        let (mut windows, mut lasting) = (0, HashMap::new());
        while !run.stop.load(Ordering::Relaxed) && (args.show.windows() == 0 || windows < args.show.windows()) {
            let bar = Bar::new(run.format, args.interval);
            let (last, window) = home.watch(&first, args.interval, run.stop, |share| bar.show(share));
            bar.clear();
            let now = find()?;
            let samples = every.samples(&now.all, &before);
            let looks = before.looks(&found, &now, &samples, &mut lasting);
            before.keep(&now.all, samples);
            let report = every.report(window, probing.window(), looks, now.hidden)?;
            follow(&mut lasting, &report, &now.all);
            show(report)?;
            (first, found) = (last, now);
            windows += 1;
        }
    }
    live.end(out).map_err(Error::output)?;
    Ok(worst)
}

fn find() -> Result<Found, Error> {
    let hint = "netstat-deep looks for network namespaces in /run/netns and /proc";
    namespaces::find().map_err(|e| Error::missing(format!("namespaces can't be looked for: {e}")).hint(hint))
}

/// One sample of a namespace.
struct Sample {
    /// The kernel's number for the namespace, that is never used again.
    cookie: Option<u64>,
    snapshot: Snapshot,
}

type Samples = Vec<Result<Sample, String>>;

/// The samples with which a window begins.
#[derive(Default)]
struct Before(HashMap<Id, Sample>);

/// What a window says of a namespace, or why it says nothing.
struct Looked {
    namespace: Namespace,
    window: Result<Window, String>,
    lasting: Lasting,
}

impl Looked {
    fn of((namespace, window): (Namespace, Result<Window, String>)) -> Self {
        Looked { namespace, window, lasting: Lasting::default() }
    }
}

impl Before {
    fn keep(&mut self, all: &[Namespace], samples: Samples) {
        let kept = all.iter().zip(samples).filter_map(|(namespace, sample)| Some((namespace.id, sample.ok()?)));
        self.0 = kept.collect();
    }

    /// What lies between these samples and those; of all that were found at either end, but for the one we are in.
    fn looks(&self, then: &Found, now: &Found, samples: &Samples, lasting: &mut HashMap<Id, Lasting>) -> Vec<Looked> {
        let there: BTreeSet<Id> = now.all.iter().map(|namespace| namespace.id).collect();
        let gone = then.all.iter().filter(|namespace| !there.contains(&namespace.id)).cloned();
        let gone = gone.map(|namespace| Looked::of((namespace, Err(namespaces::gone().to_string()))));
        let stayed = now.all.iter().zip(samples).map(|(namespace, sample)| {
            let window = sample.as_ref().map_err(Clone::clone).and_then(|last| {
                let first = self.0.get(&namespace.id).filter(|first| first.cookie == last.cookie);
                // Of the one that we are in, there is a closer look.
                let first = first.ok_or_else(|| "new: it came within the window".to_owned())?;
                let seconds = last.snapshot.at.saturating_sub(first.snapshot.at).as_secs_f64();
                Ok(Window::between(&first.snapshot, &last.snapshot, Some(seconds)))
            });
            let lasting = lasting.remove(&namespace.id).unwrap_or_default();
            Looked { namespace: namespace.clone(), window, lasting }
        });
        gone.chain(stayed).collect()
    }
}

/// Notes what each found, for the next window.
fn follow(lasting: &mut HashMap<Id, Lasting>, report: &Report, all: &[Namespace]) {
    let ids: HashMap<&str, Id> = all.iter().map(|namespace| (namespace.label.as_str(), namespace.id)).collect();
    for one in report.namespaces.iter().flatten().filter(|one| !one.findings.is_empty()) {
        let Some(&id) = ids.get(one.label.as_str()) else { continue };
        lasting.entry(id).or_default().follow(&one.findings, one.window_seconds.unwrap_or(0.0));
    }
}

/// Looks at one namespace after the other.
struct Every<'a> {
    run: &'a Run<'a>,
    /// Of all samples.
    clock: Instant,
}

impl Every<'_> {
    /// A sample of each, at the end of the window that began with those `before`.
    fn samples(&self, all: &[Namespace], before: &Before) -> Samples {
        self.each(all, |observer, namespace| {
            let sample = || Sample {
                cookie: place::identity().1,
                snapshot: match before.0.get(&namespace.id) {
                    Some(first) => observer.snapshot_after(&first.snapshot),
                    None => observer.snapshot(),
                },
            };
            enter(namespace, sample)
        })
    }

    fn since_boot(&self, all: &[Namespace]) -> Vec<Result<Window, String>> {
        self.each(all, |observer, namespace| enter(namespace, || observer.since_boot()))
    }

    /// Does the work for each of them, on a few threads, each of which has an observer.
    fn each<T: Sync, R: Send>(&self, all: &[T], work: impl Fn(&mut Observer, &T) -> R + Sync) -> Vec<R> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(all.len());
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(all.len())));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut observer = Observer::of_namespaces(self.clock, self.run.way);
                    while let Some((at, one)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        all.get(at).map(|one| (at, one))
                    } {
                        let result = work(&mut observer, one);
                        done.lock().unwrap_or_else(|e| e.into_inner()).push((at, result));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, result)| result).collect()
    }

    /// The report: of the namespace that we are in by the `home` window, which also tells of the machine.
    fn report(&self, home: Window, seen: Seen, mut looks: Vec<Looked>, hidden: usize) -> Result<Report, Error> {
        let limits = limits(&home.changes);
        let wanted = self.run.device.as_deref();
        let has = |window: &Window| wanted.is_none_or(|device| devices(&window.changes).contains(device));
        let mut known: BTreeSet<String> = devices(&home.changes);
        let windows = looks.iter().filter_map(|look| look.window.as_ref().ok());
        known.extend(windows.flat_map(|window| devices(&window.changes)));
        wanted.map_or(Ok(()), |device| known_device(device, known))?;
        let is_here = |look: &Looked| look.namespace.is_here;
        let here = looks.iter().position(is_here).map(|at| looks.swap_remove(at));
        looks.retain(|look| look.window.as_ref().map_or(wanted.is_none(), has));
        let mut all = Vec::with_capacity(looks.len() + 1);
        let mut run = self.run.elsewhere(Place::here());
        let shown = has(&home);
        run.device = run.device.filter(|_| shown);
        let (namespace, lasting) = here.map(|look| (look.namespace, look.lasting)).unwrap_or_default();
        let within = seen.within(&id(&namespace));
        let report = run.report(&Host::Live, home, within, lasting)?;
        let (one, mut shared) = NetnsReport::take(&namespace, report);
        all.extend(Some(one).filter(|_| shown));
        let slots: Vec<Mutex<Option<Looked>>> = looks.into_iter().map(|look| Mutex::new(Some(look))).collect();
        let others = self.each(&slots, |_, slot| {
            let look = slot.lock().unwrap_or_else(|e| e.into_inner()).take()?;
            Some(self.one(look, &limits, &seen))
        });
        for (one, of_machine) in others.into_iter().flatten() {
            all.push(one);
            for finding in of_machine.into_iter().flat_map(|report| report.findings) {
                let same =
                    |other: &&crate::model::Finding| other.id == finding.id && other.instance == finding.instance;
                if !shared.findings.iter().any(|other| same(&other)) {
                    shared.findings.push(finding);
                }
            }
        }
        rank(&mut all);
        Ok(with_drops(Report { namespaces: Some(all), ..shared }, seen, hidden))
    }

    /// What one of the others says; and what it says of the machine.
    fn one(&self, look: Looked, limits: &Changes, seen: &Seen) -> (NetnsReport, Option<Report>) {
        let Looked { namespace, window, lasting } = look;
        let mut window = match window {
            Ok(window) => window,
            Err(why) => return (NetnsReport::unseen(&namespace, why), None),
        };
        window.changes.tables.extend(limits.tables.iter().cloned());
        let seen = seen.within(&id(&namespace));
        let report = namespace.place().and_then(|place| {
            let run = self.run.elsewhere(place);
            run.place.inside(|| run.report(&Host::Live, window, seen, lasting)).flatten()
        });
        match report {
            Ok(report) => {
                let (one, of_machine) = NetnsReport::take(&namespace, report);
                (one, Some(of_machine))
            }
            Err(e) => (NetnsReport::unseen(&namespace, why(&e)), None),
        }
    }
}

/// Does the work inside.
fn enter<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    namespace.place().and_then(|place| place.inside(work)).map_err(|e| why(&e))
}

fn why(error: &Error) -> String {
    if error.exit_code() == EXIT_MISSING {
        "not permitted: needs CAP_SYS_ADMIN".into()
    } else {
        namespaces::gone().to_string()
    }
}

fn id(namespace: &Namespace) -> String {
    format!("net:[{}]", namespace.id.1)
}

/// What the machine counts and the ledger of each namespace asks for: how much of a loss can be another's.
fn limits(changes: &Changes) -> Changes {
    let mut limits = Changes::default();
    for (_, counter) in stage::counters() {
        if let Some(Flow::LostUpTo { limit, .. }) = counter.flow
            && limit.group.scope.is_of_machine()
            && changes.delta(limit).is_some_and(|delta| delta > 0)
            && limits.table(limit.group).is_none()
        {
            limits.tables.extend(changes.table(limit.group).cloned());
        }
    }
    limits
}

/// With what the probes saw in all namespaces, and what nobody could see.
fn with_drops(mut report: Report, seen: Seen, hidden: usize) -> Report {
    report.sources.retain(|source| seen.status.iter().all(|status| status.name != source.name));
    report.sources.extend(seen.status);
    if hidden > 0 {
        let (count, word) = (hidden, if hidden == 1 { "process" } else { "processes" });
        let reason = format!("that of {count} {word} may not be seen: needs CAP_SYS_PTRACE");
        let name = "network namespaces".into();
        report.sources.push(SourceStatus { name, ok: true, reason: Some(reason), microseconds: 0 });
    }
    if let Some(window) = seen.window {
        report.own.probes = window.probes;
        report.drop_totals = Some(window.totals);
        report.incidents = Some(window.incidents);
        report.drops = Some(window.drops);
    }
    report.findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.lost.cmp(&a.lost)));
    report
}
