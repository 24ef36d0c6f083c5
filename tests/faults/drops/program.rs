//! Which BPF program refused a packet: programs of our own, compiled here, that refuse all of IPv4 and nothing else. The
//! oracle is the number of datagrams sent.

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aya::programs::links::CgroupAttachMode;
use aya::programs::{CgroupSkb, CgroupSkbAttachType, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use serde_json::Value;
use tempfile::TempDir;

use super::policy::{from_client, policy, send};
use super::probed::rx;
use super::{Seen, attached, observe};
use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, wrong};
use crate::lab::{CLIENT_DEVICE, Family, Lab, SERVER_DEVICE, ip};
use crate::need::Need;
use crate::observe::inside;
use crate::report::{Finding, Report};
use crate::tool;

const PORT: u16 = 5060;

/// Sections as both iproute2 and aya call them.
const SOURCE: &str = r#"
#define SEC(name) __attribute__((section(name), used))
struct packet { unsigned int data, data_end; };
/* include/uapi/linux/bpf.h: struct __sk_buff; its protocol is in network order. */
struct buffer { unsigned int len, pkt_type, mark, queue_mapping, protocol; };
static int is_ipv4(struct buffer *b) { return b->protocol == 8; }
SEC("classifier") int nsdf_tc(struct buffer *b) { return is_ipv4(b) ? 2 : -1; }
SEC("cgroup_skb/egress") int nsdf_cgroup(struct buffer *b) { return !is_ipv4(b); }
SEC("xdp") int nsdf_xdp(struct packet *p)
{
	unsigned char *data = (void *)(long)p->data, *end = (void *)(long)p->data_end;
	return data + 14 <= end && data[12] == 8 && data[13] == 0 ? 1 : 2;
}
SEC("xdp") int nsdf_abort(struct packet *p)
{
	unsigned char *data = (void *)(long)p->data, *end = (void *)(long)p->data_end;
	return data + 14 <= end && data[12] == 8 && data[13] == 0 ? 0 : 2;
}
char its_license[] SEC("license") = "Dual MIT/GPL";
"#;

pub fn cases() -> Vec<Case> {
    let needs = &[Need::Namespaces, Need::Bpf, Need::Clang];
    vec![
        Case::new("drops::policy_tc_ingress", needs, tc_ingress),
        Case::new("drops::policy_tc_egress", needs, tc_egress),
        Case::new("drops::policy_tcx", needs, tcx),
        Case::new("drops::policy_two_tc_programs", needs, two_programs),
        Case::new("drops::policy_xdp_generic", needs, |window| xdp("xdpgeneric", window)),
        Case::new("drops::policy_xdp_driver", needs, |window| xdp("xdpdrv", window)),
        Case::new("drops::policy_cgroup", needs, cgroup),
        Case::new("drops::rx_with_probes_tc_program", needs, rx_of_tc),
        Case::new("drops::rx_with_probes_xdp_exceptions", needs, rx_of_xdp),
        Case::new("drops::pages_held_of_a_pool_that_is_to_go", needs, pages_held).seconds(4),
    ]
}

/// The programs, compiled; the folder is gone when dropped.
struct Object(TempDir);

impl Object {
    fn compile() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let mut clang = Command::new("clang")
            .args(["-O2", "-g", "-target", "bpf", "-x", "c", "-", "-c", "-o"])
            .arg(folder.path().join("refuse.o"))
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = clang.stdin.take() {
            stdin.write_all(SOURCE.as_bytes())?;
        }
        if clang.wait()?.success() { Ok(Self(folder)) } else { wrong("clang does not compile the programs") }
    }

    fn path(&self) -> String {
        self.0.path().join("refuse.o").display().to_string()
    }

    fn load(&self) -> Outcome<Ebpf> {
        Ok(EbpfLoader::new().load_file(self.path())?)
    }
}

/// Attached by tc, on the server's device.
fn filter(lab: &Lab, object: &Object, way: &str) -> Outcome {
    let device = ["tc", "qdisc", "add", "dev", SERVER_DEVICE, "clsact"];
    lab.server.exec(&device)?;
    let path = object.path();
    let filter = ["tc", "filter", "add", "dev", SERVER_DEVICE, way, "pref", "7", "bpf", "da", "obj", &path];
    lab.server.exec(&[&filter[..], &["sec", "classifier"]].concat()).map(drop)
}

fn program(checks: &mut Checks, policy: &Value, name: &str) {
    checks.same("program", Some(name), policy["program"].as_str());
    checks.that(policy["program_id"].as_u64().is_some_and(|id| id > 0), "a program without number");
}

fn tc_ingress(window: Duration) -> Outcome {
    let (lab, object) = (Lab::new()?, Object::compile()?);
    filter(&lab, &object, "ingress")?;
    let seen = observe(&lab.server, window, || from_client(&lab, Family::V4, &[(PORT, 160)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, "TC_INGRESS", "watch", "ingress", 160)?;
    let policy = policy(row, &mut checks, "tc", "only_attached");
    program(&mut checks, policy, "nsdf_tc");
    checks.same("device", Some(SERVER_DEVICE), policy["device"].as_str());
    checks.same("filter", Some("bpf pref 7"), policy["filter"].as_str());
    checks.same("hook", Some("ingress"), policy["hook"].as_str());
    checks.done(&seen.report)
}

fn tc_egress(window: Duration) -> Outcome {
    let (lab, object) = (Lab::new()?, Object::compile()?);
    filter(&lab, &object, "egress")?;
    let to = std::net::SocketAddr::new(Family::V4.client(), PORT);
    let seen = observe(&lab.server, window, || send(&lab.server, Family::V4.server(0), &[(to, 140)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, "TC_EGRESS", "watch", "egress", 140)?;
    let policy = policy(row, &mut checks, "tc", "only_attached");
    program(&mut checks, policy, "nsdf_tc");
    checks.same("hook", Some("egress"), policy["hook"].as_str());
    checks.done(&seen.report)
}

/// By a link of this process; where the kernel has no tcx (before 6.6) aya takes a filter.
fn tcx(window: Duration) -> Outcome {
    let (lab, object) = (Lab::new()?, Object::compile()?);
    let mut ebpf = object.load()?;
    lab.server.exec(&["tc", "qdisc", "add", "dev", SERVER_DEVICE, "clsact"])?;
    attach(&lab, &mut ebpf)?;
    let seen = observe(&lab.server, window, || from_client(&lab, Family::V4, &[(PORT, 130)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, "TC_INGRESS", "watch", "ingress", 130)?;
    let policy = policy(row, &mut checks, "tc", "only_attached");
    program(&mut checks, policy, "nsdf_tc");
    checks.done(&seen.report)
}

fn attach(lab: &Lab, ebpf: &mut Ebpf) -> Outcome {
    lab.server.inside(|| {
        let program: Option<&mut SchedClassifier> = ebpf.program_mut("nsdf_tc").and_then(|p| p.try_into().ok());
        let program = program.ok_or_else(|| std::io::Error::other("no program nsdf_tc"))?;
        let attached = program.load().and_then(|()| program.attach(SERVER_DEVICE, TcAttachType::Ingress));
        attached.map(drop).map_err(std::io::Error::other)
    })?;
    Ok(())
}

/// Nobody counts which of them refused: both are candidates, neither is claimed.
fn two_programs(window: Duration) -> Outcome {
    let (lab, object) = (Lab::new()?, Object::compile()?);
    let mut ebpf = object.load()?;
    filter(&lab, &object, "ingress")?;
    attach(&lab, &mut ebpf)?;
    let seen = observe(&lab.server, window, || from_client(&lab, Family::V4, &[(PORT, 60)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, "TC_INGRESS", "watch", "ingress", 60)?;
    let policy = policy(row, &mut checks, "tc", "reason");
    checks.same("candidates", Some(2), policy["candidates"].as_array().map(Vec::len));
    checks.same("a program that is claimed", None, policy["program"].as_str());
    checks.same("not attributed", Some(60), policy["unattributed"].as_u64());
    checks.done(&seen.report)
}

fn xdp(how: &str, window: Duration) -> Outcome {
    let (lab, object) = (Lab::new()?, Object::compile()?);
    let path = object.path();
    lab.server.exec(&["ip", "link", "set", "dev", SERVER_DEVICE, how, "obj", &path, "sec", "xdp"])?;
    let seen = observe(&lab.server, window, || from_client(&lab, Family::V4, &[(PORT, 180)]))?;
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, "XDP", "harmful", "driver_rx", 180)?;
    let policy = policy(row, &mut checks, "xdp", "only_attached");
    program(&mut checks, policy, "nsdf_xdp");
    checks.same("device", Some(SERVER_DEVICE), policy["device"].as_str());
    checks.done(&seen.report)
}

/// A cgroup of our own; removed when dropped, after the processes in it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Outcome<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words.get(2) == Some(&"cgroup2")).then(|| words[1].to_owned())
        });
        let Some(mount) = mount else { return wrong("cgroup v2 is not mounted") };
        let path = Path::new(&mount).join(format!("nsdf-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("{}: not removed: {error}", self.0.display());
        }
    }
}

fn cgroup(window: Duration) -> Outcome {
    let (lab, object, cgroup) = (Lab::new()?, Object::compile()?, Cgroup::new()?);
    let mut ebpf = object.load()?;
    let program: Option<&mut CgroupSkb> = ebpf.program_mut("nsdf_cgroup").and_then(|p| p.try_into().ok());
    let Some(program) = program else { return wrong("no program nsdf_cgroup") };
    program.load()?;
    program.attach(File::open(&cgroup.0)?, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
    let source = Family::V4.server(0).to_string();
    let mut sender =
        Actor::start_in_cgroup(&cgroup.0, &lab.server, "nsd-sender", "udp-sender", &[&source, "1", "any"])?;
    let to = std::net::SocketAddr::new(Family::V4.client(), PORT);
    let seen = observe(&lab.server, window, || Ok(170 - sender.ask(&format!("send {to} 170 100 0"))?))?;
    let mut checks = Checks::default();
    checks.same("refused datagrams", 170, seen.told);
    let row = seen.check(&mut checks, "BPF_CGROUP_EGRESS", "harmful", "ip_out", seen.told)?;
    let policy = policy(row, &mut checks, "cgroup_bpf", "only_attached");
    program_and_cgroup(&mut checks, policy, &cgroup);
    checks.same("victim", Some(u64::from(sender.pid())), row["victims"][0]["pid"].as_u64());
    checks.done(&seen.report)
}

fn program_and_cgroup(checks: &mut Checks, policy: &Value, cgroup: &Cgroup) {
    program(checks, policy, "nsdf_cgroup");
    let name = cgroup.0.file_name().map(|name| format!("/{}", name.to_string_lossy()));
    checks.same("cgroup", name, policy["cgroup"].as_str().map(str::to_owned));
}

/// A device with an XDP program has a pool of pages; what waits in a socket holds some of them when the device goes. The
/// kernel looks again each second. Of a pool it does not say whose it is.
fn pages_held(window: Duration) -> Outcome {
    const DATAGRAMS: usize = 20;
    let (lab, object) = (Lab::new()?, Object::compile()?);
    let path = object.path();
    lab.server.exec(&["ip", "link", "set", "dev", SERVER_DEVICE, "xdpdrv", "obj", &path, "sec", "xdp"])?;
    let at = Family::V6.server(PORT);
    let unread = lab.server.inside(|| UdpSocket::bind(at))?;
    let run = tool::start_with(&["drops", "--json"], window);
    let ([report], ()) = inside([run], attached, || {
        lab.client.inside(|| {
            let socket = UdpSocket::bind((Family::V6.client(), 0))?;
            (0..DATAGRAMS).try_for_each(|_| socket.send_to(&[0x55; 1000], at).map(drop))
        })?;
        std::thread::sleep(Duration::from_millis(100));
        ip(&["-n", &lab.client.name, "link", "del", CLIENT_DEVICE])?;
        std::thread::sleep(window / 2);
        Ok(())
    })?;
    drop(unread);
    let seen = Seen { report, told: 0 };
    let mut checks = Checks::default();
    let (count, incident) = seen.incident("page_pool_release");
    let looks = 1..=window.as_secs() + 1;
    checks.that(looks.contains(&count), format_args!("{count} looks at the pool in {} s", window.as_secs()));
    let pages = incident["code"].as_u64().unwrap_or(0);
    checks.that((1..=DATAGRAMS as u64).contains(&pages), format_args!("{pages} pages of {DATAGRAMS} datagrams"));
    checks.same("harm", Some("watch"), incident["harm"].as_str());
    checks.done(&seen.report)
}

/// What `rx` says of it: one finding with as many packets as were sent.
fn finding_of(report: &Report, checks: &mut Checks, rule: &str, evidence: &str, count: u64) {
    let all = report.findings(rule);
    checks.same(&format!("findings {rule}"), 1, all.len());
    checks.same(&format!("{rule}: evidence"), Some(count), Finding(all.first().copied()).evidence(evidence));
}

fn rx_of_tc(window: Duration) -> Outcome {
    let (lab, object) = (Lab::new()?, Object::compile()?);
    filter(&lab, &object, "ingress")?;
    let (report, sent) = rx(&lab, window, || from_client(&lab, Family::V4, &[(PORT, 120)]))?;
    let mut checks = Checks::default();
    finding_of(&report, &mut checks, "ingress-filter-drops", "drop.TC_INGRESS", sent);
    checks.done(&report)
}

/// A program that fails on each packet of IPv4.
fn rx_of_xdp(window: Duration) -> Outcome {
    let (lab, object) = (Lab::new()?, Object::compile()?);
    let mut ebpf = object.load()?;
    lab.server.inside(|| {
        let program: Option<&mut Xdp> = ebpf.program_mut("nsdf_abort").and_then(|p| p.try_into().ok());
        let program = program.ok_or_else(|| std::io::Error::other("no program nsdf_abort"))?;
        let attached = program.load().and_then(|()| program.attach(SERVER_DEVICE, XdpMode::Skb));
        attached.map(drop).map_err(std::io::Error::other)
    })?;
    let (report, sent) = rx(&lab, window, || from_client(&lab, Family::V4, &[(PORT, 110)]))?;
    let mut checks = Checks::default();
    finding_of(&report, &mut checks, "xdp-exceptions", "drop.xdp_exception", sent);
    checks.done(&report)
}
