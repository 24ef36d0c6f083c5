//! Hosts without a fault: no alarm, and nothing unexplained on any line of the ledger.
//!
//! The links are new, so the hellos of IPv6 (router solicitations, multicast reports) are part of it: they are
//! received, dropped by everyone who is not in their group, and no loss.

use std::net::SocketAddr;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::{Seen, observe};

const PORT: u16 = 5006;
const BULK: u64 = 50_000_000;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces];
    let mut all = vec![Case::new("quiet::idle", needs, idle)];
    for family in Family::BOTH {
        let suffix = family.suffix();
        all.push(Case::with(format!("quiet::bulk_tcp_{suffix}"), needs, move |window| bulk(family, window)));
        all.push(Case::with(format!("quiet::paced_udp_{suffix}"), needs, move |window| paced(family, window)));
    }
    all
}

fn idle(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    calm(&observe(&lab.server, window, || Ok(()))?)?;
    // Whoever sees nothing is told where to look next.
    let tool = env!("CARGO_BIN_EXE_netstat-deep");
    let screen = lab.server.exec(&[tool, "rx", "--probes", "off", "--interval", "100ms"])?;
    if !screen.contains("nothing found") {
        return again(format_args!("the machine was not quiet:\n{screen}"));
    }
    let mut checks = Checks::default();
    checks.that(screen.contains("-i 60s") && screen.contains("-i 0"), &screen);
    checks.done(&screen)
}

fn bulk(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let local = family.server(PORT).to_string();
    let mut server = Actor::start(&lab.server, "nsd-server", "tcp-server", &[&local, "128"])?;
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let seen = observe(&lab.server, window, || {
        server.tell("sink")?;
        let sent = client.ask(&format!("bulk {local} {BULK}"))?;
        Ok((sent, server.reply()?))
    })?;
    if seen.told != (BULK, BULK) {
        return again(format_args!("of {BULK} bytes sent and received: {:?}", seen.told));
    }
    calm(&seen)
}

fn paced(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let local = family.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "default"])?;
    reader.ask("greedy")?;
    let source = SocketAddr::new(family.client(), 0).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])?;
    let seen = observe(&lab.server, window, || sender.ask(&format!("send {local} 2000 200 500")))?;
    if reader.ask("drain")? != seen.told {
        return again("not all datagrams came through: the machine was too busy");
    }
    calm(&seen)
}

fn calm<T>(seen: &Seen<T>) -> Outcome {
    // Where the kernel itself lost something, the host was not quiet.
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb", "Udp.RcvbufErrors", "Udp6.RcvbufErrors"])?;
    let mut checks = Checks::default();
    checks.same("findings of warning or critical", vec![], seen.report.alarms());
    checks.that(!seen.report.ledger("ip_in").is_empty(), "a ledger without ip_in cannot say that nothing was lost");
    checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    checks.done(&seen.report)
}
