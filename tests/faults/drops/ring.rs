//! The ring of a tun device whose owner does not read.
//!
//! Oracle: datagrams sent less datagrams that its owner then finds in the ring.

use std::fs::File;
use std::io::{self, Read};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::observe;
use crate::case::{Case, Checks, Outcome, again};
use crate::lab::{Lab, batch};
use crate::need::Need;

pub const DEVICE: &str = "nsdtun";
const EACH: usize = 300;

pub fn cases() -> Vec<Case> {
    vec![Case::new("drops::tun_ring_v4", &[Need::Namespaces, Need::Bpf], full)]
}

/// A tun device in the namespace of the calling thread, gone when the file is closed.
pub fn tun() -> io::Result<File> {
    // include/uapi/linux/if_tun.h: IFF_TUN, IFF_NO_PI.
    const FLAGS: libc::c_short = 0x0001 | 0x1000;
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = FLAGS;
    // SAFETY: the request is an ifreq, as this call takes it, and lives through it.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

fn full(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let mut tun = lab.client.inside(tun)?;
    // Nothing but our own datagrams: without IPv6 the device has nothing to say of itself.
    lab.client.set(&format!("net/ipv6/conf/{DEVICE}/disable_ipv6"), "1")?;
    batch(
        &lab.client.name,
        &[
            format!("link set {DEVICE} txqueuelen 10"),
            format!("addr add 10.79.0.1/30 dev {DEVICE}"),
            format!("link set {DEVICE} up"),
        ],
    )?;
    let seen = observe(&lab.client, window, || {
        let sent = lab.client.inside(|| {
            let socket = UdpSocket::bind("10.79.0.1:0")?;
            Ok((0..EACH).filter(|_| socket.send_to(&[0x55; 100], "10.79.0.2:7").is_ok()).count())
        })?;
        Ok(sent as u64)
    })?;
    rustix::fs::fcntl_setfl(&tun, rustix::fs::OFlags::NONBLOCK)?;
    let kept = std::iter::repeat_with(|| tun.read(&mut [0; 256])).take_while(Result::is_ok).count() as u64;
    if kept == 0 || kept >= seen.told {
        return again(format_args!("{kept} of {} are in the ring", seen.told));
    }
    let mut checks = Checks::default();
    let row = seen.check(&mut checks, "FULL_RING", "harmful", "virtual_devices", seen.told - kept)?;
    checks.same("device", Some(DEVICE), row["device"].as_str());
    checks.done(&seen.report)
}
