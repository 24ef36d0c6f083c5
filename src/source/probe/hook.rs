//! One program at one hook.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::Ebpf;
use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{Program, ProgramError};

use super::{Refusal, Types, locked_memory};
use crate::model::Probe;
use crate::source::privilege;

/// What is not known without the kernel's statistics.
const NOT_TIMED: &str = "what it costs is not known: needs CAP_SYS_ADMIN";

/// A program that is attached.
pub struct Hook {
    program: &'static str,
    name: String,
    link: Option<Link>,
    runs: Runs,
}

enum Link {
    Typed(BtfTracePointLinkId),
    Raw(RawTracePointLinkId),
}

/// What the kernel counts of a program, as far as it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    hits: u64,
    /// The time that all runs took.
    pub nanoseconds: u64,
    /// Since 5.12.
    missed: Option<u64>,
}

impl Hook {
    /// Loads `program` of the object and attaches it to `tracepoint`.
    pub fn attach(ebpf: &mut Ebpf, program: &'static str, tracepoint: &str, types: &Types) -> Result<Self, Refusal> {
        let (way, link) = match ebpf.program_mut(program) {
            Some(Program::BtfTracePoint(own)) => {
                ("tp_btf", own.load(tracepoint, &types.loader).and_then(|()| own.attach()).map(Link::Typed))
            }
            Some(Program::RawTracePoint(own)) => {
                ("raw_tp", own.load().and_then(|()| own.attach(tracepoint)).map(Link::Raw))
            }
            _ => return Err(Refusal::new(format!("the object has no program {program}"), "this is a fault of ours")),
        };
        let link = Some(link.map_err(|error| refused(tracepoint, error))?);
        Ok(Hook { program, name: format!("{way}/{tracepoint}"), link, runs: Runs::default() })
    }

    /// Takes it away from its hook: from now on the maps stand still.
    pub fn detach(&mut self, ebpf: &mut Ebpf) {
        // A link that is gone already is what is wanted.
        let _ = match (self.link.take(), ebpf.program_mut(self.program)) {
            (Some(Link::Typed(link)), Some(Program::BtfTracePoint(own))) => own.detach(link),
            (Some(Link::Raw(link)), Some(Program::RawTracePoint(own))) => own.detach(link),
            _ => Ok(()),
        };
    }

    /// Whether it is attached to this tracepoint, or was.
    pub fn is_at(&self, tracepoint: &str) -> bool {
        self.name.split_once('/').is_some_and(|(_, at)| at == tracepoint)
    }

    /// Takes it away because it costs too much, which `why` says.
    pub fn give_up(&mut self, ebpf: &mut Ebpf, why: &str) {
        self.detach(ebpf);
        self.runs.give_up(why);
    }

    /// The time that it has taken so far, in nanoseconds, as long as the kernel takes the time.
    pub fn nanoseconds(&self, ebpf: &Ebpf) -> u64 {
        self.program(ebpf).and_then(counted).map_or(0, |counted| counted.nanoseconds)
    }

    /// What it did since this was last asked, or since it was attached. `timed` if the kernel took the time.
    pub fn did(&mut self, ebpf: &Ebpf, timed: bool) -> Probe {
        self.runs.did(&self.name, self.program(ebpf), timed)
    }

    fn program<'a>(&self, ebpf: &'a Ebpf) -> Option<BorrowedFd<'a>> {
        let program = match ebpf.program(self.program)? {
            Program::BtfTracePoint(own) => own.fd().ok()?,
            Program::RawTracePoint(own) => own.fd().ok()?,
            _ => return None,
        };
        Some(program.as_fd())
    }
}

/// What is known of a program's runs.
#[derive(Default)]
pub struct Runs {
    /// What the kernel had counted when the window began.
    before: Counted,
    /// Why it was taken away again.
    gave_up: Option<String>,
}

impl Runs {
    /// The program was taken away because it costs too much, which `why` says.
    pub fn give_up(&mut self, why: &str) {
        self.gave_up = Some(why.into());
    }

    /// What the program did since this was last asked.
    pub fn did(&mut self, name: &str, program: Option<BorrowedFd>, timed: bool) -> Probe {
        let now = program.and_then(counted);
        let since = now.map(|now| now.since(self.before));
        self.before = now.unwrap_or(self.before);
        let hits = since.filter(|_| timed).map(|since| since.hits);
        Probe {
            name: name.into(),
            attached: self.gave_up.is_none(),
            reason: self.gave_up.clone().or_else(|| (!timed).then(|| NOT_TIMED.into())),
            hits,
            missed: since.and_then(|since| since.missed),
            nanoseconds_per_hit: since
                .zip(hits)
                .filter(|(_, hits)| *hits > 0)
                .map(|(since, hits)| (since.nanoseconds as f64 / hits as f64 * 10.0).round() / 10.0),
            verifier: Vec::new(),
        }
    }
}

impl Counted {
    fn since(self, before: Self) -> Self {
        Counted {
            hits: self.hits.saturating_sub(before.hits),
            nanoseconds: self.nanoseconds.saturating_sub(before.nanoseconds),
            missed: self.missed.map(|missed| missed.saturating_sub(before.missed.unwrap_or(0))),
        }
    }
}

/// What the kernel has counted of a program so far.
pub fn counted(program: BorrowedFd) -> Option<Counted> {
    let path = format!("/proc/thread-self/fdinfo/{}", program.as_raw_fd());
    Some(parse(&std::fs::read_to_string(path).ok()?))
}

/// kernel/bpf/syscall.c bpf_prog_show_fdinfo(): `run_cnt:` and a number, a line each.
fn parse(fdinfo: &str) -> Counted {
    let number = |name: &str| {
        let line = fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    Counted {
        hits: number("run_cnt").unwrap_or(0),
        nanoseconds: number("run_time_ns").unwrap_or(0),
        missed: number("recursion_misses"),
    }
}

/// How the kernel refused a program.
pub fn refused(hook: &str, error: ProgramError) -> Refusal {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            if io_error.kind() == std::io::ErrorKind::PermissionDenied && verifier_log.to_string().trim().is_empty() {
                return forbidden(&io_error.to_string());
            }
            not_loaded(hook, &io_error, &verifier_log.to_string())
        }
        ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
            Refusal::new(format!("this kernel has no hook {hook}"), "'netstat-deep rx' works without")
        }
        error => Refusal::new(
            format!("the program for {hook} can't be attached: {error}"),
            "'netstat-deep rx' works without",
        ),
    }
}

/// The verifier refused a program, or something before it did; `log` is what it wrote.
pub fn not_loaded(hook: &str, error: &io::Error, log: &str) -> Refusal {
    let mut lines: Vec<String> =
        log.lines().rev().filter(|line| !line.trim().is_empty()).take(8).map(str::to_owned).collect();
    lines.reverse();
    Refusal {
        what: format!("the kernel refuses the program for {hook}: {error}"),
        todo: "-v shows what its verifier says; 'netstat-deep rx' works without".into(),
        verifier: lines,
    }
}

/// The innermost cause: the loader's own words lead to it only.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The kernel lets this process load no program at all.
pub fn forbidden(error: &str) -> Refusal {
    let lacking = privilege::missing(&[privilege::BPF, privilege::PERFMON]);
    let what = format!("no program can be loaded into the kernel: {error}");
    if let (true, Some(bytes)) = (lacking.is_empty(), locked_memory()) {
        let what = format!("{what}; here it may lock {bytes} bytes of memory only (RLIMIT_MEMLOCK)");
        return Refusal::new(
            what,
            "run it after 'ulimit -l unlimited', or with CAP_SYS_RESOURCE: then it raises the limit",
        );
    }
    if lacking.is_empty() {
        let todo = "the privileges are there: a lockdown, seccomp or a security module forbids it (see 'dmesg')";
        return Refusal::new(what, todo);
    }
    Refusal::new(what, format!("run as root, or with {} (missing: {})", "CAP_BPF and CAP_PERFMON", lacking.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_counts_is_read_by_name() {
        let text =
            "pos:\t0\nprog_type:\t26\nrun_time_ns:\t1200\nrun_cnt:\t10\nrecursion_misses:\t3\nverified_insns:\t9\n";
        let all = parse(text);
        assert_eq!(all, Counted { hits: 10, nanoseconds: 1200, missed: Some(3) });
        assert_eq!(parse("run_cnt:\t10\n"), Counted { hits: 10, nanoseconds: 0, missed: None });
        assert_eq!(all.since(parse("run_cnt:\t4\nrecursion_misses:\t1\n")).missed, Some(2));
    }
}
