//! Datagrams that are lost for other reasons than a full buffer: `udp-checksum-errors`, `udp-memory-exhausted`.
//!
//! Oracle: what was sent less what was read. Exact: each lost datagram is one step of a counter or, for want of memory on
//! kernels that count it nowhere else, of the socket's own drops.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread::sleep;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::frame::{self, Wire};
use crate::guard;
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::{check_victim, observe};
use crate::report::Finding;

const PORT: u16 = 5032;
const EACH: u64 = 60;

pub fn cases() -> Vec<Case> {
    let alone = &[Need::Namespaces, Need::MachineWide];
    vec![
        Case::new("udp_loss::wrong_checksums", &[Need::Namespaces], wrong_checksums),
        Case::new("udp_loss::memory_limit", alone, memory_limit),
    ]
}

/// As many right ones come through.
fn wrong_checksums(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), PORT);
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&to.to_string(), "force", "1048576"])?;
    // Checksums are looked at when somebody reads.
    reader.ask("greedy")?;
    let mut wire = Wire::new(&lab)?;
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 5033);
    let frames = [0, 1].map(|off| frame::to_server(&frame::udp(from, to, off)));
    let seen = observe(&lab.server, window, || {
        let sent = [wire.send(EACH, &frames[0])?, wire.send(EACH, &frames[1])?];
        sleep(Duration::from_millis(100));
        Ok(sent)
    })?;
    let [right, wrong] = seen.told;
    let read = reader.ask("drain")?;
    if read != right {
        return again(format_args!("{read} of {right} right datagrams were read"));
    }
    seen.only_as_planned(&["softnet.dropped", "Udp.RcvbufErrors"])?;
    seen.kernel_agrees("Udp.InCsumErrors", wrong)?;
    let mut checks = Checks::default();
    let finding = seen.finding(&mut checks, "udp-checksum-errors", "Udp.InCsumErrors", wrong);
    checks.that(finding.says_no_setting_helps(), "no setting helps, and that should be said");
    seen.ledger(&mut checks, "udp_in", wrong);
    checks.same("lines with something unexplained", vec![], seen.report.unexplained());
    checks.same("findings of used-up memory", 0, seen.report.findings("udp-memory-exhausted").len());
    checks.done(&seen.report)
}

fn memory_limit(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let local = Family::V4.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "67108864"])?;
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    let lowered = guard::lower("net/ipv4/udp_mem", "2 2 2")?;
    let seen = observe(&lab.server, window, || sender.ask(&format!("send {local} 3000 1400 20")));
    drop(lowered);
    let seen = seen?;
    let lost = seen.told.saturating_sub(reader.ask("drain")?);
    if lost == 0 {
        return again("nothing was lost");
    }
    seen.only_as_planned(&["softnet.dropped", "link.rx_dropped@vb", "Udp.RcvbufErrors"])?;
    let mut checks = Checks::default();
    let all = seen.report.findings("udp-memory-exhausted");
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    let counted = seen.grew("Udp.MemErrors");
    let counter = if counted > 0 { "Udp.MemErrors" } else { "sockets.udp_uncounted" };
    checks.same(&format!("evidence {counter}"), Some(lost), finding.evidence(counter));
    checks.same("severity", Some("critical"), finding.0.and_then(|finding| finding["severity"].as_str()));
    checks.same("lost", Some(lost), finding.0.and_then(|finding| finding["lost"].as_u64()));
    check_victim(&mut checks, &finding, &reader, &local, lost);
    seen.ledger(&mut checks, "udp_in", lost);
    let knob = finding.suggestion("net.ipv4.udp_mem");
    checks.same("suggestions net.ipv4.udp_mem", 1, knob.len());
    let raised = knob.first().is_some_and(|knob| knob["from"] == "2 2 2" && knob["scope"] == "machine");
    checks.that(raised, "net.ipv4.udp_mem should be raised from 2 2 2, for the machine");
    checks.same("findings of a full buffer", 0, seen.report.findings("udp-receive-buffer-overflow").len());
    checks.done(&seen.report)
}
