//! CPU time of one report against what an operator would run instead, and against a C program that only reads the same
//! bytes. All in one run, in turn, so that a machine that changes its speed changes all of them alike.
//!
//! `cargo bench --bench cost` (needs a C compiler, iproute2, ethtool). Prints medians in microseconds of user and system time of
//! whole processes, and the ratios of each turn.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netstat_deep::source::groups::DOORS;

const TURNS: usize = 101;

fn main() {
    // cargo bench and cargo test pass flags of their own; `cargo test` must not measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let files: Vec<String> = DOORS.iter().map(|door| format!("/{}", door.path)).collect();
    let reader = compile_reader();
    let ours = || vec![command(env!("CARGO_BIN_EXE_netstat-deep"), &["rx", "--json", "--interval", "0"])];
    let floor = || vec![command(&reader, &files)];
    let cards = cards();
    let others = || {
        let of_card = |card: &String| ["-S", "-g", "-l", "-c"].map(|flag| command("ethtool", &[flag, card]));
        let mut all = vec![
            command("nstat", &["-az"]),
            command("ss", &["-s"]),
            command("ip", &["-s", "-s", "link"]),
            command("cat", &files),
        ];
        all.extend(cards.iter().flat_map(of_card));
        all
    };
    let mut times: [Vec<u64>; 3] = Default::default();
    for turn in 0..TURNS + 1 {
        let measured = [cpu(ours()), cpu(floor()), cpu(others())];
        // The first turn warms the caches.
        if turn > 0 {
            times.iter_mut().zip(measured).for_each(|(times, time)| times.push(time));
        }
    }
    let [ours, floor, others] = &times;
    println!("{TURNS} turns; user + system time in microseconds: minimum, median, maximum");
    for (name, times) in [
        ("netstat-deep rx --json --interval 0", ours),
        ("reader.c: only reads the same bytes", floor),
        ("nstat, ss, ip -s link, ethtool, cat", others),
    ] {
        let (min, median, max) = spread(times.iter().map(|&time| time as f64));
        println!("{name:<38} {min:>8.0} {median:>8.0} {max:>8.0}");
    }
    for (name, other) in [("ratio to reader.c", floor), ("ratio to the five tools", others)] {
        let (min, median, max) = spread(ours.iter().zip(other).map(|(&a, &b)| a as f64 / b as f64));
        println!("{name:<38} {min:>8.2} {median:>8.2} {max:>8.2}");
    }
}

/// The devices with hardware behind them.
fn cards() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let cards = entries.filter(|entry| entry.path().join("device").exists());
    cards.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn compile_reader() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/reader.c");
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reader");
    let status = Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&binary).arg(source).status();
    assert!(status.is_ok_and(|status| status.success()), "reader.c needs a C compiler");
    binary
}

fn command(program: impl AsRef<std::ffi::OsStr>, args: &[impl AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// User and system time of all these processes, in microseconds.
fn cpu(commands: Vec<Command>) -> u64 {
    commands.into_iter().map(one).sum()
}

#[expect(clippy::zombie_processes, reason = "wait4() waits, and tells the CPU time, which wait() does not")]
fn one(mut command: Command) -> u64 {
    let child = command.spawn().unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    let pid = child.id() as libc::pid_t;
    // SAFETY: `usage` is a place for the structure that the call fills, and all zeros is a valid value of it.
    let usage = unsafe {
        assert_eq!(libc::wait4(pid, std::ptr::null_mut(), 0, usage.as_mut_ptr()), pid);
        usage.assume_init()
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    micros(usage.ru_utime) + micros(usage.ru_stime)
}

fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}
