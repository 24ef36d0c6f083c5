//! Boots a kernel once, for all trials that ask it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::guest;

/// What `tests/vm/run` needs. Also the names by which they are installed: see `tests/run`.
const TOOLS: [&str; 11] = [
    "qemu-system-x86_64",
    "busybox",
    "cpio",
    "depmod",
    "xz",
    "zstd",
    "lz4",
    "ip",
    "nft",
    "xtables-legacy-multi",
    "ethtool",
];

/// iptables of the old kind, and what it needs for its verdicts.
const OLD_IPTABLES: [&str; 2] =
    ["/usr/sbin/xtables-legacy-multi=/usr/bin/iptables-legacy", "/usr/lib/x86_64-linux-gnu/xtables/libxt_standard.so"];

/// For cards.
const ETHTOOL: &str = "/usr/sbin/ethtool=/usr/bin/ethtool";

/// Why nothing can be booted here.
pub fn lacking() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the guests are x86_64".into());
    }
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let there = |tool: &str| path.split(':').any(|folder| Path::new(folder).join(tool).exists());
    TOOLS.into_iter().find(|tool| !there(tool)).map(|tool| format!("needs the tool {tool}"))
}

/// A guest: booted when its first trial asks.
pub struct Boot {
    suite: &'static str,
    guest: OnceLock<Result<Guest, String>>,
}

/// What a guest left behind.
pub struct Guest {
    folder: TempDir,
}

impl Boot {
    pub fn new(suite: &'static str) -> Self {
        Self { suite, guest: OnceLock::new() }
    }

    /// Makes sure that the kernel is here.
    pub fn fetch(&self) -> Result<(), String> {
        let output = run(Command::new(script("kernel")).arg(self.suite))?;
        if output.status.success() { Ok(()) } else { Err(last_line(&output.stderr)) }
    }

    /// What the scenario left behind.
    pub fn guest(&self) -> Result<&Guest, String> {
        self.guest.get_or_init(|| self.boot()).as_ref().map_err(Clone::clone)
    }

    fn boot(&self) -> Result<Guest, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let [iptables, verdicts] = OLD_IPTABLES.map(OsStr::new);
        self.run(&folder, &own, &[own.as_os_str(), iptables, verdicts, OsStr::new(ETHTOOL)], &[guest::FLAG])?;
        Ok(Guest { folder })
    }

    /// Plays the faults of `tests/faults` on this kernel.
    pub fn faults(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let faults = build(&["test", "--no-run", "--test", "faults"], "faults")?;
        // Those start the program where it was built for them. Emulated, that build is too slow.
        let mut program = release()?.into_os_string();
        program.push("=");
        program.push(env!("CARGO_BIN_EXE_netstat-deep"));
        // Within a window sockets are looked at only where that takes less than a millisecond, which here it does not:
        // a reader that is too slow can't be told from one that pauses. And an emulated CPU does not keep up with bursts
        // however long its queue, nor with a load that is meant to be one.
        let not_here = ["slow_reader", "loops::netdev_max_backlog", "loops::rps_cpus"];
        // QEMU on several threads now and then lets a CPU run code that another has just patched as it was before, where the
        // kernel panics ("Oops: int3"; never on one thread): this fault has packets evaluated while programs are attached.
        let not_here = not_here.into_iter().chain(["drops::a_million", "drops::table_full", "drops::policy_across"]);
        // These ask for what kernels have come to tell since 5.10 (the reason itself, the socket's address, resets without
        // a socket), or for setpriv; the trials of `drops` hold them to what each kernel tells.
        let newer =
            ["drops::rx_with_probes", "drops::with_two_capabilities", "drops::tcp_no_listener", "drops::udp_buffer"];
        let newer = newer.into_iter().chain(["drops::raw_tracepoint", "drops::bad_checksum", "drops::udp_memory"]);
        let skipped = not_here.chain(newer).flat_map(|name| ["--skip", name]);
        let arguments: Vec<&str> = ["--color", "never"].into_iter().chain(skipped).collect();
        self.run(&folder, &faults, &[faults.as_os_str(), &program], &arguments)
    }

    fn run(&self, out: &TempDir, program: &Path, files: &[&OsStr], arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(script("run"));
        command.env("NETSTAT_DEEP", release()?).env("VM_SECONDS", "900").arg("-o").arg(out.path());
        for file in files {
            command.arg("-f").arg(file);
        }
        let output = run(command.args([self.suite, "--"]).arg(program).args(arguments))?;
        if output.status.success() {
            return Ok(());
        }
        let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Err(format!("the guest ended with {}:\n{said}{errors}", output.status))
    }
}

impl Guest {
    pub fn text(&self, name: &str) -> Result<String, String> {
        std::fs::read_to_string(self.folder.path().join(name)).map_err(|e| format!("{name}: {e}"))
    }

    pub fn json(&self, name: &str) -> Result<Value, String> {
        let text = self.text(name)?;
        serde_json::from_str(&text).map_err(|e| format!("{name}: {e} in {text:?}"))
    }
}

/// The program as it is installed, built from what lies here: emulated, the other build is too slow.
fn release() -> Result<PathBuf, String> {
    build(&["build", "--release", "--bin", "netstat-deep"], "netstat-deep")
}

/// Where cargo put what it made for `arguments`.
fn build(arguments: &[&str], name: &str) -> Result<PathBuf, String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).args(["--locked", "--message-format", "json-render-diagnostics"]);
    let output = run(command.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    let messages = output.stdout.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut of = messages.filter(|message| message["target"]["name"] == name);
    let program = of.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| format!("{name} is not built:\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm").join(name)
}

fn run(command: &mut Command) -> Result<Output, String> {
    command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))
}

fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim_end().lines().next_back().unwrap_or("no reason given").to_owned()
}
