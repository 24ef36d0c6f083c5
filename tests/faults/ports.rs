//! Connections that find no free local port, and the settings that give more of them.
//!
//! Oracle: connects that the kernel refused with EADDRNOTAVAIL, which no counter shows.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::Output;
use std::thread::sleep;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::sending::observe;
use crate::tune::{run, text};

const PORT: u16 = 8092;
const RANGE: &str = "net/ipv4/ip_local_port_range";
const REUSE: &str = "net/ipv4/tcp_tw_reuse";
/// Ports in the range of the test.
const PORTS: u64 = 400;
/// Connects beyond it.
const BEYOND: u64 = 30;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces];
    vec![
        Case::new("ports::ip_local_port_range", needs, |_| port_range()),
        Case::new("ports::tcp_tw_reuse", needs, |_| tw_reuse()),
        Case::new("ports::several_services", needs, |_| several_services()),
    ]
}

fn service(port: u16) -> SocketAddr {
    SocketAddr::new(Family::V4.client(), port)
}

/// A host with few ports, and a peer that listens on so many of its own.
fn lab(services: u16) -> Outcome<(Lab, Vec<Actor>)> {
    let lab = Lab::new()?;
    lab.server.set(RANGE, "40000 40399")?;
    let start = |at| Actor::start(&lab.client, "nsd-service", "tcp-server", &[&service(PORT + at).to_string(), "1024"]);
    let actors = (0..services).map(start).collect::<Outcome<Vec<_>>>()?;
    Ok((lab, actors))
}

/// Connects so many times; gives the connections, and how many found no port.
fn connect(lab: &Lab, to: SocketAddr, count: u64) -> Outcome<(Vec<TcpStream>, u64)> {
    Ok(lab.server.inside(|| {
        let (mut open, mut without) = (Vec::new(), 0);
        for _ in 0..count {
            match TcpStream::connect(to) {
                Ok(stream) => open.push(stream),
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => without += 1,
                Err(error) => return Err(error),
            }
        }
        Ok((open, without))
    })?)
}

fn tune(lab: &Lab, state: &std::path::Path, knob: &str) -> Outcome<Output> {
    let args = ["tx", "--apply", "--yes", "--only", knob, "--netns", &lab.server.name, "-i", "500ms"];
    Ok(run(state, &args, &[])?)
}

/// All ports are taken; then the range is widened, and taken back.
fn port_range() -> Outcome {
    let (lab, _services) = lab(1)?;
    let to = service(PORT);
    let mut kept = Vec::new();
    let told = observe(&lab.server, || {
        let (open, without) = connect(&lab, to, PORTS + BEYOND)?;
        kept = open;
        Ok(without)
    })?;
    let mut checks = Checks::default();
    checks.same("connections", PORTS, kept.len() as u64);
    checks.same("connects without a port", BEYOND, told.traffic);
    checks.same("alarms", vec!["ephemeral-ports-exhausted"], told.report.alarms());
    let all = told.report.findings("ephemeral-ports-exhausted");
    let finding = crate::report::Finding(all.first().copied());
    checks.same("severity", Some("critical"), finding.0.and_then(|one| one["severity"].as_str()));
    let why = finding.0.and_then(|one| one["why"].as_str()).unwrap_or_default();
    let words = format!("of {PORTS} ports (40000 to 40399), connections from 10.77.0.2 to {to} hold {PORTS};");
    checks.that(why.starts_with(&words), format_args!("not '{words}': {why}"));
    let victim = finding.victims().first();
    checks.same("who", Some(u64::from(std::process::id())), victim.and_then(|victim| victim["pid"].as_u64()));
    checks.same("remote", Some(to.to_string()), victim.and_then(|one| Some(one["remote"].as_str()?.to_owned())));
    let knob = "net.ipv4.ip_local_port_range";
    checks.same("suggestions", vec![knob], finding.appliable());
    checks.that(finding.refuses("net.ipv4.tcp_fin_timeout"), "net.ipv4.tcp_fin_timeout should be refused");

    let state = tempfile::tempdir()?;
    let tuned = tune(&lab, state.path(), knob)?;
    checks.that(text(&tuned).contains("helped:"), format_args!("no verdict 'helped': {}", text(&tuned)));
    checks.same("range", vec!["10240", "65535"], lab.server.get(RANGE)?.split_whitespace().collect());
    let (more, without) = connect(&lab, to, BEYOND)?;
    checks.same("connects without a port, the range widened", 0, without);
    run(state.path(), &["revert"], &[])?;
    checks.same("range", vec!["40000", "40399"], lab.server.get(RANGE)?.split_whitespace().collect());
    let (_, without) = connect(&lab, to, BEYOND)?;
    // Some of the new ones may have taken a port of the old range.
    checks.same("connects without a port, the range narrow again", BEYOND, without);
    drop(more);
    told.done(checks)
}

/// All ports rest in TIME_WAIT; then they are given away, and taken back.
fn tw_reuse() -> Outcome {
    let (lab, mut services) = lab(1)?;
    let to = service(PORT);
    let (open, _) = connect(&lab, to, PORTS)?;
    drop(open);
    services[0].ask("accept")?;
    services[0].ask("close")?;
    // Those must be among them that no one may have for a second.
    sleep(Duration::from_millis(1200));
    let told = observe(&lab.server, || Ok(connect(&lab, to, BEYOND)?.1))?;
    if told.traffic != BEYOND {
        return again(format_args!("{} of {BEYOND} connects found no port", told.traffic));
    }
    let mut checks = Checks::default();
    let all = told.report.findings("ephemeral-ports-exhausted");
    let finding = crate::report::Finding(all.first().copied());
    let why = finding.0.and_then(|one| one["why"].as_str()).unwrap_or_default();
    checks.that(why.contains(&format!("{PORTS} of them in TIME_WAIT")), format_args!("TIME_WAIT is not named: {why}"));
    let knob = "net.ipv4.tcp_tw_reuse";
    checks.same("suggestions", vec![knob], finding.appliable());

    let state = tempfile::tempdir()?;
    let tuned = tune(&lab, state.path(), knob)?;
    checks.that(text(&tuned).contains("helped:"), format_args!("no verdict 'helped': {}", text(&tuned)));
    checks.same("tcp_tw_reuse", "1".into(), lab.server.get(REUSE)?);
    let (more, without) = connect(&lab, to, BEYOND)?;
    checks.same("connects without a port, given away", 0, without);
    run(state.path(), &["revert"], &[])?;
    checks.same("tcp_tw_reuse", "2".into(), lab.server.get(REUSE)?);
    let (_, without) = connect(&lab, to, BEYOND)?;
    checks.same("connects without a port, kept again", BEYOND, without);
    drop(more);
    told.done(checks)
}

/// More connections than there are ports, to two services: nobody is short of any.
fn several_services() -> Outcome {
    const EACH: u64 = PORTS * 3 / 4;
    let (lab, _services) = lab(2)?;
    let told = observe(&lab.server, || {
        let one = connect(&lab, service(PORT), EACH)?;
        let other = connect(&lab, service(PORT + 1), EACH)?;
        sleep(Duration::from_millis(200));
        Ok((one, other))
    })?;
    let ((one, _), (other, _)) = &told.traffic;
    let mut checks = Checks::default();
    checks.same("connections", 2 * EACH, (one.len() + other.len()) as u64);
    checks.same("alarms", vec![], told.report.alarms());
    checks.same("findings", 0, told.report.findings("ephemeral-ports-exhausted").len());
    let looked =
        told.report.0["sources"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "sock_diag ports"));
    checks.that(looked, "the ports were not looked at");
    told.done(checks)
}
