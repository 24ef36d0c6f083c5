//! Messages of the drop monitor, and of the controller that numbers it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::dropmon::message;
use netstat_deep::source::genl;

fuzz_target!(|bytes: &[u8]| {
    if let Some((packet, _)) = message::parse(bytes) {
        // What is not printable takes four characters a byte.
        let text = packet.location.len() + packet.reason.as_ref().map_or(0, String::len);
        assert!(!packet.location.is_empty() && text <= 4 * bytes.len());
        assert!(packet.protocol.is_none() || packet.ethertype.is_some());
    }
    let _ = (message::config(bytes), message::unqueued(bytes), message::is_heard(bytes, 1));
    assert!(genl::parse(bytes).is_none_or(|numbers| numbers.id != 0 && numbers.groups.len() <= bytes.len() / 4));
});
