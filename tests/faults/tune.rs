//! Closed loops: provoke, `tune`, the loss is gone, `revert`, it is back.
//!
//! The fault is that of `rp_filter`: a setting of the namespace alone, which acts at once.
//! Oracle: the kernel's own IPReversePathFilter while the same traffic goes on, and the setting as it is read.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::kernel::Counters;
use crate::lab::{CLIENT_DEVICE, Family, Lab, Namespace, SERVER_DEVICE, batch};
use crate::need::Need;

const COUNTER: &str = "TcpExt.IPReversePathFilter";
const PORT: u16 = 5010;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("tune::rp_filter_loop_v4", &[Need::Namespaces], closed_loop),
        Case::new("tune::dry_run_writes_nothing", &[Need::Namespaces], dry_run),
        Case::new("tune::no_setting_helps_a_slow_reader", &[Need::Namespaces], slow_reader),
        Case::new("tune::what_is_persisted_is_in_a_file_until_it_is_taken_back", &[Need::Namespaces], persisted),
        Case::new("tune::what_others_set_is_left_alone", &[Need::Namespaces], left_alone),
        Case::new("tune::a_namespace_that_is_gone_takes_its_values_along", &[Need::Namespaces], gone),
    ]
}

/// A server that strictly filters what comes from an address it would reach by another device.
pub struct Fault {
    lab: Lab,
    stray: Actor,
    local: String,
    pub state: tempfile::TempDir,
    _reader: Actor,
}

impl Fault {
    pub fn new() -> Outcome<Self> {
        let lab = Lab::new()?;
        batch(&lab.client.name, &[format!("addr add 10.78.0.1/32 dev {CLIENT_DEVICE}")])?;
        batch(&lab.server.name, &["route add 10.78.0.0/24 dev lo".into()])?;
        lab.server.set("net/ipv4/conf/all/rp_filter", "0")?;
        lab.server.set(&setting(), "1")?;
        let local = Family::V4.server(PORT).to_string();
        let reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "1048576"])?;
        let stray = Actor::start(&lab.client, "nsd-stray", "udp-sender", &["10.78.0.1:0", "1", "any"])?;
        Ok(Fault { lab, stray, local, state: tempfile::tempdir()?, _reader: reader })
    }

    /// Traffic for about so long, at 500 datagrams a second, without waiting for its end.
    pub fn send_for(&mut self, seconds: u64) -> Outcome {
        self.stray.tell(&format!("send {} {} 100 2000", self.local, seconds * 500))
    }

    pub fn value(&self) -> Outcome<String> {
        self.lab.server.get(&setting())
    }

    pub fn server(&self) -> &Namespace {
        &self.lab.server
    }

    pub fn tune(&self, more: &[&str]) -> Outcome<Output> {
        let name = self.lab.server.name.as_str();
        Ok(run(self.state.path(), &[&["tune", "--netns", name, "-i", "600ms"], more].concat(), &[])?)
    }

    /// Datagrams lost to the filter in a while, the traffic going on.
    fn losing(&self) -> Outcome<u64> {
        let before = Counters::read(&self.lab.server)?;
        sleep(Duration::from_millis(200));
        Ok(Counters::read(&self.lab.server)?.since(&before, COUNTER))
    }
}

/// The setting of that fault, below /proc/sys.
pub fn setting() -> String {
    format!("net/ipv4/conf/{SERVER_DEVICE}/rp_filter")
}

/// Runs the program, or another that runs it.
pub fn run(state: &Path, args: &[&str], before: &[&str]) -> std::io::Result<Output> {
    let program = [before, &[env!("CARGO_BIN_EXE_netstat-deep")]].concat();
    // Attaching probes takes a debug build its time, and these cases are about the counters.
    let off: &[&str] = if ["rx", "tx", "tune"].contains(&args[0]) { &["--probes", "off"] } else { &[] };
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(args).args(off).arg("--state-dir").arg(state).stdin(Stdio::null());
    command.output()
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn closed_loop(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(4)?;
    if fault.losing()? == 0 {
        return again("no loss was provoked");
    }
    let tuned = fault.tune(&["--apply", "--yes"])?;
    let mut checks = Checks::default();
    checks.same("exit code of tune", Some(0), tuned.status.code());
    checks.that(text(&tuned).contains("helped:"), "no verdict 'helped'");
    checks.same("rp_filter after tune", "2".into(), fault.value()?);
    checks.same("lost after tune", 0, fault.losing()?);
    let reverted = run(fault.state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("rp_filter after revert", "1".into(), fault.value()?);
    checks.that(fault.losing()? > 0, "the loss did not come back");
    let again = run(fault.state.path(), &["revert"], &[])?;
    checks.that(text(&again).contains("nothing to take back"), format_args!("second revert: {}", text(&again)));
    checks.done(&text(&tuned))
}

fn dry_run(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(2)?;
    let shown = fault.tune(&[])?;
    let mut checks = Checks::default();
    checks.that(text(&shown).contains("sysctl -w"), "no command is shown");
    checks.same("rp_filter", "1".into(), fault.value()?);
    checks.same("files in the state folder", 0, std::fs::read_dir(fault.state.path())?.count());
    let unasked = fault.tune(&["--apply"])?;
    checks.same("exit code where nobody can be asked", Some(2), unasked.status.code());
    checks.same("rp_filter", "1".into(), fault.value()?);
    checks.done(&text(&shown))
}

fn slow_reader(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let local = Family::V4.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "ask", "8192"])?;
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    reader.ask("slow 5")?;
    sender.tell(&format!("send {local} {} 100 500", window.as_millis() * 2 + 2000))?;
    sleep(Duration::from_millis(300));
    let state = tempfile::tempdir()?;
    let interval = format!("{}ms", window.as_millis());
    let tuned = run(state.path(), &["rx", "--apply", "--yes", "--netns", &lab.server.name, "-i", &interval], &[])?;
    let mut checks = Checks::default();
    checks.same("exit code", Some(0), tuned.status.code());
    checks.that(text(&tuned).contains("nothing to change"), "something was to be changed");
    checks.that(text(&tuned).contains("does not keep up"), "the reason is not given");
    checks.same("files in the state folder", 0, std::fs::read_dir(state.path())?.count());
    checks.done(&text(&tuned))
}

/// The program runs inside the namespace: of a namespace that it only looks into, nothing can be kept.
fn persisted(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(3)?;
    let etc = tempfile::tempdir()?;
    let folder = etc.path().join("sysctl.d");
    std::fs::create_dir(&folder)?;
    let knob = format!("net.ipv4.conf.{SERVER_DEVICE}.rp_filter");
    std::fs::write(folder.join("99-other.conf"), format!("# not ours\n{knob} = 1\n"))?;
    let root = etc.path().to_string_lossy().into_owned();
    let inside = ["ip", "netns", "exec", &fault.lab.server.name];
    let flags = ["rx", "--apply", "--yes", "--persist", "--root-etc", &root, "-i", "600ms"];
    let tuned = run(fault.state.path(), &flags, &inside)?;
    if fault.value()? != "2" {
        return again(format_args!("nothing was changed: {}", text(&tuned)));
    }
    let file = folder.join("90-netstat-deep.conf");
    let mut checks = Checks::default();
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    checks.that(kept.contains(&format!("{knob} = 2")), format_args!("the file holds {kept:?}"));
    checks.that(kept.contains("reverse-path-filter-drops"), "the file does not say why");
    checks.that(text(&tuned).contains("99-other.conf, line 2"), "who else sets the key is not named");
    let reverted = run(fault.state.path(), &["revert"], &inside)?;
    checks.same("rp_filter after revert", "1".into(), fault.value()?);
    checks.that(!file.exists(), "the file is still there after revert");
    checks.same("files of others", 1, std::fs::read_dir(&folder)?.count());
    checks.done(&format!("{}{}", text(&tuned), text(&reverted)))
}

fn left_alone(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(3)?;
    let tuned = fault.tune(&["--apply", "--yes"])?;
    if fault.value()? != "2" {
        return again(format_args!("nothing was changed: {}", text(&tuned)));
    }
    fault.server().set(&setting(), "0")?;
    let reverted = run(fault.state.path(), &["revert"], &[])?;
    let mut checks = Checks::default();
    checks.same("rp_filter", "0".into(), fault.value()?);
    checks.that(text(&reverted).contains("left alone"), "it is not said that the value was left alone");
    checks.done(&text(&reverted))
}

fn gone(_: Duration) -> Outcome {
    let mut fault = Fault::new()?;
    fault.send_for(3)?;
    let tuned = fault.tune(&["--apply", "--yes"])?;
    if fault.value()? != "2" {
        return again(format_args!("nothing was changed: {}", text(&tuned)));
    }
    let Fault { lab, stray, state, _reader, .. } = fault;
    drop((stray, _reader));
    drop(lab);
    let reverted = run(state.path(), &["revert", "--all"], &[])?;
    let mut checks = Checks::default();
    checks.same("exit code", Some(0), reverted.status.code());
    checks.that(text(&reverted).contains("went with their network namespace"), "it is not said that the value is gone");
    checks.done(&text(&reverted))
}
