//! What a drop costs under observation: by our probe, by bpftrace with its shortest key, and by bpftrace with our key.
//!
//! `cargo bench --bench drops` (root, iproute2, nftables, bpftrace, a kernel with BTF). Floods a namespace of its own with
//! datagrams that its firewall drops, each tool in turn, and prints medians: nanoseconds a hit as the kernel itself takes
//! the time (BPF_ENABLE_STATS, for all alike), and nanoseconds a datagram from its sending to its drop.

#[path = "support/lab.rs"]
mod lab;

use std::net::UdpSocket;
use std::time::Instant;

use aya::sys::{Stats, enable_stats};
use lab::{Lab, RECEIVER, SENDER, Tool, median, run};
use netstat_deep::source::place::{self, Place};

const TURNS: usize = 7;
const COUNT: u64 = 300_000;
/// Hits and nanoseconds of the tool's program that was hit most.
fn cost(tool: &Tool) -> (u64, u64) {
    let text = tool.files();
    let numbers =
        |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    numbers("run_cnt:").zip(numbers("run_time_ns:")).max().unwrap_or_default()
}

/// Sends all datagrams; returns the nanoseconds for each.
fn flood(from: &Place) -> f64 {
    let sent = from.inside(|| {
        let socket = UdpSocket::bind("10.79.0.1:0")?;
        socket.connect("10.79.0.2:9")?;
        let begun = Instant::now();
        for _ in 0..COUNT {
            socket.send(&[0; 18])?;
        }
        Ok::<_, std::io::Error>(begun.elapsed().as_nanos() as f64 / COUNT as f64)
    });
    sent.expect("the namespace can be entered").expect("the flood can be sent")
}

fn main() {
    // cargo test runs this too, and must not measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let _lab = Lab::new();
    let rules = "add table ip t; add chain ip t p { type filter hook prerouting priority -300; policy drop; }";
    run("ip", &["netns", "exec", RECEIVER, "nft", rules]);
    let from = Place::find(SENDER).expect("a namespace that was just made");
    let inode = Place::find(RECEIVER).and_then(|place| place.inside(place::inode)).expect("its inode");
    let inode = inode.unwrap_or(0);
    let _stats = enable_stats(Stats::RunTime).expect("CAP_SYS_ADMIN");
    let ours = env!("CARGO_BIN_EXE_netstat-deep");
    let dev = "((struct sk_buff *)args->skbaddr)->dev";
    let short = "tracepoint:skb:kfree_skb { @[args->reason] = count(); }".to_owned();
    let same = format!(
        "tracepoint:skb:kfree_skb {{ $d = {dev}; $s = (struct sk_buff *)args->skbaddr; @[args->reason, args->location, \
         args->protocol, $d->ifindex, $d->nd_net.net->ns.inum, *(uint8 *)($s->head + $s->network_header + 9), \
         $s->skb_iif] = count(); }}"
    );
    let script = "mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/debug/tracing 2>/dev/null; \
                  exec bpftrace -q -e \"$1\"";
    let bpftrace = |program: &str| Tool::start("unshare", &["-m", "sh", "-c", script, "sh", program]);
    let drops = |more: &[&str]| Tool::start(ours, &[&["drops", "-i", "1h", "--json"], more].concat());
    let tools: [(&str, &dyn Fn() -> Option<Tool>); 5] = [
        ("nothing", &|| None),
        ("netstat-deep drops", &|| Some(drops(&[]))),
        ("netstat-deep drops --flows", &|| Some(drops(&["--flows"]))),
        ("bpftrace, by reason", &|| Some(bpftrace(&short))),
        ("bpftrace, by our key", &|| Some(bpftrace(&same))),
    ];
    let mut each: [Vec<(f64, f64)>; 5] = Default::default();
    for _ in 0..TURNS {
        for ((_, start), measured) in tools.iter().zip(&mut each) {
            let tool = start();
            let datagram = flood(&from);
            let (hits, nanoseconds) = tool.as_ref().map(cost).unwrap_or_default();
            assert!(tool.is_none() || hits >= COUNT, "only {hits} hits");
            measured.push((nanoseconds as f64 / hits.max(1) as f64, datagram));
        }
    }
    println!("{TURNS} turns of {COUNT} drops in netns {inode}; medians in nanoseconds");
    println!("{:<28} {:>8} {:>12}", "", "a hit", "a datagram");
    for ((name, _), measured) in tools.iter().zip(each) {
        let (hit, datagram): (Vec<f64>, Vec<f64>) = measured.into_iter().unzip();
        println!("{name:<28} {:>8.0} {:>12.0}", median(hit), median(datagram));
    }
}
