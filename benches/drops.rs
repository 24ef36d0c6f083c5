//! What a drop costs under observation: by our probe, by bpftrace with its shortest key, by bpftrace with our key, and by
//! the kernel's own trace buffer with a reader (tracefs), which keeps every drop as an event.
//!
//! `cargo bench --bench drops` (root, iproute2, nftables, bpftrace, a kernel with BTF). Floods a namespace of its own with
//! datagrams that its firewall drops, each tool in turn, and prints medians: nanoseconds a hit as the kernel itself takes
//! the time (BPF_ENABLE_STATS, for all that are programs), nanoseconds a datagram from its sending to its drop, and how many
//! drops were lost: counted neither as a hit nor as an event.

#[path = "support/lab.rs"]
mod lab;

use std::io::Read;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
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

/// The trace buffer of an instance of our own, and a reader of it; both are gone when it is dropped.
struct Tracefs(Child);

impl Tracefs {
    const SCRIPT: &str = "mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/tracing 2>/dev/null; \
         cd /sys/kernel/tracing/instances || cd /sys/kernel/debug/tracing/instances || exit 1; mkdir nsdbench; \
         echo 1 >nsdbench/events/skb/kfree_skb/enable; cat nsdbench/trace_pipe >/dev/null & \
         echo; read -r end; echo 0 >nsdbench/events/skb/kfree_skb/enable; sleep 0.2; kill $!; wait; \
         grep -h '^overrun:' nsdbench/per_cpu/cpu*/stats; rmdir nsdbench";

    fn start() -> Self {
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-c", Self::SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = shell.spawn().expect("unshare");
        let ready = child.stdout.as_mut().expect("a pipe").read_exact(&mut [0]);
        ready.expect("the event can be switched on");
        Tracefs(child)
    }

    /// Ends it; how many events the buffer had no room for.
    fn lost(mut self) -> u64 {
        drop(self.0.stdin.take());
        let text = std::io::read_to_string(self.0.stdout.take().expect("a pipe")).expect("its numbers");
        self.0.wait().expect("its end");
        text.lines().filter_map(|line| line.strip_prefix("overrun:")?.trim().parse::<u64>().ok()).sum()
    }
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

/// Who looks on.
enum Watch {
    Nobody,
    Program(Tool),
    Buffer(Tracefs),
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
    let tools: [(&str, &dyn Fn() -> Watch); 6] = [
        ("nothing", &|| Watch::Nobody),
        ("netstat-deep drops", &|| Watch::Program(drops(&[]))),
        ("netstat-deep drops --flows", &|| Watch::Program(drops(&["--flows"]))),
        ("bpftrace, by reason", &|| Watch::Program(bpftrace(&short))),
        ("bpftrace, by our key", &|| Watch::Program(bpftrace(&same))),
        ("tracefs, read by cat", &|| Watch::Buffer(Tracefs::start())),
    ];
    let mut each: [Vec<[f64; 3]>; 6] = Default::default();
    for _ in 0..TURNS {
        for ((_, start), measured) in tools.iter().zip(&mut each) {
            let watch = start();
            let datagram = flood(&from);
            let (hit, lost) = match watch {
                Watch::Nobody => (0.0, 0),
                Watch::Program(tool) => {
                    let (hits, nanoseconds) = cost(&tool);
                    (nanoseconds as f64 / hits.max(1) as f64, COUNT.saturating_sub(hits))
                }
                Watch::Buffer(tracefs) => (0.0, tracefs.lost()),
            };
            measured.push([hit, datagram, lost as f64]);
        }
    }
    println!("{TURNS} turns of {COUNT} drops in netns {inode}; medians, in nanoseconds and packets");
    println!("{:<28} {:>8} {:>12} {:>8}", "", "a hit", "a datagram", "lost");
    for ((name, _), measured) in tools.iter().zip(each) {
        let [hit, datagram, lost] = [0, 1, 2].map(|at| median(measured.iter().map(|numbers| numbers[at]).collect()));
        println!("{name:<28} {hit:>8.0} {datagram:>12.0} {lost:>8.0}");
    }
}
