//! `--confirm-within`: what nobody confirms goes back by itself, also when its guard is killed.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::case::{Case, Checks, Outcome, again};
use crate::need::Need;
use crate::process::Process;
use crate::tune::{Fault, run, text};

/// Long enough for the change to be made and judged, short enough for a test.
const WITHIN: &str = "3s";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("confirm::what_is_not_confirmed_goes_back", &[Need::Namespaces], goes_back),
        Case::new("confirm::what_is_confirmed_stays", &[Need::Namespaces], stays),
        Case::new("confirm::the_guard_survives_its_parent_and_terminal", &[Need::Namespaces], survives),
        Case::new("confirm::the_next_run_finishes_what_a_killed_guard_left", &[Need::Namespaces], killed_guard),
    ]
}

fn changed() -> Outcome<Fault> {
    let mut fault = Fault::new()?;
    fault.send_for(2)?;
    let tuned = fault.tune(&["--apply", "--yes", "--confirm-within", WITHIN])?;
    if fault.value()? != "2" {
        return again(format_args!("nothing was changed, or it went back too soon: {}", text(&tuned)));
    }
    Ok(fault)
}

/// Waits until the setting has this value; tells whether it got it.
fn becomes(fault: &Fault, value: &str, within: Duration) -> Outcome<bool> {
    let start = Instant::now();
    while fault.value()? != value {
        if start.elapsed() > within {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

fn goes_back(_: Duration) -> Outcome {
    let fault = changed()?;
    let mut checks = Checks::default();
    checks.that(becomes(&fault, "1", Duration::from_secs(20))?, "the setting did not go back");
    let late = run(fault.state.path(), &["confirm"], &[])?;
    checks.same("exit code of a confirm that is too late", Some(2), late.status.code());
    checks.done(&text(&late))
}

/// The program is killed with its whole process group, as a lost terminal would, while it still watches whether it
/// helped.
fn survives(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(8)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_netstat-deep"));
    command.args(["tune", "--apply", "--yes", "--probes", "off", "--confirm-within", "5s", "--verify", "3s"]);
    command.args(["--netns", &fault.server().name]).arg("--state-dir").arg(fault.state.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut program = Process(command.spawn()?);
    if !becomes(&fault, "2", Duration::from_secs(15))? {
        return again("nothing was changed");
    }
    let group = rustix::process::Pid::from_child(&program);
    for signal in [rustix::process::Signal::HUP, rustix::process::Signal::KILL] {
        rustix::process::kill_process_group(group, signal)?;
    }
    let ended = program.wait()?;
    let mut checks = Checks::default();
    checks.that(!ended.success(), "it was not killed");
    checks.that(becomes(&fault, "1", Duration::from_secs(20))?, "the setting did not go back");
    checks.done(&"")
}

fn stays(_: Duration) -> Outcome {
    let fault = changed()?;
    let kept = run(fault.state.path(), &["confirm"], &[])?;
    if !kept.status.success() {
        return again(format_args!("confirmed too late: {}", text(&kept)));
    }
    let mut checks = Checks::default();
    checks.that(!becomes(&fault, "1", Duration::from_secs(5))?, "the setting went back although it was confirmed");
    checks.done(&text(&kept))
}

fn killed_guard(_: Duration) -> Outcome {
    let fault = changed()?;
    let killed = kill_guards(&fault.state.path().to_string_lossy());
    let mut checks = Checks::default();
    checks.same("guards killed", 1, killed);
    std::thread::sleep(Duration::from_secs(4));
    checks.same("rp_filter before the next run", "2".into(), fault.value()?);
    let next = run(fault.state.path(), &["history"], &[])?;
    checks.same("rp_filter after the next run", "1".into(), fault.value()?);
    checks.that(text(&next).contains("not confirmed in time"), "the next run does not say what it did");
    checks.done(&text(&next))
}

/// Kills the guards of this journal; tells how many.
fn kill_guards(folder: &str) -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_guard = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
        words.get(1).is_some_and(|word| word == "guard") && words.iter().any(|word| word == folder)
    };
    let kill = |pid: i32| {
        let pid = rustix::process::Pid::from_raw(pid)?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok()
    };
    pids.filter(is_guard).filter_map(kill).count()
}
