//! A socket or a connection, as sock_diag tells it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::model::{Protocol, Transport};
use netstat_deep::sockets::before::life;
use netstat_deep::sockets::trouble::Trouble;
use netstat_deep::source::sockdiag::{connections, every, parse};

fuzz_target!(|bytes: &[u8]| {
    for protocol in [Protocol::Udp, Protocol::Listen] {
        assert!(parse(bytes, protocol).is_none_or(|socket| socket.protocol == protocol));
    }
    if let Some(connections::Told::Connection(connection)) = connections::parse(bytes) {
        assert!(connection.memory() < 1 << 34 && (!connection.is_full() || connection.unread > 0));
    }
    for transport in Transport::ALL {
        if let Some(socket) = every::parse(bytes, transport) {
            let grown = life(&socket);
            assert!(Trouble::ALL.iter().all(|trouble| trouble.of(&socket, &grown).is_none_or(|much| much > 0)));
            assert!(socket.congestion().is_none_or(|name| name.len() <= 16));
            assert!(transport == Transport::Tcp || socket.tcp.is_none());
        }
    }
});
