//! Connection tracking by ctnetlink, for kernels without `/proc/net/stat/nf_conntrack` (CONFIG_NF_CONNTRACK_PROCFS) or
//! without its sysctls. Asked only where connection tracking is known to be there: the request would load its module.

use std::io;

use super::netlink::{Client, Dumped, Family, Request, attributes};
use super::{Host, Label, Sheet, SheetRow};

// include/uapi/linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET_STATS_CPU: u16 = 4;
const IPCTNL_MSG_CT_GET_STATS: u16 = 5;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_STATS_GLOBAL_MAX_ENTRIES: u16 = 2;
/// struct nfgenmsg: family, version, and a number in network order: here the CPU's.
const HEADER: usize = 4;

/// The attributes of a CPU (enum ctattr_stats_cpu), by the names that the same counters have in
/// `/proc/net/stat/nf_conntrack`. Those that are no longer counted (searched, new, delete) are left out.
const COUNTERS: [(u16, &str); 11] = [
    (2, "found"),
    (4, "invalid"),
    (5, "ignore"),
    (8, "insert"),
    (9, "insert_failed"),
    (10, "drop"),
    (11, "early_drop"),
    (12, "icmp_error"),
    (13, "search_restart"),
    // Both since 5.15.
    (14, "clashres"),
    (15, "chainlength"),
];

/// What one CPU counted, in the order of the columns of [`sheet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The CPU.
    pub cpu: u32,
    /// Its counters; absent where the kernel does not have them. 32 bits wide.
    pub values: [Option<u64>; COUNTERS.len()],
}

/// What each possible CPU counted, in the calling thread's network namespace.
pub fn read(host: &Host) -> io::Result<(Vec<Counted>, Dumped)> {
    let mut counted = Vec::new();
    let request = request("ct_stats_cpu", IPCTNL_MSG_CT_GET_STATS_CPU);
    let dumped =
        Client::new(host, Family::Netfilter).dump(&request, &mut counted, Vec::clear, |counted, payload| {
            parse(payload).map(|cpu| counted.push(cpu)).is_some()
        })?;
    Ok((counted, dumped))
}

/// How many flows the namespace tracks, and how many it may (absent before 5.9).
pub fn fill(host: &Host) -> io::Result<(u64, Option<u64>)> {
    let mut fill = None;
    Client::new(host, Family::Netfilter).ask(&request("ct_stats", IPCTNL_MSG_CT_GET_STATS), |payload| {
        fill = parse_fill(payload);
        fill.is_some()
    })?;
    fill.ok_or_else(|| io::Error::other("the kernel's answer on connection tracking makes no sense"))
}

fn request(name: &'static str, message: u16) -> Request {
    Request { name, kind: NFNL_SUBSYS_CTNETLINK << 8 | message, payload: vec![0; HEADER] }
}

/// The CPUs as the table that `/proc/net/stat/nf_conntrack` would be.
pub fn sheet(counted: &[Counted]) -> Sheet<'static> {
    let row = |cpu: &Counted| SheetRow { label: Label::Cpu(cpu.cpu), cells: cpu.values.to_vec() };
    Sheet {
        columns: COUNTERS.iter().map(|(_, name)| name.as_bytes()).collect(),
        rows: counted.iter().map(row).collect(),
        ..Sheet::default()
    }
}

/// The fill as the table that the sysctls would be.
pub fn fill_sheet((count, max): (u64, Option<u64>)) -> Sheet<'static> {
    let rows = vec![SheetRow { label: Label::Only, cells: vec![Some(count), max] }];
    Sheet { columns: vec![b"count", b"max"], rows, ..Sheet::default() }
}

/// A CPU from the payload of an answer to IPCTNL_MSG_CT_GET_STATS_CPU.
pub fn parse(payload: &[u8]) -> Option<Counted> {
    let cpu = u16::from_be_bytes(*payload.get(2..)?.first_chunk()?);
    let mut values = [None; COUNTERS.len()];
    for (kind, value) in attributes(&payload[HEADER..]) {
        if let Some(at) = COUNTERS.iter().position(|(known, _)| *known == kind) {
            values[at] = Some(word(value)?);
        }
    }
    values.iter().any(Option::is_some).then_some(Counted { cpu: cpu.into(), values })
}

/// The fill from the payload of an answer to IPCTNL_MSG_CT_GET_STATS.
pub fn parse_fill(payload: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut fill = (None, None);
    for (kind, value) in attributes(payload.get(HEADER..)?) {
        match kind {
            CTA_STATS_GLOBAL_ENTRIES => fill.0 = Some(word(value)?),
            CTA_STATS_GLOBAL_MAX_ENTRIES => fill.1 = Some(word(value)?),
            _ => {}
        }
    }
    Some((fill.0?, fill.1))
}

/// Numbers are in network order here.
fn word(value: &[u8]) -> Option<u64> {
    Some(u32::from_be_bytes(*value.first_chunk()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use crate::source::text;
    use proptest::prelude::*;

    #[test]
    fn a_cpu_is_told_by_its_number_and_its_attributes() {
        let payload = [vec![0, 0, 0, 3], attribute(9, &7_u32.to_be_bytes()), attribute(99, b"new!")].concat();
        let counted = parse(&payload).unwrap();
        assert_eq!((counted.cpu, counted.values[4], counted.values[5]), (3, Some(7), None));
        assert_eq!(parse(&[0, 0, 0, 3]), None);
        assert_eq!(parse(&[&[0, 0, 0, 3][..], &attribute(9, b"x")].concat()), None);
    }

    #[test]
    fn the_fill_may_lack_its_limit() {
        let count = [vec![0; 4], attribute(1, &5_u32.to_be_bytes())].concat();
        assert_eq!(parse_fill(&count), Some((5, None)));
        let both = [count, attribute(2, &50_u32.to_be_bytes())].concat();
        assert_eq!(parse_fill(&both), Some((5, Some(50))));
        assert_eq!(parse_fill(&[0; 4]), None);
    }

    /// The file and netlink tell the same, where both are there and may be read.
    #[test]
    fn the_running_kernel_tells_the_same_twice() {
        let mut bytes = Vec::new();
        let (Ok(()), Ok((counted, _))) = (Host::Live.read("proc/net/stat/nf_conntrack", &mut bytes), read(&Host::Live))
        else {
            return;
        };
        let (file, netlink) = (text::hex_table(&bytes).remove(0), sheet(&counted));
        assert_eq!(file.rows.len(), netlink.rows.len());
        for name in ["drop", "insert_failed", "early_drop"] {
            let column = |sheet: &Sheet| {
                let at = sheet.columns.iter().position(|column| *column == name.as_bytes()).unwrap();
                sheet.rows.iter().filter_map(|row| row.cells[at]).sum::<u64>()
            };
            assert_eq!(column(&file), column(&netlink), "{name}");
        }
        assert!(fill(&Host::Live).unwrap().1.is_none_or(|max| max > 0));
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse(&bytes), parse_fill(&bytes));
        }
    }
}
