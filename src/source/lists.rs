//! Parsers for lists in `/proc`: values by name, protocols, sockets that are added up, pressure.

use super::sheet::{Label, Sheet, SheetRow};
use super::text::{lines, number, put, skip, words};

/// `XfrmInError   5`, one value a line (`/proc/net/xfrm_stat`, `/proc/net/tls_stat`): one table.
pub fn named_values(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut sheets: Vec<Sheet> = Vec::new();
    for line in lines(bytes) {
        let mut parts = words(line);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(value), None) => put(&mut sheets, b"", name, number(value)),
            _ => skip(&mut sheets),
        }
    }
    sheets
}

/// A header, then a line per protocol that begins with its name (`/proc/net/protocols`): a table each. `yes` is 1, `no` is
/// 0; what is neither nor a number (`NI`, not implemented; -1) is absent.
pub fn protocols(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut lines = lines(bytes);
    let header: Vec<&[u8]> = lines.next().map(|line| words(line).skip(1).collect()).unwrap_or_default();
    let value = |word: &[u8]| match word {
        b"yes" => Some(1),
        b"no" => Some(0),
        word => number(word),
    };
    let protocol = |line| {
        let mut parts = words(line);
        let name = parts.next()?;
        let (columns, cells) = header.iter().copied().zip(parts.map(value)).unzip();
        Some(Sheet { name, columns, rows: vec![SheetRow { label: Label::Only, cells }], bad: 0 })
    };
    lines.filter_map(protocol).collect()
}

/// A header, then a line per socket (`/proc/net/netlink`, `/proc/net/raw`): the sum of each column. In some of these files
/// two columns are joined by a colon, so that columns are told by their distance from the end. One of which a line is no
/// decimal number is absent.
pub fn column_sums(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut lines = lines(bytes);
    let columns: Vec<&[u8]> = lines.next().map(|line| words(line).collect()).unwrap_or_default();
    let mut sums: Vec<Option<u64>> = vec![Some(0); columns.len()];
    let mut bad = 0;
    for line in lines {
        let cells: Vec<&[u8]> = words(line).collect();
        // Half a line would pass for another one.
        if cells.len() * 2 < columns.len() {
            bad += 1;
            continue;
        }
        for (sum, cell) in sums.iter_mut().rev().zip(cells.iter().rev()) {
            *sum = sum.zip(number(cell)).map(|(sum, cell)| sum.saturating_add(cell));
        }
    }
    vec![Sheet { columns, rows: vec![SheetRow { label: Label::Only, cells: sums }], bad, ..Sheet::default() }]
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=5` (`/proc/pressure/*`): the totals under the first words.
pub fn pressure(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut sheets: Vec<Sheet> = Vec::new();
    for line in lines(bytes) {
        let total = words(line).find_map(|word| number(word.strip_prefix(b"total=")?));
        match (words(line).next(), total) {
            (Some(name), Some(total)) => put(&mut sheets, b"", name, Some(total)),
            _ => skip(&mut sheets),
        }
    }
    sheets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell<'a>(sheet: &Sheet<'a>, column: &str) -> Option<u64> {
        let at = sheet.columns.iter().position(|name| *name == column.as_bytes())?;
        sheet.rows[0].cells[at]
    }

    #[test]
    fn xfrm_errors_go_by_name() {
        let text = b"XfrmInError             \t3\nXfrmInNoPols            \t7\nXfrmHalf\n";
        let sheet = &named_values(text)[0];
        assert_eq!((cell(sheet, "XfrmInError"), cell(sheet, "XfrmInNoPols"), sheet.bad), (Some(3), Some(7), 1));
    }

    /// Captured on 6.18.
    #[test]
    fn protocols_have_a_line_each() {
        let text = b"protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se\n\
            RAW       1152      2      -1   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y\n\
            TCP       2304      1     215   no     192   yes  kernel      y  y  y  y  y  y  y  y  y  y  y\n";
        let sheets = protocols(text);
        assert_eq!((sheets[0].name, cell(&sheets[0], "memory"), cell(&sheets[0], "press")), (&b"RAW"[..], None, None));
        assert_eq!(
            (cell(&sheets[1], "memory"), cell(&sheets[1], "press"), cell(&sheets[1], "slab")),
            (Some(215), Some(0), Some(1))
        );
    }

    #[test]
    fn lost_messages_of_all_netlink_sockets_are_added_up() {
        let text = b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            000000004b43d4db 0   0          00000000 10       0        0     2        5        4\n\
            0000000042737dc6 4   0          00000000 2        0        0     2        196      1506\n";
        let sheet = &column_sums(text)[0];
        assert_eq!((cell(sheet, "Drops"), cell(sheet, "Rmem"), cell(sheet, "sk")), (Some(201), Some(12), None));
    }

    /// Queues and timers are joined by colons, so the lines have fewer words than the header.
    #[test]
    fn lost_copies_of_raw_sockets_are_the_last_word() {
        let text = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 26135 2 ffff8881 9\n\
            6: 00000000:0006 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 26136 2 ffff8882 1\n";
        let sheet = &column_sums(text)[0];
        assert_eq!((cell(sheet, "drops"), cell(sheet, "pointer"), sheet.bad), (Some(10), None, 0));
        assert_eq!(cell(&column_sums(b"sl drops\n")[0], "drops"), Some(0));
    }

    #[test]
    fn pressure_is_told_by_its_totals() {
        let text =
            b"some avg10=9.22 avg60=3.20 avg300=1.97 total=228977956\nfull avg10=6.71 avg60=1.52 avg300=0.63 total=7\n";
        let sheet = &pressure(text)[0];
        assert_eq!((cell(sheet, "some"), cell(sheet, "full"), sheet.bad), (Some(228_977_956), Some(7), 0));
        assert_eq!(pressure(b"some avg10=1\n")[0].bad, 1);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for parse in [named_values, protocols, column_sums, pressure] {
                let _ = parse(&bytes);
            }
        }
    }
}
