//! What a dump may meet: no room for the answer, sockets and processes that go away meanwhile, names that are none.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netstat_deep::source::Host;
use netstat_deep::source::netlink::{Client, Family as Netlink, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, netlink, socket_with, sockopt};

use super::{PATIENCE, connection, life, row, wait_for};
use crate::case::{Checks, Outcome, again};
use crate::lab::{Family, Lab};
use crate::process::Process;

/// The socket was overrun before the dump: the kernel says ENOBUFS, as it does of a dump for which it finds no memory.
pub fn no_room(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let dumped = lab.server.inside(|| {
        let _listener = TcpListener::bind("127.0.0.1:0")?;
        let Some(socket) = overrun()? else { return Ok(None) };
        // struct inet_diag_req_v2: the listeners of TCP over IPv4.
        let mut payload = vec![2, 6, 0, 0];
        payload.extend((1_u32 << 10).to_ne_bytes());
        payload.resize(56, 0);
        let mut found = 0;
        let dumped = Client::with(&Host::Live, Netlink::SockDiag, socket).dump(
            &Request { name: "listen4", kind: 20, payload },
            &mut found,
            |found| *found = 0,
            |found, _| {
                *found += 1;
                true
            },
        );
        Ok(Some((dumped.map(|dumped| dumped.disturbed), found)))
    })?;
    let Some((disturbed, found)) = dumped else { return again("the socket was not overrun") };
    let mut checks = Checks::default();
    checks.same("disturbed", Ok(false), disturbed.map_err(|error| error.to_string()));
    checks.same("listeners", 1, found);
    checks.done(&"")
}

/// A socket that is told of every UDP socket that goes away, which are too many for it.
fn overrun() -> io::Result<Option<OwnedFd>> {
    /// include/uapi/linux/sock_diag.h
    const SKNLGRP_INET_UDP_DESTROY: libc::c_int = 2;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    // One without a number of its own is taken for the sender, who is told nothing.
    bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
    let (group, length) = (SKNLGRP_INET_UDP_DESTROY, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: `group` lives through the call, and `length` is its size.
    let joined = unsafe {
        let value = (&raw const group).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, value, length)
    };
    if joined < 0 {
        return Err(io::Error::last_os_error());
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        for _ in 0..100 {
            UdpSocket::bind("127.0.0.1:0")?;
        }
        let mut looked = [PollFd::new(&socket, PollFlags::IN)];
        poll(&mut looked, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }))?;
        if looked[0].revents().contains(PollFlags::ERR) {
            return Ok(Some(socket));
        }
    }
    Ok(None)
}

/// Sockets and the processes that have them come and go: those that stay are told of, once, and with their owner.
pub fn come_and_go(_: Duration) -> Outcome {
    let lab = Lab::new()?;
    let (client, server) = connection(&lab, Family::V4, None)?;
    let local = server.local_addr()?.to_string();
    let over = AtomicBool::new(false);
    let mut checks = Checks::default();
    let looked = std::thread::scope(|scope| {
        let churn = scope.spawn(|| lab.server.inside(|| churn(&over)));
        let mut look = || -> Outcome {
            for _ in 0..10 {
                let report = life(&lab.server, &["--by", "accept", "--top", "1000"])?;
                let listed = life(&lab.server, &["--by", "sent", "--state", "established", "--top", "1000"])?;
                let found = row(&listed, &local);
                let count = |report: &crate::report::Report, state: &str| {
                    let states = report.0["states"].as_array().into_iter().flatten();
                    states.filter(|one| one["state"] == state).filter_map(|one| one["count"].as_u64()).sum::<u64>()
                };
                // In a namespace of its own, nothing else is established for long.
                checks.that(count(&report, "established") >= 1, "the connection is missing");
                if !found.is_null() {
                    checks.same("its owner", Some(u64::from(std::process::id())), found["pid"].as_u64());
                }
                let bad = report.0["sources"].as_array().into_iter().flatten();
                let bad: Vec<_> = bad.filter_map(|source| source["reason"].as_str()).collect();
                checks.that(
                    bad.iter().all(|reason| !reason.contains("no sense") && !reason.contains("can't be seen")),
                    format_args!("{bad:?}"),
                );
            }
            Ok(())
        };
        let looked = look();
        over.store(true, Ordering::Relaxed);
        looked.and(churn.join().unwrap_or_else(|_| Err(io::Error::other("the churn panicked"))).map_err(Into::into))
    });
    drop(client);
    looked?;
    checks.done(&"")
}

fn churn(over: &AtomicBool) -> io::Result<()> {
    while !over.load(Ordering::Relaxed) {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        let sockets: Vec<UdpSocket> = (0..50).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        // A process that has a connection, and ends at once.
        let mut child = Command::new("true").stdin(Stdio::from(OwnedFd::from(server))).spawn()?;
        drop((sockets, client));
        child.wait()?;
    }
    Ok(())
}

/// A process whose name would paint the screen red and begin a line.
pub fn names(_: Duration) -> Outcome {
    const NAME: &str = "a\x1b[31m\nb";
    let lab = Lab::new()?;
    let to = Family::V4.server(super::PORT);
    let reader = lab.server.inside(|| UdpSocket::bind(to))?;
    lab.client.inside(|| UdpSocket::bind("0.0.0.0:0")?.send_to(b"unread", to))?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join(NAME);
    std::fs::copy("/bin/sleep", &program)?;
    let child = Command::new(&program).arg("60").stdin(Stdio::from(OwnedFd::from(reader))).spawn()?;
    let child = Process(child);
    wait_for("the child has its name, and is the only owner", || {
        let report = life(&lab.server, &["--by", "queue"])?;
        Ok(row(&report, &to.to_string())["pid"].as_u64() == Some(child.id().into()))
    })?;
    let report = life(&lab.server, &["--by", "queue"])?;
    let mut checks = Checks::default();
    checks.same("its name", Some("a\\x1b[31m\\x0ab"), row(&report, &to.to_string())["comm"].as_str());
    let tool = env!("CARGO_BIN_EXE_netstat-deep");
    let screen = lab.server.exec(&[tool, "sockets", "-i", "0", "--by", "queue", "--color", "never"])?;
    checks.that(screen.contains("a\\x1b[31m\\x0ab["), &screen);
    checks.that(!screen.contains('\x1b'), "an escape of a foreign name");
    checks.done(&report)
}
