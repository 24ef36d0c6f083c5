//! What memory a plan may take.

use crate::model::SettingFile;
use crate::source::{Host, settings, text};

/// Memory that is available, in bytes; absent if that can't be read.
pub fn available(host: &Host) -> Option<u64> {
    let mut bytes = Vec::new();
    host.read("proc/meminfo", &mut bytes).ok()?;
    let line = bytes.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"MemAvailable:"))?;
    text::first_number(line)?.checked_mul(1024)
}

/// What all UDP sockets may hold before the kernel presses them, in bytes. Absent where only the host shows it.
pub fn udp(host: &Host) -> Option<u64> {
    pressure(host, "net/ipv4/udp_mem")
}

/// The same of TCP.
pub fn tcp(host: &Host) -> Option<u64> {
    pressure(host, "net/ipv4/tcp_mem")
}

/// The second of three numbers, in pages of that host.
fn pressure(host: &Host, path: &str) -> Option<u64> {
    let settings = settings::read(host, std::iter::once(SettingFile::sysctl(path)));
    let pages: u64 = settings.get(path)?.split(' ').nth(1)?.parse().ok()?;
    let recorded = host.notes().and_then(|notes| notes.page_size);
    pages.checked_mul(recorded.unwrap_or_else(|| rustix::param::page_size() as u64))
}
