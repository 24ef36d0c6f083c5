//! TCP: a server that accepts and reads when told to, and a client whose connects can be counted one by one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};

use super::{Event, bad, done, number, wait};

/// Long enough for a loaded machine, shorter than the test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// `ADDRESS BACKLOG`
///
/// Orders: `accept` (all that wait; answers with how many), `close` (all that were accepted), `sink` (accepts one and reads
/// it to its end; answers with the bytes), `read` (what there is on all that were accepted; answers with the bytes),
/// `shrink BYTES` (their receive buffers, and those of
/// later ones), `hold MS` (keeps the first one's socket in a recv() for so long), `numbers` (of the first one: the sequence
/// number that it sends next in the upper half, the one that it expects in the lower), `port` (of its peer).
pub fn server(args: &[String]) -> io::Result<()> {
    let [address, backlog] = args else { return Err(bad("tcp-server")) };
    let address: SocketAddr = number(Some(address))?;
    // The listener of std chooses the backlog itself.
    let socket = socket_with(family(address), SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &address)?;
    listen(&socket, number(Some(backlog))?)?;
    let listener = TcpListener::from(socket);
    done(0)?;
    let mut open = Vec::new();
    loop {
        match wait(None, None)? {
            Event::Order(order) => match order.as_str() {
                "accept" => {
                    let before = open.len();
                    listener.set_nonblocking(true)?;
                    while let Ok((stream, _)) = listener.accept() {
                        open.push(stream);
                    }
                    done((open.len() - before) as u64)?;
                }
                "close" => {
                    open.clear();
                    done(0)?;
                }
                "sink" => {
                    listener.set_nonblocking(false)?;
                    done(sink(&listener.accept()?.0)?)?;
                }
                "numbers" => done(numbers(open.first().ok_or_else(|| bad("nothing was accepted"))?)?)?,
                "port" => match open.first().map(TcpStream::peer_addr) {
                    Some(peer) => done(peer?.port().into())?,
                    None => return Err(bad("nothing was accepted")),
                },
                "read" => done(open.iter().map(take).sum::<io::Result<u64>>()?)?,
                order => match order.split_once(' ') {
                    Some(("shrink", bytes)) => {
                        let bytes = number(Some(bytes))?;
                        sockopt::set_socket_recv_buffer_size(&listener, bytes)?;
                        for stream in &open {
                            sockopt::set_socket_recv_buffer_size(stream, bytes)?;
                        }
                        done(0)?;
                    }
                    Some(("hold", millis)) => {
                        let first = open.first().ok_or_else(|| bad("nothing was accepted"))?;
                        done(super::held::receive(first, Duration::from_millis(number(Some(millis))?))?)?;
                    }
                    _ => return Err(bad(order)),
                },
            },
            Event::End => return Ok(()),
            Event::Readable | Event::Nothing => {}
        }
    }
}

/// Sequence numbers, as the kernel tells them to who wants to move a connection elsewhere (tcp(7) does not have it;
/// net/ipv4/tcp.c, TCP_REPAIR).
fn numbers(stream: &TcpStream) -> io::Result<u64> {
    // include/uapi/linux/tcp.h
    const ON: libc::c_int = 1;
    const OFF_WITHOUT_PROBE: libc::c_int = -1;
    const RECEIVES: libc::c_int = 1;
    const SENDS: libc::c_int = 2;
    let set = |option: libc::c_int, value: libc::c_int| {
        // SAFETY: the value is an int, as long as is said.
        let result =
            unsafe { libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, option, (&raw const value).cast(), 4) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let next = |queue: libc::c_int| {
        set(libc::TCP_REPAIR_QUEUE, queue)?;
        let (mut value, mut length) = (0_u32, 4);
        // SAFETY: there is room for the four bytes that are asked for.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_QUEUE_SEQ,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(u64::from(value)) } else { Err(io::Error::last_os_error()) }
    };
    set(libc::TCP_REPAIR, ON)?;
    let numbers = next(SENDS).and_then(|sends| Ok(sends << 32 | next(RECEIVES)?));
    set(libc::TCP_REPAIR, OFF_WITHOUT_PROBE)?;
    numbers
}

/// Reads what there is.
fn take(mut stream: &TcpStream) -> io::Result<u64> {
    stream.set_nonblocking(true)?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => total += length as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}

fn sink(mut stream: &TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            length => total += length as u64,
        }
    }
}

/// Orders: `fill TO N` (connects one after the other, each to its end), `burst TO N` (only starts to connect),
/// `abandon` (gives up what `burst` started; the kernel then sends no further SYN), `bulk TO BYTES`, `write BYTES PIECE`
/// (on each connection that was made, in pieces that are a segment of their own, as much as it takes without waiting;
/// answers with the bytes), `hangup N|all` (closes so many of them).
pub fn client(args: &[String]) -> io::Result<()> {
    let [] = args else { return Err(bad("tcp-client")) };
    done(0)?;
    let (mut open, mut pending) = (Vec::new(), Vec::new());
    loop {
        let order = match wait(None, None)? {
            Event::Order(order) => order,
            Event::End => return Ok(()),
            Event::Readable | Event::Nothing => continue,
        };
        match order.split(' ').collect::<Vec<_>>()[..] {
            ["fill", to, count] => {
                let to = number(Some(to))?;
                for _ in 0..number(Some(count))? {
                    open.push(TcpStream::connect_timeout(&to, PATIENCE)?);
                }
                done(open.len() as u64)?;
            }
            ["burst", to, count] => {
                let to = number(Some(to))?;
                for _ in 0..number(Some(count))? {
                    pending.push(start(to)?);
                }
                done(pending.len() as u64)?;
            }
            ["abandon"] => {
                pending.clear();
                done(0)?;
            }
            ["write", bytes, piece] => {
                let (bytes, piece) = (number(Some(bytes))?, number(Some(piece))?);
                done(open.iter().map(|stream| write(stream, bytes, piece)).sum::<io::Result<u64>>()?)?;
            }
            ["hangup", count] => {
                let count = if count == "all" { open.len() } else { number(Some(count))? };
                open.drain(..count.min(open.len())).for_each(drop);
                done(count as u64)?;
            }
            ["bulk", to, bytes] => done(bulk(number(Some(to))?, number(Some(bytes))?)?)?,
            _ => return Err(bad(&order)),
        }
    }
}

fn start(to: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family(to), SocketType::STREAM, flags, None)?;
    match connect(&socket, &to) {
        Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
        Ok(()) => Err(io::Error::other("connected at once: nothing left to count")),
    }
}

fn bulk(to: SocketAddr, bytes: usize) -> io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    let block = vec![0xaa; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        left -= stream.write(&block[..left.min(block.len())])?;
    }
    Ok(bytes as u64)
}

fn write(mut stream: &TcpStream, bytes: usize, piece: usize) -> io::Result<u64> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let block = vec![0xaa; piece];
    let mut left = bytes;
    while left > 0 {
        match stream.write(&block[..left.min(piece)]) {
            Ok(length) => left -= length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok((bytes - left) as u64)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}
