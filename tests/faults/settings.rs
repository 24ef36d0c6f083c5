//! Settings that hurt whatever the traffic is, and those that somebody changed after this program did.
//!
//! Oracle: the settings as the test made them.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::case::{Case, Checks, Outcome, again};
use crate::lab::{Lab, Namespace};
use crate::need::Need;
use crate::report::{Finding, Report};
use crate::tool;
use crate::tune::{Fault, run, setting, text};

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces];
    vec![Case::new("settings::cargo_cult", needs, |_| cargo_cult()), Case::new("settings::drift", needs, |_| drift())]
}

/// Does `work` while connections are made in the namespace, over loopback.
fn while_connecting<T>(namespace: &Namespace, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            namespace.inside(|| {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                while !stop.load(Ordering::Relaxed) {
                    let _client = TcpStream::connect(listener.local_addr()?)?;
                    let _server = listener.accept()?;
                    sleep(Duration::from_millis(20));
                }
                Ok(())
            })
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        connecting.join().unwrap_or_else(|_| Err(io::Error::other("the thread that connects panicked")))?;
        done
    })
}

/// What `tx` says of a second in which connections are made.
fn look(namespace: &Namespace, more: &[&str]) -> Outcome<Report> {
    let args = [&["tx", "--json", "--probes", "off", "--netns", &namespace.name][..], more].concat();
    let ended = tool::start_with(&args, Duration::from_secs(1))?.end()?;
    Ok(Report(serde_json::from_str(&ended.stdout)?))
}

const COPIED: [(&str, &str, &str); 4] = [
    ("net/ipv4/tcp_timestamps", "0", "1"),
    ("net/ipv4/tcp_sack", "0", "1"),
    ("net/ipv4/tcp_syncookies", "0", "1"),
    ("net/core/somaxconn", "128", "4096"),
];

/// A list that somebody copied; it is taken back setting by setting, and all of it returns.
fn cargo_cult() -> Outcome {
    const ID: &str = "cargo-cult-settings";
    let lab = Lab::new()?;
    for (path, _, default) in COPIED {
        lab.server.set(path, default)?;
    }
    let healthy = while_connecting(&lab.server, || look(&lab.server, &[]))?;
    let mut checks = Checks::default();
    checks.same("findings on a host as the kernel has it", 0, healthy.findings(ID).len());

    for (path, copied, _) in COPIED {
        lab.server.set(path, copied)?;
    }
    lab.server.set("net/ipv4/tcp_rmem", "4194304 4194304 4194304")?;
    let told = while_connecting(&lab.server, || look(&lab.server, &[]))?;
    let all = told.findings(ID);
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    checks.same("severity", Some("info"), finding.0.and_then(|one| one["severity"].as_str()));
    for (path, copied, default) in COPIED {
        let suggested = finding.suggestion(&path.replace('/', "."));
        checks.same(path, 1, suggested.len());
        let Some(one) = suggested.first() else { continue };
        checks.same(path, [Some(copied), Some(default)], ["from", "to"].map(|key| one[key].as_str()));
    }
    checks.same("suggestions", COPIED.len(), finding.suggestions().len());
    checks.that(finding.refuses("net.ipv4.tcp_rmem"), "a fixed tcp_rmem should be told of");
    let quiet = look(&lab.server, &[])?;
    checks.same("findings where no connection is made", 0, quiet.findings(ID).len());

    let state = tempfile::tempdir()?;
    let args = ["tx", "--apply", "--yes", "--keep", "--netns", &lab.server.name, "-i", "300ms"];
    let tuned = while_connecting(&lab.server, || Ok(run(state.path(), &args, &[])?))?;
    for (path, _, default) in COPIED {
        checks.same(path, default.to_owned(), lab.server.get(path)?);
    }
    run(state.path(), &["revert"], &[])?;
    for (path, copied, _) in COPIED {
        checks.same(path, copied.to_owned(), lab.server.get(path)?);
    }
    checks.done(&text(&tuned))
}

/// A setting is applied; then somebody else sets it.
fn drift() -> Outcome {
    const ID: &str = "setting-drift";
    let mut fault = Fault::new()?;
    fault.send_for(6)?;
    sleep(Duration::from_millis(200));
    let tuned = fault.tune(&["--apply", "--yes"])?;
    if fault.value()? != "2" {
        return again(format_args!("nothing was applied: {}", text(&tuned)));
    }
    let folder = fault.state.path().display().to_string();
    // Without any traffic nothing is looked at.
    let told = || while_connecting(fault.server(), || look(fault.server(), &["--state-dir", &folder]));
    let mut checks = Checks::default();
    checks.same("findings while it is in force", 0, told()?.findings(ID).len());

    for (value, words) in [("0", "and is 0 now, as somebody else set it"), ("1", "and is 1 now, as before that change")]
    {
        fault.server().set(&setting(), value)?;
        let report = told()?;
        let all = report.findings(ID);
        checks.same("findings", 1, all.len());
        let why = all.first().and_then(|one| one["why"].as_str()).unwrap_or_default();
        checks.that(
            why.contains("rp_filter was set to 2 by change 1") && why.contains(words),
            format_args!("not '{words}': {why}"),
        );
    }
    let elsewhere = Lab::new()?;
    let other = while_connecting(&elsewhere.server, || look(&elsewhere.server, &["--state-dir", &folder]))?;
    checks.same("findings in another namespace", 0, other.findings(ID).len());
    run(fault.state.path(), &["revert"], &[])?;
    checks.same("findings after revert", 0, told()?.findings(ID).len());
    checks.done(&text(&tuned))
}
