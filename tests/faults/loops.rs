//! Closed loops for the settings of more rules: provoke, `rx --apply`, the loss is gone under the same load (where the
//! setting needs it, after the victim was restarted: until then the verdict is `pending`), `revert`, it is back.
//!
//! Oracle: the kernel's own counter of the loss, over a few rounds of the same load.

mod tcp;

use std::process::Output;
use std::thread::sleep;
use std::time::Duration;

use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again};
use crate::conntrack;
use crate::guard;
use crate::kernel::Counters;
use crate::lab::{Family, Lab, SERVER_DEVICE};
use crate::need::Need;
use crate::tune::{run, text};

const PORT: u16 = 5020;
const ROUNDS: u32 = 5;

type NewVictim = Box<dyn Fn(&Lab) -> Outcome<Actor>>;
type Drive = Box<dyn FnMut(&mut Actor) -> Outcome>;

/// A fault that goes on as long as it is driven.
struct Fault {
    counter: &'static str,
    /// Below /proc/sys; or the whole path, below /sys.
    setting: &'static str,
    /// The victim's socket keeps the old value: it must be made anew.
    waits: bool,
    victim: NewVictim,
    drive: Drive,
    /// How long the kernel remembers what the load did to it.
    remembers: Duration,
}

pub fn cases() -> Vec<Case> {
    const HERE: &[Need] = &[Need::Namespaces];
    const MACHINE: &[Need] = &[Need::Namespaces, Need::MachineWide];
    const TRACKED: &[Need] = &[Need::Namespaces, Need::Nft, Need::Conntrack, Need::MachineWide];
    const STEERED: &[Need] = &[Need::Namespaces, Need::Nft, Need::TwoCpus, Need::MachineWide];
    vec![
        Case::new("loops::somaxconn", HERE, |_| closed_loop(None, somaxconn)),
        Case::new("loops::rmem_default", MACHINE, |_| closed_loop(Some("212992"), rmem_default)),
        Case::new("loops::rmem_max", MACHINE, |_| closed_loop(Some("100000"), rmem_max)),
        Case::new("loops::nf_conntrack_max", TRACKED, |_| closed_loop(Some("50"), conntrack_max)),
        Case::new("loops::netdev_max_backlog", STEERED, |_| closed_loop(Some("16"), max_backlog)),
        Case::new("loops::tcp_syncookies", &[Need::Namespaces, Need::Nft], |_| closed_loop(None, tcp::syncookies)),
        Case::new("loops::tcp_max_syn_backlog", &[Need::Namespaces, Need::Nft], |_| {
            closed_loop(None, tcp::max_syn_backlog)
        }),
        Case::new("loops::tcp_rmem", HERE, |_| closed_loop(None, tcp::rmem)),
        Case::new("loops::tcp_mem", MACHINE, |_| closed_loop(Some(&tcp::low_pressure()?), tcp::mem)),
        Case::new("loops::tcp_max_orphans", &[Need::Namespaces, Need::Nft, Need::MachineWide], |_| {
            closed_loop(Some("8"), tcp::max_orphans)
        }),
        Case::new("loops::udp_mem", MACHINE, |_| closed_loop(Some("2 2 2"), udp_mem)),
        Case::new("loops::ipfrag_high_thresh", HERE, |_| closed_loop(None, ipfrag_high_thresh)),
        Case::new("loops::flow_limit_cpu_bitmap", STEERED, |_| closed_loop(Some("1"), flow_limit)),
        Case::new("loops::nf_conntrack_buckets", TRACKED, |_| closed_loop(Some("512"), conntrack_buckets)),
        Case::new("loops::netdev_budget", MACHINE, |_| closed_loop(Some("1"), netdev_budget)),
        Case::new("loops::rps_cpus", &[Need::Namespaces, Need::Nft, Need::TwoCpus], |_| closed_loop(None, rps_cpus)),
    ]
}

/// `lowered` is the value of a machine-wide setting for the time of the test.
fn closed_loop(lowered: Option<&str>, fault: fn(&Lab) -> Outcome<Fault>) -> Outcome {
    let lab = Lab::new()?;
    let mut fault = fault(&lab)?;
    let _guard = lowered.map(|value| guard::lower(fault.setting, value)).transpose()?;
    let value = || match (lowered, fault.setting.starts_with("/sys/")) {
        (Some(_), _) => machine(fault.setting),
        (None, true) => Ok(lab.server.exec(&["cat", fault.setting])?.trim().to_owned()),
        (None, false) => lab.server.get(fault.setting),
    };
    let old = value()?;
    let mut victim = (fault.victim)(&lab)?;
    let lost = rounds(&lab, fault.counter, &mut fault.drive, &mut victim)?;
    if lost == 0 {
        return again("no loss was provoked");
    }

    let state = tempfile::tempdir()?;
    let tuned = tune(&lab, state.path(), &mut fault.drive, &mut victim)?;
    // With other work on these CPUs it can't be seen that packets alone are too many for one of them.
    let knob = fault.setting.rsplit('/').next().unwrap_or_default();
    if !text(&tuned).contains(&format!("{knob} ")) || text(&tuned).contains("packets take the time of every CPU") {
        return again(format_args!("the machine was busy with something else: {}", text(&tuned)));
    }
    let mut checks = Checks::default();
    let verdict = if fault.waits { "pending:" } else { "helped:" };
    checks.that(text(&tuned).contains(verdict), format_args!("no verdict '{verdict}'"));
    // Limits go up; a mask may go either way, and that it was the right one the loss shows.
    let numbers = |text: &str| text.split_whitespace().map(str::parse::<u64>).collect::<Result<Vec<_>, _>>().ok();
    let (before, after) = (numbers(&old), numbers(&value()?));
    let moved = if knob.contains("cpu") { after != before } else { after > before };
    checks.that(moved, format_args!("{} is {} after {old}", fault.setting, value()?));
    restart(fault.waits, &mut victim, &fault.victim, &lab)?;
    let still = rounds(&lab, fault.counter, &mut fault.drive, &mut victim)?;
    checks.that(still * 20 <= lost, format_args!("{still} lost after the change, {lost} before"));

    let reverted = run(state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("the setting after revert", old, value()?);
    restart(fault.waits, &mut victim, &fault.victim, &lab)?;
    sleep(fault.remembers);
    // A reader that is quick enough for once loses nothing, whatever the setting: it gets more than one chance.
    let mut back = 0;
    for _ in 0..CHANCES {
        back += rounds(&lab, fault.counter, &mut fault.drive, &mut victim)?;
        if back > 0 {
            break;
        }
    }
    checks.that(back > 0, "the loss did not come back");
    checks.done(&text(&tuned))
}

fn machine(setting: &str) -> Outcome<String> {
    Ok(std::fs::read_to_string(format!("/proc/sys/{setting}"))?.trim().to_owned())
}

fn restart(waits: bool, victim: &mut Actor, new: &dyn Fn(&Lab) -> Outcome<Actor>, lab: &Lab) -> Outcome {
    if waits {
        // The old one must let go of its address first.
        victim.end()?;
        *victim = new(lab)?;
    }
    Ok(())
}

/// How often the load is put on again before a loss counts as gone.
const CHANCES: u32 = 10;

/// What is lost in a few rounds of the load.
fn rounds(lab: &Lab, counter: &str, drive: &mut dyn FnMut(&mut Actor) -> Outcome, victim: &mut Actor) -> Outcome<u64> {
    let before = Counters::read(&lab.server)?;
    (0..ROUNDS).try_for_each(|_| drive(victim))?;
    Ok(Counters::read(&lab.server)?.since(&before, counter))
}

/// Runs the program while the load goes on.
fn tune(
    lab: &Lab,
    state: &std::path::Path,
    drive: &mut dyn FnMut(&mut Actor) -> Outcome,
    victim: &mut Actor,
) -> Outcome<Output> {
    let (name, state) = (lab.server.name.clone(), state.to_owned());
    let program =
        std::thread::spawn(move || run(&state, &["rx", "--apply=all", "--yes", "--netns", &name, "-i", "900ms"], &[]));
    while !program.is_finished() {
        drive(victim)?;
    }
    match program.join() {
        Ok(output) => Ok(output?),
        Err(_) => crate::case::wrong("the thread that ran the program panicked"),
    }
}

fn somaxconn(lab: &Lab) -> Outcome<Fault> {
    lab.server.set("net/core/somaxconn", "8")?;
    let local = Family::V4.server(PORT).to_string();
    let mut client = Actor::start(&lab.client, "nsd-client", "tcp-client", &[])?;
    let address = local.clone();
    Ok(Fault {
        counter: "TcpExt.ListenOverflows",
        setting: "net/core/somaxconn",
        waits: true,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| Actor::start(&lab.server, "nsd-server", "tcp-server", &[&address, "1024"])),
        drive: Box::new(move |server| {
            client.ask(&format!("burst {local} 40"))?;
            sleep(Duration::from_millis(60));
            client.ask("abandon")?;
            server.ask("accept")?;
            sleep(Duration::from_millis(20));
            Ok(())
        }),
    })
}

fn rmem_default(lab: &Lab) -> Outcome<Fault> {
    reader_that_pauses(lab, "net/core/rmem_default", &["default"])
}

/// It asks for a gigabyte, and gets twice rmem_max.
fn rmem_max(lab: &Lab) -> Outcome<Fault> {
    reader_that_pauses(lab, "net/core/rmem_max", &["ask", "1073741824"])
}

fn reader_that_pauses(lab: &Lab, setting: &'static str, buffer: &'static [&'static str]) -> Outcome<Fault> {
    let local = Family::V4.server(PORT).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    let address = local.clone();
    Ok(Fault {
        counter: "Udp.RcvbufErrors",
        setting,
        waits: true,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| {
            Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&[address.as_str()], buffer].concat())
        }),
        drive: Box::new(move |reader| {
            sender.ask(&format!("send {local} 200 1400 0"))?;
            sleep(Duration::from_millis(40));
            reader.ask("drain")?;
            sleep(Duration::from_millis(40));
            Ok(())
        }),
    })
}

fn conntrack_max(lab: &Lab) -> Outcome<Fault> {
    lab.server.nft(
        "add table inet t; add chain inet t i { type filter hook input priority 0; }; \
         add rule inet t i ct state new counter accept",
    )?;
    // A flow is forgotten a second after its last packet.
    lab.server.set("net/netfilter/nf_conntrack_udp_timeout", "1")?;
    let local = Family::V4.server(PORT).to_string();
    // 80 flows, of which 50 have room.
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "80", "any"])?;
    let address = local.clone();
    Ok(Fault {
        counter: "nf_conntrack.drop",
        setting: "net/netfilter/nf_conntrack_max",
        waits: false,
        remembers: Duration::from_secs(3),
        victim: Box::new(move |lab| greedy(lab, &address)),
        drive: Box::new(move |_| sender.ask(&format!("send {local} 160 100 300")).map(drop)),
    })
}

fn max_backlog(lab: &Lab) -> Outcome<Fault> {
    // To the other CPU, through its backlog.
    let mask = format!("echo 2 > /sys/class/net/{SERVER_DEVICE}/queues/rx-0/rps_cpus");
    lab.server.exec(&["sh", "-c", &mask])?;
    // That CPU is kept busy by rules, so that packets come faster than it takes them.
    let rules: Vec<String> = (10_000..11_000).map(|port| format!("add rule inet t i udp dport {port}")).collect();
    let chain = "add table inet t; add chain inet t i { type filter hook input priority 0; }";
    lab.server.nft(&format!("{chain}; {}", rules.join("; ")))?;
    let local = Family::V4.server(PORT).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "0"])?;
    let address = local.clone();
    Ok(Fault {
        counter: "link.rx_dropped@vb",
        setting: "net/core/netdev_max_backlog",
        waits: false,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| greedy(lab, &address)),
        drive: Box::new(move |_| {
            sender.ask(&format!("send {local} 150 100 0"))?;
            sleep(Duration::from_millis(10));
            Ok(())
        }),
    })
}

/// On 6.18 only the sockets count it. Each CPU keeps up to a megabyte for itself before the limit sees any of it
/// (mem_pcpu_rsv): what waits must be more than that, whoever runs where, and one CPU brings all of it.
fn udp_mem(lab: &Lab) -> Outcome<Fault> {
    let local = Family::V4.server(PORT).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "0"])?;
    let address = local.clone();
    Ok(Fault {
        counter: "udp.drops",
        setting: "net/ipv4/udp_mem",
        waits: false,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| {
            Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&address, "force", "67108864"])
        }),
        drive: Box::new(move |reader| {
            sender.ask(&format!("send {local} 3000 1000 0"))?;
            reader.ask("drain").map(drop)
        }),
    })
}

/// Datagrams in six pieces, of which two have room.
fn ipfrag_high_thresh(lab: &Lab) -> Outcome<Fault> {
    lab.server.set("net/ipv4/ipfrag_low_thresh", "1024")?;
    lab.server.set("net/ipv4/ipfrag_high_thresh", "4096")?;
    // What was let in of a packet must not stand in the way for long.
    lab.server.set("net/ipv4/ipfrag_time", "1")?;
    let local = Family::V4.server(PORT).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    let address = local.clone();
    Ok(Fault {
        counter: "Ip.ReasmFails",
        setting: "net/ipv4/ipfrag_high_thresh",
        waits: false,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| greedy(lab, &address)),
        drive: Box::new(move |_| sender.ask(&format!("send {local} 100 8000 200")).map(drop)),
    })
}

/// Bursts of one flow that fill the queue to three quarters.
fn flow_limit(lab: &Lab) -> Outcome<Fault> {
    let fault = max_backlog(lab)?;
    let local = Family::V4.server(PORT).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "0"])?;
    Ok(Fault {
        counter: "softnet.flow_limit_count",
        setting: "net/core/flow_limit_cpu_bitmap",
        drive: Box::new(move |_| {
            sender.ask(&format!("send {local} 750 100 0"))?;
            sleep(Duration::from_millis(60));
            Ok(())
        }),
        ..fault
    })
}

/// 25,000 flows in 512 chains.
fn conntrack_buckets(lab: &Lab) -> Outcome<Fault> {
    lab.server.nft(conntrack::TRACK)?;
    lab.server.set("net/netfilter/nf_conntrack_udp_timeout", "1")?;
    let local = Family::V4.server(PORT).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "500", "any"])?;
    Ok(Fault {
        counter: "nf_conntrack.chainlength",
        setting: "net/netfilter/nf_conntrack_buckets",
        waits: false,
        remembers: Duration::from_secs(2),
        victim: Box::new(move |lab| greedy(lab, &local)),
        drive: Box::new(move |_| conntrack::flows(&mut sender, 50).map(drop)),
    })
}

/// Every run of the softirq that takes a packet stops with its budget used up.
fn netdev_budget(lab: &Lab) -> Outcome<Fault> {
    let local = Family::V4.server(PORT).to_string();
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "1", "any"])?;
    let address = local.clone();
    Ok(Fault {
        counter: "softnet.time_squeeze",
        setting: "net/core/netdev_budget",
        waits: false,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| greedy(lab, &address)),
        drive: Box::new(move |reader| {
            sender.ask(&format!("send {local} 100 100 100"))?;
            reader.ask("drain").map(drop)
        }),
    })
}

/// One CPU takes all packets and can't keep up: the firewall's many rules take about 0.2 ms a packet. The other one has
/// room, also for half of them.
fn rps_cpus(lab: &Lab) -> Outcome<Fault> {
    let mask = format!("echo 2 > /sys/class/net/{SERVER_DEVICE}/queues/rx-0/rps_cpus");
    lab.server.exec(&["sh", "-c", &mask])?;
    let rules: String = (10_000..26_000).map(|port| format!("add rule inet t i udp dport {port}\n")).collect();
    let chain = "add table inet t\nadd chain inet t i { type filter hook input priority 0; }\n";
    lab.server.nft_file(&format!("{chain}{rules}"))?;
    let local = Family::V4.server(PORT).to_string();
    // Many flows, so that they can be spread; bound to the CPU that has room.
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &["10.77.0.1:0", "64", "0"])?;
    let address = local.clone();
    Ok(Fault {
        counter: "link.rx_dropped@vb",
        setting: "/sys/class/net/vb/queues/rx-0/rps_cpus",
        waits: false,
        remembers: Duration::ZERO,
        victim: Box::new(move |lab| greedy(lab, &address)),
        drive: Box::new(move |_| sender.ask(&format!("send {local} 3000 100 150")).map(drop)),
    })
}

fn greedy(lab: &Lab, local: &str) -> Outcome<Actor> {
    let mut reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[local, "force", "67108864"])?;
    reader.ask("greedy")?;
    Ok(reader)
}
