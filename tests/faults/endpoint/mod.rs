//! What a process inside a namespace does. It never decides anything: it obeys orders and counts.

mod frames;
mod held;
mod relay;
mod tcp;
mod udp;

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

/// `NAMESPACE COMM KIND ARGUMENTS...`
pub fn play(args: &[String]) -> ! {
    let code = match begin(args) {
        Ok(()) => 0,
        Err(error) => {
            println!("error {error}");
            1
        }
    };
    std::process::exit(code)
}

fn begin(args: &[String]) -> io::Result<()> {
    let [namespace, comm, kind, rest @ ..] = args else { return Err(bad("too few arguments")) };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(&CString::new(comm.as_str())?)?;
    // Before any socket: a socket belongs to the namespace in which it was made.
    crate::lab::enter(namespace)?;
    match kind.as_str() {
        "frames" => frames::sender(rest),
        "relay" => relay::run(rest),
        "udp-reader" => udp::reader(rest),
        "udp-racers" => udp::racers(rest),
        "udp-sender" => udp::sender(rest),
        "tcp-server" => tcp::server(rest),
        "tcp-client" => tcp::client(rest),
        _ => Err(bad(kind)),
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("not understood: {what}"))
}

fn number<T: std::str::FromStr>(word: Option<&str>) -> io::Result<T> {
    word.and_then(|word| word.parse().ok()).ok_or_else(|| bad(word.unwrap_or("nothing")))
}

/// An order is done.
fn done(number: u64) -> io::Result<()> {
    writeln!(io::stdout(), "ok {number}")
}

enum Event {
    Order(String),
    Readable,
    Nothing,
    /// The test has gone.
    End,
}

/// Waits for an order, for the socket (if one is given), or for the time.
fn wait(socket: Option<BorrowedFd<'_>>, time: Option<Duration>) -> io::Result<Event> {
    let stdin = io::stdin();
    let mut polled = vec![PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    polled.extend(socket.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
    let time = time.map(|time| Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) });
    poll(&mut polled, time.as_ref())?;
    if polled[0].revents().is_empty() {
        let readable = polled.get(1).is_some_and(|socket| !socket.revents().is_empty());
        return Ok(if readable { Event::Readable } else { Event::Nothing });
    }
    Ok(order()?.map_or(Event::End, Event::Order))
}

/// The order that has come; none if the test has gone.
fn order() -> io::Result<Option<String>> {
    // Not through the buffer of std: poll would not see what lies in it. The test waits for the answer to an order
    // before it gives the next, so one read is one line.
    let mut line = [0; 1024];
    let length = rustix::io::read(io::stdin().as_fd(), &mut line)?;
    let line = String::from_utf8_lossy(&line[..length]);
    Ok((length > 0).then(|| line.trim().to_owned()))
}
