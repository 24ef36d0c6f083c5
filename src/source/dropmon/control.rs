//! Turning the drop monitor on and off, and listening to it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::message::{self, ALERT_MODE, Config, QUEUE_LEN, TRUNC_LEN};
use crate::source::Host;
use crate::source::genl::{self, Numbers, header, push};
use crate::source::netlink::{Client, Family, Request, wait};

// include/uapi/linux/net_dropmon.h
const CONFIG: u8 = 2;
const START: u8 = 3;
const STOP: u8 = 4;
const CONFIG_GET: u8 = 6;
const STATS_GET: u8 = 8;
const SW_DROPS: u16 = 20;
/// The version of the family (net/core/drop_monitor.c).
const VERSION: u8 = 2;

/// Messages that may wait on each CPU; the kernel's default is 1,000. Each keeps a copy of its packet's head alive.
pub const QUEUE: u32 = 10_000;
/// A message per packet, with as much of it as tells its protocol: an Ethernet header and an IPv6 header.
const OURS: Config = Config { mode: 1, truncate: 54, queue: QUEUE };
/// What may wait for us; the kernel doubles it.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;
/// How many messages are taken before the clock is looked at again.
const BATCH: usize = 1000;
/// The kernel fills at most 32 KiB (net/netlink/af_netlink.c netlink_recvmsg()).
const LONGEST: usize = 32 << 10;

/// The drop monitor, on for us. Off again when dropped.
pub struct Monitor {
    numbers: Numbers,
    events: OwnedFd,
    /// How it was configured before, while that is still to be put back.
    before: Option<Config>,
    unqueued_before: u64,
}

impl Monitor {
    /// Turns it on.
    pub fn start() -> io::Result<Self> {
        let numbers = genl::find("NET_DM").map_err(explain)?;
        let group = numbers.groups.first().map_or(0, |(_, id)| *id);
        let before = ask(&numbers, CONFIG_GET, message::config)?;
        match tell(&numbers, CONFIG, &settings(OURS)) {
            // It is on (net_dm_cmd_config()). If nobody listens, who turned it on was killed.
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && !is_heard(group) => {
                tell(&numbers, STOP, &software())?;
                tell(&numbers, CONFIG, &settings(OURS))
            }
            result => result,
        }?;
        let start = || {
            let events = genl::join(group).map_err(explain)?;
            enlarge(&events)?;
            let unqueued = ask(&numbers, STATS_GET, message::unqueued)?;
            tell(&numbers, START, &software())?;
            Ok((events, unqueued))
        };
        match start() {
            Ok((events, unqueued_before)) => Ok(Monitor { numbers, events, before: Some(before), unqueued_before }),
            Err(e) => {
                // The first error says more than one of putting back would.
                let _ = tell(&numbers, CONFIG, &settings(before));
                Err(e)
            }
        }
    }

    /// Hands over what there is, but not without end, and waits for it if there is nothing yet, as long as `patience`.
    pub fn hear(&self, patience: Duration, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match wait(&self.events, patience) {
            Ok(()) => {}
            Err(e) if [io::ErrorKind::TimedOut, io::ErrorKind::Interrupted].contains(&e.kind()) => return Ok(()),
            Err(e) => return Err(e),
        }
        let mut buffer = Vec::with_capacity(LONGEST);
        for _ in 0..BATCH {
            buffer.clear();
            match rustix::net::recv(&self.events, spare_capacity(&mut buffer), RecvFlags::DONTWAIT) {
                Ok(_) => each(&buffer)?,
                Err(Errno::AGAIN) => return Ok(()),
                // Some did not fit; the socket counts them.
                Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// How many drops were not told since the start.
    pub fn lost(&self) -> io::Result<u64> {
        let unqueued = ask(&self.numbers, STATS_GET, message::unqueued)?.saturating_sub(self.unqueued_before);
        Ok(unqueued.saturating_add(dropped(&self.events)?))
    }

    /// Turns it off, and says whether that went well.
    pub fn stop(mut self) -> io::Result<()> {
        self.halt()
    }

    fn halt(&mut self) -> io::Result<()> {
        let Some(before) = self.before.take() else { return Ok(()) };
        tell(&self.numbers, STOP, &software())?;
        tell(&self.numbers, CONFIG, &settings(before))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Not stopped by now, so there is an error on its way already.
        let _ = self.halt();
    }
}

/// What the kernel's error numbers mean here (net/core/drop_monitor.c).
fn explain(error: io::Error) -> io::Error {
    let (kind, what) = match error.raw_os_error() {
        Some(libc::ENOENT) => (
            io::ErrorKind::NotFound,
            "there is no drop monitor: no module drop_monitor, or this is not the initial network namespace",
        ),
        Some(libc::EPERM) => {
            (io::ErrorKind::PermissionDenied, "the drop monitor needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to listen to it")
        }
        Some(libc::EBUSY | libc::EAGAIN) => {
            (io::ErrorKind::ResourceBusy, "another program uses the drop monitor (it is one for the whole machine)")
        }
        _ => return error,
    };
    io::Error::new(kind, what)
}

fn settings(config: Config) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, ALERT_MODE, &[config.mode]);
    push(&mut bytes, TRUNC_LEN, &config.truncate.to_ne_bytes());
    push(&mut bytes, QUEUE_LEN, &config.queue.to_ne_bytes());
    bytes
}

/// What the kernel drops, not what the hardware does.
fn software() -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, SW_DROPS, &[]);
    bytes
}

fn tell(numbers: &Numbers, command: u8, attributes: &[u8]) -> io::Result<()> {
    request(numbers, command, attributes, |_| true)
}

fn ask<T>(numbers: &Numbers, command: u8, parse: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
    let mut answer = None;
    request(numbers, command, &[], |payload| {
        answer = parse(payload);
        answer.is_some()
    })?;
    answer.ok_or_else(|| io::Error::other("the drop monitor's answer makes no sense"))
}

fn request(numbers: &Numbers, command: u8, attributes: &[u8], each: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let payload = [&header(command, VERSION), attributes].concat();
    let request = Request { name: "net_dm", kind: numbers.id, payload };
    Client::new(&Host::Live, Family::Generic).ask(&request, each).map(drop).map_err(explain)
}

fn is_heard(group: u32) -> bool {
    let mut table = Vec::new();
    // What can't be read may hold a listener.
    Host::Live.read("proc/net/netlink", &mut table).map_or(true, |()| message::is_heard(&table, group))
}

/// Gives the socket room; whoever may use the drop monitor may do that past the limit, too.
fn enlarge(socket: &OwnedFd) -> io::Result<()> {
    let size = RECEIVE_BUFFER;
    let length = size_of_val(&size) as libc::socklen_t;
    // SAFETY: the option's value is a number that lives through the call, and `length` is its size.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const size).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many messages did not fit into the socket: SK_MEMINFO_DROPS of SO_MEMINFO (include/uapi/linux/sock_diag.h).
fn dropped(socket: &OwnedFd) -> io::Result<u64> {
    const SO_MEMINFO: libc::c_int = 55;
    const DROPS: usize = 8;
    let mut memory = [0_u32; 9];
    let mut length = size_of_val(&memory) as libc::socklen_t;
    // SAFETY: `memory` and `length` live through the call, and `length` is the size of `memory`.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, memory.as_mut_ptr().cast(), &raw mut length)
    };
    if result == 0 { Ok(memory[DROPS].into()) } else { Err(io::Error::last_os_error()) }
}
