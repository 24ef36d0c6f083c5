//! Starts the program under test and waits for it.

use std::cell::Cell;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::case::{Outcome, wrong};
use crate::process::Process;
use crate::report::Report;

/// The program, sampling. Killed when dropped before its end.
pub struct Run {
    child: Process,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    deadline: Instant,
}

/// What a run that has ended left behind.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

thread_local! {
    static PROBES: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, in which [`start`] starts the program with its probes on.
pub fn with_probes<T>(work: impl FnOnce() -> T) -> T {
    PROBES.set(true);
    let done = work();
    PROBES.set(false);
    done
}

/// Whether this is such work.
pub fn probing() -> bool {
    PROBES.get()
}

/// Starts `rx` on a namespace, given as `--netns` takes it.
pub fn start(netns: &str, window: Duration) -> Outcome<Run> {
    // Attaching probes takes a debug build its time, so only where they are what it is about.
    let probes = if probing() { "on" } else { "off" };
    start_with(&["rx", "--json", "--probes", probes, "--netns", netns], window)
}

/// Starts the program with `args` and that window.
pub fn start_with(args: &[&str], window: Duration) -> Outcome<Run> {
    start_command(Command::new(env!("CARGO_BIN_EXE_netstat-deep")).args(args), window)
}

/// Starts the program by a command that only lacks the window.
pub fn start_command(command: &mut Command, window: Duration) -> Outcome<Run> {
    let mut child = command
        .args(["--interval", &format!("{}s", window.as_secs())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return wrong("a child without pipes");
    };
    Ok(Run {
        stdout: std::thread::spawn(|| slurp(stdout)),
        stderr: std::thread::spawn(|| slurp(stderr)),
        child: Process(child),
        // Reading and printing a report may take its time on a loaded machine, but not this much.
        deadline: Instant::now() + window + Duration::from_secs(20),
    })
}

/// On threads, both at once: a full pipe that nobody empties would stop the program.
fn slurp(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _what_there_is = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Run {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the window now; gives the report on what there was of it.
    pub fn interrupt(self) -> Outcome<Report> {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid() as i32) {
            rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        }
        let ended = self.end()?;
        match ended.status.code() {
            Some(130) => Ok(Report(serde_json::from_str(&ended.stdout)?)),
            code => wrong(format_args!("interrupted, it ended with {code:?}: {}", ended.stderr)),
        }
    }

    pub fn end(mut self) -> Outcome<Ended> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > self.deadline {
                return wrong("netstat-deep does not end: killed");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |pipe: JoinHandle<String>| pipe.join().unwrap_or_default();
        Ok(Ended { status, stdout: text(self.stdout), stderr: text(self.stderr) })
    }

    pub fn report(self) -> Outcome<Report> {
        let Ended { status, stdout, stderr } = self.end()?;
        match serde_json::from_str(&stdout) {
            Ok(value) if status.success() => Ok(Report(value)),
            Ok(_) => wrong(format_args!("netstat-deep: {status}, and says: {}", stderr.trim())),
            Err(error) => {
                wrong(format_args!("netstat-deep: {status}, {error}, prints {stdout:?}, says: {}", stderr.trim()))
            }
        }
    }
}
