//! Recordings of the host that the tests run on: they say what it said, and whatever happens to them on the way, the
//! program lives.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use netstat_deep::model::Settings;
use netstat_deep::source::{Host, nftables, settings, xtables};
use netstat_deep::stage::knobs;
use serde_json::Value;
use tempfile::TempDir;

use crate::openmetrics;
use crate::run::{self, rx};
use crate::schema;

fn record(bundle: &Path, args: &[&str]) -> Output {
    let tool = env!("CARGO_BIN_EXE_netstat-deep");
    Command::new(tool).args(["record", "--json", "--bundle"]).arg(bundle).args(args).output().unwrap()
}

/// A recording, and what was said of it as it was made.
fn recorded(args: &[&str]) -> (TempDir, PathBuf, Value) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let output = record(&bundle, args);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{err}");
    (folder, bundle, schema::valid(&out))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// What the sources gave: every one that gave something live must give it in the recording.
fn sources(report: &Value) -> Vec<Value> {
    let sources = report["sources"].as_array().unwrap().iter();
    // Who holds which socket is looked up for findings only, and other processes come and go.
    // Qdiscs are recorded for tx, and rx does not ask for them.
    let others = ["owners of sockets", "rtnetlink qdiscs"];
    let sources = sources.filter(|source| !others.iter().any(|name| source["name"] == *name));
    // Of a driver's answer, the last word is the device's name.
    let name = |source: &Value| {
        source["name"].as_str().map(|name| match name.strip_prefix(DRIVER) {
            Some(_) => DRIVER.to_owned(),
            None => name.to_owned(),
        })
    };
    sources.map(|source| serde_json::json!([name(source), source["ok"]])).collect()
}

const DRIVER: &str = "driver statistics of ";

#[test]
fn a_recording_says_what_the_host_said() {
    for (args, top) in [(&["-i", "200ms"][..], "after"), (&["-i", "0"], "")] {
        let (_folder, bundle, live) = recorded(args);
        let again = run::report(&bundle, &[]);
        assert_eq!(run::cells(&again), run::cells(&live), "{args:?}");
        assert_eq!(sources(&again), sources(&live), "{args:?}");
        for part in ["findings", "ledger", "totals", "window_seconds", "host", "kernel", "cpus", "taken_at"] {
            assert_eq!(again[part], live[part], "{args:?}: {part}");
        }
        assert_eq!((&again["recorded"], &live["recorded"]), (&Value::Bool(true), &Value::Null));
        assert!(bundle.join(top).join("proc/net/snmp").exists());
    }
}

#[test]
fn every_setting_and_the_firewall_are_in_it() {
    let (_folder, bundle, _) = recorded(&["-i", "0"]);
    let host = Host::recorded(&bundle).unwrap().remove(0);
    let read = |host: &Host| -> Settings { settings::read(host, knobs().filter_map(|(_, knob)| knob.template())) };
    let (live, again) = (read(&Host::Live), read(&host));
    assert_eq!(live, again);
    assert!(again.get("net/core/rmem_max").is_some());
    // Without root neither tells anything.
    if let Ok(rules) = nftables::read(&Host::Live) {
        let shape = |rules: nftables::Ruleset| (rules.chains.len(), rules.rules.len());
        assert_eq!(shape(nftables::read(&host).unwrap()), shape(rules));
    }
    if let Ok(rules) = xtables::read(&Host::Live) {
        assert_eq!(xtables::read(&host).unwrap().chains.len(), rules.chains.len());
    }
}

#[test]
fn a_redacted_recording_says_the_same_of_others() {
    let (_folder, bundle, live) = recorded(&["-i", "0", "--redact"]);
    let again = run::report(&bundle, &[]);
    assert_eq!(sources(&again), sources(&live));
    let numbers = |report: &Value| -> Vec<u64> {
        let mut numbers: Vec<u64> = run::cells(report).values().map(run::number).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(&again), numbers(&live));
    assert_eq!(again["host"], "host1");
}

#[test]
fn a_folder_that_is_there_or_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "precious").unwrap();
    for (path, why) in [(folder.path(), "there already"), (Path::new("/proc/bundle"), "can't be made")] {
        let output = record(path, &["-i", "0"]);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.lines().count()), (Some(2), 2), "{err}");
        assert!(err.contains(why), "{err}");
    }
    assert_eq!(fs::read(folder.path().join("mine")).unwrap(), b"precious");
}

/// As a copy that was interrupted leaves it: some files whole, one cut, the rest not there.
#[test]
fn a_recording_that_is_cut_off_shows_what_is_there() {
    let (_folder, bundle, _) = recorded(&["-i", "100ms"]);
    let whole = run::cells(&run::report(&bundle, &[]));
    let mut all = files(&bundle);
    // Half a second sample is compared with a whole first one.
    all.sort_by_key(|path| path.starts_with(bundle.join("after")));
    for n in (0..all.len()).rev() {
        let bytes = fs::read(&all[n]).unwrap();
        if n % 3 == 0 {
            for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
                fs::write(&all[n], &bytes[..cut]).unwrap();
                let run = rx(&bundle, &["--json"]);
                assert!(run.code == 0 || run.code == 2 && run.err.lines().count() == 2, "{}", run.err);
                if run.code == 0 {
                    let report = schema::valid(&run.out);
                    assert!(run::cells(&report).len() <= whole.len());
                }
            }
        }
        fs::remove_file(&all[n]).unwrap();
        let folder = all[n].parent().unwrap();
        // A copy makes a folder when it comes to it.
        let _not_empty = fs::remove_dir(folder);
    }
}

#[test]
fn a_hostile_recording_is_survived() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let rubbish: [&[u8]; 4] = [b"\xff\xfe\x00", b"{\"at\":-1,\"read\":[[[", deep.as_bytes(), &[b'9'; 100_000]];
    let (_folder, bundle, _) = recorded(&["-i", "0"]);
    let more = [".recording.json", ".sockets", "proc/1/comm", "proc/1/cgroup", "proc/sys/net/core/rmem_max"];
    for path in more.iter().map(|file| bundle.join(file)) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for bytes in rubbish {
            fs::write(&path, bytes).unwrap();
            let run = rx(&bundle, &["--json"]);
            assert_eq!(run.code, 0, "{}: {}", path.display(), run.err);
            schema::valid(&run.out);
            openmetrics::checked(&rx(&bundle, &["--output", "openmetrics"]).out);
        }
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert_eq!(rx(&bundle, &[]).code, 0);
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(rx(&bundle, &[]).code, 0);
        fs::remove_file(&path).unwrap();
        let huge = fs::File::create(&path).unwrap();
        huge.set_len(1 << 40).unwrap();
        assert_eq!(rx(&bundle, &[]).code, 0);
        fs::remove_file(&path).unwrap();
    }
}
