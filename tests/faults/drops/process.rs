//! The program itself: what it leaves behind, and what it says where it may not run.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::case::{Case, Checks, Outcome, again, wrong};
use crate::need::Need;
use crate::tool;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("drops::killed_leaves_nothing", &[Need::Namespaces, Need::Bpf], killed),
        Case::new("drops::gives_up_what_it_needs_no_longer", &[Need::Namespaces, Need::Bpf], gives_up),
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
    const READ: u64 = 1 << 2 | 1 << 19 | 1 << 34 | 1 << 39;
    let run = tool::start_with(&["drops", "--json"], window)?;
    super::attached(&run)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid()))?;
    let held = |set: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(':'));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
    };
    let mut checks = Checks::default();
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        checks.same(&format!("{set}: more than reading takes"), Some(0), held(set).map(|held| held & !READ));
    }
    run.report()?;
    checks.done(&status)
}

/// As nobody: exit code 3, and the capabilities by their names.
fn unprivileged(_: Duration) -> Outcome {
    let exe = std::path::Path::new(env!("CARGO_BIN_EXE_netstat-deep"));
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("netstat-deep");
    std::fs::copy(exe, &copy)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), readable)?;
    let output = Command::new(&copy).args(["drops", "--json"]).uid(65_534).gid(65_534).output()?;
    let mut checks = Checks::default();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    checks.same("exit code", Some(3), output.status.code());
    checks.that(text.contains("CAP_BPF"), format_args!("CAP_BPF is not named in: {text}"));
    checks.that(output.stdout.is_empty(), "something was printed all the same");
    checks.same("lines", 2, text.lines().count());
    checks.done(&text)
}
