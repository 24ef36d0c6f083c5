//! Answers taken apart: messages, and the attributes in them.

use std::io;

use netlink_packet_core::{NLM_F_DUMP_INTR, NetlinkBuffer, NlasIterator};

use super::Dumped;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Takes a datagram (or a recording) apart. True at the end of the dump. Messages of another `sequence` are passed over.
pub(in crate::source) fn messages(
    mut bytes: &[u8],
    sequence: Option<u32>,
    dumped: &mut Dumped,
    mut each: impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    while !bytes.is_empty() {
        // Also makes sure that the length in the header is at least the header's and at most the buffer's.
        let Ok(message) = NetlinkBuffer::new_checked(bytes) else {
            dumped.bad += 1;
            return Ok(false);
        };
        let length = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
        if sequence.is_some_and(|sequence| sequence != message.sequence_number()) {
            continue;
        }
        dumped.disturbed |= message.flags() & NLM_F_DUMP_INTR != 0;
        let payload = message.payload();
        match message.message_type() {
            NLMSG_DONE => {
                return match error_code(payload) {
                    Some(code) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
                    _ => Ok(true),
                };
            }
            NLMSG_ERROR => {
                return match error_code(payload) {
                    Some(code) if code != 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                    _ => Ok(true),
                };
            }
            _ => dumped.bad += usize::from(!each(payload)),
        }
    }
    Ok(false)
}

fn error_code(payload: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*payload.first_chunk()?))
}

/// The attributes in `bytes`: kind without flags, and value. Ends at the first that does not fit.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let value = attribute.into_inner();
        let kind = u16::from_ne_bytes([value[2], value[3]]) & netlink_packet_core::NLA_TYPE_MASK;
        let length = usize::from(u16::from_ne_bytes([value[0], value[1]]));
        (kind, &value[4..length])
    })
}

#[cfg(test)]
mod tests {
    use super::super::{NLM_F_DUMP, Request};
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let request = Request { name: "", kind, payload: payload.to_vec() };
        let mut bytes = request.bytes(7, NLM_F_DUMP);
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn take(bytes: &[u8]) -> (io::Result<bool>, Dumped, Vec<Vec<u8>>) {
        let (mut dumped, mut seen) = (Dumped::default(), Vec::new());
        let result = messages(bytes, Some(7), &mut dumped, |payload| {
            seen.push(payload.to_vec());
            payload != b"bad!"
        });
        (result, dumped, seen)
    }

    #[test]
    fn messages_are_handed_over_until_the_end() {
        let bytes =
            [message(16, 0, b"one!"), message(16, NLM_F_DUMP_INTR, b"bad!"), message(NLMSG_DONE, 0, &[0; 4])].concat();
        let (result, dumped, seen) = take(&bytes);
        assert!(result.unwrap());
        assert_eq!((dumped, seen.len()), (Dumped { disturbed: true, bad: 1 }, 2));
    }

    #[test]
    fn an_error_is_an_error() {
        let (result, ..) = take(&message(NLMSG_ERROR, 0, &(-2_i32).to_ne_bytes()));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_message_that_is_cut_off_is_counted() {
        let mut bytes = message(16, 0, b"whole");
        bytes.extend_from_slice(&message(16, 0, b"longer than this")[..20]);
        let (result, dumped, seen) = take(&bytes);
        assert!(!result.unwrap());
        assert_eq!((dumped.bad, seen.len()), (1, 1));
    }

    #[test]
    fn the_answer_to_another_request_is_passed_over() {
        let mut late = message(16, 0, b"late");
        late[8..12].copy_from_slice(&6_u32.to_ne_bytes());
        let (result, _, seen) = take(&[late, message(16, 0, b"ours"), message(NLMSG_DONE, 0, &[0; 4])].concat());
        assert_eq!((result.unwrap(), seen), (true, vec![b"ours".to_vec()]));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = take(&bytes);
            let _ = attributes(&bytes).count();
        }
    }
}
