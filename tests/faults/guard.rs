//! Sysctls of the whole machine lowered for a while.
//!
//! The values are changed and put back by a separate process, which never enters a namespace, holds the lock, and waits
//! for the end of a pipe from the test. The pipe ends when the test is done, panics, or is killed with SIGKILL.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::case::{Outcome, wrong};

pub const FLAG: &str = "--guard";

/// Longer than any case takes, with its tries.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lowered values; dropped, they are put back.
pub struct Lowered {
    guard: Child,
    what: String,
}

/// Sets `sysctl` (a path below /proc/sys) to `value` until the result is dropped.
pub fn lower(sysctl: &str, value: impl ToString) -> Outcome<Lowered> {
    lower_all(&[(sysctl, value)])
}

/// Sets several.
pub fn lower_all(sysctls: &[(&str, impl ToString)]) -> Outcome<Lowered> {
    let words = sysctls.iter().flat_map(|(sysctl, value)| [format!("/proc/sys/{sysctl}"), value.to_string()]);
    let words: Vec<String> = words.collect();
    let what = words.join(" ");
    let mut guard = Command::new(std::env::current_exe()?)
        .arg(FLAG)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = String::new();
    if let Some(stdout) = guard.stdout.take() {
        BufReader::new(stdout).read_line(&mut ready)?;
    }
    match ready.trim() {
        "" => wrong(format_args!("no guard for {what}: {:?}", guard.wait())),
        _ => Ok(Lowered { guard, what }),
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Never silent, and never a second panic: this may run while one unwinds.
        if !self.guard.wait().is_ok_and(|status| status.success()) {
            eprintln!("the guard of {} ended badly: look at the values", self.what);
        }
    }
}

/// The guard process: `PATH VALUE`, once or more. Prints a line once the new values are in force.
pub fn stand(args: &[String]) -> ! {
    std::process::exit(match watch(args) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("guard {args:?}: {error}");
            1
        }
    })
}

fn watch(args: &[String]) -> io::Result<()> {
    let (pairs, []) = args.as_chunks::<2>() else { return Err(io::ErrorKind::InvalidInput.into()) };
    // A session of its own: Ctrl-C ends the test's process group and not the guard.
    rustix::process::setsid()?;
    // Who ends all processes of a run by name ends the test, and then the pipe ends: the values must go back first.
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, std::sync::Arc::default())?;
    }
    // Held until the old value is back, so that no other run can take the lowered value for the old one.
    let _alone = lock(FlockOperation::NonBlockingLockExclusive)?;
    let old = pairs.iter().map(|[path, _]| fs::read_to_string(path)).collect::<io::Result<Vec<_>>>()?;
    let result = pairs.iter().try_for_each(|[path, value]| set(path, value)).and_then(|()| {
        println!("ready");
        io::stdin().read_to_end(&mut Vec::new()).map(drop)
    });
    // All of them, also if one can't be put back.
    let back: Vec<_> = pairs.iter().zip(&old).map(|([path, _], old)| set(path, old.trim())).collect();
    back.into_iter().collect::<io::Result<()>>()?;
    result
}

fn set(path: &str, value: &str) -> io::Result<()> {
    fs::write(path, value)?;
    // Several numbers come back with tabs between them.
    match fs::read_to_string(path)? {
        now if now.split_whitespace().eq(value.split_whitespace()) => Ok(()),
        now => Err(io::Error::other(format!("{path}: {value} did not stick, it is {}", now.trim()))),
    }
}

/// For a case that changes nothing of the machine but must not run beside one that does.
pub fn share() -> io::Result<File> {
    lock(FlockOperation::NonBlockingLockShared)
}

/// Waits for the lock, but not for ever: a stuck run elsewhere must fail this one and not hang it.
fn lock(operation: FlockOperation) -> io::Result<File> {
    let path: PathBuf = std::env::temp_dir().join("netstat-deep-faults.lock");
    let file = File::options().create(true).append(true).open(path)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.into()),
        }
    }
}
