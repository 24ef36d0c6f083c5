//! A sysctl of the whole machine lowered for a while.
//!
//! The value is changed and put back by a separate process, which never enters a namespace, holds the lock, and waits
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

/// The lowered value; dropped, it is put back.
pub struct Lowered {
    guard: Child,
    path: String,
    pub old: String,
}

/// Sets `sysctl` (a path below /proc/sys) to `value` until the result is dropped.
pub fn lower(sysctl: &str, value: impl ToString) -> Outcome<Lowered> {
    let path = format!("/proc/sys/{sysctl}");
    let mut guard = Command::new(std::env::current_exe()?)
        .args([FLAG, &path, &value.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut old = String::new();
    if let Some(stdout) = guard.stdout.take() {
        BufReader::new(stdout).read_line(&mut old)?;
    }
    match old.trim() {
        "" => wrong(format_args!("no guard for {path}: {:?}", guard.wait())),
        old => Ok(Lowered { old: old.to_owned(), guard, path }),
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let ended = self.guard.wait();
        let now = fs::read_to_string(&self.path).unwrap_or_default();
        // Never silent, and never a second panic: this may run while one unwinds.
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("{}: was {}, is {} after the guard ended badly", self.path, self.old, now.trim());
        }
    }
}

/// The guard process: `PATH VALUE`. Prints the old value once the new one is in force.
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
    let [path, value] = args else { return Err(io::ErrorKind::InvalidInput.into()) };
    // A session of its own: Ctrl-C ends the test's process group and not the guard.
    rustix::process::setsid()?;
    // Held until the old value is back, so that no other run can take the lowered value for the old one.
    let _alone = lock(FlockOperation::NonBlockingLockExclusive)?;
    let old = fs::read_to_string(path)?;
    let result = fs::write(path, value).and_then(|()| {
        // Several numbers come back with tabs between them.
        if !fs::read_to_string(path)?.split_whitespace().eq(value.split_whitespace()) {
            return Err(io::Error::other("the new value did not stick"));
        }
        println!("{}", old.trim());
        io::stdin().read_to_end(&mut Vec::new()).map(drop)
    });
    fs::write(path, old.trim())?;
    if fs::read_to_string(path)? != old {
        return Err(io::Error::other(format!("the old value {} did not stick", old.trim())));
    }
    result
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
