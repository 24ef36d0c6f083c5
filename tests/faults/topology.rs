//! Which CPU does whose work: queues and masks that are crooked, as `topology` tells of them.
//!
//! Beside the lab's own pair there is another with four queues at each end: wa 10.79.0.1 in the client's namespace, wb
//! 10.79.0.2 in the server's. mq counts what leaves through each queue, veth what each queue of a polled end took in.

use std::collections::BTreeMap;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{Family, Lab, Namespace, SERVER_DEVICE, batch, ip};
use crate::need::Need;
use crate::observe::inside;
use crate::report::{Finding, Report};
use crate::tool;
use crate::tune::{run, text};

const PORT: u16 = 5040;
const ADDRESS: &str = "10.79.0.2:5040";
/// The namespace's loads are small; and a CPU that the hypervisor lent to others is no reason to look away here.
const LIMITS: &str = "[tx-queues-uneven]\npackets_per_second = 10\n[rx-queues-uneven]\npackets_per_second = 10\n\
                      [softirq-on-one-cpu]\nbusy_percent = 10\nsteal_percent = 101\n\
                      [rps-interrupts-costly]\nshare_percent = 1\ncpu_percent = 0.01\n";

pub fn cases() -> Vec<Case> {
    const HERE: &[Need] = &[Need::Namespaces, Need::TwoCpus];
    const POLLED: &[Need] = &[Need::Namespaces, Need::TwoCpus, Need::Ethtool];
    const BUSY: &[Need] = &[Need::Namespaces, Need::Nft, Need::TwoCpus, Need::MachineWide];
    const WOKEN: &[Need] = &[Need::Namespaces, Need::TwoCpus, Need::MachineWide];
    vec![
        Case::new("topology::tx_queues_uneven", HERE, |window| sent(window, true)),
        Case::new("topology::tx_queues_even", HERE, |window| sent(window, false)),
        Case::new("topology::rx_queues_uneven", POLLED, taken),
        Case::new("topology::softirq_on_one_cpu", BUSY, one_cpu),
        Case::new("topology::rps_interrupts_costly", WOKEN, woken),
        Case::new("topology::xps_cpus", HERE, |_| closed_loop()),
    ]
}

/// Runs `topology` on a namespace, with the traffic inside its window.
fn look<T>(namespace: &Namespace, window: Duration, traffic: impl FnOnce() -> Outcome<T>) -> Outcome<(Report, T)> {
    let limits = limits()?;
    let path = limits.path().display().to_string();
    let args = ["topology", "--json", "--netns", &namespace.name, "--thresholds", &path];
    let run = tool::start_with(&args, window);
    let begun = |_: &tool::Run| {
        sleep(Duration::from_millis(600).max(window * 3 / 10));
        Ok(())
    };
    let ([report], told) = inside([run], begun, traffic)?;
    Ok((report, told))
}

fn limits() -> Outcome<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(LIMITS.as_bytes())?;
    Ok(file)
}

/// A lab with the second pair, whose client sends through one queue, or each CPU through its own.
fn lab(all_to_one: bool) -> Outcome<Lab> {
    let lab = Lab::new()?;
    let (client, server) = (lab.client.name.as_str(), lab.server.name.as_str());
    let queues = ["numtxqueues", "4", "numrxqueues", "4"];
    let near = [&["link", "add", "wa"], &queues[..], &["netns", client, "type", "veth"]].concat();
    ip(&[&near[..], &["peer", "name", "wb"], &queues, &["netns", server]].concat())?;
    for (end, device, host, other) in [(client, "wa", 1, 2), (server, "wb", 2, 1)] {
        batch(
            end,
            &[
                // Nothing but the test's own packets may leave.
                format!("link set {device} address 02:00:00:79:00:0{host} addrgenmode none"),
                format!("link set {device} up"),
                format!("addr add 10.79.0.{host}/30 dev {device}"),
                format!("neigh replace 10.79.0.{other} lladdr 02:00:00:79:00:0{other} nud permanent dev {device}"),
            ],
        )?;
    }
    lab.client.exec(&["tc", "qdisc", "replace", "dev", "wa", "root", "mq"])?;
    let masks = if all_to_one { [every_cpu()?, "0".into()] } else { ["1".into(), "2".into()] };
    for (queue, mask) in masks.iter().enumerate() {
        set_mask(&lab.client, "wa", &format!("tx-{queue}/xps_cpus"), mask)?;
    }
    Ok(lab)
}

/// A bitmap with all CPUs that are online, as far as one group of it reaches.
fn every_cpu() -> Outcome<String> {
    let cpus = std::thread::available_parallelism()?.get().min(32);
    Ok(format!("{:x}", u64::MAX >> (64 - cpus)))
}

fn set_mask(namespace: &Namespace, device: &str, queue: &str, mask: &str) -> Outcome {
    let write = format!("echo {mask} > /sys/class/net/{device}/queues/{queue}");
    namespace.exec(&["sh", "-c", &write]).map(drop)
}

/// Packets that left through each queue of wa, as tc says.
fn by_queue(lab: &Lab) -> Outcome<BTreeMap<String, u64>> {
    let all: Vec<Value> = serde_json::from_str(&lab.client.exec(&["tc", "-s", "-j", "qdisc", "show", "dev", "wa"])?)?;
    let queue = |qdisc: &Value| {
        let class = qdisc["parent"].as_str()?.rsplit(':').next()?.to_owned();
        Some((class, qdisc["packets"].as_u64()?))
    };
    Ok(all.iter().filter_map(queue).collect())
}

fn senders(lab: &Lab) -> Outcome<[Actor; 2]> {
    let start = |cpu: &str| Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.79.0.1:0", "1", cpu]);
    Ok([start("0")?, start("1")?])
}

fn sent(window: Duration, all_to_one: bool) -> Outcome {
    let lab = lab(all_to_one)?;
    let _reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[ADDRESS, "force", "16777216"])?;
    let mut senders = senders(&lab)?;
    let before = by_queue(&lab)?;
    let (report, told) = look(&lab.client, window, || {
        senders.iter_mut().map(|sender| sender.ask(&format!("send {ADDRESS} 500 100 200"))).sum::<Outcome<u64>>()
    })?;
    let grew: BTreeMap<String, u64> = by_queue(&lab)?
        .into_iter()
        .map(|(queue, now)| (queue.clone(), now - before.get(&queue).unwrap_or(&0)))
        .collect();
    let wanted = if all_to_one { [told, 0] } else { [told / 2; 2] };
    if ["1", "2"].map(|queue| grew.get(queue).copied().unwrap_or(0)) != wanted {
        return again(format_args!("{told} were sent, and left through {grew:?}"));
    }
    let mut checks = Checks::default();
    let all = report.findings("tx-queues-uneven");
    checks.same("findings", usize::from(all_to_one), all.len());
    if all_to_one {
        let finding = Finding(all.first().copied());
        checks.same("mq.packets", Some(told), finding.evidence("mq.packets"));
        let turned: Vec<String> = finding.suggestion("xps_cpus").iter().map(|one| turn(one)).collect();
        checks.that(
            turned.first().is_some_and(|first| first == &format!("tx-0 {} 1", every_cpu().unwrap_or_default()))
                || std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 4),
            format_args!("{turned:?}"),
        );
        checks.that(turned.iter().any(|turn| turn.starts_with("tx-1 0 2")), format_args!("{turned:?}"));
    } else {
        checks.same("alarms", vec![], report.alarms());
    }
    checks.same("packets a second of tx-0", true, rate(&report, "wa", "tx-0") > Some(0.0));
    checks.done(&report)
}

fn turn(suggestion: &Value) -> String {
    let [queue, from, to] = [&suggestion["instance"]["queue"], &suggestion["from"], &suggestion["to"]];
    [queue, from, to].map(|word| word.as_str().unwrap_or("?")).join(" ")
}

fn rate(report: &Report, device: &str, queue: &str) -> Option<f64> {
    let devices = report.0["devices"].as_array()?;
    let queues = devices.iter().find(|place| place["device"] == device)?["queues"].as_array()?;
    queues.iter().find(|place| place["queue"] == queue)?["packets_per_second"].as_f64()
}

/// Many connections and a flood, all of which arrive on one of four queues.
fn taken(window: Duration) -> Outcome {
    let lab = lab(true)?;
    // Then packets are polled by queue, and counted so (drivers/net/veth.c veth_skb_is_eligible_for_napi()).
    lab.server.exec(&["ethtool", "-K", "wb", "gro", "on"])?;
    lab.client.exec(&["ethtool", "-K", "wa", "tso", "off"])?;
    let reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[ADDRESS, "force", "16777216"])?;
    let _server = Actor::start(&lab.server, "nsd-server", "tcp-server", &["10.79.0.2:5041", "1024"])?;
    let mut clients = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    clients.ask("burst 10.79.0.2:5041 150")?;
    let mut senders = senders(&lab)?;
    let (report, told) = look(&lab.server, window, || {
        senders.iter_mut().map(|sender| sender.ask(&format!("send {ADDRESS} 500 100 200"))).sum::<Outcome<u64>>()
    })?;
    drop(reader);
    let mut checks = Checks::default();
    let all = report.findings("rx-queues-uneven");
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    checks.same("severity", Some("warning"), finding.0.and_then(|finding| finding["severity"].as_str()));
    let counted = finding.evidence("nic_queue.rx_packets").unwrap_or(0);
    // A connection that was not quite made may answer once more.
    checks.that((told..told + 50).contains(&counted), format_args!("{counted} of {told} datagrams"));
    checks.that(finding.says_no_setting_helps(), "no setting mends the flows' hash of a veth");
    checks.done(&report)
}

/// An RPS mask of one CPU, and firewall rules that make each packet dear to it.
fn one_cpu(window: Duration) -> Outcome {
    const RULE: &str = "softirq-on-one-cpu";
    let lab = Lab::new()?;
    set_mask(&lab.server, SERVER_DEVICE, "rx-0/rps_cpus", "2")?;
    let rules: String = (10_000..26_000).map(|port| format!("add rule inet t i udp dport {port}\n")).collect();
    let chain = "add table inet t\nadd chain inet t i { type filter hook input priority 0; }\n";
    lab.server.nft_file(&format!("{chain}{rules}"))?;
    let local = Family::V4.server(PORT).to_string();
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "67108864"])?;
    reader.ask("greedy")?;
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "64", "0"])?;
    let (report, [before, after]) = look(&lab.server, window, || {
        let before = softirqs()?;
        sender.ask(&format!("send {local} 4000 100 150"))?;
        Ok([before, softirqs()?])
    })?;
    let grew = [0, 1].map(|cpu| after[cpu] - before[cpu]);
    if grew[1] < 40 || grew[0] * 3 > grew[1] {
        return again(format_args!("ticks in softirqs: {grew:?}"));
    }
    let mut checks = Checks::default();
    let all = report.findings(RULE);
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    checks.same("cpu", Some(1), finding.0.and_then(|finding| finding["instance"]["cpu"].as_u64()));
    let turned: Vec<String> = finding.suggestion("rps_cpus").iter().map(|one| turn(one)).collect();
    checks.that(turned.iter().any(|turn| turn.starts_with("rx-0 2 3")), format_args!("{turned:?}"));
    checks.done(&report)
}

/// Ticks that each CPU spent in softirqs.
fn softirqs() -> Outcome<Vec<u64>> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let cpu = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split(' ');
        words.next()?.parse::<u32>().ok()?;
        words.nth(6)?.parse().ok()
    };
    Ok(text.lines().filter_map(cpu).collect())
}

/// Single packets that are passed on to another CPU, which sleeps in between.
fn woken(window: Duration) -> Outcome {
    const RULE: &str = "rps-interrupts-costly";
    let lab = Lab::new()?;
    set_mask(&lab.server, SERVER_DEVICE, "rx-0/rps_cpus", "2")?;
    let local = Family::V4.server(PORT).to_string();
    let _reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "force", "67108864"])?;
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "0"])?;
    let (report, [before, after]) = look(&lab.server, window, || {
        let before = interrupted()?;
        sender.ask(&format!("send {local} 4000 100 100"))?;
        Ok([before, interrupted()?])
    })?;
    let grew = after - before;
    // Under load the other CPU is often still at work when the next one comes.
    if grew < 300 {
        return again(format_args!("only {grew} interrupts for 4000 packets"));
    }
    let mut checks = Checks::default();
    let all = report.findings(RULE);
    checks.same("findings", 1, all.len());
    let finding = Finding(all.first().copied());
    let counted = finding.evidence("softnet.received_rps");
    checks.that(counted >= Some(grew), format_args!("{counted:?} is less than the {grew} that the kernel counts"));
    let turned: Vec<String> = finding.suggestion("rps_cpus").iter().map(|one| turn(one)).collect();
    checks.same("suggestions", vec!["rx-0 2 0".to_owned()], turned);
    checks.done(&report)
}

/// Times that CPUs were interrupted for RPS: the tenth column of softnet_stat.
fn interrupted() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/softnet_stat")?;
    let cell = |line: &str| u64::from_str_radix(line.split_whitespace().nth(9)?, 16).ok();
    Ok(text.lines().filter_map(cell).sum())
}

/// All CPUs on one queue, `tune --apply`, each on its own, `revert`, all on one again; tc is the oracle.
fn closed_loop() -> Outcome {
    let lab = lab(true)?;
    let limits = limits()?;
    let _reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[ADDRESS, "force", "16777216"])?;
    // What arrives meanwhile is what a verdict compares the windows by.
    let _sink = Actor::start(&lab.client, "nsd-sink", "udp-reader", &["10.77.0.1:5042", "force", "16777216"])?;
    let mut back = Actor::start(&lab.server, "nsd-back", "udp-sender", &["10.77.0.2:0", "1", "any"])?;
    let mut senders = senders(&lab)?;
    let mut shares = || -> Outcome<[u64; 2]> {
        let before = by_queue(&lab)?;
        for sender in &mut senders {
            sender.ask(&format!("send {ADDRESS} 200 100 0"))?;
        }
        let after = by_queue(&lab)?;
        Ok(["1", "2"].map(|queue| after.get(queue).unwrap_or(&0) - before.get(queue).unwrap_or(&0)))
    };
    back.tell("send 10.77.0.1:5042 20000 100 1000")?;
    let first = shares()?;
    if first != [400, 0] {
        return wrong(format_args!("XPS does not send all to tx-0: {first:?}"));
    }
    let state = tempfile::tempdir()?;
    let (name, folder, path) = (lab.client.name.clone(), state.path().to_owned(), limits.path().display().to_string());
    let program = std::thread::spawn(move || {
        let args = ["tune", "--apply=all", "--yes", "--only", "xps_cpus", "--netns", &name, "-i", "900ms"];
        run(&folder, &[&args[..], &["--thresholds", &path]].concat(), &[])
    });
    while !program.is_finished() {
        shares()?;
    }
    let Ok(tuned) = program.join() else { return wrong("the thread that ran the program panicked") };
    let tuned = tuned?;
    let mut checks = Checks::default();
    checks.that(text(&tuned).contains("helped:"), "no verdict 'helped'");
    checks.same("packets by queue after tune", [200, 200], shares()?);
    let reverted = run(state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("packets by queue after revert", [400, 0], shares()?);
    checks.done(&text(&tuned))
}
