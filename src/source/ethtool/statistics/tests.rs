use super::*;
use crate::source::genl::attribute;
use proptest::prelude::*;

fn header(kind: u16) -> Vec<u8> {
    [vec![0; 4], attribute(kind, &attribute(2, b"eth0\0"))].concat()
}

fn statistic(which: u16, value: u64) -> Vec<u8> {
    attribute(GRP_STAT, &attribute(which, &value.to_ne_bytes()))
}

fn group(id: u32, statistics: &[(u16, u64)]) -> Vec<u8> {
    let values: Vec<u8> = statistics.iter().flat_map(|(which, value)| statistic(*which, *value)).collect();
    attribute(STATS_GRP, &[attribute(GRP_ID, &id.to_ne_bytes()), values].concat())
}

fn groups(payload: &[u8]) -> Vec<(usize, Vec<Option<u64>>)> {
    groups_of(super::super::device_of(payload, STATS_HEADER).unwrap().1).collect()
}

/// The message of a veth, on Linux 6.18: all groups, and no statistic in them.
#[test]
fn a_device_without_statistics_has_no_row() {
    let hex = "210100001400028008000100020000000700020076620000080005000000000014000480080002000000000008000300110000001400\
               04800800020001000000080003001200000014000480080002000200000008000300130000001400048008000200030000000800\
               030014000000";
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    assert_eq!(super::super::device_of(&bytes, STATS_HEADER).unwrap().0, b"vb");
    assert_eq!(groups(&bytes), []);
}

#[test]
fn each_statistic_goes_where_its_number_says() {
    let mac = group(1, &[(4, 70), (5, u64::MAX), (99, 3)]);
    let message = [header(STATS_HEADER), group(0, &[(0, 5)]), mac, group(7, &[(0, 1)])].concat();
    let found = groups(&message);
    assert_eq!(found.len(), 2, "a group that is not known is passed over");
    assert_eq!((found[0].0, &found[0].1[..]), (0, &[Some(5)][..]));
    assert_eq!(STANDARD[1].names[4], "FrameCheckSequenceErrors");
    assert_eq!((found[1].1[3], found[1].1[4], found[1].1[5]), (None, Some(70), Some(u64::MAX)));
}

#[test]
fn the_first_word_of_fec_is_the_total() {
    let words: Vec<u8> = [9_u64, 4, 5].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let message = [header(HEADER), attribute(FEC_STATS, &attribute(3, &words))].concat();
    let (_, message) = super::super::device_of(&message, HEADER).unwrap();
    assert_eq!(nested(message, FEC_STATS, 3).and_then(|lanes| number(lanes.get(..8)?)), Some(9));
    assert_eq!(nested(message, FEC_STATS, 2), None);
}

proptest! {
    #[test]
    fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = cells(&bytes);
    }
}
