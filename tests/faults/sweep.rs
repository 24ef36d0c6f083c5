//! An apply of eight steps, killed at one call after the other; the next `revert` finds every value as it was.
//!
//! In every run of the tests: at each call that changes something outside of the process. With FAULTS_SWEEP=all: at each
//! system call there is, from opening the journal to the verdict (about half an hour):
//! `FAULTS_SWEEP=all cargo test --test faults sweep::`
//!
//! Oracle: the eight settings as they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Outcome, again, wrong};
use crate::guard;
use crate::lab::{CLIENT_DEVICE, Family, Lab, batch, ip};
use crate::need::Need;
use crate::tune::{run, text};

const STEPS: usize = 8;
const PORT: u16 = 5050;
/// Calls by which a process changes something outside of itself.
const CHANGING: [&str; 7] = ["write", "rename", "fsync", "mkdir", "unlink", "ftruncate", "flock"];
/// Before it opens its journal, a run may make so many calls of a name less than another.
const SLACK: u32 = 20;
/// Machine-wide, so lowered for the time of the test (by a guard that puts them back).
const LOWERED: [(&str, u32); 3] =
    [("net/core/rmem_default", 212_992), ("net/core/rmem_max", 100_000), ("net/netfilter/nf_conntrack_max", 100)];
/// The namespace's own.
const OWN: [&str; 5] = [
    "net/core/somaxconn",
    "net/ipv4/conf/vb/rp_filter",
    "net/ipv4/conf/vb1/rp_filter",
    "net/ipv4/conf/vb2/rp_filter",
    "net/ipv4/conf/vb3/rp_filter",
];

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces, Need::Nft, Need::Conntrack, Need::Strace, Need::MachineWide];
    vec![Case::new("sweep::killed_at_every_call_of_eight_steps", needs, |_| sweep())]
}

fn sweep() -> Outcome {
    let lab = Lab::new()?;
    let _guard = guard::lower_all(&LOWERED)?;
    let storm = Storm::start(&lab)?;
    let before = values(&lab)?;
    let state = tempfile::tempdir()?;
    let all = std::env::var_os("FAULTS_SWEEP").is_some_and(|which| which == "all");
    let flags = ["tune", "--apply", "--yes", "--keep", "--netns", &lab.server.name, "-i", "200ms"];
    let calls = if all { Call::all_of(state.path(), &flags)? } else { CHANGING.map(Call::from_its_first).into() };
    let (mut most, mut tried) = (0, 0);
    for Call { name, first } in calls {
        for n in first.. {
            storm.still_blows()?;
            let kill = format!("inject={name}:signal=KILL:when={n}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &kill];
            let tuned = run(state.path(), &flags, &strace)?;
            most = most.max(changed(&before, &values(&lab)?));
            let reverted = run(state.path(), &["revert", "--all"], &[])?;
            let after = values(&lab)?;
            if after != before || !reverted.status.success() {
                let said = text(&reverted);
                return wrong(format_args!(
                    "killed at {name} {n}: {before:?} is {after:?} after revert, which says {said}"
                ));
            }
            tried += 1;
            // It made fewer calls of this name than that.
            if tuned.status.success() {
                break;
            }
        }
    }
    if most < STEPS {
        return again(format_args!("{most} steps at most, not {STEPS}"));
    }
    eprintln!("sweep: {tried} kill points tried, {STEPS} steps");
    Ok(())
}

/// A system call, and from which of its calls on to kill.
struct Call {
    name: String,
    first: u32,
}

impl Call {
    fn from_its_first(name: &str) -> Self {
        Call { name: name.into(), first: 1 }
    }

    /// Every call that the main thread makes once it has opened its journal.
    fn all_of(state: &Path, flags: &[&str]) -> Outcome<Vec<Self>> {
        let trace = tempfile::NamedTempFile::new()?;
        let file = trace.path().to_string_lossy().into_owned();
        run(state, flags, &["strace", "-f", "-qq", "-o", &file])?;
        run(state, &["revert", "--all"], &[])?;
        let mut before: BTreeMap<String, u32> = BTreeMap::new();
        let mut after = BTreeSet::new();
        let (mut main, mut opened) = (String::new(), false);
        for line in BufReader::new(trace.as_file()).lines() {
            let line = line?;
            let Some((thread, call)) = line.split_once(' ') else { continue };
            if main.is_empty() {
                main = thread.into();
            }
            // A call that another thread's came in between stands in two lines.
            let name = call.trim_start().split('(').next().unwrap_or_default().to_owned();
            if thread != main || name.starts_with(['<', '+', '-']) {
                continue;
            }
            opened |= line.contains("/lock\"");
            if opened {
                after.insert(name);
            } else {
                *before.entry(name).or_default() += 1;
            }
        }
        let first = |name: &String| before.get(name).map_or(1, |count| count.saturating_sub(SLACK).max(1));
        Ok(after.into_iter().map(|name| Call { first: first(&name), name }).collect())
    }
}

fn values(lab: &Lab) -> Outcome<Vec<String>> {
    let machine =
        LOWERED.iter().map(|(path, _)| Ok(std::fs::read_to_string(format!("/proc/sys/{path}"))?.trim().into()));
    machine.chain(OWN.iter().map(|path| lab.server.get(path))).collect()
}

fn changed(before: &[String], now: &[String]) -> usize {
    before.iter().zip(now).filter(|(before, now)| before != now).count()
}

/// Eight faults that go on until it is dropped: a full accept queue, strays on four devices, two readers that pause (one
/// with the default buffer, one with a capped one), and a conntrack table that is nearly full.
struct Storm {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Outcome>>,
}

impl Storm {
    fn start(lab: &Lab) -> Outcome<Self> {
        let mut storm = Storm { over: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        storm.blow(connects(lab)?);
        storm.blow(strays(lab)?);
        storm.blow(bursts(lab)?);
        storm.blow(flows(lab)?);
        sleep(Duration::from_millis(200));
        Ok(storm)
    }

    fn blow(&mut self, mut gust: impl FnMut() -> Outcome + Send + 'static) {
        let over = Arc::clone(&self.over);
        self.threads.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                gust()?;
            }
            Ok(())
        }));
    }

    fn still_blows(&self) -> Outcome {
        match self.threads.iter().any(JoinHandle::is_finished) {
            true => again("one of the faults has ended"),
            false => Ok(()),
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                ended => eprintln!("a fault ended badly: {ended:?}"),
            }
        }
    }
}

fn connects(lab: &Lab) -> Outcome<impl FnMut() -> Outcome + Send + use<>> {
    lab.server.set(OWN[0], "8")?;
    let local = Family::V4.server(PORT).to_string();
    let mut server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "1024"])?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    Ok(move || {
        client.ask(&format!("burst {local} 40"))?;
        sleep(Duration::from_millis(40));
        client.ask("abandon")?;
        server.ask("accept")?;
        server.ask("close")?;
        sleep(Duration::from_millis(10));
        Ok(())
    })
}

/// Three more veth pairs, and datagrams over each from an address that the server would answer by another way.
fn strays(lab: &Lab) -> Outcome<impl FnMut() -> Outcome + Send + use<>> {
    let (client, server) = (lab.client.name.as_str(), lab.server.name.as_str());
    let mut towards = vec![Family::V4.server(PORT + 9).to_string()];
    batch(client, &[format!("addr add 10.78.0.1/32 dev {CLIENT_DEVICE}")])?;
    batch(server, &["route add 10.78.0.0/24 dev lo".into()])?;
    lab.server.set("net/ipv4/conf/all/rp_filter", "0")?;
    for n in 1..4 {
        let (near, far, mac) = (format!("va{n}"), format!("vb{n}"), format!("02:00:00:77:01:0{n}"));
        let link = ["link", "add", &near, "netns", client, "type", "veth", "peer", "name", &far];
        ip(&[&link[..], &["address", &mac, "netns", server]].concat())?;
        batch(
            client,
            &[
                format!("link set {near} up"),
                format!("addr add 10.77.{n}.1/30 dev {near}"),
                format!("neigh replace 10.77.{n}.2 lladdr {mac} nud permanent dev {near}"),
            ],
        )?;
        batch(server, &[format!("link set {far} up"), format!("addr add 10.77.{n}.2/30 dev {far}")])?;
        towards.push(format!("10.77.{n}.2:{}", PORT + 9));
    }
    OWN[1..].iter().try_for_each(|path| lab.server.set(path, "1"))?;
    let mut sender = Actor::start(&lab.client, "nsd-stray", "udp-sender", &["10.78.0.1:0", "1", "any"])?;
    Ok(move || towards.iter().try_for_each(|to| sender.ask(&format!("send {to} 10 100 500")).map(drop)))
}

fn bursts(lab: &Lab) -> Outcome<impl FnMut() -> Outcome + Send + use<>> {
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    let mut readers = Vec::new();
    for (port, buffer) in [(PORT + 1, &["default"][..]), (PORT + 2, &["ask", "1073741824"])] {
        let local = Family::V4.server(port).to_string();
        let reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&[local.as_str()], buffer].concat())?;
        readers.push((local, reader));
    }
    Ok(move || {
        for (local, reader) in &mut readers {
            sender.ask(&format!("send {local} 200 1400 0"))?;
            sleep(Duration::from_millis(20));
            reader.ask("drain")?;
        }
        sleep(Duration::from_millis(10));
        Ok(())
    })
}

/// Eighty-five flows, of which each is remembered for half a minute. TCP is not tracked: its flows would come on top.
fn flows(lab: &Lab) -> Outcome<impl FnMut() -> Outcome + Send + use<>> {
    lab.server.nft(
        "add table inet t; add chain inet t r { type filter hook prerouting priority -300; }; \
         add rule inet t r meta l4proto tcp notrack; add chain inet t o { type filter hook output priority -300; }; \
         add rule inet t o meta l4proto tcp notrack; add chain inet t i { type filter hook input priority 0; }; \
         add rule inet t i ct state new counter accept",
    )?;
    let local = Family::V4.server(PORT + 3).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "1048576"])?;
    reader.ask("greedy")?;
    let mut sender = Actor::start(&lab.client, "nsd-flows", "udp-sender", &["10.77.0.1:0", "85", "any"])?;
    Ok(move || {
        // The reader lives as long as its flows do.
        let _read_so_far = reader.ask("greedy")?;
        sender.ask(&format!("send {local} 85 100 0"))?;
        sleep(Duration::from_millis(300));
        Ok(())
    })
}
