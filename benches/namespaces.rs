//! What `rx --netns all` costs with 500 network namespaces, against entering each and asking nstat, ss and ip there; and how
//! many threads and descriptors it holds at most.
//!
//! `cargo bench --bench namespaces` (needs root, iproute2). Prints user and system time of whole processes, and the memory.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const COUNT: usize = 500;

fn main() {
    // cargo bench and cargo test pass flags of their own; `cargo test` must not measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    for count in [0, COUNT] {
        let _made = Namespaces::new(count);
        println!("\n{count} network namespaces more than this machine has");
        let rx = ["rx", "--json", "--interval", "1s", "--probes", "off"];
        measure("rx --json", &rx);
        measure("rx --json --netns all", &[&rx[..], &["--netns", "all"]].concat());
        if count > 0 {
            tools(count);
        }
    }
}

fn name(n: usize) -> String {
    format!("nsdbench-{n}")
}

/// Namespaces with an address each, gone again at the end.
struct Namespaces(usize);

impl Namespaces {
    fn new(count: usize) -> Self {
        let made = Namespaces(count);
        batch(&(0..count).map(|n| format!("netns add {}\n", name(n))).collect::<String>());
        made
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        batch(&(0..self.0).map(|n| format!("netns del {}\n", name(n))).collect::<String>());
    }
}

fn batch(lines: &str) {
    let mut ip = Command::new("ip").args(["-force", "-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip(8)");
    let wrote = ip.stdin.take().map(|mut input| input.write_all(lines.as_bytes()));
    assert!(matches!(wrote, Some(Ok(()))) && ip.wait().is_ok_and(|status| status.success()), "ip netns");
}

fn measure(what: &str, args: &[&str]) {
    let start = Instant::now();
    let program = Command::new(env!("CARGO_BIN_EXE_netstat-deep")).args(args).stdout(Stdio::null()).spawn();
    let (micros, kib, most) = watch(program.expect("the program"));
    let [threads, descriptors] = most;
    println!(
        "{what:<24} {:>7.1} ms CPU {:>6.1} MiB  {threads:>3} threads {descriptors:>4} descriptors at most  {:.2} s",
        micros as f64 / 1e3,
        kib as f64 / 1024.0,
        start.elapsed().as_secs_f64(),
    );
}

/// CPU time in microseconds, the most memory in KiB, and the most threads and descriptors that were seen.
fn watch(child: Child) -> (u64, i64, [usize; 2]) {
    let folder = |name: &str| PathBuf::from(format!("/proc/{}/{name}", child.id()));
    let [tasks, files] = [folder("task"), folder("fd")];
    let count = |folder: &PathBuf| std::fs::read_dir(folder).map_or(0, Iterator::count);
    let mut most = [0; 2];
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    let pid = child.id() as libc::pid_t;
    loop {
        // SAFETY: `usage` is a place for the structure that the call fills, and all zeros is a valid value of it.
        let ended = unsafe { libc::wait4(pid, std::ptr::null_mut(), libc::WNOHANG, usage.as_mut_ptr()) };
        if ended == pid {
            break;
        }
        most = [most[0].max(count(&tasks)), most[1].max(count(&files))];
        std::thread::sleep(Duration::from_millis(2));
    }
    // SAFETY: wait4() has filled it.
    let usage = unsafe { usage.assume_init() };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (micros(usage.ru_utime) + micros(usage.ru_stime), usage.ru_maxrss, most)
}

/// What an operator would do instead, twice, for there is a begin and an end.
fn tools(count: usize) {
    let script = "for n in $(seq 0 $0); do ip netns exec nsdbench-$n sh -c 'nstat -az; ss -s; ip -s link'; done";
    let shell = Command::new("sh").args(["-c", script]).arg((count - 1).to_string()).stdout(Stdio::null()).spawn();
    let (micros, ..) = watch(shell.expect("a shell"));
    println!("{:<24} {:>7.1} ms CPU", "nstat, ss, ip in each", 2.0 * micros as f64 / 1e3);
}
