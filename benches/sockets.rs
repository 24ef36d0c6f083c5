//! CPU time of `sockets` on many TCP sockets against `ss -tanmi`, and against a C program that only drains the same dump.
//! All in one run, in turn.
//!
//! `cargo bench --bench sockets` (root, a C compiler, iproute2); `cargo bench --bench sockets -- 200000 500000` for other
//! numbers of sockets than 200,000. The connections are made over loopback in a namespace of their own, by processes that
//! hold 9,000 each.
//!
//! Measured on Linux 6.18 with 216,000 sockets: 379 ms for `-i 0`, 273 ms for the drain (1.39 x), 1,388 ms for ss (1/3.7);
//! 873 ms for `-i 1s` with its two dumps (1.66 x two drains, 1/3.2 of two ss). The walk of sock_diag is what takes the time:
//! a drain without any extension takes 245 ms, so leaving tcp_info out would save little. The owners of the sockets that are
//! shown are extra where processes have many files open: about 2 µs for each file of each process looked through.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NAMESPACE: &str = "nsdbench-s";
/// Connections that one process holds, both ends: two descriptors each.
const HELD: usize = 9_000;
const TURNS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, number] = args.as_slice()
        && flag == "--hold"
    {
        return hold(number.parse().expect("a number"));
    }
    // cargo bench and cargo test pass flags of their own; `cargo test` must not measure.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let numbers: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let numbers = if numbers.is_empty() { vec![200_000] } else { numbers };
    let drain = compile();
    let _namespace = Namespace::new();
    let mut holders = Vec::new();
    for number in numbers {
        while holders.len() * HELD * 2 < number {
            holders.push(Holder::start(holders.len()));
        }
        measure(&drain, holders.len() * HELD * 2);
    }
}

fn measure(drain: &Path, sockets: usize) {
    let ours = |interval: &str| {
        let args = ["sockets", "--transport", "tcp", "--json", "-i", interval];
        command(env!("CARGO_BIN_EXE_netstat-deep"), &args)
    };
    let mut times: [Vec<f64>; 5] = Default::default();
    let mut memory = 0;
    for turn in 0..TURNS + 1 {
        let tools = [ours("0"), command(drain, &["1"]), ours("1s"), command(drain, &["2"]), command("ss", &["-tanmi"])];
        for ((at, tool), times) in tools.into_iter().enumerate().zip(&mut times) {
            let (micros, kilobytes) = one(tool);
            // The first turn warms the caches.
            if turn > 0 {
                times.push(micros as f64 / 1e3);
                memory = if at == 2 { memory.max(kilobytes) } else { memory };
            }
        }
    }
    let [life, once, window, twice, ss] = times.map(median);
    println!("{sockets} sockets, {TURNS} turns; user + system time in ms, medians");
    for (name, time) in [
        ("netstat-deep sockets -i 0", life),
        ("drain.c, one dump", once),
        ("netstat-deep sockets -i 1s", window),
        ("drain.c, two dumps", twice),
        ("ss -tanmi, one dump", ss),
    ] {
        println!("{name:<30} {time:>9.1}");
    }
    println!("-i 0: {:.2} x drain, 1/{:.1} of ss", life / once, ss / life);
    println!("-i 1s: {:.2} x drain, 1/{:.1} of two ss; {memory} KiB at most", window / twice, ss * 2.0 / window);
}

/// Holds connections to itself, both ends, until standard input ends.
fn hold(number: usize) {
    // An address of its own, so that ports do not run out: 127.0.N.1
    let address = SocketAddrV4::new([127, 0, number as u8 + 1, 1].into(), 80);
    let listener = TcpListener::bind(address).expect("a listener");
    let mut held = Vec::new();
    for _ in 0..HELD {
        let mut client = TcpStream::connect(address).expect("a connection");
        let (server, _) = listener.accept().expect("the other end");
        client.write_all(b"x").expect("a byte");
        held.push((client, server));
    }
    println!("held");
    let _end = std::io::stdin().read(&mut [0]);
}

struct Holder(Child);

impl Holder {
    fn start(number: usize) -> Self {
        let me = std::env::current_exe().expect("our own path");
        let mut child = Command::new("ip")
            .args(["netns", "exec", NAMESPACE])
            .arg(me)
            .args(["--hold", &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a holder");
        let mut said = [0; 4];
        child.stdout.as_mut().expect("its output").read_exact(&mut said).expect("that it holds");
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

struct Namespace;

impl Namespace {
    fn new() -> Self {
        let ip = |line: &str| Command::new("ip").args(line.split(' ')).status().is_ok_and(|status| status.success());
        assert!(ip(&format!("netns add {NAMESPACE}")), "needs root and iproute2");
        let namespace = Namespace;
        assert!(ip(&format!("-n {NAMESPACE} link set lo up")));
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone_already = Command::new("ip").args(["netns", "del", NAMESPACE]).status();
    }
}

fn compile() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/drain.c");
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drain");
    let status = Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&binary).arg(source).status();
    assert!(status.is_ok_and(|status| status.success()), "drain.c needs a C compiler");
    binary
}

fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", NAMESPACE]).arg(program).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// User and system time in microseconds, and the most memory in KiB. `ip netns exec` becomes the program, it takes 2 ms.
#[expect(clippy::zombie_processes, reason = "wait4() waits, and tells the CPU time, which wait() does not")]
fn one(mut command: Command) -> (u64, i64) {
    let child = command.spawn().unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
    let (mut usage, mut status) = (std::mem::MaybeUninit::<libc::rusage>::zeroed(), 0);
    let pid = child.id() as libc::pid_t;
    // SAFETY: `usage` and `status` are places that the call fills, and all zeros is a valid value of both.
    let usage = unsafe {
        assert_eq!(libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()), pid);
        usage.assume_init()
    };
    assert_eq!(status, 0, "{command:?} failed");
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (micros(usage.ru_utime) + micros(usage.ru_stime), usage.ru_maxrss)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
