//! To which receive queue each entry of the device's RSS table leads, as `ethtool -x` shows it.
//!
//! Asked by ioctl: netlink has it since 6.3 only. A recorded tree keeps the answer in `.ethtool/DEVICE.rss.bin`: struct
//! ethtool_rxfh_indir, as the kernel filled it in. Tables of further contexts are not in it: their queues get what filters
//! give them.

use std::collections::BTreeMap;
use std::io;

use super::driver::Caller;
use crate::source::{Host, text};

/// include/uapi/linux/ethtool.h
const ETHTOOL_GRXFHINDIR: u32 = 0x38;
/// struct ethtool_rxfh_indir: command, number of entries.
const HEAD: usize = 8;
/// More than any device has: what the caller's memory holds.
const MOST: usize = 1 << 16;

/// How many entries lead to each receive queue; none are told of a device that does not spread.
pub fn read(host: &Host, device: &[u8]) -> BTreeMap<u32, u64> {
    let answer = host.answer(&format!(".ethtool/{}.rss.bin", text::printable(device)), || {
        let mut caller = Caller::new()?;
        // With no room for entries the kernel tells how many there are (net/ethtool/ioctl.c ethtool_get_rxfh_indir()).
        let entries =
            count(caller.call(device, &[ETHTOOL_GRXFHINDIR, 0], |_| HEAD)?).ok_or(io::ErrorKind::InvalidData)?;
        let head = [ETHTOOL_GRXFHINDIR, u32::try_from(entries).unwrap_or(0)];
        Ok(caller.call(device, &head, |_| HEAD + entries * 4)?.to_vec())
    });
    answer.map(|bytes| parse(&bytes)).unwrap_or_default()
}

fn count(answer: &[u8]) -> Option<usize> {
    let entries = u32::from_ne_bytes(*answer.get(4..)?.first_chunk()?) as usize;
    (entries <= MOST).then_some(entries)
}

/// The entries of an answer, by the queue that they lead to. What is cut off is left out.
pub fn parse(answer: &[u8]) -> BTreeMap<u32, u64> {
    let mut queues = BTreeMap::new();
    let words = answer.get(HEAD..).unwrap_or_default().chunks_exact(4);
    for word in words.take(count(answer).unwrap_or(0)) {
        let queue = word.first_chunk().copied().map(u32::from_ne_bytes);
        *queues.entry(queue.unwrap_or_default()).or_default() += 1;
    }
    queues
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(said: u32, entries: &[u32]) -> Vec<u8> {
        [ETHTOOL_GRXFHINDIR, said].iter().chain(entries).flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn entries_are_counted_by_queue() {
        assert_eq!(parse(&table(5, &[0, 1, 2, 0, 0])), BTreeMap::from([(0, 3), (1, 1), (2, 1)]));
        assert_eq!(parse(&table(0, &[])), BTreeMap::new());
    }

    #[test]
    fn what_is_torn_or_too_long_is_left_out() {
        let mut torn = table(3, &[0, 1, 2]);
        torn.truncate(HEAD + 9);
        assert_eq!(parse(&torn), BTreeMap::from([(0, 1), (1, 1)]));
        assert_eq!(parse(&table(u32::MAX, &[7])), BTreeMap::new());
        assert_eq!(parse(b"short"), BTreeMap::new());
    }

    #[test]
    fn a_device_that_does_not_spread_has_no_table() {
        assert_eq!(read(&Host::Live, b"lo"), BTreeMap::new());
    }
}
