//! Closed loops: a send buffer that binds, the setting that `tx --apply` turns, and the way back.

use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

use super::{BULK, Path, bulk, paced, shown_by_ss};
use crate::case::{Checks, Outcome, wrong};
use crate::guard;
use crate::lab::Namespace;
use crate::tune::{run, text};

/// `tx --apply` turns tcp_wmem under the load: it helped, more gets through, and revert brings it back.
pub fn send_buffer_loop(_: Duration) -> Outcome {
    const SETTING: &str = "net/ipv4/tcp_wmem";
    let path = Path::new(10_000)?;
    let (server, small) = (&path.lab.server, "4096\t16384\t32768");
    server.set(SETTING, small)?;
    path.large_window()?;
    let mut reader = path.reader()?;
    let state = tempfile::tempdir()?;
    let mut stream = server.inside(paced)?;
    let slow = acked_in(server, &mut stream, BULK)?;
    let args = ["tx", "--apply=all", "--yes", "--netns", &server.name, "-i", "1s"];
    let only = ["--only", "net.ipv4.tcp_wmem"];
    let program = {
        let (state, args) = (
            state.path().to_owned(),
            [&args[..], &only].concat().iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(),
        );
        std::thread::spawn(move || run(&state, &args.iter().map(String::as_str).collect::<Vec<_>>(), &[]))
    };
    while !program.is_finished() {
        bulk(&mut stream, Duration::from_millis(100))?;
    }
    let Ok(tuned) = program.join() else { return wrong("the thread that ran the program panicked") };
    let tuned = text(&tuned?);
    let mut checks = Checks::default();
    checks.that(tuned.contains("helped:"), "no verdict 'helped:'");
    checks.that(server.get(SETTING)? != small, format_args!("{SETTING} is still {small}"));
    let fast = acked_in(server, &mut stream, BULK)?;
    checks.that(fast > slow * 2, format_args!("{fast} bytes got through after the change, {slow} before"));
    let reverted = run(state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("the setting after revert", small, &server.get(SETTING)?);
    // A buffer that has grown stays as it is: the next connection shows it.
    drop(stream);
    reader.reply()?;
    reader.tell("sink")?;
    let mut stream = server.inside(paced)?;
    let back = acked_in(server, &mut stream, BULK)?;
    checks.that(back < fast / 2, format_args!("{back} bytes got through after revert, {fast} before it"));
    checks.done(&tuned)
}

/// An application that asks for a megabyte and gets twice wmem_max. A new value acts on who asks after it was set.
pub fn send_buffer_cap_loop(_: Duration) -> Outcome {
    const SETTING: &str = "net/core/wmem_max";
    const CAP: &str = "16000";
    let path = Path::new(10_000)?;
    let server = &path.lab.server;
    path.large_window()?;
    let mut reader = path.reader()?;
    let _lowered = guard::lower(SETTING, CAP)?;
    let present = || -> Outcome<String> { Ok(std::fs::read_to_string(format!("/proc/sys/{SETTING}"))?.trim().into()) };
    let connect = || -> Outcome<TcpStream> {
        let stream = server.inside(paced)?;
        sockopt::set_socket_send_buffer_size(&stream, 1 << 20)?;
        Ok(stream)
    };
    let state = tempfile::tempdir()?;
    let mut stream = connect()?;
    let slow = acked_in(server, &mut stream, BULK)?;
    let args = ["tx", "--apply=all", "--yes", "--netns", &server.name, "-i", "1s", "--only", "net.core.wmem_max"];
    let (folder, args) = (state.path().to_owned(), args.map(str::to_owned));
    let program = std::thread::spawn(move || run(&folder, &args.each_ref().map(String::as_str), &[]));
    while !program.is_finished() {
        bulk(&mut stream, Duration::from_millis(100))?;
    }
    let Ok(tuned) = program.join() else { return wrong("the thread that ran the program panicked") };
    let tuned = text(&tuned?);
    let mut checks = Checks::default();
    checks.that(tuned.contains("pending:"), "no verdict 'pending:'");
    checks.that(present()? != CAP, format_args!("{SETTING} is still {CAP}"));
    let mut again_connected = |stream: TcpStream| -> Outcome<TcpStream> {
        drop(stream);
        reader.reply()?;
        reader.tell("sink")?;
        connect()
    };
    stream = again_connected(stream)?;
    let fast = acked_in(server, &mut stream, BULK)?;
    checks.that(fast * 2 > slow * 3, format_args!("{fast} bytes got through after the change, {slow} before"));
    let reverted = run(state.path(), &["revert"], &[])?;
    checks.same("exit code of revert", Some(0), reverted.status.code());
    checks.same("the setting after revert", CAP.to_owned(), present()?);
    stream = again_connected(stream)?;
    let back = acked_in(server, &mut stream, BULK)?;
    checks.that(back * 3 < fast * 2, format_args!("{back} bytes got through after revert, {fast} before it"));
    checks.done(&tuned)
}

/// Bytes that got through while it sent for so long.
fn acked_in(namespace: &Namespace, stream: &mut TcpStream, time: Duration) -> Outcome<u64> {
    let before = shown_by_ss(namespace, "bytes_sent").unwrap_or(0);
    bulk(stream, time)?;
    Ok(shown_by_ss(namespace, "bytes_sent")? - before)
}
