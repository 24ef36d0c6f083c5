//! `accept-queue-overflow`: a short queue of the application's own, a short queue by somaxconn, and a server that
//! does not accept.
//!
//! Oracle: SYNs that the client's namespace sent (Tcp.ActiveOpens + TcpExt.TCPSynRetrans there), less the connects
//! that came through. Exact, because the queue is filled one connect after the other before more arrive: then each
//! SYN is refused and no final ACK is, which would count a second time.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome};
use crate::kernel::Counters;
use crate::lab::{Family, Lab, Namespace};
use crate::need::Need;
use crate::observe::{check_victim, observe};
use crate::report::Finding;

const RULE: &str = "accept-queue-overflow";
const PORT: u16 = 8080;
const BURST: u64 = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// `listen(4)`.
    Own,
    /// `listen(1024)`, cut down to 8.
    Somaxconn,
    /// Nothing is accepted in the window.
    Stalled,
}

pub fn cases() -> Vec<Case> {
    let causes = [
        (Cause::Own, "own_small_backlog"),
        (Cause::Somaxconn, "capped_by_somaxconn"),
        (Cause::Stalled, "never_accepts"),
    ];
    let all = causes.into_iter().flat_map(|cause| Family::BOTH.map(|family| (cause, family)));
    let case = |((cause, name), family): ((Cause, &str), Family)| {
        let name = format!("accept_queue::{name}_{}", family.suffix());
        // The stalled server's window holds a repeated SYN, which comes after a second.
        let seconds = if cause == Cause::Stalled { 3 } else { 2 };
        Case::with(name, &[Need::Namespaces], move |window| run(cause, family, window)).seconds(seconds)
    };
    let nearly = Family::BOTH.into_iter().flat_map(|family| {
        [("nearly_full", BACKLOG_NEARLY - 1), ("just_full", BACKLOG_NEARLY)].map(|(name, waiting)| {
            let name = format!("accept_queue::{name}_{}", family.suffix());
            Case::with(name, &[Need::Namespaces], move |window| nearly_full(waiting, family, window))
        })
    });
    all.map(case).chain(nearly).collect()
}

const BACKLOG_NEARLY: u64 = 10;

/// So many wait, and nothing is lost: that is a remark, and a warning if the next one but one will be turned away.
///
/// Oracle: connects that came through and were not accepted.
fn nearly_full(waiting: u64, family: Family, window: Duration) -> Outcome {
    const RULE: &str = "accept-queue-nearly-full";
    let lab = Lab::new()?;
    let local = family.server(PORT).to_string();
    let server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, &BACKLOG_NEARLY.to_string()])?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let seen = observe(&lab.server, window, || client.ask(&format!("fill {local} {waiting}")))?;
    seen.only_as_planned(&["TcpExt.ListenDrops"])?;
    let mut checks = Checks::default();
    let all = seen.report.findings(RULE);
    checks.same(&format!("findings {RULE}"), 1, all.len());
    let finding = Finding(all.first().copied());
    let severity = if waiting < BACKLOG_NEARLY { "info" } else { "warning" };
    checks.same("severity", Some(severity), finding.0.and_then(|finding| finding["severity"].as_str()));
    check_victim(&mut checks, &finding, &server, &local, 0);
    let queue = finding.victims().first().map_or(&Value::Null, |victim| &victim["queue"]);
    checks.same("queue", &serde_json::json!([seen.told, BACKLOG_NEARLY]), queue);
    checks.same("suggestions listen.backlog", 1, finding.suggestion("listen.backlog").len());
    checks.same("alarms", usize::from(waiting >= BACKLOG_NEARLY), seen.report.alarms().len());
    checks.done(&seen.report)
}

fn run(cause: Cause, family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let local = family.server(PORT).to_string();
    let (backlog, limit) = match cause {
        Cause::Own => ("4", 4),
        Cause::Somaxconn => {
            lab.server.set("net/core/somaxconn", "8")?;
            ("1024", 8)
        }
        Cause::Stalled => ("64", 64),
    };
    let mut server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, backlog])?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    // The kernel lets one more in than the backlog says.
    let room = limit + 1;
    if cause == Cause::Stalled {
        client.ask(&format!("fill {local} {room}"))?;
    }

    let seen = observe(&lab.server, window, || {
        let before = syns(&lab.client)?;
        let through = match cause {
            Cause::Stalled => flood(&local, &mut client)?,
            Cause::Own | Cause::Somaxconn => rounds(&local, room, &mut client, &mut server)?,
        };
        Ok(syns(&lab.client)? - before - through)
    })?;
    let lost = seen.told;
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb"])?;
    seen.kernel_agrees("TcpExt.ListenOverflows", lost)?;

    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, RULE, "TcpExt.ListenOverflows", lost);
    seen.ledger(&mut checks, "tcp_listen", lost);
    // Their packets are used up and not freed as dropped: only the counters know.
    seen.probed(&mut checks, RULE, "TCP_LISTEN_OVERFLOW", "tcp_listen", 0);
    check_victim(&mut checks, &finding, &server, &local, lost);
    judge(cause, &finding, &mut checks);
    checks.done(&seen.report)
}

pub fn syns(client: &Namespace) -> Outcome<u64> {
    let counters = Counters::read(client)?;
    Ok(counters.get("Tcp.ActiveOpens") + counters.get("TcpExt.TCPSynRetrans"))
}

/// Three times: the queue fills, more come and are refused, all that wait are accepted. Gives the connects that came
/// through. The refused give up before they would send their SYN again into a queue that has room.
fn rounds(local: &str, room: u64, client: &mut Actor, server: &mut Actor) -> Outcome<u64> {
    let mut through = 0;
    for _ in 0..3 {
        through = client.ask(&format!("fill {local} {room}"))?;
        client.ask(&format!("burst {local} {BURST}"))?;
        sleep(Duration::from_millis(150));
        client.ask("abandon")?;
        server.ask("accept")?;
        sleep(Duration::from_millis(150));
    }
    Ok(through)
}

/// Connects into the full queue, each SYN sent twice.
fn flood(local: &str, client: &mut Actor) -> Outcome<u64> {
    client.ask(&format!("burst {local} {BURST}"))?;
    sleep(Duration::from_millis(1300));
    client.ask("abandon")?;
    Ok(0)
}

fn judge(cause: Cause, finding: &Finding, checks: &mut Checks) {
    let helpless = finding.says_no_setting_helps();
    match cause {
        Cause::Own => {
            let all = finding.suggestion("listen.backlog");
            checks.same("suggestions listen.backlog", 1, all.len());
            let suggestion = all.first().map_or(&Value::Null, |suggestion| suggestion);
            checks.same("listen.backlog: scope", Some("application"), suggestion["scope"].as_str());
            checks.same("listen.backlog: appliable", Some(false), suggestion["appliable"].as_bool());
            checks.same("listen.backlog: from", Some("4"), suggestion["from"].as_str());
            checks.same("appliable suggestions", vec![], finding.appliable());
            checks.that(helpless, "only the application can raise its backlog: `no_setting_helps` should say so");
        }
        Cause::Somaxconn => {
            finding.raises(checks, "net.core.somaxconn", "8", "netns");
            checks.that(!helpless, "a setting helps here, so `no_setting_helps` should be absent");
        }
        Cause::Stalled => {
            checks.same("appliable suggestions", vec![], finding.appliable());
            checks.that(helpless, "the server does not accept: `no_setting_helps` should say so");
        }
    }
}
