//! Whether IPsec protects anything here: XFRM_MSG_GETSADINFO. What it protects is counted twice on its way out, before and
//! after (xfrm_output_resume() in net/xfrm/xfrm_output.c goes through __ip_local_out() once more).

use std::io;

use super::Host;
use super::netlink::{Client, Family, Request, attributes};

// include/uapi/linux/xfrm.h
const XFRM_MSG_GETSADINFO: u16 = 0x23;
const XFRMA_SAD_CNT: u16 = 1;
/// A word of flags, in the request and in the answer.
const FLAGS: usize = 4;

/// How many security associations the calling thread's network namespace has. An error also where the kernel has no IPsec.
pub fn associations(host: &Host) -> io::Result<u32> {
    let request = Request { name: "getsadinfo", kind: XFRM_MSG_GETSADINFO, payload: vec![0; FLAGS] };
    let mut count = None;
    Client::new(host, Family::Xfrm).ask(&request, |payload| {
        count = parse(payload);
        count.is_some()
    })?;
    count.ok_or_else(|| io::Error::other("the kernel's answer on IPsec makes no sense"))
}

/// Their number from the answer.
pub fn parse(payload: &[u8]) -> Option<u32> {
    let (_, value) = attributes(payload.get(FLAGS..)?).find(|(kind, _)| *kind == XFRMA_SAD_CNT)?;
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    #[test]
    fn the_number_is_taken_from_its_attribute() {
        let answer = [vec![0; FLAGS], attribute(2, &[0; 8]), attribute(XFRMA_SAD_CNT, &7_u32.to_ne_bytes())].concat();
        assert_eq!(parse(&answer), Some(7));
        assert_eq!(parse(&answer[..10]), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
        }
    }
}
