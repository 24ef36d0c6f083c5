//! A path with a length: takes frames from one device and puts them out at another, as they are, later.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};

use super::frames::{ALL, open};
use super::{bad, done, number, order};

/// A frame of more bytes than this has data of a bulk transfer in it.
const FULL: usize = 1000;
/// A frame that was to leave so late that it would be taken for lost.
const LONGEST: usize = 2000;

/// `DEVICE DEVICE`
///
/// Orders: `delay US` (each frame, on either way), `late N US` (each Nth full one from the second device, so much more; 0:
/// none. Answers with those that were so far), `hold MS` (what comes from the first device waits until then, and then all goes
/// at once).
pub fn run(args: &[String]) -> io::Result<()> {
    let [near, far] = args else { return Err(bad("relay")) };
    let mut relay = Relay {
        devices: [open(near, ALL)?, open(far, ALL)?],
        queues: Default::default(),
        delay: Duration::ZERO,
        late: (0, Duration::ZERO),
        full: 0,
        delayed: 0,
        held_until: Instant::now(),
    };
    relay.devices.iter().try_for_each(ignore_own)?;
    done(0)?;
    loop {
        let stdin = io::stdin();
        let mut polled = vec![PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
        polled.extend(relay.devices.iter().map(|device| PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN)));
        let due = relay.queues.iter().flatten().map(|(due, _)| *due).min();
        let wait = due.map_or(Duration::from_secs(1), |due| due.saturating_duration_since(Instant::now()));
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        poll(&mut polled, Some(&wait))?;
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        drop(polled);
        if ready[0] {
            let Some(order) = order()? else { return Ok(()) };
            relay.obey(&order)?;
        }
        for side in [0, 1] {
            if ready[side + 1] {
                relay.take(side)?;
            }
        }
        relay.give()?;
    }
}

struct Relay {
    devices: [OwnedFd; 2],
    /// What came from each device, with the time at which it leaves at the other.
    queues: [VecDeque<(Instant, Vec<u8>)>; 2],
    delay: Duration,
    late: (u64, Duration),
    full: u64,
    delayed: u64,
    held_until: Instant,
}

impl Relay {
    fn obey(&mut self, order: &str) -> io::Result<()> {
        let micros = |word| Ok::<_, io::Error>(Duration::from_micros(number(Some(word))?));
        match order.split(' ').collect::<Vec<_>>()[..] {
            ["delay", time] => self.delay = micros(time)?,
            ["late", each, time] => self.late = (number(Some(each))?, micros(time)?),
            ["hold", millis] => self.held_until = Instant::now() + Duration::from_millis(number(Some(millis))?),
            _ => return Err(bad(order)),
        }
        done(self.delayed)
    }

    /// Takes what there is, but not for ever.
    fn take(&mut self, side: usize) -> io::Result<()> {
        let mut frame = [0; LONGEST];
        for _ in 0..200 {
            let length = match recv(&self.devices[side], &mut frame[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            let mut due = now + self.delay;
            if side == 0 {
                due = due.max(self.held_until);
            } else if length > FULL {
                self.full += 1;
                if self.late.0 > 0 && self.full.is_multiple_of(self.late.0) {
                    self.delayed += 1;
                    due += self.late.1;
                }
            }
            self.queues[side].push_back((due, frame[..length].to_vec()));
        }
        Ok(())
    }

    /// Puts out what is due, in the order in which it is due.
    fn give(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for side in [0, 1] {
            let queue = &mut self.queues[side];
            // What is late stands among what is not.
            while let Some(at) = queue.iter().position(|(due, _)| *due <= now) {
                let Some((_, frame)) = queue.remove(at) else { break };
                // A device without room loses it, as a path does.
                match rustix::io::write(&self.devices[1 - side], &frame) {
                    Ok(_) | Err(rustix::io::Errno::NOBUFS) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// Frames that this process itself put out do not come back. There is room for what comes at once.
fn ignore_own(socket: &OwnedFd) -> io::Result<()> {
    // include/uapi/linux/if_packet.h
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    const ROOM: libc::c_int = 16 << 20;
    let options = [(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1), (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM)];
    for (level, option, value) in options {
        // SAFETY: the value is an int, as long as is said.
        let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), 4) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
