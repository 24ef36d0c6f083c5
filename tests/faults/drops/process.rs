//! The program itself: what it leaves behind, and what it says where it may not run.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::lab::{Family, Lab};
use crate::need::Need;
use crate::observe::inside;
use crate::tool;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("drops::killed_leaves_nothing", &[Need::Namespaces, Need::Bpf], killed),
        Case::new("drops::gives_up_what_it_needs_no_longer", &[Need::Namespaces, Need::Bpf], gives_up),
        Case::new("drops::with_two_capabilities", &[Need::Namespaces, Need::Bpf], two_capabilities),
        Case::new("drops::without_privilege", &[Need::Namespaces, Need::Bpf], unprivileged),
    ]
}

/// What the kernel tells of the open files of a process: programs, links and maps among them.
pub fn open_files(pid: u32) -> String {
    let folder = format!("/proc/{pid}/fdinfo");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
}

/// Numbers of the programs that a process holds.
fn programs(pid: u32) -> Vec<u32> {
    let text = open_files(pid);
    let mut ids: Vec<u32> =
        text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// BPF_PROG_GET_FD_BY_ID, which finds every program that there is.
fn is_there(id: u32) -> bool {
    const GET_FD_BY_ID: libc::c_long = 13;
    let attr = [id, 0, 0, 0];
    // SAFETY: `attr` lives through the call and is as long as the size says.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, GET_FD_BY_ID, attr.as_ptr(), size_of_val(&attr)) };
    if fd >= 0 {
        // SAFETY: the call has just given it to us, and nobody else knows it.
        unsafe { libc::close(fd as i32) };
    }
    fd >= 0
}

fn killed(window: Duration) -> Outcome {
    let run = tool::start_with(&["drops", "--json"], window + Duration::from_secs(30))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let ids = loop {
        let ids = programs(run.pid());
        if !ids.is_empty() {
            break ids;
        }
        if Instant::now() > deadline {
            return again("no program was loaded in 10 s");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if !ids.iter().all(|id| is_there(*id)) {
        return again("it went away before it was killed");
    }
    // Dropped, it is killed with SIGKILL.
    drop(run);
    let deadline = Instant::now() + Duration::from_secs(5);
    while ids.iter().any(|id| is_there(*id)) {
        if Instant::now() > deadline {
            return wrong(format_args!("programs {ids:?} are still there"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Attached, it holds no capability but those that reading takes.
fn gives_up(window: Duration) -> Outcome {
    const READ: u64 = 1 << 2 | 1 << 12 | 1 << 19 | 1 << 21 | 1 << 34 | 1 << 39;
    let run = tool::start_with(&["drops", "--json"], window)?;
    super::attached(&run)?;
    let path = format!("/proc/{}/status", run.pid());
    let held = |status: &str, set: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(':'));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
    };
    // It does so as soon as it is attached, which takes a loaded machine its time.
    let deadline = Instant::now() + Duration::from_secs(5);
    let status = loop {
        let status = std::fs::read_to_string(&path)?;
        if held(&status, "CapPrm").is_some_and(|held| held & !READ == 0) || Instant::now() > deadline {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut checks = Checks::default();
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        checks.same(&format!("{set}: more than reading takes"), Some(0), held(&status, set).map(|held| held & !READ));
    }
    run.report()?;
    checks.done(&status)
}

/// A copy of the program that every user can start.
fn copy() -> Outcome<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("netstat-deep");
    std::fs::copy(env!("CARGO_BIN_EXE_netstat-deep"), &copy)?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok((folder, copy))
}

/// Two capabilities are enough to count; what the others give is missing, and said.
fn two_capabilities(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let inode = lab.server.inside(|| {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata("/proc/thread-self/ns/net")?.ino())
    })?;
    let (_folder, copy) = copy()?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let only = "-all,+bpf,+perfmon";
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.arg(format!("{set}={only}"));
    }
    command.arg(copy).args(["drops", "--json"]);
    let to = Family::V4.server(5043);
    let ([report], told) = inside([tool::start_command(&mut command, window)], super::attached, || {
        let sent = lab.client.inside(|| {
            let socket = std::net::UdpSocket::bind("10.77.0.1:0")?;
            Ok((0..200).filter(|_| socket.send_to(&[0; 18], to).is_ok()).count())
        })?;
        Ok(sent as u64)
    })?;
    let mut checks = Checks::default();
    let rows = report.0["drops"].as_array().map_or(&[][..], Vec::as_slice);
    let here = |row: &&serde_json::Value| row["netns"] == format!("net:[{inode}]") && row["reason"] == "NO_SOCKET";
    let rows: Vec<_> = rows.iter().filter(here).collect();
    checks.same("drops", told, rows.iter().filter_map(|row| row["count"].as_u64()).sum());
    let bare = |row: &&serde_json::Value| row["location"].as_str().is_some_and(|place| place.starts_with("0x"));
    checks.that(rows.iter().all(bare), "a place has a name without permission for symbols");
    let symbols =
        report.0["sources"].as_array().into_iter().flatten().find(|source| source["name"] == "kernel symbols");
    let reason = symbols.and_then(|source| source["reason"].as_str()).unwrap_or_default();
    checks.that(reason.contains("CAP_SYSLOG"), format_args!("CAP_SYSLOG is not named in '{reason}'"));
    let probe = &report.0["self"]["probes"][0];
    checks.that(probe["nanoseconds_per_hit"].is_null(), "a cost that nobody may know");
    checks.that(probe["reason"].to_string().contains("CAP_SYS_ADMIN"), format_args!("{probe}"));
    checks.done(&report)
}

/// As nobody: exit code 3, and the capabilities by their names.
fn unprivileged(_: Duration) -> Outcome {
    let (_folder, copy) = copy()?;
    let output = Command::new(&copy).args(["drops", "--json"]).uid(65_534).gid(65_534).output()?;
    let mut checks = Checks::default();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    checks.same("exit code", Some(3), output.status.code());
    checks.that(text.contains("CAP_BPF"), format_args!("CAP_BPF is not named in: {text}"));
    checks.that(output.stdout.is_empty(), "something was printed all the same");
    checks.same("lines", 2, text.lines().count());
    checks.done(&text)
}
