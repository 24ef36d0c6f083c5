use super::*;
use crate::source::genl::attribute;
use proptest::prelude::{any as anything, proptest};

/// What follows struct nlmsghdr, as a kernel sent it.
fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn settings(block: &str, payload: &[u8]) -> Vec<(String, String)> {
    let block = BLOCKS.iter().find(|known| known.name == block).unwrap();
    let (device, message) = crate::source::ethtool::device_of(payload, HEADER).unwrap();
    block.settings(device, message)
}

fn same(found: Vec<(String, String)>, expected: &[(&str, &str)]) {
    let found: Vec<(&str, &str)> = found.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
    assert_eq!(found, expected);
}

/// virtio_net of Linux 6.18.
#[test]
fn rings_channels_and_coalescing_of_a_virtual_machine() {
    let rings = "10010000180001800800010004000000090002006574683000000000080002000001000008000600000100000800050000010000\
                 080009000001000005000d000000000005000e0000000000";
    same(
        settings("rings", &bytes(rings)),
        &[
            ("ethtool/eth0/rings/rx", "256"),
            ("ethtool/eth0/rings/rx/max", "256"),
            ("ethtool/eth0/rings/tx", "256"),
            ("ethtool/eth0/rings/tx/max", "256"),
        ],
    );
    let channels = "1201000018000180080001000400000009000200657468300000000008000500010000000800090001000000";
    let expected = [("ethtool/eth0/channels/combined", "1"), ("ethtool/eth0/channels/combined/max", "1")];
    same(settings("channels", &bytes(channels)), &expected);
    let coalesce = "14010000180001800800010004000000090002006574683000000000080002000000000008000300010000000800060000000000\
                    080007000100000005000b0000000000";
    same(
        settings("coalesce", &bytes(coalesce)),
        &[
            ("ethtool/eth0/coalesce/rx-usecs", "0"),
            ("ethtool/eth0/coalesce/rx-frames", "1"),
            ("ethtool/eth0/coalesce/tx-usecs", "0"),
            ("ethtool/eth0/coalesce/tx-frames", "1"),
            ("ethtool/eth0/coalesce/adaptive-rx", "off"),
        ],
    );
}

/// veth and virtio_net of Linux 6.18.
#[test]
fn an_unknown_speed_is_none() {
    let veth = "0401000014000180080001000200000007000200766200000500020000000000100003800800020079000000040003800800050010\
                270000050006000100000005000a0000000000";
    same(settings("linkmodes", &bytes(veth)), &[("ethtool/vb/linkmodes/speed", "10000")]);
    let virtio = "0401000018000180080001000400000009000200657468300000000005000200000000001000038008000200790000000400038008\
                  000500ffffffff05000600ff00000005000a0000000000";
    same(settings("linkmodes", &bytes(virtio)), &[]);
}

fn header() -> Vec<u8> {
    [vec![0; 4], attribute(HEADER, &attribute(2, b"eth0\0"))].concat()
}

fn bit(name: &str, value: bool) -> Vec<u8> {
    let value = if value { attribute(BIT_VALUE, &[]) } else { Vec::new() };
    attribute(BITSET_BIT, &[attribute(BIT_NAME, format!("{name}\0").as_bytes()), value].concat())
}

/// The kernel lists all features under what the hardware can, with a value for those that it can, and under what is active
/// only those that are.
#[test]
fn features_are_on_or_off_or_not_there() {
    let hardware = [bit("rx-gro", true), bit("rx-lro", true), bit("tx-nocache-copy", false)].concat();
    let active = [bit("rx-gro", false), bit("netns-local", false)].concat();
    let message = [
        header(),
        attribute(FEATURES_HW, &attribute(BITSET_BITS, &hardware)),
        attribute(FEATURES_ACTIVE, &[attribute(BITSET_NOMASK, &[]), attribute(BITSET_BITS, &active)].concat()),
    ];
    let mut found = settings("features", &message.concat());
    found.dedup();
    assert!(found.contains(&("ethtool/eth0/features/rx-gro".into(), "on".into())));
    assert!(found.contains(&("ethtool/eth0/features/rx-lro".into(), "off".into())));
    assert!(!found.iter().any(|(path, _)| path.ends_with("tx-nocache-copy")));
}

#[test]
fn the_indirection_table_names_so_many_queues() {
    let table: Vec<u8> = (0..128_u32).flat_map(|at| (at % 6).to_ne_bytes()).collect();
    let message = [header(), attribute(RSS_INDIR, &table)].concat();
    same(settings("rss", &message), &[("ethtool/eth0/rss/queues", "6")]);
    let other = [header(), attribute(RSS_CONTEXT, &1_u32.to_ne_bytes()), attribute(RSS_INDIR, &table)].concat();
    same(settings("rss", &other), &[]);
}

#[test]
fn paths_of_another_kind_are_refused() {
    for path in ["net/core/somaxconn", "ethtool/eth0/rings", "ethtool/eth0/nosuch/rx", "ethtool/eth0/rings/rx/max"] {
        assert!(value_at(path).is_err() && set(path, "1").is_err(), "{path}");
    }
    assert_eq!(set("ethtool/lo/rings/rx", "many").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(set("ethtool/lo/features/rx-gro", "2").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(settable("ethtool/lo/rss/queues").unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[test]
fn the_loopback_has_features_and_no_ring() {
    assert_eq!(value_at("ethtool/lo/features/rx-gro").unwrap(), "on");
    assert!(value_at("ethtool/lo/rings/rx").is_err() && settable("ethtool/lo/rings/rx").is_err());
    let mut settings = Settings::default();
    read(&Host::Live, "features", &mut settings);
    assert_eq!(settings.get("ethtool/lo/features/rx-gro"), Some("on"));
}

proptest! {
    #[test]
    fn no_message_panics(bytes in proptest::collection::vec(anything::<u8>(), 0..300)) {
        let _ = any(&bytes);
    }
}
