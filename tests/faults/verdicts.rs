//! What a change did: told at once where it acts at once, found out later where a restart must come first.
//!
//! The fault is that of `somaxconn`, which acts at the next listen().
//! Oracle: the kernel's own ListenOverflows under the same load, and the setting as it is read.

use std::process::Output;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::tune::{Fault, run, text};

const PORT: u16 = 5040;

pub fn cases() -> Vec<Case> {
    const HERE: &[Need] = &[Need::Namespaces];
    vec![Case::new("verdicts::pending_until_the_restart", HERE, pending), Case::new("verdicts::as_json", HERE, json)]
}

struct Listener {
    lab: Lab,
    server: Actor,
    client: Actor,
    local: String,
    state: tempfile::TempDir,
}

impl Listener {
    fn new() -> Outcome<Self> {
        let lab = Lab::new()?;
        lab.server.set("net/core/somaxconn", "8")?;
        let local = Family::V4.server(PORT).to_string();
        let server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "1024"])?;
        let client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
        Ok(Listener { lab, server, client, local, state: tempfile::tempdir()? })
    }

    fn restart(&mut self) -> Outcome {
        self.server.end()?;
        self.server = Actor::start(&self.lab.server, "nsd-server", "tcp-server", &[&self.local, "1024"])?;
        Ok(())
    }

    /// Runs the program while connections come in bursts that 8 have no room for, but a longer queue has.
    fn run(&mut self, args: &[&str]) -> Outcome<Output> {
        let (state, args) =
            (self.state.path().to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        let program =
            std::thread::spawn(move || run(&state, &args.iter().map(String::as_str).collect::<Vec<_>>(), &[]));
        while !program.is_finished() {
            self.client.ask(&format!("burst {} 40", self.local))?;
            sleep(Duration::from_millis(60));
            self.client.ask("abandon")?;
            self.server.ask("accept")?;
            sleep(Duration::from_millis(20));
        }
        match program.join() {
            Ok(output) => Ok(output?),
            Err(_) => wrong("the thread that ran the program panicked"),
        }
    }
}

fn pending(_: Duration) -> Outcome {
    let mut fault = Listener::new()?;
    let name = fault.lab.server.name.clone();
    let tuned = fault.run(&["rx", "--apply", "--yes", "--netns", &name, "--verify", "900ms"])?;
    if text(&tuned).contains("nothing to change") {
        return again(text(&tuned));
    }
    let mut checks = Checks::default();
    checks.same("exit code of rx --apply", Some(0), tuned.status.code());
    let restart = format!("restart nsd-server[{}]", fault.server.pid());
    let flat = |output: &Output| text(output).split_whitespace().collect::<Vec<_>>().join(" ");
    checks.that(flat(&tuned).contains("pending:"), "no verdict 'pending'");
    checks.that(flat(&tuned).contains(&restart), format_args!("it does not say: {restart}"));

    let too_early = fault.run(&["history", "--verify"])?;
    checks.same("exit code of history --verify", Some(0), too_early.status.code());
    checks.that(flat(&too_early).contains("pending:"), "decided before the restart");

    fault.restart()?;
    let decided = fault.run(&["history", "--verify"])?;
    checks.same("exit code of history --verify", Some(0), decided.status.code());
    checks.that(flat(&decided).contains("helped:"), "not decided after the restart");
    let somaxconn = fault.lab.server.get("net/core/somaxconn")?;
    checks.that(somaxconn != "8", "the setting went back although it helped");
    checks.done(&format!("{}{}{}", text(&tuned), text(&too_early), text(&decided)))
}

/// Plan, change and verdict in one document; the same in the history.
fn json(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(4)?;
    let parse = |output: &Output| match serde_json::from_slice::<Value>(&output.stdout) {
        Ok(value) => Ok(value),
        Err(error) => wrong(format_args!("{error}: {}", text(output))),
    };
    let planned = parse(&fault.tune(&["--json"])?)?;
    let made = parse(&fault.tune(&["--apply", "--yes", "--json"])?)?;
    let history = parse(&run(fault.state.path(), &["history", "--json"], &[])?)?;
    if planned["plan"]["steps"][0].is_null() {
        return again(format_args!("nothing to change: {planned}"));
    }
    let mut checks = Checks::default();
    let step = &planned["plan"]["steps"][0];
    checks.same("kind", "tune", planned["kind"].as_str().unwrap_or_default());
    checks.same("rule", "reverse-path-filter-drops", step["findings"][0].as_str().unwrap_or_default());
    checks.same("evidence", "TcpExt.IPReversePathFilter", step["evidence"][0]["counter"].as_str().unwrap_or_default());
    checks.that(planned["change"].is_null(), "a plan alone made a change");
    let change = &made["change"];
    checks.same("state", "written", change["steps"][0]["state"].as_str().unwrap_or_default());
    checks.same("verdict", "helped", change["steps"][0]["verdict"]["verdict"].as_str().unwrap_or_default());
    checks.same("change in the history", change, &history[0]);
    checks.done(&made)
}
