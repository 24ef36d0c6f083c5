//! A recording of a host that loses packets, replayed: the same counters, the same findings; redacted, and nothing of whose
//! it was.
//!
//! Oracle: what the live run printed, and what its sender knows was lost; for what must be gone, the names and addresses
//! that the test itself gave out, looked for in every byte of the bundle.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{Family, Lab, SERVER_DEVICE, ip};
use crate::need::Need;
use crate::report::{Finding, Report};
use crate::tool;
use crate::udp_buffer::bursts;

const TOOL: &str = env!("CARGO_BIN_EXE_netstat-deep");
const RULE: &str = "udp-receive-buffer-overflow";
const PORT: u16 = 5000;
/// Names that the namespace gets, and that strangers must not see: acme is in each.
const DEVICE: &str = "acme-wan0";
const ALIAS: &str = "Customer Acme";
const COMMENT: &str = "acme branch office";
const READER: &str = "acme-billing";

pub fn cases() -> Vec<Case> {
    let case = |(family, redact): (Family, bool)| {
        let what = if redact { "redacted" } else { "replayed" };
        let name = format!("record::{what}_{}", family.suffix());
        Case::with(name, &[Need::Namespaces, Need::Nft], move |window| run(family, redact, window))
    };
    let all = Family::BOTH.into_iter().flat_map(|family| [(family, false), (family, true)]);
    all.map(case).chain([Case::new("record::disk_full", &[Need::Namespaces], full)]).collect()
}

fn run(family: Family, redact: bool, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let server = &lab.server.name;
    ip(&["-n", server, "link", "add", DEVICE, "type", "veth", "peer", "name", "acme-lan0"])?;
    ip(&["-n", server, "link", "set", DEVICE, "alias", ALIAS, "up"])?;
    lab.server.nft("add table ip acme; add chain ip acme in { type filter hook input priority 0; }")?;
    lab.server.nft(&format!("add rule ip acme in iifname {DEVICE} counter drop comment \"{COMMENT}\""))?;
    let local = family.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, READER, "udp-reader", &[&local, "default"])?;
    let source = SocketAddr::new(family.client(), 0).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])?;

    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    let mut command = Command::new(TOOL);
    command.args(["record", "--json", "--netns", server, "--bundle"]).arg(&bundle);
    if redact {
        command.arg("--redact");
    }
    let running = tool::start_command(&mut command, window)?;
    sleep(Duration::from_millis(400).max(window / 5));
    let sent = bursts(&local, &mut reader, &mut sender)?;
    let live = running.report()?;
    let lost = sent.saturating_sub(reader.ask("drain")?);
    let counter = family.udp("RcvbufErrors");
    if live.delta(&counter) != Some(lost) || lost == 0 {
        return again(format_args!("the sender lost {lost}, {counter} grew by {:?}", live.delta(&counter)));
    }
    let again = Report(shown(&["rx", "--json", "--root"], &bundle)?);
    let mut checks = Checks::default();
    if redact {
        strangers(&lab, family, &bundle, &mut checks)?;
        same_losses(&live, &again, &mut checks);
        let finding = Finding(again.findings(RULE).first().copied());
        let victim = finding.victims().first().cloned().unwrap_or_default();
        checks.same("victim's pid", Some(u64::from(reader.pid())), victim["pid"].as_u64());
        let comm = victim["comm"].as_str().unwrap_or_default();
        checks.that(comm.starts_with("app"), format_args!("the victim has no new name: {victim}"));
    } else {
        same(&live, &again, &mut checks);
        let plan = shown(&["tune", "--json", "--root"], &bundle)?;
        let steps = plan["plan"]["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        checks.that(steps.iter().any(|step| step["suggestion"]["knob"] == "net.core.rmem_default"), &plan["plan"]);
        let refused = Command::new(TOOL).args(["tune", "--apply", "--yes", "--root"]).arg(&bundle).output()?;
        checks.same("exit code of --apply on a recording", Some(2), refused.status.code());
    }
    checks.done(&again)
}

/// What the program prints of a recording.
fn shown(args: &[&str], bundle: &Path) -> Outcome<Value> {
    let output = Command::new(TOOL).args(args).arg(bundle).output()?;
    match serde_json::from_slice(&output.stdout) {
        Ok(value) if output.status.success() => Ok(value),
        _ => wrong(format_args!("{args:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// To the letter, but for what the run itself took, and the number of the namespace that a recording does not hold.
fn same(live: &Report, again: &Report, checks: &mut Checks) {
    let stable = |report: &Report| {
        let mut value = report.0.clone();
        if let Some(top) = value.as_object_mut() {
            top.remove("self");
            top.remove("recorded");
        }
        if let Some(netns) = value["netns"].as_object_mut() {
            netns.remove("cookie");
        }
        for source in value["sources"].as_array_mut().into_iter().flatten() {
            source["microseconds"] = Value::Null;
        }
        value
    };
    let (live, again) = (stable(live), stable(again));
    let parts = live.as_object().into_iter().flatten().map(|(name, _)| name);
    for name in parts.chain(again.as_object().into_iter().flatten().map(|(name, _)| name)) {
        checks.same(name, &live[name], &again[name]);
    }
}

/// The same numbers, whoever lost them.
fn same_losses(live: &Report, again: &Report, checks: &mut Checks) {
    for name in ["ledger", "totals", "window_seconds", "kernel", "cpus"] {
        checks.same(name, &live.0[name], &again.0[name]);
    }
    let numbers = |report: &Report| -> Vec<Value> {
        report.0["stages"].as_array().into_iter().flatten().map(|stage| stage["counters"].clone()).collect()
    };
    checks.same("counters", numbers(live), numbers(again));
    let told = |report: &Report| -> Vec<Value> {
        let findings = report.0["findings"].as_array().into_iter().flatten();
        findings.map(|finding| serde_json::json!([finding["id"], finding["lost"], finding["severity"]])).collect()
    };
    checks.same("findings", told(live), told(again));
    let sources = |report: &Report| -> Vec<Value> {
        let sources = report.0["sources"].as_array().into_iter().flatten();
        sources.map(|source| serde_json::json!([source["name"], source["ok"], source["reason"]])).collect()
    };
    checks.same("sources", sources(live), sources(again));
}

/// No name and no address of this host is in any byte of the bundle, nor in the names of its files.
fn strangers(lab: &Lab, family: Family, bundle: &Path, checks: &mut Checks) -> Outcome {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let own_cgroup = fs::read_to_string("/proc/self/cgroup")?;
    let mut secrets: Vec<(String, Vec<u8>)> =
        ["acme", ALIAS, lab.server.name.as_str()].map(|secret| (secret.to_owned(), secret.as_bytes().to_vec())).into();
    let groups = own_cgroup.split(['/', ':', '\n']).filter(|part| part.len() > 12 && !part.starts_with("name="));
    secrets.extend(groups.map(|part| (part.to_owned(), part.as_bytes().to_vec())));
    let addresses =
        [family.client(), family.server(0).ip(), IpAddr::from([10, 77, 0, 1]), IpAddr::from([10, 77, 0, 2])];
    for address in addresses {
        secrets.push((address.to_string(), address.to_string().into_bytes()));
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        secrets.push((format!("{address} in binary"), bytes));
    }
    secrets.push(("the hardware address".into(), vec![0x02, 0x00, 0x00, 0x77, 0x00, 0x02]));
    for path in files(bundle)? {
        let name = path.strip_prefix(bundle).unwrap_or(&path).to_string_lossy().into_owned();
        let bytes = fs::read(&path)?;
        for (what, secret) in &secrets {
            let held =
                [name.as_bytes(), &bytes].iter().any(|held| held.windows(secret.len()).any(|part| part == secret));
            checks.that(!held, format_args!("{name} holds {what}"));
        }
        // Short names may stand in other words.
        for short in [SERVER_DEVICE, hostname.trim()] {
            // The kernel has a folder that may be called as the host is.
            let text = format!("{name} {}", String::from_utf8_lossy(&bytes)).replace("proc/sys/vm/", "");
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            checks.that(!words.any(|word| word == short), format_args!("{name} holds {short}"));
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { all.extend(files(&path)?) } else { all.push(path) }
    }
    Ok(all)
}

/// A file system that is too small: one error, and nothing left on it.
fn full(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_string_lossy().into_owned();
    // A mount of this one shell's own, gone with it.
    let script = "mount -t tmpfs -o size=16k none \"$1\" && \"$2\" record --interval 0 --bundle \"$1/bundle\"; \
                  echo \"code $?\"; ls -A \"$1\"";
    let shell = ["unshare", "--mount", "sh", "-c", script, "sh", &path, TOOL];
    let output = Command::new("ip").args(["netns", "exec", &lab.server.name]).args(shell).output()?;
    let (told, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut checks = Checks::default();
    checks.same("what is left, and the exit code", "code 2", told.trim());
    checks.same("lines of the error", 2, why.lines().count());
    checks.that(why.contains("No space left"), &why);
    checks.done(&why)
}
