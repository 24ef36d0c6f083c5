//! A socket or a connection, as sock_diag tells it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::model::Protocol;
use netstat_deep::source::sockdiag::{connections, parse};

fuzz_target!(|bytes: &[u8]| {
    for protocol in [Protocol::Udp, Protocol::Listen] {
        assert!(parse(bytes, protocol).is_none_or(|socket| socket.protocol == protocol));
    }
    if let Some(connections::Told::Connection(connection)) = connections::parse(bytes) {
        assert!(connection.memory() < 1 << 34 && (!connection.is_full() || connection.unread > 0));
    }
});
