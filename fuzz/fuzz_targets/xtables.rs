//! A table of the old iptables: first what the kernel says of it, then its entries.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::nftables::Verdict;
use netstat_deep::source::xtables::{IPV4, IPV6, parse};

/// struct ipt_getinfo
const INFO: usize = 84;

fuzz_target!(|bytes: &[u8]| {
    let Some((info, entries)) = bytes.split_at_checked(INFO) else { return };
    for layout in [IPV4, IPV6] {
        let Some(table) = parse(layout, b"filter", info, entries) else { continue };
        // The shortest entry has 144 bytes.
        let most = entries.len() / 144;
        assert!(table.rules.len() + table.chains.len() <= 2 * most);
        assert!(table.rules.iter().all(|rule| rule.verdict != Verdict::Other && rule.position as usize <= most));
    }
});
