//! A recording that is made fit for strangers: the first name that a device has must not be in it any more.
//!
//! The input is a list of files: which one (a byte), how long (two bytes), and what it holds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::redact::redact;
use netstat_deep::source::tape::Reel;

const FILES: [&str; 10] = [
    ".netlink/route/getlink.bin",
    ".netlink/sock_diag/udp4.bin",
    ".sockets",
    "proc/stat",
    "proc/net/snmp",
    "proc/sys/kernel/hostname",
    "proc/sys/net/ipv4/conf/secret-wan0/rp_filter",
    "sys/class/net/secret-wan0/queues/rx-0/rps_cpus",
    "proc/17/comm",
    "proc/17/cgroup",
];
const SECRET: &[u8] = b"secret-wan0";

fuzz_target!(|bytes: &[u8]| {
    let mut reel = Reel::default();
    let mut rest = bytes;
    while let [file, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        reel.files.insert(FILES[usize::from(*file) % FILES.len()].into(), tail[..length].to_vec());
        rest = &tail[length..];
    }
    reel.files.insert(FILES[7].into(), b"00000003\n".to_vec());
    reel.files.insert("proc/uptime".into(), [b"1.00 ", SECRET, b"\n"].concat());
    let mut samples = [reel];
    redact(&mut samples);
    for (path, bytes) in &samples[0].files {
        assert!(!path.contains("secret-wan0"));
        // Alone: within a longer word, or as a process's name, it is another.
        if path == "proc/uptime" || path.starts_with("sys/") {
            assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET));
        }
    }
});
