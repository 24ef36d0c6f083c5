//! Under load: nothing is lost from the totals, two at once do not disturb each other, and another tool counts the same.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Seen, attached, observe};
use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{Family, Lab, SERVER_DEVICE};
use crate::need::Need;
use crate::observe::inside;
use crate::process::Process;
use crate::tool;

const PORT: u16 = 5041;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces, Need::Bpf, Need::Nft];
    let beside = &[Need::Namespaces, Need::Bpf, Need::Bpftrace];
    vec![
        Case::new("drops::a_million", needs, million).seconds(8),
        Case::new("drops::two_at_once", &[Need::Namespaces, Need::Bpf], two),
        Case::new("drops::table_full", &[Need::Namespaces, Need::Bpf], full),
        Case::new("drops::as_bpftrace_counts", beside, bpftrace),
        Case::new(
            "drops::interrupted_by_another_drop",
            &[Need::Namespaces, Need::Bpf, Need::Nft, Need::TwoCpus],
            unseen,
        )
        .seconds(4),
    ]
}

fn sender(lab: &Lab) -> Outcome<Actor> {
    let source = SocketAddr::new(Family::V4.client(), 0).to_string();
    Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source, "1", "any"])
}

/// Dropped at once, before routing: what takes the time is the sender.
fn million(window: Duration) -> Outcome {
    const COUNT: u64 = 1_000_000;
    let lab = Lab::new()?;
    lab.server
        .nft("add table inet t; add chain inet t p { type filter hook prerouting priority -300; policy drop; }")?;
    let mut sender = sender(&lab)?;
    let to = Family::V4.server(PORT);
    let seen = observe(&lab.server, window, || sender.ask(&format!("send {to} {COUNT} 18 0")))?;
    let mut checks = Checks::default();
    checks.same("sent", COUNT, seen.told);
    // A CPU's backlog may overflow as well: that is a drop like another.
    let of_udp = seen.all().iter().filter(|row| row["protocol"] == "udp");
    let counted: u64 = of_udp.filter_map(|row| row["count"].as_u64()).sum();
    let missed = seen.report.0["self"]["probes"][0]["missed"].as_u64().unwrap_or(0);
    checks.same("counted, and missed", COUNT, counted + missed);
    checks.same("not kept", Some(0), seen.report.0["drop_totals"]["detail_not_kept"].as_u64());
    let hits = seen.report.0["self"]["probes"][0]["hits"].as_u64();
    checks.that(hits >= Some(counted), format_args!("{hits:?} hits, but {counted} drops"));
    checks.done(&seen.report)
}

fn two(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut sender = sender(&lab)?;
    let to = Family::V4.server(PORT);
    let args = ["drops", "--json", "--netns", &lab.server.name];
    let start = || tool::start_with(&args, window * 2);
    let (reports, told) = inside([start(), start()], attached, || sender.ask(&format!("send {to} 5000 18 0")))?;
    let mut checks = Checks::default();
    for report in reports {
        let seen = Seen { report, told };
        checks.same("drops for NO_SOCKET", told, seen.count("NO_SOCKET"));
    }
    checks.done(&format_args!("{told} sent"))
}

/// A table with room for one row: what comes besides is counted by its reason. Of the whole machine, so others may add
/// to it: what was sent is the least that must be there.
fn full(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut sender = sender(&lab)?;
    let (to, other) = (Family::V4.server(PORT), Family::V6.server(PORT));
    let args = ["drops", "--json", "--rows", "1"];
    let ([report], told) = inside([tool::start_with(&args, window)], attached, || {
        let six = lab.client.inside(|| {
            let socket = std::net::UdpSocket::bind((Family::V6.client(), 0))?;
            Ok((0..500).filter(|_| socket.send_to(&[0; 18], other).is_ok()).count())
        })?;
        Ok(sender.ask(&format!("send {to} 500 18 0"))? + six as u64)
    })?;
    let seen = Seen { report, told };
    let mut checks = Checks::default();
    let not_kept = seen.report.0["drop_totals"]["detail_not_kept"].as_u64();
    checks.that(not_kept >= Some(500), format_args!("only {not_kept:?} packets without detail"));
    let bare: Vec<_> = seen.rows("NO_SOCKET").into_iter().filter(|row| row["location"].is_null()).collect();
    checks.same("rows without detail", 1, bare.len());
    checks.that(seen.count("NO_SOCKET") >= told, format_args!("{} of {told} counted", seen.count("NO_SOCKET")));
    checks.done(&seen.report)
}

/// The same tracepoint counted by bpftrace, which knows the namespace by its own walk through the kernel's structures.
fn bpftrace(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let inode = lab.server.inside(|| {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata("/proc/thread-self/ns/net")?.ino())
    })?;
    let program = format!(
        "tracepoint:skb:kfree_skb /((struct sk_buff *)args->skbaddr)->dev->nd_net.net->ns.inum == {inode}/ \
         {{ @[args->reason] = count(); }} interval:s:{} {{ exit(); }}",
        window.as_secs() + 4
    );
    // In a mount namespace of its own, where tracefs can be mounted.
    let script = "mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/debug/tracing 2>/dev/null; \
                  exec bpftrace -q -e \"$1\"";
    let mut other = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh", &program])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(Process)?;
    let mut sender = sender(&lab)?;
    let to = Family::V4.server(PORT);
    std::thread::sleep(Duration::from_millis(800));
    let seen = observe(&lab.server, window, || sender.ask(&format!("send {to} 20000 18 0")))?;
    let Some(stdout) = other.stdout.take() else { return wrong("bpftrace without a pipe") };
    let text = std::io::read_to_string(stdout)?;
    let Some(number) = seen.rows("NO_SOCKET").first().and_then(|row| row["reason_number"].as_u64()) else {
        return wrong(format_args!("no drop for NO_SOCKET, but {:#}", seen.report.0["drops"]));
    };
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("@[{number}]: ")));
    let Some(theirs) = line.and_then(|count| count.parse::<u64>().ok()) else {
        return again(format_args!("bpftrace counts nothing of reason {number}: {text}"));
    };
    let mut checks = Checks::default();
    checks.same("sent", 20_000, seen.told);
    checks.same("bpftrace's count and ours", theirs, seen.count("NO_SOCKET"));
    checks.same("sent and counted", seen.told, seen.count("NO_SOCKET"));
    checks.done(&seen.report)
}

/// The kernel does not run a program on a CPU on which it is running already: here a sender whose packets the firewall
/// refuses is interrupted, now and then just as the probe runs, by packets that another CPU sends and nobody wants. What
/// so goes by unseen is in the totals. Others on the machine may add to it.
fn unseen(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.exec(&["sh", "-c", &format!("echo 1 > /sys/class/net/{SERVER_DEVICE}/queues/rx-0/rps_cpus")])?;
    let chain = "add table inet t; add chain inet t o { type filter hook output priority 0; }";
    lab.server.nft(&format!("{chain}; add rule inet t o udp dport {PORT} drop"))?;
    let source = |family: Family| SocketAddr::new(family.client(), 0).to_string();
    let mut other = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source(Family::V4), "1", "1"])?;
    let own = Family::V4.server(0).to_string();
    let mut refused = Actor::start(&lab.server, "nsd-refused", "udp-sender", &[&own, "1", "0"])?;
    let back = SocketAddr::new(Family::V4.client(), PORT);
    let run = tool::start_with(&["drops", "--json"], window);
    let ([report], told) = inside([run], attached, || {
        const REFUSED: u64 = 1_000_000;
        refused.tell(&format!("send {back} {REFUSED} 18 0"))?;
        // Far enough apart for an interrupt each.
        let sent = other.ask(&format!("send {} 20000 18 20", Family::V4.server(PORT)))?;
        Ok(sent + REFUSED - refused.reply()?)
    })?;
    let seen = Seen { report, told };
    let ours = seen.all().iter().filter(|row| row["netns_name"] == *lab.server.name);
    let counted: u64 = ours.filter_map(|row| row["count"].as_u64()).sum();
    let unseen = seen.report.0["drop_totals"]["unseen"].as_u64().unwrap_or(0);
    if unseen == 0 {
        return again("the probe was never interrupted");
    }
    let mut checks = Checks::default();
    checks.same("unseen, as the kernel counts it", seen.report.0["self"]["probes"][0]["missed"].as_u64(), Some(unseen));
    checks.that(counted <= told, format_args!("{counted} counted, but only {told} dropped"));
    checks.that(counted + unseen >= told, format_args!("{counted} counted and {unseen} unseen, but {told} dropped"));
    checks.done(&seen.report)
}
