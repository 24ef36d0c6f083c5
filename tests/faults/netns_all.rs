//! `rx --netns all`: every namespace has its own line, and what is the same in all of them stands once.
//!
//! Oracles: datagrams sent less those read, of each namespace its own; which namespace was deleted; who may enter which.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::check_victim;
use crate::process::Process;
use crate::report::{Finding, Report};
use crate::tool;

const PORT: u16 = 5061;
/// Far more than the small buffer holds.
const SENT: u64 = 400;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces];
    let mut all = vec![
        Case::new("netns_all::one_goes_away", needs, goes_away),
        Case::new("netns_all::send_path", needs, send_path),
        Case::new("netns_all::unnamed_by_its_unit", needs, by_unit),
        Case::new("netns_all::without_permission", needs, |_: Duration| not_permitted()),
        Case::new("netns_all::one_at_a_time_elsewhere", needs, |_: Duration| refused()),
    ];
    for family in Family::BOTH {
        let name = format!("netns_all::same_addresses_{}", family.suffix());
        all.push(Case::with(name, needs, move |window| same_addresses(family, window)));
    }
    all.push(Case::new("netns_all::firewall", &[Need::Namespaces, Need::Nft, Need::Bpf], firewall));
    all
}

/// Two hosts with the same addresses, sockets and traffic; the buffer of one is too small.
fn same_addresses(family: Family, window: Duration) -> Outcome {
    let labs = [Lab::new()?, Lab::new()?];
    let local = family.server(PORT).to_string();
    let source = SocketAddr::new(family.client(), 0).to_string();
    let start =
        |lab: &Lab, bytes: &str| Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", bytes]);
    let mut readers = [start(&labs[0], "8192")?, start(&labs[1], "4194304")?];
    let [one, two] = &labs;
    let sender = |lab: &Lab| Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"]);
    let mut senders = [sender(one)?, sender(two)?];
    let (report, sent) = second_window("rx", window, "off", || {
        let order = format!("send {local} {SENT} 100 0");
        Ok([senders[0].ask(&order)?, senders[1].ask(&order)?])
    })?;
    let read = [readers[0].ask("drain")?, readers[1].ask("drain")?];
    let lost = sent[0].saturating_sub(read[0]);
    if sent != [SENT, SENT] || lost == 0 || read[1] != SENT {
        return again(format_args!("sent {sent:?}, read {read:?}"));
    }
    let mut checks = Checks::default();
    let [lossy, whole] = labs.each_ref().map(|lab| of(&report, &lab.server.name));
    let counter = family.udp("RcvbufErrors");
    for ((one, lost), lab) in [(&lossy, lost), (&whole, 0)].into_iter().zip(&labs) {
        checks.same("ledger udp_in: lost", Some(lost), one.ledger_sum("udp_in", "lost"));
        checks.same(&counter, Some(lost), one.delta(&counter));
        checks.same("total lost", Some(lost), one.0["totals"]["lost"].as_u64());
        checks.same("unexplained", vec![], one.unexplained());
        let inode = std::os::linux::fs::MetadataExt::st_ino(&std::fs::metadata(lab.server.path())?);
        checks.same("netns.id", Some(format!("net:[{inode}]").as_str()), one.0["netns"]["id"].as_str());
    }
    let found = lossy.findings("udp-receive-buffer-overflow");
    checks.same("findings where it is lost", 1, found.len());
    let finding = Finding(found.first().copied());
    check_victim(&mut checks, &finding, &readers[0], &local, lost);
    checks.same("alarms where nothing is lost", Vec::<&str>::new(), whole.alarms());
    let place = |lab: &Lab| list(&report).iter().position(|one| one["label"] == lab.server.name.as_str());
    checks.that(place(&labs[0]) < place(&labs[1]), "who loses should stand first");
    shared_once(&mut checks, &report);
    checks.done(&format_args!("{}\n{}", lossy, whole.0))
}

/// What the machine counts stands at the top and nowhere else, and what a namespace counts only there.
fn shared_once(checks: &mut Checks, report: &Report) {
    let of_machine = |stage: &Value| stage["scope"] == "machine" || stage["scope"] == "cpu";
    let stages = |report: &Value| report["stages"].as_array().cloned().unwrap_or_default();
    let top = stages(&report.0);
    checks.that(!top.is_empty() && top.iter().all(of_machine), "the top should hold what the machine counts alone");
    checks.that(report.delta("softnet.processed").is_some(), "the top should hold softnet");
    let below = list(report).iter().flat_map(stages).filter(|stage| of_machine(stage)).count();
    checks.same("stages of the machine in namespaces", 0, below);
    checks.that(report.0["netns"].is_null() && report.0["ledger"].is_null(), "the top should tell of no namespace");
}

/// What only the probe sees is explained in the namespace where it was dropped.
fn firewall(window: Duration) -> Outcome {
    let labs = [Lab::new()?, Lab::new()?];
    labs[0].server.nft("table inet t { chain c { type filter hook input priority 0; udp dport 5061 drop; }; }")?;
    let mut senders = Vec::new();
    for lab in &labs {
        senders.push(Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?);
    }
    let (report, sent) = second_window("rx", window, "on", || {
        let order = format!("send {} 120 100 0", Family::V4.server(PORT));
        Ok([senders[0].ask(&order)?, senders[1].ask(&order)?])
    })?;
    if sent != [120, 120] {
        return again(format_args!("sent {sent:?}"));
    }
    let mut checks = Checks::default();
    let [walled, open] = labs.each_ref().map(|lab| of(&report, &lab.server.name));
    checks.same("lost at netfilter", Some(120), walled.ledger_sum("netfilter", "lost"));
    checks.same("unexplained", vec![], walled.unexplained());
    checks.same("lost where nothing filters", Some(0), open.0["totals"]["lost"].as_u64());
    checks.same("findings where nothing filters", Some(0), open.0["findings"].as_array().map(Vec::len));
    checks.that(walled.0["findings"].as_array().is_some_and(|all| !all.is_empty()), "the drops should be found");
    let id = walled.0["netns"]["id"].clone();
    let rows = report.drops("NETFILTER_DROP");
    let there = rows.iter().filter(|row| row["netns"] == id).filter_map(|row| row["count"].as_u64()).sum();
    checks.same("drops with that namespace's id", 120_u64, there);
    checks.done(&format_args!("{walled}\n{rows:?}"))
}

/// The other way: who sends is told from who does not.
fn send_path(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    let (report, sent) =
        second_window("tx", window, "off", || sender.ask(&format!("send {} 150 100 0", Family::V4.server(PORT))))?;
    if sent != 150 {
        return again(format_args!("sent {sent}"));
    }
    let mut checks = Checks::default();
    let [client, server] = [&lab.client, &lab.server].map(|namespace| of(&report, &namespace.name));
    checks.same("Udp.OutDatagrams where it is sent", Some(sent), client.delta("Udp.OutDatagrams"));
    checks.same("Udp.OutDatagrams where it is received", Some(0), server.delta("Udp.OutDatagrams"));
    checks.same("lost", Some(0), client.0["totals"]["lost"].as_u64());
    checks.that(client.0["totals"]["in"].as_u64() >= Some(sent), "what was to be sent should be in the totals");
    checks.done(&client)
}

/// Costs its own line, and nothing else.
fn goes_away(window: Duration) -> Outcome {
    let (lab, leaver) = (Lab::new()?, Lab::new()?);
    let name = leaver.server.name.clone();
    let mut leaver = Some(leaver);
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    let (report, sent) = second_window("rx", window, "off", || {
        leaver = None;
        sender.ask(&format!("send {} 100 100 0", Family::V4.server(PORT)))
    })?;
    if sent != 100 {
        return again(format_args!("sent {sent}"));
    }
    let mut checks = Checks::default();
    let gone = of(&report, &name);
    checks.same("why nothing is known", Some("gone before the window ended"), gone.0["unseen"].as_str());
    checks.that(gone.0["totals"].is_null(), "nothing is known of it");
    checks.same("Udp.NoPorts of one that stayed", Some(sent), of(&report, &lab.server.name).delta("Udp.NoPorts"));
    checks.done(&gone.0)
}

/// A process in a namespace without a name, in a unit's cgroup.
fn by_unit(window: Duration) -> Outcome {
    let unit = Unit::new()?;
    let script = "echo $$ > \"$0/cgroup.procs\" && exec unshare -n sleep 60";
    let child = Command::new("sh").args(["-c", script]).arg(&unit.folder).stdout(Stdio::null()).spawn()?;
    let child = Process(child);
    let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    let (ours, deadline) = (link("self")?, Instant::now() + Duration::from_secs(5));
    let theirs = loop {
        match link(&child.id().to_string())? {
            theirs if theirs != ours => break theirs,
            _ if Instant::now() > deadline => return wrong("unshare makes no namespace"),
            _ => sleep(Duration::from_millis(5)),
        }
    };
    let report = tool::start("all", window)?.report()?;
    let mut checks = Checks::default();
    let found = of(&report, &unit.name);
    checks.same("unit", Some(unit.name.as_str()), found.0["unit"].as_str());
    checks.same("pid", Some(u64::from(child.id())), found.0["pid"].as_u64());
    checks.same("netns.id", theirs.to_str(), found.0["netns"]["id"].as_str());
    checks.that(found.0["netns"]["name"].is_null(), "it has no name");
    checks.same("total in", Some(0), found.0["totals"]["in"].as_u64());
    checks.done(&found.0)
}

/// A cgroup with a unit's name, gone again whatever happens.
struct Unit {
    folder: PathBuf,
    name: String,
}

impl Unit {
    fn new() -> Outcome<Self> {
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let mut of_version_2 = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let Some(mount) = of_version_2.find(|words| words.get(2) == Some(&"cgroup2")) else {
            return wrong("no cgroup of version 2 is mounted");
        };
        let name = format!("nsdf-{}.service", std::process::id());
        let folder = PathBuf::from(mount[1]).join(&name);
        std::fs::create_dir(&folder)?;
        Ok(Unit { folder, name })
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // Empty only once the process in it is reaped.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("{} is still there", self.folder.display());
    }
}

/// Without the right to enter others: our own, and of each of the others that it can't be entered.
fn not_permitted() -> Outcome {
    let lab = Lab::new()?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_admin,-sys_ptrace", "--inh-caps", "-all"]);
    command.arg(env!("CARGO_BIN_EXE_netstat-deep")).args(["rx", "--json", "--probes", "off", "--netns", "all"]);
    let report = tool::start_command(&mut command, Duration::from_secs(1))?.report()?;
    let mut checks = Checks::default();
    let theirs = of(&report, &lab.server.name);
    checks.same("why", Some("not permitted: needs CAP_SYS_ADMIN"), theirs.0["unseen"].as_str());
    let ours = list(&report).iter().find(|one| one["totals"].is_object());
    checks.that(ours.is_some_and(|one| one["label"] == "(here)"), "its own should be seen");
    let hidden =
        report.0["sources"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "network namespaces"));
    let reason = hidden.and_then(|source| source["reason"].as_str()).unwrap_or_default();
    checks.that(reason.contains("CAP_SYS_PTRACE"), format_args!("what is hidden should be said: '{reason}'"));
    checks.done(&theirs.0)
}

/// What acts in one namespace says so: two lines, exit code 2.
fn refused() -> Outcome {
    let mut checks = Checks::default();
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("b").display().to_string();
    for args in [
        &["tune", "--netns", "all"][..],
        &["rx", "--netns", "all", "--dry-run"],
        &["sockets", "--netns", "all"],
        &["record", "--bundle", &bundle, "--netns", "all"],
    ] {
        let ended = tool::start_with(args, Duration::from_secs(1))?.end()?;
        checks.same(&args.join(" "), Some(2), ended.status.code());
        checks.that(ended.stderr.contains("one network namespace at a time"), &ended.stderr);
    }
    checks.done(&"")
}

/// Runs `traffic` wholly inside the second of two windows: it has begun in every namespace when the first is printed,
/// however long it takes to go through all that this machine has.
fn second_window<T>(
    verb: &str,
    window: Duration,
    probes: &str,
    traffic: impl FnOnce() -> Outcome<T>,
) -> Outcome<(Report, T)> {
    /// Nothing takes longer; a program that hangs must fail the test and not hang it.
    const PATIENCE: Duration = Duration::from_secs(30);
    let mut child = Command::new(env!("CARGO_BIN_EXE_netstat-deep"))
        .args([verb, "--jsonl", "--count", "2", "--probes", probes, "--netns", "all"])
        .args(["--interval", &format!("{}s", window.as_secs())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let Some(stdout) = child.stdout.take() else { return wrong("a child without a pipe") };
    let _child = Process(child);
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    let line = || match lines.recv_timeout(window + PATIENCE) {
        Ok(line) => Ok(Report(serde_json::from_str(&line)?)),
        Err(e) => wrong(format_args!("no report: {e}")),
    };
    line()?;
    let told = traffic()?;
    let stop = Timestamp::now();
    let report = line()?;
    let (_, closed) = report.window()?;
    if stop + SignedDuration::from_millis(50) > closed {
        return again(format_args!("traffic until {stop}, the window until {closed}"));
    }
    Ok((report, told))
}

fn list(report: &Report) -> &[Value] {
    report.0["namespaces"].as_array().map_or(&[], Vec::as_slice)
}

/// What the report says of the namespace of that label.
fn of(report: &Report, label: &str) -> Report {
    let found = list(report).iter().find(|one| one["label"] == label);
    Report(found.cloned().unwrap_or_default())
}
