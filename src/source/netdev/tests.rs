use super::*;
use crate::source::genl::attribute;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn names() -> Names {
    [(4, b"eth0".to_vec())].into()
}

/// virtio_net of Linux 6.18: every number in four bytes.
#[test]
fn a_device_and_its_queues() {
    let device = "0c010000080001000400000008000800f83c000008000900d5160a1c08000a004920000008000b00560a0a0008002100000000000800\
                  220000000000";
    let (owner, cells) = queue_statistics(&bytes(device), &names()).unwrap();
    assert_eq!(owner, Owner::Device(b"eth0".to_vec()));
    assert_eq!(&cells[..6], &[Some(15_608), Some(0x1c0a_16d5), Some(8_265), Some(0x000a_0a56), None, None]);
    let queue = "0c01000008000100040000000800020000000000080003000000000008000800f83c000008000900d5160a1c";
    assert_eq!(queue_statistics(&bytes(queue), &names()).unwrap().0, Owner::RxQueue(b"eth0".to_vec(), 0));
    let sends = "0c01000008000100040000000800020001000000080003000000000008000a004920000008000b00560a0a00";
    assert_eq!(queue_statistics(&bytes(sends), &names()).unwrap().0, Owner::TxQueue(b"eth0".to_vec(), 0));
}

#[test]
fn numbers_that_need_eight_bytes_are_whole() {
    let message = [
        vec![0; 4],
        attribute(QSTATS_IFINDEX, &4_u32.to_ne_bytes()),
        attribute(FIRST, &u64::MAX.to_ne_bytes()),
        attribute(FIRST + 1, &7_u32.to_ne_bytes()),
        attribute(FIRST + 2, &[1, 2, 3]),
        attribute(FIRST + 400, &7_u32.to_ne_bytes()),
    ];
    let (_, cells) = queue_statistics(&message.concat(), &names()).unwrap();
    assert_eq!(&cells[..3], &[Some(u64::MAX), Some(7), None]);
}

#[test]
fn a_device_that_is_gone_has_no_row() {
    let message = [vec![0; 4], attribute(QSTATS_IFINDEX, &9_u32.to_ne_bytes())].concat();
    assert_eq!(queue_statistics(&message, &names()), None);
}

/// virtio_net of Linux 6.18, whose driver does not say which interrupt it is.
#[test]
fn a_napi_may_have_no_interrupt() {
    let hex =
        "0b010000080002000101000008000100040000000800080000000000080005000000000008000700000000000800060000000000";
    assert_eq!(napi(&bytes(hex)), Some(Napi { device: 4, id: 257, irq: None }));
}

proptest! {
    #[test]
    fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (queue_statistics(&bytes, &names()), napi(&bytes));
    }
}
