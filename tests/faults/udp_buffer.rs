//! `udp-receive-buffer-overflow`: four causes with one and the same counter, told apart by the socket.
//!
//! Oracle: datagrams that the sender's kernel took, less those that the reader ever read (it drains its queue before
//! it is asked). Exact: one datagram lost is one step of RcvbufErrors.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::kernel::Counters;
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::{check_victim, observe};
use crate::report::Finding;

const RULE: &str = "udp-receive-buffer-overflow";
const PORT: u16 = 5000;
/// A datagram of this size takes at least `TRUESIZE` of a receive buffer (data, headers and skb).
const SIZE: u64 = 1400;
const TRUESIZE: u64 = 2048;
/// More than any rmem_max that a test machine has.
const HUGE: &str = "1073741824";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The application never asks for a buffer.
    Default,
    /// It asks for more than rmem_max lets it have.
    Capped,
    /// It asks for too little by itself.
    Own,
    /// It reads too slowly for any buffer.
    Slow,
}

pub fn cases() -> Vec<Case> {
    let causes = [
        (Cause::Default, "default_buffer"),
        (Cause::Capped, "capped_by_rmem_max"),
        (Cause::Own, "own_small_buffer"),
        (Cause::Slow, "slow_reader"),
    ];
    let all = causes.into_iter().flat_map(|cause| Family::BOTH.map(|family| (cause, family)));
    let case = |((cause, name), family): ((Cause, &str), Family)| {
        let name = format!("udp_buffer::{name}_{}", family.suffix());
        Case::with(name, &[Need::Namespaces], move |window| run(cause, family, window))
    };
    let gone = Family::BOTH.map(|family| {
        let name = format!("udp_buffer::socket_gone_{}", family.suffix());
        Case::with(name, &[Need::Namespaces], move |window| socket_gone(family, window))
    });
    all.map(case).chain(gone).collect()
}

fn run(cause: Cause, family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let counter = family.udp("RcvbufErrors");
    let local = family.server(PORT).to_string();
    let buffer: &[&str] = match cause {
        Cause::Default | Cause::Slow => &["default"],
        Cause::Capped => &["ask", HUGE],
        Cause::Own => &["ask", "8192"],
    };
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&[local.as_str()], buffer].concat())?;
    let source = SocketAddr::new(family.client(), 0).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])?;

    let sent_before = if cause == Cause::Slow { fill(&lab, &counter, &local, &mut sender)? } else { 0 };
    let seen = observe(&lab.server, window, || match cause {
        Cause::Slow => trickle(&local, &mut reader, &mut sender),
        Cause::Default | Cause::Capped | Cause::Own => bursts(&local, &mut reader, &mut sender),
    })?;
    let lost_before = seen.before.get(&counter);
    let lost = (sent_before + seen.told).saturating_sub(lost_before + reader.ask("drain")?);
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb"])?;
    seen.kernel_agrees(&counter, lost)?;

    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, &counter, lost);
    seen.ledger(&mut checks, "udp_in", lost);
    seen.probed(&mut checks, RULE, "SOCKET_RCVBUFF", "udp_in", lost);
    check_victim(&mut checks, &finding, &reader, &local, lost);
    judge(cause, &finding, &mut checks)?;
    checks.done(&seen.report)
}

/// The reader ends inside the window, and its socket with it: the loss still counts, but nobody is blamed for it.
fn socket_gone(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let counter = family.udp("RcvbufErrors");
    let local = family.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "default"])?;
    let source = SocketAddr::new(family.client(), 0).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])?;

    let seen = observe(&lab.server, window, || {
        let sent = bursts(&local, &mut reader, &mut sender)?;
        let lost = sent.saturating_sub(reader.ask("drain")?);
        drop(reader);
        Ok(lost)
    })?;
    let lost = seen.told;
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb"])?;
    seen.kernel_agrees(&counter, lost)?;

    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, &counter, lost);
    seen.ledger(&mut checks, "udp_in", lost);
    seen.probed(&mut checks, RULE, "SOCKET_RCVBUFF", "udp_in", lost);
    let blamed: Vec<&Value> = finding.victims().iter().filter(|victim| !victim["pid"].is_null()).collect();
    checks.that(blamed.is_empty(), format_args!("no process is left to be a victim, found {blamed:?}"));
    checks.done(&seen.report)
}

/// Three times twice what the buffer holds, each read at once a moment later: the reader is quick, but not at hand.
pub fn bursts(local: &str, reader: &mut Actor, sender: &mut Actor) -> Outcome<u64> {
    let burst = reader.ready * 2 / TRUESIZE + 100;
    let mut sent = 0;
    for _ in 0..3 {
        sent += sender.ask(&format!("send {local} {burst} {SIZE} 0"))?;
        sleep(Duration::from_millis(120));
        reader.ask("drain")?;
        sleep(Duration::from_millis(200));
    }
    Ok(sent)
}

/// Fills the reader's queue to the brim before the window, so that it is full in all of it. Gives the datagrams sent.
fn fill(lab: &Lab, counter: &str, local: &str, sender: &mut Actor) -> Outcome<u64> {
    let mut sent = 0;
    while Counters::read(&lab.server)?.get(counter) == 0 {
        sent += sender.ask(&format!("send {local} 10 {SIZE} 0"))?;
        if sent > 10_000 {
            return again("the reader's queue does not fill");
        }
    }
    Ok(sent)
}

/// 50 datagrams a second read, 1000 a second sent, for a second. The queue stays as good as full to the window's end.
fn trickle(local: &str, reader: &mut Actor, sender: &mut Actor) -> Outcome<u64> {
    reader.ask("slow 20")?;
    sender.ask(&format!("send {local} 1000 {SIZE} 1000"))
}

/// Whether the knob that binds is named, and no other.
fn judge(cause: Cause, finding: &Finding, checks: &mut Checks) -> Outcome {
    let helpless = finding.says_no_setting_helps();
    match cause {
        Cause::Default => {
            raises(checks, finding, "net.core.rmem_default")?;
            checks.that(finding.refuses("net.core.rmem_max"), "net.core.rmem_max should be refused under `not`");
            checks.same("suggests net.core.rmem_max", 0, finding.suggestion("net.core.rmem_max").len());
            checks.that(!helpless, "a setting helps here, so `no_setting_helps` should be absent");
        }
        Cause::Capped => {
            raises(checks, finding, "net.core.rmem_max")?;
            checks.same("suggests net.core.rmem_default", 0, finding.suggestion("net.core.rmem_default").len());
            checks.that(!helpless, "a setting helps here, so `no_setting_helps` should be absent");
        }
        Cause::Own => {
            let all = finding.suggestion("SO_RCVBUF");
            checks.same("suggestions SO_RCVBUF", 1, all.len());
            let suggestion = all.first().map_or(&Value::Null, |suggestion| suggestion);
            checks.same("SO_RCVBUF: scope", Some("application"), suggestion["scope"].as_str());
            checks.same("SO_RCVBUF: appliable", Some(false), suggestion["appliable"].as_bool());
            checks.same("appliable suggestions", vec![], finding.appliable());
        }
        Cause::Slow => {
            checks.that(helpless, "no buffer is large enough for this reader: `no_setting_helps` should say so");
            checks.same("appliable suggestions", vec![], finding.appliable());
        }
    }
    Ok(())
}

/// The buffer limits are of the whole machine; older kernels do not show them in other namespaces.
fn raises(checks: &mut Checks, finding: &Finding, knob: &str) -> Outcome {
    let from = std::fs::read_to_string(format!("/proc/sys/{}", knob.replace('.', "/")))?.trim().to_owned();
    finding.raises(checks, knob, &from, "machine");
    Ok(())
}
