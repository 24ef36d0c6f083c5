//! Sockets of one host among themselves (AF_UNIX), by unix_diag (net/unix/diag.c).

use std::collections::BTreeMap;

use super::{SOCK_DIAG_BY_FAMILY, every};
use crate::model::{Endpoint, SocketMemory as Memory, State, Transport};
use crate::source::netlink::{Client, Family, Request, attributes};
use crate::source::{Host, text};

const AF_UNIX: u8 = 1;
// include/uapi/linux/unix_diag.h
const SHOW_NAME: u32 = 1;
const SHOW_QUEUE: u32 = 0x10;
const SHOW_MEMORY: u32 = 0x20;
const SHOW_USER: u32 = 0x40;
const NAME: u16 = 0;
const QUEUE: u16 = 4;
const MEMORY: u16 = 5;
const USER: u16 = 7;
/// struct unix_diag_msg: family, type, state, a byte; inode; two words of the cookie.
const MESSAGE: usize = 16;

/// All in these states.
pub(super) fn request(states: u32) -> Request {
    Request { name: "unix_all", ..asked(states, 0, SHOW_QUEUE | SHOW_MEMORY | SHOW_USER, 0) }
}

/// struct unix_diag_req
fn asked(states: u32, inode: u32, show: u32, cookie: u64) -> Request {
    let mut payload = vec![AF_UNIX, 0, 0, 0];
    for word in [states, inode, show, cookie as u32, (cookie >> 32) as u32] {
        payload.extend(word.to_ne_bytes());
    }
    Request { name: "unix_one", kind: SOCK_DIAG_BY_FAMILY, payload }
}

/// A socket from the payload of a message. It has no address: its name is asked for when it is shown.
pub(super) fn parse(payload: &[u8]) -> Option<Endpoint> {
    let fixed: &[u8; MESSAGE] = payload.first_chunk()?;
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let none = ([0, 0, 0, 0], 0).into();
    let mut endpoint = Endpoint {
        transport: Transport::Unix,
        state: State::of(fixed[2])?,
        cookie: u64::from(word(fixed, 8)?) | u64::from(word(fixed, 12)?) << 32,
        local: none,
        remote: none,
        inode: word(fixed, 4)?,
        uid: 0,
        device: 0,
        timer: 0,
        unanswered: 0,
        receive_queue: 0,
        send_queue: 0,
        memory: None,
        tcp: None,
        congestion: [0; 16],
    };
    for (kind, value) in attributes(&payload[MESSAGE..]) {
        match kind {
            // sk_diag_show_rqlen(): of a listener the queue and its limit; else bytes to be read, of datagrams those of the
            // next one, and the memory that what was sent takes until it is read.
            QUEUE => [endpoint.receive_queue, endpoint.send_queue] = [word(value, 0)?, word(value, 4)?],
            MEMORY => endpoint.memory = memory(value),
            USER => endpoint.uid = word(value, 0)?,
            _ => {}
        }
    }
    Some(endpoint)
}

/// SK_MEMINFO. What was sent and not read counts as the sender's memory (sk_wmem_alloc), not as the reader's.
fn memory(value: &[u8]) -> Option<Memory> {
    /// SK_MEMINFO_WMEM_ALLOC
    const SENT: usize = 2 * 4;
    let sent = value.get(SENT..).and_then(<[u8]>::first_chunk).map(|word| u32::from_ne_bytes(*word))?;
    Some(Memory { queued: sent, ..every::memory(value)? })
}

/// The names of these sockets, by inode. One without a name has none, nor has one that is gone, or of a recording.
pub fn names<'a>(host: &Host, sockets: impl Iterator<Item = &'a Endpoint>) -> BTreeMap<u32, String> {
    let mut client = Client::new(host, Family::SockDiag);
    let mut names = BTreeMap::new();
    for socket in sockets {
        let take = |payload: &[u8]| {
            names.extend(name(payload).map(|name| (socket.inode, name)));
            true
        };
        // Gone meanwhile (ENOENT), or its inode is another one's by now (ESTALE, by the cookie).
        drop(client.ask(&asked(u32::MAX, socket.inode, SHOW_NAME, socket.cookie), take));
    }
    names
}

/// The name in a message: a path, or with a zero ahead, which is written as @, a name in the namespace.
pub fn name(payload: &[u8]) -> Option<String> {
    let (_, name) = attributes(payload.get(MESSAGE..)?).find(|(kind, _)| *kind == NAME)?;
    Some(match name.split_first()? {
        (0, rest) => format!("@{}", text::printable(rest)),
        _ => text::printable(name.split(|byte| *byte == 0).next().unwrap_or(name)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::every::{Asked, read};
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    fn all() -> Vec<Endpoint> {
        let mut found = Vec::new();
        let asked = Asked { transports: vec![Transport::Unix], ..Asked::all() };
        read(&Host::Live, &asked, &mut found, Vec::clear, |found, one| found.push(*one)).unwrap();
        found
    }

    #[test]
    fn sockets_of_our_own_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("na\x1bme");
        let abstracted = format!("netstat-deep\n{}", std::process::id());
        let at = SocketAddr::from_abstract_name(&abstracted).unwrap();
        let listeners = [UnixListener::bind(&path).unwrap(), UnixListener::bind_addr(&at).unwrap()];
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(&[7; 1000]).unwrap();
        let all = all();
        let names = names(&Host::Live, all.iter());
        let shown =
            [path.to_str().unwrap().replace('\x1b', "\\x1b"), format!("@{}", abstracted.replace('\n', "\\x0a"))];
        for (name, waiting) in shown.iter().zip([1, 0]) {
            let found: Vec<_> = all.iter().filter(|one| names.get(&one.inode) == Some(name)).collect();
            let listener = found.iter().find(|one| one.state == State::Listen).unwrap();
            assert_eq!(listener.accept_queue().map(|[length, _]| length), Some(waiting));
            assert!(listener.cookie > 0);
        }
        // It waits to be read, at the expense of whoever sent it.
        let inode = rustix::fs::fstat(&client).unwrap().st_ino;
        let sender = all.iter().find(|one| u64::from(one.inode) == inode).unwrap();
        assert!(sender.send_queue >= 1000 && sender.memory.unwrap().queued >= 1000);
        assert_eq!(sender.state, State::Established);
        drop(listeners);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
            let _ = name(&bytes);
        }
    }
}
