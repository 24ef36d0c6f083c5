//! What a driver does not take on sending. No packet is freed as dropped there (a veth's full ring frees it as used up), so
//! only the hook that every sent packet passes sees it, which is attached on request.
//!
//! A veth device has a ring (of 256 packets) where its peer takes packets by NAPI; the sender then never waits. The peer's
//! NAPI runs in a thread that a long list of firewall rules makes slower than the sender.
//!
//! Oracle: datagrams sent less datagrams read, by a reader whose buffer holds them all.

use std::time::Duration;

use super::{Seen, observe_with};
use crate::backlog::Flood;
use crate::case::{Case, Checks, Outcome, again};
use crate::lab::{CLIENT_DEVICE, Family, SERVER_DEVICE};
use crate::need::Need;

const HOOK: &str = "net_dev_xmit";

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces, Need::Bpf, Need::Nft, Need::TwoCpus, Need::Ethtool];
    vec![
        Case::new("drops::veth_ring_v4", needs, full),
        Case::new("drops::per_packet_unless_asked_for", &[Need::Namespaces, Need::Bpf], unless_asked_for),
        Case::new("drops::per_packet_gives_up", &[Need::Namespaces, Need::Bpf], gives_up),
    ]
}

fn full(window: Duration) -> Outcome {
    let Flood { lab, mut reader, mut sender, send } = Flood::new(Family::V4)?;
    lab.server.exec(&["ethtool", "-K", SERVER_DEVICE, "gro", "on"])?;
    lab.client.exec(&["ethtool", "-K", CLIENT_DEVICE, "tso", "off"])?;
    // All is done by the thread: with RPS there would be another queue to overflow.
    let of_thread = "echo 0 > queues/rx-0/rps_cpus; echo 1 > threaded";
    lab.server.exec(&["sh", "-c", &format!("cd /sys/class/net/{SERVER_DEVICE}; {of_thread}")])?;
    let seen = observe_with(&lab.client, window, &["--per-packet", "--max-cpu", "100%"], || sender.ask(&send))?;
    // What the slow end has not handed over yet is not lost.
    let (mut read, mut before) = (reader.ask("drain")?, u64::MAX);
    while read != before {
        std::thread::sleep(Duration::from_millis(300));
        (before, read) = (read, reader.ask("drain")?);
    }
    let lost = seen.told.saturating_sub(read);
    if lost == 0 {
        return again("the ring held all");
    }
    let mut checks = Checks::default();
    let (count, incident) = seen.incident(HOOK);
    checks.same("packets that the driver did not take", lost, count);
    checks.same("device", Some(CLIENT_DEVICE), incident["device"].as_str());
    checks.same("stage", Some("driver_tx"), incident["stage"].as_str());
    checks.same("harm", Some("harmful"), incident["harm"].as_str());
    checks.same("why", Some("dropped"), incident["code_name"].as_str());
    checks.done(&seen.report)
}

/// The probe at the hook, as the report tells of it.
fn probe(seen: &Seen) -> Option<&serde_json::Value> {
    let probes = seen.report.0["self"]["probes"].as_array()?;
    probes.iter().find(|probe| probe["name"].as_str().is_some_and(|name| name.ends_with(HOOK)))
}

fn unless_asked_for(window: Duration) -> Outcome {
    let lab = crate::lab::Lab::new()?;
    let seen = observe_with(&lab.client, window, &[], || Ok(0))?;
    let mut checks = Checks::default();
    checks.that(probe(&seen).is_none(), "a hook on the path of every packet, and nobody asked for it");
    checks.done(&seen.report)
}

/// With nothing allowed, it goes as soon as its cost is seen, and the drops are counted on.
fn gives_up(window: Duration) -> Outcome {
    let lab = crate::lab::Lab::new()?;
    let seen = observe_with(&lab.server, window, &["--per-packet", "--max-cpu", "0%"], || {
        // Spread over the window: some before the cost is looked at, and some after.
        let mut sent = 0;
        for _ in 0..10 {
            sent += super::policy::from_client(&lab, Family::V4, &[(5061, 20)])?;
            std::thread::sleep(window / 20);
        }
        Ok(sent)
    })?;
    let mut checks = Checks::default();
    let probe = probe(&seen).unwrap_or(&serde_json::Value::Null);
    checks.same("attached at the end", Some(false), probe["attached"].as_bool());
    let why = probe["reason"].as_str().unwrap_or_default();
    checks.that(why.starts_with("gave up: "), format_args!("no reason but '{why}'"));
    seen.check(&mut checks, "NO_SOCKET", "harmless", "udp_in", seen.told)?;
    checks.done(&seen.report)
}
