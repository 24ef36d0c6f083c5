//! The test's hold on a process inside a namespace: one line out, one line back.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::case::{Outcome, wrong};
use crate::lab::Namespace;
use crate::process::Process;

pub const FLAG: &str = "--actor";

/// No command takes longer; a hung process must fail the test and not hang it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Killed when dropped, and by the kernel when the test dies.
pub struct Actor {
    /// What it reported once it was ready (a reader: the size of its receive buffer).
    pub ready: u64,
    comm: String,
    child: Process,
    stdin: ChildStdin,
    replies: Receiver<String>,
}

impl Actor {
    /// Starts `kind` in `namespace` under the process name `comm`, and waits until its sockets exist.
    pub fn start(namespace: &Namespace, comm: &str, kind: &str, arguments: &[&str]) -> Outcome<Self> {
        Self::launch(Command::new(std::env::current_exe()?), namespace, comm, kind, arguments)
    }

    /// The same in a cgroup: a socket stays in the one that its process was in when it was made.
    pub fn start_in_cgroup(
        cgroup: &Path,
        namespace: &Namespace,
        comm: &str,
        kind: &str,
        arguments: &[&str],
    ) -> Outcome<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]);
        command.arg(cgroup).arg(std::env::current_exe()?);
        Self::launch(command, namespace, comm, kind, arguments)
    }

    fn launch(
        mut command: Command,
        namespace: &Namespace,
        comm: &str,
        kind: &str,
        arguments: &[&str],
    ) -> Outcome<Self> {
        let mut child = command
            .args([FLAG, &namespace.name, comm, kind])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return wrong("a child without pipes");
        };
        let (sender, replies) = channel();
        // Ends with the child: its end of the pipe closes, or nobody listens any more.
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut actor = Self { ready: 0, comm: comm.to_owned(), child: Process(child), stdin, replies };
        actor.ready = actor.reply()?;
        Ok(actor)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it now, and waits until its sockets are gone.
    pub fn end(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn comm(&self) -> &str {
        &self.comm
    }

    /// Gives an order without waiting for its end.
    pub fn tell(&mut self, order: &str) -> Outcome {
        // In one write: the process takes what one read gives it for the whole order.
        match self.stdin.write_all(format!("{order}\n").as_bytes()) {
            Ok(()) => Ok(()),
            // It has ended, and its last words say why.
            Err(_) => self.reply().map(drop),
        }
    }

    /// The number that the next finished order gives back.
    pub fn reply(&self) -> Outcome<u64> {
        let line = match self.replies.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => return wrong(format_args!("{} does not answer: {error}", self.comm)),
        };
        match line.strip_prefix("ok ").map(str::parse) {
            Some(Ok(number)) => Ok(number),
            _ => wrong(format_args!("{} says: {line}", self.comm)),
        }
    }

    pub fn ask(&mut self, order: &str) -> Outcome<u64> {
        self.tell(order)?;
        self.reply()
    }
}
