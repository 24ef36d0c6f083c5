//! Where no setting helps nothing is changed and the reason is given; and what can stand in the way of a change: each is
//! a clear message and the right exit code, and nothing is half done.
//!
//! Oracle: the setting as it is read, and the files of the journal.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::tune::{Fault, run, setting, text};

const PORT: u16 = 5030;

pub fn cases() -> Vec<Case> {
    const HERE: &[Need] = &[Need::Namespaces];
    vec![
        Case::new("refusals::the_application_s_own_backlog", HERE, own_backlog),
        Case::new("refusals::a_firewall", &[Need::Namespaces, Need::Nft], firewall),
        Case::new("refusals::proc_sys_is_read_only", HERE, |_| {
            refused("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys", 3, "read-only")
        }),
        Case::new("refusals::the_state_folder_is_full", HERE, |_| {
            refused("mount -t tmpfs -o size=32k none \"$STATE\"", 2, "can't be written")
        }),
        Case::new("refusals::the_state_folder_is_read_only", HERE, |_| {
            refused("mount -t tmpfs -o ro none \"$STATE\"", 2, "can't be written")
        }),
        Case::new("refusals::a_state_folder_that_two_hosts_share", HERE, |_| tampered(shared)),
        Case::new("refusals::a_reboot_since", HERE, |_| tampered(rebooted)),
        Case::new("refusals::a_journal_that_was_cut", HERE, |_| tampered(cut)),
        Case::new("refusals::a_journal_that_was_cut_twice", HERE, |_| tampered(cut_twice)),
        Case::new("refusals::two_at_once", HERE, two_at_once),
        Case::new("refusals::another_program_fights_for_the_key", HERE, fight),
    ]
}

fn own_backlog(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let local = Family::V4.server(PORT).to_string();
    let mut server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "4"])?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let drive = move || {
        client.ask(&format!("burst {local} 20"))?;
        sleep(Duration::from_millis(60));
        client.ask("abandon")?;
        server.ask("accept").map(drop)
    };
    nothing_helps(&lab, drive, "the application's own")
}

fn firewall(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.nft(&format!(
        "add table inet t; add chain inet t i {{ type filter hook input priority 0; }}; \
         add rule inet t i udp dport {PORT} counter drop"
    ))?;
    let local = Family::V4.server(PORT).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    nothing_helps(&lab, move || sender.ask(&format!("send {local} 100 100 500")).map(drop), "unexplained packets")
}

/// Runs `rx --apply` while the fault goes on.
fn nothing_helps(lab: &Lab, mut drive: impl FnMut() -> Outcome, reason: &str) -> Outcome {
    let state = tempfile::tempdir()?;
    let (name, folder) = (lab.server.name.clone(), state.path().to_owned());
    let flags = ["rx", "--apply=all", "--yes", "--netns"];
    let program = std::thread::spawn(move || run(&folder, &[&flags[..], &[&name, "-i", "900ms"]].concat(), &[]));
    while !program.is_finished() {
        drive()?;
    }
    let Ok(tuned) = program.join() else { return crate::case::wrong("the thread that ran the program panicked") };
    let tuned = tuned?;
    let mut checks = Checks::default();
    checks.same("exit code", Some(0), tuned.status.code());
    checks.that(text(&tuned).contains("nothing to change"), "something was to be changed");
    checks.that(text(&tuned).contains(reason), format_args!("the reason '{reason}' is not given"));
    checks.same("files in the state folder", 0, fs::read_dir(state.path())?.count());
    checks.done(&text(&tuned))
}

/// The program under a mount that stands in its way.
fn refused(mount: &str, code: i32, words: &str) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(3)?;
    let state = fault.state.path().to_string_lossy().into_owned();
    let script = format!("STATE={state}; {mount} && exec \"$@\"");
    let name = fault.server().name.clone();
    let flags = ["tune", "--apply", "--yes", "--netns", &name, "-i", "600ms"];
    let tuned = run(fault.state.path(), &flags, &["unshare", "--mount", "sh", "-c", &script, "sh"])?;
    if text(&tuned).contains("nothing to change") {
        return again(text(&tuned));
    }
    let mut checks = Checks::default();
    checks.same("exit code", Some(code), tuned.status.code());
    let said = String::from_utf8_lossy(&tuned.stderr).into_owned();
    checks.that(said.contains(words), format_args!("'{words}' is not said"));
    checks.same("lines on stderr", 2, said.lines().count());
    checks.same("rp_filter", "1".into(), fault.value()?);
    checks.same("changes in the journal", 0, changes(fault.state.path())?);
    checks.done(&text(&tuned))
}

/// A change is made, then the journal is tampered with: what must `revert` do then?
fn tampered(tamper: fn(&Path) -> Outcome<Expected>) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(3)?;
    let tuned = fault.tune(&["--apply", "--yes"])?;
    if fault.value()? != "2" {
        return again(format_args!("nothing was changed: {}", text(&tuned)));
    }
    let expected = tamper(fault.state.path())?;
    let reverted = run(fault.state.path(), &["revert", "--all"], &[])?;
    let mut checks = Checks::default();
    checks.same("exit code", Some(expected.code), reverted.status.code());
    checks.same("rp_filter", expected.value.to_owned(), fault.value()?);
    checks.that(text(&reverted).contains(expected.words), format_args!("'{}' is not said", expected.words));
    checks.done(&text(&reverted))
}

struct Expected {
    code: i32,
    value: &'static str,
    words: &'static str,
}

fn shared(state: &Path) -> Outcome<Expected> {
    rewrite(state, "host", "another-machine")?;
    Ok(Expected { code: 5, value: "2", words: "another host (another-machine)" })
}

/// The values that were set before a reboot are gone: what is there now is somebody else's.
fn rebooted(state: &Path) -> Outcome<Expected> {
    rewrite(state, "boot_id", "00000000-0000-0000-0000-000000000000")?;
    Ok(Expected { code: 0, value: "2", words: "went with the reboot" })
}

fn rewrite(state: &Path, field: &str, value: &str) -> Outcome {
    for name in ["000001.json", "000001.copy"] {
        let mut change: serde_json::Value = serde_json::from_slice(&fs::read(state.join(name))?)?;
        change[field] = value.into();
        fs::write(state.join(name), change.to_string())?;
    }
    Ok(())
}

fn cut(state: &Path) -> Outcome<Expected> {
    halve(&state.join("000001.json"))?;
    Ok(Expected { code: 0, value: "1", words: "its copy is used" })
}

fn cut_twice(state: &Path) -> Outcome<Expected> {
    halve(&state.join("000001.json"))?;
    halve(&state.join("000001.copy"))?;
    Ok(Expected { code: 5, value: "2", words: "left as it is" })
}

fn halve(path: &Path) -> Outcome {
    let text = fs::read(path)?;
    Ok(fs::write(path, &text[..text.len() / 2])?)
}

/// Both see the fault; one makes the change, the other keeps out.
fn two_at_once(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(4)?;
    let (name, state) = (fault.server().name.as_str(), fault.state.path());
    let tune = || run(state, &["tune", "--apply", "--yes", "--netns", name, "-i", "600ms"], &[]);
    let outputs = std::thread::scope(|scope| {
        let other = scope.spawn(tune);
        Ok::<_, crate::case::Trouble>([
            tune()?,
            other.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))?,
        ])
    })?;
    let mut codes = outputs.each_ref().map(|output| output.status.code());
    codes.sort_unstable();
    let said: String = outputs.iter().map(text).collect();
    if said.contains("nothing to change") {
        return again("the second looked only when the first had made the change");
    }
    let mut checks = Checks::default();
    checks.same("exit codes", [Some(0), Some(2)], codes);
    checks.that(said.contains("is changing settings"), "the second is not told why");
    checks.same("rp_filter", "2".into(), fault.value()?);
    checks.same("changes in the journal", 1, changes(fault.state.path())?);
    checks.done(&said)
}

/// Whatever is written there, somebody sets it back a moment later.
fn fight(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(4)?;
    let (over, server) = (AtomicBool::new(false), fault.server());
    let tuned: Outcome<Output> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && server.set(&setting(), "1").is_ok() {
                sleep(Duration::from_millis(5));
            }
        });
        let flags = ["tune", "--apply", "--yes", "--netns", &server.name, "-i", "600ms"];
        let tuned = run(fault.state.path(), &flags, &[]);
        over.store(true, Ordering::Relaxed);
        Ok(tuned?)
    });
    let tuned = tuned?;
    if text(&tuned).contains("nothing to change") {
        return again(text(&tuned));
    }
    let mut checks = Checks::default();
    checks.same("exit code", Some(4), tuned.status.code());
    let told = ["somebody else sets it", "but the kernel made it 1"].iter().any(|words| text(&tuned).contains(words));
    checks.that(told, "it is not said that somebody else sets it");
    checks.same("rp_filter", "1".into(), fault.value()?);
    let left = run(fault.state.path(), &["revert"], &[])?;
    checks.that(text(&left).contains("nothing to take back"), format_args!("something is left: {}", text(&left)));
    checks.done(&text(&tuned))
}

fn changes(state: &Path) -> Outcome<usize> {
    let names = fs::read_dir(state)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.ends_with(".json")).count())
}
