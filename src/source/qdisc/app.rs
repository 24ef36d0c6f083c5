//! What a kind of qdisc counts beside what all count: TCA_STATS_APP. A shorter structure comes from an older kernel.

use super::{attributes, narrow, wide};
use crate::model::Group;
use crate::source::groups::{CAKE, FQ, FQ_CODEL, HTB};

/// One field of a structure: its name, where it begins, and how many bytes it has.
type Field = (&'static str, usize, usize);

/// struct tc_fq_qd_stats, include/uapi/linux/pkt_sched.h.
const FQ_FIELDS: &[Field] = &[
    ("throttled", 24, 8),
    ("flows_plimit", 32, 8),
    ("pkts_too_long", 40, 8),
    ("allocation_errors", 48, 8),
    ("flows", 64, 4),
    ("inactive_flows", 68, 4),
    ("throttled_flows", 72, 4),
    ("ce_mark", 80, 8),
    ("horizon_drops", 88, 8),
    ("horizon_caps", 96, 8),
];
const FQ_COLUMNS: &[&str] = &names::<10>(FQ_FIELDS);

/// struct tc_fq_codel_xstats: a word that says which kind of statistics, then struct tc_fq_codel_qd_stats.
const FQ_CODEL_FIELDS: &[Field] = &[
    ("maxpacket", 4, 4),
    ("drop_overlimit", 8, 4),
    ("ecn_mark", 12, 4),
    ("new_flow_count", 16, 4),
    ("ce_mark", 28, 4),
    ("memory_usage", 32, 4),
    ("drop_overmemory", 36, 4),
];
const FQ_CODEL_COLUMNS: &[&str] = &names::<7>(FQ_CODEL_FIELDS);

/// struct tc_htb_xstats, of a class.
const HTB_FIELDS: &[Field] = &[("lends", 0, 4), ("borrows", 4, 4), ("giants", 8, 4)];
const HTB_COLUMNS: &[&str] = &names::<3>(HTB_FIELDS);

const CAKE_COLUMNS: &[&str] = &["memory_limit", "memory_used", "acks_dropped", "ecn_marked"];

const fn names<const N: usize>(fields: &[Field]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = fields[at].0;
        at += 1;
    }
    names
}

/// A row: which table, its columns, its cells.
pub type Found = (&'static Group, &'static [&'static str], Vec<Option<u64>>);

/// What the statistics of this kind say. None for a kind that has none, or none that are known here.
pub fn statistics(kind: &[u8], is_class: bool, bytes: &[u8]) -> Option<Found> {
    if bytes.is_empty() {
        return None;
    }
    let cells = |fields: &[Field]| {
        let cell = |(_, at, size): &Field| if *size == 8 { wide(bytes, *at) } else { narrow(bytes, *at) };
        fields.iter().map(cell).collect()
    };
    Some(match (kind, is_class) {
        (b"fq", false) => (&FQ, FQ_COLUMNS, cells(FQ_FIELDS)),
        // TCA_FQ_CODEL_XSTATS_QDISC; the other kind is a class's.
        (b"fq_codel", false) if narrow(bytes, 0) == Some(0) => (&FQ_CODEL, FQ_CODEL_COLUMNS, cells(FQ_CODEL_FIELDS)),
        (b"htb", true) => (&HTB, HTB_COLUMNS, cells(HTB_FIELDS)),
        (b"cake", false) => (&CAKE, CAKE_COLUMNS, cake(bytes).to_vec()),
        _ => return None,
    })
}

/// net/sched/sch_cake.c cake_dump_stats(): attributes, among them a list of tins with attributes of their own.
fn cake(bytes: &[u8]) -> [Option<u64>; 4] {
    const MEMORY_LIMIT: u16 = 3;
    const MEMORY_USED: u16 = 4;
    const TINS: u16 = 10;
    const ACKS_DROPPED: u16 = 6;
    const ECN_MARKED: u16 = 8;
    let mut cells = [None; 4];
    for (kind, value) in attributes(bytes) {
        match kind {
            MEMORY_LIMIT => cells[0] = narrow(value, 0),
            MEMORY_USED => cells[1] = narrow(value, 0),
            TINS => {
                for (kind, value) in attributes(value).flat_map(|(_, tin)| attributes(tin)) {
                    let cell = match kind {
                        ACKS_DROPPED => &mut cells[2],
                        ECN_MARKED => &mut cells[3],
                        _ => continue,
                    };
                    *cell = narrow(value, 0).map(|more| cell.unwrap_or(0).saturating_add(more)).or(*cell);
                }
            }
            _ => {}
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;

    #[test]
    fn an_older_kernel_has_fewer_fields() {
        let mut bytes = vec![0; 80];
        bytes[32] = 9;
        let (group, columns, cells) = statistics(b"fq", false, &bytes).unwrap();
        let at = |name| cells[columns.iter().position(|column| *column == name).unwrap()];
        assert!(group == &FQ);
        assert_eq!((at("flows_plimit"), at("throttled_flows"), at("ce_mark")), (Some(9), Some(0), None));
    }

    #[test]
    fn the_tins_of_cake_are_added_up() {
        let tin = |acks: u32| attribute(1, &attribute(6, &acks.to_ne_bytes()));
        let bytes = [attribute(4, &7_u32.to_ne_bytes()), attribute(10, &[tin(2), tin(3)].concat())].concat();
        assert_eq!(statistics(b"cake", false, &bytes).unwrap().2, [None, Some(7), Some(5), None]);
    }

    #[test]
    fn what_a_class_of_fq_codel_says_is_no_qdisc_s() {
        assert!(statistics(b"fq_codel", false, &1_u32.to_ne_bytes()).is_none());
    }
}
