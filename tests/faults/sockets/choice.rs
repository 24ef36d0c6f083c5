//! Which sockets are shown, and what the exit code says of them: `--dev`, `--check`, `--jsonl`, and unix sockets.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::{connection, life, row};
use crate::case::{Checks, Outcome, wrong};
use crate::lab::{Family, Lab, SERVER_DEVICE};
use crate::report::Report;
use crate::tool;

/// Sockets of two devices, and one that is of every device.
pub fn device(family: Family) -> Outcome {
    let lab = Lab::new()?;
    let far = connection(&lab, family, None)?;
    let here: IpAddr = if family == Family::V4 { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    let every: IpAddr = if family == Family::V4 { [0; 4].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let near = lab.server.inside(|| {
        let listener = TcpListener::bind(SocketAddr::new(here, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let of_every = UdpSocket::bind(SocketAddr::new(every, 0))?;
        let bound = UdpSocket::bind(SocketAddr::new(every, 0))?;
        let name = SERVER_DEVICE.as_bytes();
        // SAFETY: `name` lives through the call, and its length is given.
        let set = unsafe {
            let length = name.len() as libc::socklen_t;
            libc::setsockopt(bound.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_ptr().cast(), length)
        };
        if set < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let address = UdpSocket::bind(SocketAddr::new(family.server(0).ip(), 0))?;
        let accepted = listener.accept()?;
        Ok((client, accepted, of_every, bound, address, listener))
    })?;
    let mut checks = Checks::default();
    for (device, wanted) in [
        (SERVER_DEVICE, [("tcp", "established", 1), ("tcp", "listen", 0), ("udp", "close", 2)]),
        ("lo", [("tcp", "established", 2), ("tcp", "listen", 1), ("udp", "close", 0)]),
    ] {
        let report = life(&lab.server, &["--dev", device])?;
        for (transport, state, count) in wanted {
            let found = states(&report, transport, state);
            checks.same(&format!("{device}: {transport} {state}"), count, found);
        }
        checks.same(&format!("{device}: of every device"), Some(1), report.0["of_every_device"].as_u64());
        checks.same("its name", Some(device), report.0["device"].as_str());
    }
    checks.same("of all", 1, states(&life(&lab.server, &[])?, "tcp", "listen"));
    let none = tool::start_with(&["sockets", "--json", "--netns", &lab.server.path(), "--dev", "vbb"], Duration::ZERO)?
        .end()?;
    checks.same("no such device", Some(2), none.status.code());
    checks.that(none.stderr.contains("there is vb"), &none.stderr);
    drop((far, near));
    checks.done(&"")
}

fn states(report: &Report, transport: &str, state: &str) -> u64 {
    let all = report.0["states"].as_array().into_iter().flatten();
    let of = all.filter(|one| one["transport"] == transport && one["state"] == state);
    of.filter_map(|one| one["count"].as_u64()).sum()
}

/// A unix listener whose queue is full: by its name, as ss has it, and by the exit code; until it is accepted from.
pub fn check(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    lab.server.set("net/core/somaxconn", "4")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("listener");
    let name = path.to_str().unwrap_or_default();
    let listener = lab.server.inside(|| UnixListener::bind(&path))?;
    let code = |check: &str| -> Outcome<Option<i32>> {
        let args = ["sockets", "--json", check, "--netns", &lab.server.path()];
        Ok(tool::start_with(&args, Duration::ZERO)?.end()?.status.code())
    };
    let mut checks = Checks::default();
    checks.same("a quiet host", [Some(0); 2], [code("--check")?, code("--check=info")?]);
    // One more than the limit has room; a socket that does not wait would be told EAGAIN now.
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(lab.server.inside(|| UnixStream::connect(&path))?);
    }
    let report = life(&lab.server, &[])?;
    let found = row(&report, name);
    let queue = &found["accept_queue"];
    checks.same("its length", Some(5), queue["length"].as_u64());
    checks.same("its limit", Some(4), queue["limit"].as_u64());
    checks.same("what binds", Some("somaxconn"), queue["bound_by"].as_str());
    checks.same("trouble", Some("accept-queue-full"), found["troubles"][0].as_str());
    checks.same("severity", Some("critical"), found["severity"].as_str());
    checks.same("its process", Some(u64::from(std::process::id())), found["pid"].as_u64());
    let ss = lab.server.exec(&["ss", "-Hlx", "src", name])?;
    let words: Vec<&str> = ss.split_whitespace().collect();
    checks.that(words.get(2..4) == Some(&["5", "4"]), format_args!("ss says {ss}"));
    checks.same("a full queue", [Some(1); 2], [code("--check")?, code("--check=info")?]);
    for _ in 0..3 {
        held.push(listener.accept()?.0);
    }
    // Half full: a warning.
    checks.same("a queue that fills", [Some(0), Some(1)], [code("--check")?, code("--check=warning")?]);
    let args = ["sockets", "--jsonl", "-n", "2", "--netns", &lab.server.path()];
    let lines = tool::start_with(&args, window / 2)?.end()?.stdout;
    let windows: Result<Vec<serde_json::Value>, _> = lines.lines().map(serde_json::from_str).collect();
    let windows = windows.or_else(|error| wrong(format_args!("{error}: {lines}")))?;
    checks.same("documents", 2, windows.len());
    for window in windows {
        checks.same("its sockets", Some(1), window["ranked"].as_u64());
        checks.that(window["window_seconds"].as_f64() > Some(0.5), &window["window_seconds"]);
    }
    checks.done(&report)
}
