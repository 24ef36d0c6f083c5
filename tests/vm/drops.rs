//! Drops of known number, and what the probe says of them: played inside the guest, judged outside.

use std::fs;
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde_json::{Value, json};

use crate::boot::Guest;
use crate::guest::{FEW, FLAG, KNOCKS, NO_BPF, PORT, SEND, SENT, from_peer, own, program};
use crate::judge::{Judge, same, valid};

/// The first argument for the program with few capabilities: how much memory it may lock.
const UNLIMITED: &str = "unlimited";
/// What reading takes besides CAP_BPF and CAP_PERFMON on a kernel without reasons, where the place must have a name.
const KEPT: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON).union(CapabilitySet::SYSLOG);
/// Emulated, the kernel's types take seconds to read.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between the link of the drop probe and the window's begin, and at the window's end.
const MARGIN: Duration = Duration::from_millis(1500);

/// The runs: what each document is called, and how it is made.
const RUNS: [(&str, &[&str]); 2] = [("drops", &["drops"]), ("rx-probes", &["rx", "--probes", "on"])];

/// Inside: the same fault under the probe in every way that it can be attached.
pub fn play() {
    for (name, arguments) in RUNS {
        watched(name, program(&[arguments, &["--json", "-i", "300s"]].concat()), Child::holds_probe);
    }
    watched("drops-monitor", program(&["drops", "--source", "drop-monitor", "--json", "-i", "300s"]), Child::listens);
    // Refused, BPF is done without.
    watched("drops-fall-back", through(&[NO_BPF, "drops", "--json", "-i", "300s"]), Child::listens);
    watched("drops-raw", few(UNLIMITED, &["drops", "--raw", "--json", "-i", "300s"]), Child::holds_probe);
    // Where maps are locked memory, nothing fits.
    let locked = few("0", &["drops", "--json", "-i", "100ms"]).output().unwrap();
    let [said, errors] = [locked.stdout, locked.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let locked = json!({"code": locked.status.code(), "said": said, "errors": errors});
    fs::write("/out/locked.json", locked.to_string()).unwrap();
}

/// The program, started by this binary with no more than it needs.
fn few(locked: &str, arguments: &[&str]) -> Command {
    through(&[&[FEW, locked], arguments].concat())
}

/// The program, started by this binary.
fn through(arguments: &[&str]) -> Command {
    let mut command = own();
    command.arg(FLAG).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Becomes the program, without the other capabilities.
pub fn become_with_few(arguments: &[String]) -> ! {
    let locked = Some(arguments[0].parse().unwrap_or(u64::MAX)).filter(|&bytes| bytes < u64::MAX);
    setrlimit(Resource::Memlock, Rlimit { current: locked, maximum: locked }).unwrap();
    for capability in CapabilitySet::all().difference(KEPT) {
        // This kernel may have fewer.
        let _ = remove_capability_from_bounding_set(capability);
    }
    panic!("{}", Command::new("netstat-deep").args(&arguments[1..]).exec());
}

/// Datagrams to a closed port, and into a buffer that nobody empties, while `command` watches; what it says, and how many
/// there were.
fn watched(name: &str, command: Command, ready: fn(&Child) -> bool) {
    let reader = during(name, command, ready, || {
        from_peer(&[&KNOCKS.to_string()]);
        let reader = UdpSocket::bind(("10.78.0.1", PORT)).unwrap();
        from_peer(&[SEND]);
        reader
    });
    reader.set_nonblocking(true).unwrap();
    let received = std::iter::repeat_with(|| reader.recv(&mut [0; 64])).take_while(Result::is_ok).count() as u64;
    let truth = json!({"lost": SENT - received, "pid": std::process::id()});
    fs::write(format!("/out/{name}-truth.json"), truth.to_string()).unwrap();
}

/// Does something while `command` watches, and keeps what that then says.
pub fn during<T>(name: &str, mut command: Command, ready: fn(&Child) -> bool, fault: impl FnOnce() -> T) -> T {
    let mut watching = command.spawn().unwrap();
    let begun = Instant::now();
    while !ready(&watching) {
        if begun.elapsed() > PATIENCE || watching.try_wait().unwrap().is_some() {
            let mut said = String::new();
            let _ = watching.kill();
            watching.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("{name}: does not watch after {:?}: {said}", begun.elapsed());
        }
        sleep(Duration::from_millis(100));
    }
    sleep(MARGIN);
    let done = fault();
    sleep(MARGIN);
    kill_process(Pid::from_child(&watching), Signal::INT).unwrap();
    let output = watching.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    fs::write(format!("/out/{name}.json"), output.stdout).unwrap();
    done
}

pub trait Ready {
    fn holds_probe(&self) -> bool;
    fn listens(&self) -> bool;
}

impl Ready for Child {
    /// The program holds the link of the drop probe, as the kernel tells of its open files.
    fn holds_probe(&self) -> bool {
        let files = fs::read_dir(format!("/proc/{}/fdinfo", self.id())).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        texts
            .into_iter()
            .any(|text| text.lines().any(|line| line.starts_with("tp_name:") && line.ends_with("kfree_skb")))
    }

    /// Somebody listens to a group of generic netlink, and nobody but the program does in the guest: columns sk, Eth, Pid,
    /// Groups.
    fn listens(&self) -> bool {
        let table = fs::read_to_string("/proc/net/netlink").unwrap();
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.into_iter().any(|row| row[1] == "16" && row[3] != "00000000")
    }
}

pub const ALL: [(&str, Judge); 6] = [
    ("drops_by_drop_monitor", |boot| monitored(boot.guest()?, "drops-monitor", false)),
    ("drops_fall_back_on_the_drop_monitor", |boot| monitored(boot.guest()?, "drops-fall-back", true)),
    ("drops", |boot| counted(boot.guest()?, "drops", "tp_btf")),
    ("drops_raw_with_few_capabilities", |boot| counted(boot.guest()?, "drops-raw", "raw_tp")),
    ("rx_with_probes", |boot| rx(boot.guest()?)),
    ("no_locked_memory", |boot| locked(boot.guest()?)),
];

/// Both faults to the packet, by reason or by place, with the victim; every run of the program is accounted for.
fn counted(guest: &Guest, name: &str, way: &str) -> Result<(), String> {
    let report = guest.json(&format!("{name}.json"))?;
    valid(name, &report)?;
    faults(guest, name, &report)?;
    let probe = &report["self"]["probes"][0];
    same(&probe["name"], &format!("{way}/kfree_skb").into())?;
    let totals = &report["drop_totals"];
    let unseen = probe["missed"].as_u64();
    // Since 5.12 the kernel counts runs that it left out.
    same(&unseen.unwrap_or(0), &0)?;
    same(&totals["unseen"].as_u64(), &Some(0))?;
    if way == "tp_btf" {
        same(&probe["hits"], &totals["packets"])?;
    } else {
        // Without CAP_SYS_ADMIN the kernel does not count them.
        same(&probe["hits"], &Value::Null)?;
    }
    same(&(totals["detail_not_kept"].as_u64(), totals["victims_not_kept"].as_u64()), &(Some(0), Some(0)))
}

/// The same faults, to the packet, without what only BPF tells; and that this is so is said.
fn monitored(guest: &Guest, name: &str, refused: bool) -> Result<(), String> {
    let report = guest.json(&format!("{name}.json"))?;
    valid(name, &report)?;
    faults(guest, name, &report)?;
    let totals = ["unseen", "detail_not_kept"].map(|key| report["drop_totals"][key].as_u64());
    same(&totals, &[Some(0), Some(0)])?;
    let sources = report["sources"].as_array().ok_or("no sources")?;
    let source = |wanted: &str| sources.iter().find(|source| source["name"] == wanted);
    let told = source("drop monitor").ok_or_else(|| format!("not among {sources:?}"))?;
    same(&told["ok"], &true.into())?;
    same(&told["reason"].as_str().is_some_and(|reason| reason.contains("instead of BPF")), &true)?;
    same(&(sources.len(), source("drop probe").is_some()), &(1 + usize::from(refused), refused))
}

fn faults(guest: &Guest, name: &str, report: &Value) -> Result<(), String> {
    let truth = guest.json(&format!("{name}-truth.json"))?;
    let reasons = guest.json("doctor.json")?["features"]["drop_reasons"].as_u64() > Some(0);
    let drops = report["drops"].as_array().ok_or("no drops")?;
    let cases = [
        ("SOCKET_RCVBUFF", "harmful", "udp_queue_rcv_one_skb", truth["lost"].as_u64()),
        ("NO_SOCKET", "harmless", "__udp4_lib_rcv", Some(KNOCKS)),
    ];
    for (reason, harm, function, count) in cases {
        let of = if reasons { "reason" } else { "likely" };
        let of = |row: &&Value| row[of] == reason && row["protocol"] == "udp";
        let rows: Vec<&Value> = drops.iter().filter(of).collect();
        let [row] = rows[..] else { return Err(format!("{} rows for {reason} among {drops:#?}", rows.len())) };
        same(&(reason, row["count"].as_u64()), &(reason, count))?;
        let found = ["harm", "device", "stage", "network"].map(|key| row[key].as_str().unwrap_or_default());
        let index = format!("if{}", guest.json("dropmon.json")?["device"].as_str().unwrap_or_default());
        // The drop monitor knows no namespace, so the device's number has no name.
        let by_monitor = report["self"]["probes"].is_null();
        same(&found, &[harm, if by_monitor { &index } else { "va" }, "udp_in", "ipv4"])?;
        let place = row["location"].as_str().unwrap_or_default();
        if !place.starts_with(function) && !reasons {
            return Err(format!("{reason} in {place}"));
        }
        if by_monitor {
            same(&row["victims"], &Value::Null)?;
        } else if reason == "SOCKET_RCVBUFF" {
            let victim = &row["victims"][0];
            same(&victim["lost"].as_u64(), &count)?;
            // The hook that knows the socket on older kernels does not tell its address.
            let local = &victim["local"];
            if !local.is_null() {
                same(local, &format!("10.78.0.1:{PORT}").into())?;
            }
            // Whose it is shows only to whom it may.
            let pid = if name == "drops-raw" { &Value::Null } else { &truth["pid"] };
            same(&victim["pid"], pid)?;
        }
    }
    Ok(())
}

/// The counters and the probe say the same: nothing is counted twice, nothing is left to explain.
fn rx(guest: &Guest) -> Result<(), String> {
    let (report, truth) = (guest.json("rx-probes.json")?, guest.json("rx-probes-truth.json")?);
    valid("rx-probes", &report)?;
    faults(guest, "rx-probes", &report)?;
    let ledger = report["ledger"].as_array().ok_or("no ledger")?;
    let sum = |stage: &str, column: &str| {
        let lines = ledger.iter().filter(|line| line["stage"] == stage);
        lines.filter_map(|line| line[column].as_u64()).sum::<u64>()
    };
    same(&Some(sum("udp_in", "lost")), &truth["lost"].as_u64())?;
    for line in ledger {
        same(&(&line["stage"], line["unexplained"].as_u64().unwrap_or(0)), &(&line["stage"], 0))?;
    }
    same(&report["self"]["probes"][0]["attached"], &true.into())
}

/// Where maps are locked memory (before 5.11) and the limit can't be raised, that is what is said; elsewhere it does not
/// matter.
fn locked(guest: &Guest) -> Result<(), String> {
    let locked = guest.json("locked.json")?;
    let errors = locked["errors"].as_str().unwrap_or_default();
    match locked["code"].as_i64() {
        Some(0) => same(&errors, &""),
        Some(3) if errors.contains("RLIMIT_MEMLOCK") && errors.contains("CAP_SYS_RESOURCE") => Ok(()),
        code => Err(format!("ended with {code:?}: {errors}")),
    }
}
