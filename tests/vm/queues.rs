//! A card whose peer does not receive: nothing leaves its ring, so that it hangs, and all queues above it hold still while they
//! are compared, value by value, with what `tc` and sysfs say. Played inside the guest, on two cards of virtio; judged outside.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::boot::Guest;
use crate::card::{at_once, found};
use crate::drops::during;
use crate::guest::{program, shell};
use crate::judge::{Judge, same};

pub const ALL: [(&str, Judge); 3] = [
    ("queue_hangs", |boot| hangs(boot.guest()?)),
    ("byte_queue_limits", |boot| limits(boot.guest()?)),
    ("queueing_disciplines", |boot| disciplines(boot.guest()?)),
];

const CARD: &str = "out0";
const QUEUE: &str = "/sys/class/net/out0/queues/tx-0";

/// The other end stays down: it gives QEMU no buffer to put a packet into.
const CARDS: &str = "\
modprobe virtio_pci
modprobe virtio_net
card() { grep -l 02:00:00:00:78:0$1 /sys/class/net/*/address | cut -d/ -f5; }
for n in 0 1 2 3 4 5 6 7 8 9; do [ -n \"$(card 1)\" ] && [ -n \"$(card 2)\" ] && break; sleep 1; done
ip link set $(card 1) name out0
ip link set $(card 2) name in0
sysctl -wq net.ipv6.conf.out0.disable_ipv6=1
ip addr add 10.82.0.1/24 dev out0
ip link set out0 up
ip neigh add 10.82.0.2 lladdr 02:00:00:00:78:02 nud permanent dev out0";

/// How it is made, what is sent in a window, and what must be found: the rule, and how many are lost if that is known.
struct Queue {
    name: &'static str,
    made: &'static str,
    finds: &'static str,
    lost: Option<u64>,
    /// Sent for a time that far ahead.
    ahead: Option<Duration>,
}

const COUNT: u64 = 50;

const fn queue(name: &'static str, made: &'static str, finds: &'static str, lost: Option<u64>) -> Queue {
    Queue { name, made, finds, lost, ahead: None }
}

static QUEUES: [Queue; 6] = [
    queue("pfifo", "pfifo limit 20", "qdisc-drops", Some(COUNT - 20)),
    queue("fq", "fq flow_limit 10", "fq-flow-limit", Some(COUNT - 10)),
    Queue {
        ahead: Some(Duration::from_secs(60)),
        ..queue("horizon", "fq horizon 2s horizon_drop", "qdisc-horizon-or-memory", Some(COUNT))
    },
    // These drop more than they must, so that they need not do it for every packet.
    queue("fq_codel", "fq_codel limit 20", "qdisc-drops", None),
    queue("cake", "cake memlimit 30000", "qdisc-drops", None),
    queue("netem", "netem loss 100%", "qdisc-drops", Some(COUNT)),
];

pub fn play() {
    shell(CARDS);
    let watching = || program(&["tx", "--json", "--probes", "off", "-i", "300s"]);
    let begun = number("tx_timeout");
    let within = during("hung", watching(), at_once, || {
        // More than the ring holds; a socket may not have that much on its way.
        for _ in 0..6 {
            send(100, None).unwrap();
        }
        let start = Instant::now();
        while number("tx_timeout") == begun && start.elapsed() < Duration::from_secs(25) {
            std::thread::sleep(Duration::from_millis(100));
        }
        number("tx_timeout")
    });
    let limits = ["limit", "inflight"].map(|file| number(&format!("byte_queue_limits/{file}")));
    let truth = json!({"begun": begun, "within": within, "after": number("tx_timeout"), "limits": limits});
    fs::write("/out/hung-truth.json", truth.to_string()).unwrap();
    for Queue { name, made, ahead, .. } in &QUEUES {
        // One handle can't become that of another kind.
        shell(&format!(
            "tc qdisc del dev {CARD} root 2>/dev/null || true; tc qdisc add dev {CARD} root handle 7: {made}"
        ));
        during(name, watching(), at_once, || send(COUNT, *ahead).unwrap());
        let output = Command::new("tc").args(["-s", "-d", "-j", "qdisc", "show", "dev", CARD]).output().unwrap();
        fs::write(format!("/out/tc-{name}.json"), output.stdout).unwrap();
    }
    shell(&format!("ip link set {CARD} down"));
}

/// What a file of the queue says.
fn number(file: &str) -> u64 {
    fs::read_to_string(format!("{QUEUE}/{file}")).map_or(0, |text| text.trim().parse().unwrap())
}

/// Sends so many datagrams from one socket. Whether they are refused on the way says nothing here.
fn send(count: u64, ahead: Option<Duration>) -> io::Result<()> {
    let socket = UdpSocket::bind("10.82.0.1:0")?;
    socket.set_nonblocking(true)?;
    let to: SocketAddr = ([10, 82, 0, 2], 9).into();
    if let Some(ahead) = ahead {
        socket.connect(to)?;
        return (0..count).try_for_each(|_| send_at(&socket, ahead));
    }
    for _ in 0..count {
        let _ = socket.send_to(&[0; 1000], to);
    }
    Ok(())
}

/// A datagram that is to be sent when this time is over (SO_TXTIME).
fn send_at(socket: &UdpSocket, ahead: Duration) -> io::Result<()> {
    // include/uapi/linux/net_tstamp.h struct sock_txtime: the clock, no flags.
    let clock: [u32; 2] = [libc::CLOCK_MONOTONIC as u32, 0];
    let (level, option) = (libc::SOL_SOCKET, libc::SO_TXTIME);
    // SAFETY: the value is as long as is said, and lives through the call.
    if unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const clock).cast(), 8) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let at = (now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64).wrapping_add(ahead.as_nanos() as u64);
    // struct cmsghdr: length, level, type; then the time.
    let control: [u64; 3] = [24, (libc::SCM_TXTIME as u64) << 32 | libc::SOL_SOCKET as u64, at];
    let payload = [0u8; 1000];
    let mut part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    // SAFETY: all zeros is a message without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_ptr().cast_mut().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: all that the message points to lives through the call, which only reads it.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    // A queue that drops it may say so.
    if sent < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The kernel counted it once at least, and the finding says as often. Before 5.17 virtio is not watched.
fn hangs(guest: &Guest) -> Result<(), String> {
    let (report, truth) = (guest.json("hung.json")?, guest.json("hung-truth.json")?);
    let counted = |name: &str| truth[name].as_u64().unwrap_or(0) - truth["begun"].as_u64().unwrap_or(0);
    if counted("after") == 0 && report["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("5.")) {
        return same(&found("hung", &report, "tx-queue-timeout").is_err(), &true);
    }
    let finding = found("hung", &report, "tx-queue-timeout")?;
    same(&finding["severity"], &"critical".into())?;
    same(&finding["instance"], &json!({"device": CARD, "queue": "tx-0"}))?;
    let told = finding["evidence"][0]["delta"].as_u64().unwrap_or(0);
    // It may have hung once more while the program ended.
    let (least, most) = (counted("within").max(1), counted("after"));
    if (least..=most).contains(&told) { Ok(()) } else { Err(format!("{told} times, not {least} to {most}")) }
}

fn limits(guest: &Guest) -> Result<(), String> {
    let (report, truth) = (guest.json("hung.json")?, guest.json("hung-truth.json")?);
    let at = json!({"device": CARD, "queue": "tx-0"});
    let value = |id: &str| {
        let stages = report["stages"].as_array().into_iter().flatten();
        let mut rows = stages.filter(|row| row["instance"] == at).map(|row| &row["counters"][id]["value"]);
        rows.find(|value| !value.is_null()).cloned().unwrap_or_default()
    };
    same(&json!([value("bql.limit"), value("bql.inflight")]), &truth["limits"])
}

/// Every number that both this program and `tc` know of the queue is the same, and what was lost is found.
fn disciplines(guest: &Guest) -> Result<(), String> {
    for Queue { name, finds, lost, .. } in &QUEUES {
        let (report, theirs) = (guest.json(&format!("{name}.json"))?, guest.json(&format!("tc-{name}.json"))?);
        let theirs = theirs.as_array().into_iter().flatten().find(|one| one["handle"] == "7:");
        let theirs = theirs.ok_or_else(|| format!("tc does not know {name}"))?;
        let stages = report["stages"].as_array().ok_or("no stages")?;
        let at_card = |row: &&Value| row["instance"]["device"] == CARD && row["instance"]["qdisc"].is_string();
        let mut compared = 0;
        for row in stages.iter().filter(at_card) {
            for (id, ours) in row["counters"].as_object().into_iter().flatten() {
                let key = id.split_once('.').map_or("", |(_, key)| key);
                // The time since which it counts is its making, in the window's eyes and in tc's.
                let ours = if ours["value"].is_null() { &ours["total"] } else { &ours["value"] };
                if let Some(theirs) = theirs[key].as_u64() {
                    same(&(name, id, ours.as_u64()), &(name, id, Some(theirs)))?;
                    compared += 1;
                }
            }
        }
        if compared < 6 {
            return Err(format!("{name}: only {compared} numbers compared with {theirs}"));
        }
        let dropped = theirs["drops"].as_u64().unwrap_or(0);
        let finding = found(name, &report, finds)?;
        same(&(name, finding["lost"].as_u64()), &(name, Some(lost.unwrap_or(dropped))))?;
        same(&(name, dropped > 0), &(name, true))?;
        if lost.is_some() {
            same(&(name, Some(dropped)), &(name, *lost))?;
        }
    }
    Ok(())
}
