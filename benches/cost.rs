//! CPU time of one report against what an operator would run instead, and against a C program that only reads the same
//! bytes. All in one run, in turn, so that a machine that changes its speed changes all of them alike. On this host as it is,
//! then in a network namespace of its own with 1,000 devices, which is gone when the bench ends, however it ends.
//!
//! `cargo bench --bench cost` (needs a C compiler, iproute2, ethtool; root for the namespace). With Debian's
//! prometheus-node-exporter installed, one scrape of its collectors of the same things is measured too. Prints medians in microseconds
//! of user and system time of whole processes, and the ratios of each turn.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netstat_deep::source::groups::DOORS;

#[path = "support/exporter.rs"]
mod exporter;

const TURNS: usize = 101;
/// With many devices the classic tools take seconds a turn.
const FEW_TURNS: usize = 7;
const PAIRS: usize = 500;
/// What is read besides the doors.
const BESIDES: [&str; 4] =
    ["/proc/uptime", "/proc/interrupts", "/proc/sys/kernel/hostname", "/proc/sys/kernel/osrelease"];

fn main() {
    // cargo bench and cargo test pass flags of their own; `cargo test` must not measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let reader = compile_reader();
    measure(&reader, TURNS);
    match many_devices() {
        Ok(()) => measure(&reader, FEW_TURNS),
        Err(why) => println!("\nnot measured with 1,000 devices: {why}"),
    }
}

fn measure(reader: &Path, turns: usize) {
    let files: Vec<String> = DOORS.iter().map(|door| format!("/{}", door.path)).collect();
    let files: Vec<String> = files.into_iter().chain(BESIDES.map(str::to_owned)).collect();
    let (devices, cards) = devices();
    let ours = || vec![command(env!("CARGO_BIN_EXE_netstat-deep"), &["rx", "--json", "--interval", "0"])];
    let floor = || vec![command(reader, &[&["-d".to_owned()], &cards[..], &["--".to_owned()], &files[..]].concat())];
    let others = || {
        let of_device =
            |device: &String| ["-S", "-g", "-l", "-c", "-k"].map(|flag| command("ethtool", &[flag, device]));
        let mut all = vec![
            command("nstat", &["-az"]),
            command("ss", &["-s"]),
            command("ip", &["-s", "-s", "link"]),
            command("tc", &["-s", "qdisc"]),
            command("cat", &files),
        ];
        all.extend(devices.iter().flat_map(of_device));
        all
    };
    let sends = || vec![command(env!("CARGO_BIN_EXE_netstat-deep"), &["tx", "--json", "--interval", "0"])];
    let exporter = exporter::Exporter::start();
    let mut times: [Vec<u64>; 5] = Default::default();
    for turn in 0..turns + 1 {
        let scrape = exporter.as_ref().map_or(0, exporter::Exporter::scrape);
        let measured = [cpu(ours()), cpu(floor()), cpu(others()), cpu(sends()), scrape];
        // The first turn warms the caches.
        if turn > 0 {
            times.iter_mut().zip(measured).for_each(|(times, time)| times.push(time));
        }
    }
    let [ours, floor, others, sends, scrapes] = &times;
    println!(
        "\n{} devices, {turns} turns; user + system time in microseconds: minimum, median, maximum",
        devices.len()
    );
    for (name, times) in [
        ("netstat-deep rx --json --interval 0", ours),
        ("reader.c: only reads the same bytes", floor),
        ("nstat, ss, ip, tc, ethtool -Sglck, cat", others),
        ("netstat-deep tx --json --interval 0", sends),
        ("node_exporter, one scrape", scrapes),
    ] {
        let (min, median, max) = spread(times.iter().map(|&time| time as f64));
        println!("{name:<38} {min:>8.0} {median:>8.0} {max:>8.0}");
    }
    for (name, one, other) in [
        ("ratio of rx to reader.c", ours, floor),
        ("ratio of rx to the tools together", ours, others),
        ("ratio of tx to rx", sends, ours),
        ("ratio of rx to node_exporter", ours, scrapes),
    ] {
        if other.contains(&0) {
            println!("{name:<38} not measured");
            continue;
        }
        let (min, median, max) = spread(one.iter().zip(other).map(|(&a, &b)| a as f64 / b as f64));
        println!("{name:<38} {min:>8.3} {median:>8.3} {max:>8.3}");
    }
}

/// All devices of this network namespace; and those with hardware behind them, which no namespace made for this has.
fn devices() -> (Vec<String>, Vec<String>) {
    let output = Command::new("ip").args(["-o", "link"]).output().expect("ip(8)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
    let devices: Vec<String> = text.lines().filter_map(name).collect();
    let hardware = |device: &&String| Path::new("/sys/class/net").join(device).join("device").exists();
    let cards = devices.iter().filter(hardware).cloned().collect();
    (devices, cards)
}

/// From here on this process and all that it starts are in a network namespace of their own, with many devices.
fn many_devices() -> Result<(), String> {
    // SAFETY: changes the namespace of this process, which has one thread, and no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    // node_exporter is asked through loopback.
    let lines: String = std::iter::once("link set lo up\n".to_owned())
        .chain((0..PAIRS).map(|n| format!("link add a{n} type veth peer name b{n}\n")))
        .collect();
    let wrote = ip.stdin.take().map(|mut input| input.write_all(lines.as_bytes()));
    let status = ip.wait().map_err(|e| e.to_string())?;
    match (wrote, status.success()) {
        (Some(Ok(())), true) => Ok(()),
        _ => Err(format!("the devices were not made: {status}")),
    }
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
