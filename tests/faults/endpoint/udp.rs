//! UDP: a reader that reads when told to, and senders that count what the kernel took.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{Event, bad, done, number, wait};

enum Pace {
    Paused,
    Greedy,
    /// One datagram, then a rest: an application that is slower than its traffic.
    Every(Duration),
}

/// `ADDRESS BUFFER`, where BUFFER is `default`, `ask N` (capped by rmem_max) or `force N`.
///
/// Orders: `pause`, `greedy`, `slow MS`, `drain` (reads until nothing is left); each answers with the datagrams read
/// so far.
pub fn reader(args: &[String]) -> io::Result<()> {
    let [address, buffer @ ..] = args else { return Err(bad("udp-reader")) };
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    match buffer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["default"] => {}
        ["ask", bytes] => sockopt::set_socket_recv_buffer_size(&socket, number(Some(bytes))?)?,
        ["force", bytes] => sockopt::set_socket_recv_buffer_size_force(&socket, number(Some(bytes))?)?,
        _ => return Err(bad("buffer")),
    }
    done(sockopt::socket_recv_buffer_size(&socket)? as u64)?;

    let (mut pace, mut read) = (Pace::Paused, 0);
    loop {
        let event = match pace {
            Pace::Paused => wait(None, None)?,
            Pace::Greedy => wait(Some(socket.as_fd()), None)?,
            Pace::Every(rest) => wait(None, Some(rest))?,
        };
        match event {
            Event::Readable => read += take(&socket, u64::MAX)?,
            Event::Nothing => read += take(&socket, 1)?,
            Event::End => return Ok(()),
            Event::Order(order) => {
                let mut words = order.split(' ');
                match words.next() {
                    Some("pause") => pace = Pace::Paused,
                    Some("greedy") => pace = Pace::Greedy,
                    Some("slow") => pace = Pace::Every(Duration::from_millis(number(words.next())?)),
                    Some("drain") => read += take(&socket, u64::MAX)?,
                    _ => return Err(bad(&order)),
                }
                done(read)?;
            }
        }
    }
}

fn take(socket: &UdpSocket, most: u64) -> io::Result<u64> {
    let mut datagram = [0; 2048];
    let mut taken = 0;
    while taken < most {
        match socket.recv(&mut datagram) {
            Ok(_) => taken += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// `SOURCE SOCKETS CPU`: one source port a socket; CPU is a number or `any`.
///
/// Order: `send TO COUNT SIZE GAP_US`, spread over the sockets in turn; answers with what the kernel took.
pub fn sender(args: &[String]) -> io::Result<()> {
    let [source, count, cpu] = args else { return Err(bad("udp-sender")) };
    if cpu != "any" {
        let mut only = CpuSet::new();
        only.set(number(Some(cpu))?);
        sched_setaffinity(None, &only)?;
    }
    let sockets = (0..number(Some(count))?).map(|_| open(source)).collect::<io::Result<Vec<_>>>()?;
    done(sockets.len() as u64)?;
    loop {
        match wait(None, None)? {
            Event::Order(order) => {
                let words: Vec<&str> = order.split(' ').collect();
                let ["send", to, count, size, gap] = words[..] else { return Err(bad(&order)) };
                let gap = Duration::from_micros(number(Some(gap))?);
                let to: SocketAddr = number(Some(to))?;
                done(send(&sockets, to, number(Some(count))?, number(Some(size))?, gap))?;
            }
            Event::End => return Ok(()),
            Event::Readable | Event::Nothing => {}
        }
    }
}

/// `SOURCE SOURCE`: two senders, each on a CPU of its own.
///
/// Order: `race TO COUNT PORT`: so many times, both send at once from the same port, another one each time; answers with
/// what the kernel took.
pub fn racers(args: &[String]) -> io::Result<()> {
    let [one, other] = args else { return Err(bad("udp-racers")) };
    done(0)?;
    loop {
        match wait(None, None)? {
            Event::Order(order) => {
                let words: Vec<&str> = order.split(' ').collect();
                let ["race", to, count, port] = words[..] else { return Err(bad(&order)) };
                let (to, count, port): (SocketAddr, u16, u16) =
                    (number(Some(to))?, number(Some(count))?, number(Some(port))?);
                let open = |source: &str| {
                    (port..port + count)
                        .map(|port| UdpSocket::bind(format!("{source}:{port}")))
                        .collect::<io::Result<_>>()
                };
                let (ready, sockets): (AtomicU32, [Vec<UdpSocket>; 2]) =
                    (AtomicU32::new(0), [open(one)?, open(other)?]);
                let run = |cpu: usize| race(cpu, &sockets[cpu], to, &ready);
                let taken = std::thread::scope(|scope| {
                    let other = scope.spawn(|| run(1));
                    let one = run(0);
                    Ok::<_, io::Error>(one? + other.join().map_err(|_| io::Error::other("a racer panicked"))??)
                })?;
                done(taken)?;
            }
            Event::End => return Ok(()),
            Event::Readable | Event::Nothing => {}
        }
    }
}

/// Waits for the other one before each datagram, and rests after it.
fn race(cpu: usize, sockets: &[UdpSocket], to: SocketAddr, ready: &AtomicU32) -> io::Result<u64> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only)?;
    let mut taken = 0;
    for (round, socket) in (1..).zip(sockets) {
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < 2 * round {
            std::hint::spin_loop();
        }
        taken += u64::from(socket.send_to(&[0x55; 20], to).is_ok());
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(taken)
}

fn open(source: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(source)?;
    // Datagrams waiting for another CPU count against the sender's buffer, which would slow a flood down.
    sockopt::set_socket_send_buffer_size_force(&socket, 16 << 20)?;
    Ok(socket)
}

fn send(sockets: &[UdpSocket], to: SocketAddr, count: u32, size: usize, gap: Duration) -> u64 {
    let payload = vec![0x55; size];
    let start = Instant::now();
    let mut taken = 0;
    for (n, socket) in (0..count).zip(sockets.iter().cycle()) {
        // Against the start and not the last one, so that a late wake-up does not lower the rate.
        if let Some(rest) = (start + gap * n).checked_duration_since(Instant::now()).filter(|_| !gap.is_zero()) {
            std::thread::sleep(rest);
        }
        taken += u64::from(socket.send_to(&payload, to).is_ok());
    }
    taken
}
