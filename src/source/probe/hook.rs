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
struct Counted {
    hits: u64,
    nanoseconds: u64,
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

    /// What it did since this was last asked, or since it was attached. `timed` if the kernel took the time.
    pub fn did(&mut self, ebpf: &Ebpf, timed: bool) -> Probe {
        let program = match ebpf.program(self.program) {
            Some(Program::BtfTracePoint(own)) => own.fd().ok(),
            Some(Program::RawTracePoint(own)) => own.fd().ok(),
            _ => None,
        };
        self.runs.did(&self.name, program.map(|program| program.as_fd()), timed)
    }
}

/// What the kernel had counted of a program when the window began.
#[derive(Default)]
pub struct Runs(Counted);

impl Runs {
    /// What the program did since this was last asked.
    pub fn did(&mut self, name: &str, program: Option<BorrowedFd>, timed: bool) -> Probe {
        let now = program.and_then(|program| {
            let path = format!("/proc/thread-self/fdinfo/{}", program.as_raw_fd());
            Some(counted(&std::fs::read_to_string(path).ok()?))
        });
        let since = now.map(|now| now.since(self.0));
        self.0 = now.unwrap_or(self.0);
        let hits = since.filter(|_| timed).map(|since| since.hits);
        Probe {
            name: name.into(),
            attached: true,
            reason: (!timed).then(|| "what it costs is not known: needs CAP_SYS_ADMIN".into()),
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

/// kernel/bpf/syscall.c bpf_prog_show_fdinfo(): `run_cnt:` and a number, a line each.
fn counted(fdinfo: &str) -> Counted {
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
        let all = counted(text);
        assert_eq!(all, Counted { hits: 10, nanoseconds: 1200, missed: Some(3) });
        assert_eq!(counted("run_cnt:\t10\n"), Counted { hits: 10, nanoseconds: 0, missed: None });
        assert_eq!(all.since(counted("run_cnt:\t4\nrecursion_misses:\t1\n")).missed, Some(2));
    }
}
