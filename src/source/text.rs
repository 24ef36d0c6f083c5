//! Parsers for the text tables of `/proc`: byte slices in, sheets out.

use super::sheet::{Label, Sheet, SheetRow};

/// `Udp: InDatagrams NoPorts` above `Udp: 5 0`, several tables in a file (`/proc/net/snmp`, `/proc/net/netstat`).
/// Columns go by name: kernels insert new ones in the middle.
pub fn headed_pairs(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut sheets: Vec<Sheet> = Vec::new();
    let mut header: Option<(&[u8], Vec<&[u8]>)> = None;
    for line in lines(bytes) {
        let Some((name, rest)) = split_at_byte(line, b':') else {
            skip(&mut sheets);
            continue;
        };
        match header.take() {
            Some((head, columns)) if head == name => {
                let cells = words(rest).map(number).collect();
                let rows = vec![SheetRow { label: Label::Only, cells }];
                sheets.push(Sheet { name, columns, rows, bad: 0 });
            }
            lonely => {
                if lonely.is_some() {
                    skip(&mut sheets);
                }
                header = Some((name, words(rest).collect()));
            }
        }
    }
    sheets
}

/// `Udp6InDatagrams   5`, one value a line (`/proc/net/snmp6`): a table per prefix up to and with the first `6`.
pub fn prefixed_values(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut sheets: Vec<Sheet> = Vec::new();
    for line in lines(bytes) {
        let mut parts = words(line);
        let (Some(name), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
            skip(&mut sheets);
            continue;
        };
        let Some(six) = name.iter().position(|&b| b == b'6') else {
            skip(&mut sheets);
            continue;
        };
        let (group, column) = name.split_at(six + 1);
        put(&mut sheets, group, column, number(value));
    }
    sheets
}

/// `TCP: inuse 4 orphan 0`, a word and its value in turn (`/proc/net/sockstat`): one table, columns as in the file but
/// with the line's name before them. The names are not next to each other in the file, so a column is `TCP` + `inuse`.
pub fn word_values(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut sheets: Vec<Sheet> = Vec::new();
    for line in lines(bytes) {
        let Some((name, rest)) = split_at_byte(line, b':') else {
            skip(&mut sheets);
            continue;
        };
        let mut parts = words(rest);
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            put(&mut sheets, name, key, number(value));
        }
    }
    sheets
}

/// Hexadecimal columns without a header, a line per online CPU (`/proc/net/softnet_stat`). Column 12, where there is
/// one, is the CPU's number (since 5.10); before that the n-th line is the n-th online CPU.
pub fn softnet(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut sheet = Sheet::default();
    for line in lines(bytes) {
        let cells: Vec<Option<u64>> = words(line).map(hex).collect();
        // Nine columns is the shortest that any kernel printed (2.6).
        if cells.len() < 9 || cells.contains(&None) {
            sheet.bad += 1;
            continue;
        }
        let label = match cells.get(12) {
            Some(&Some(cpu)) => match u32::try_from(cpu) {
                Ok(cpu) => Label::Cpu(cpu),
                Err(_) => {
                    sheet.bad += 1;
                    continue;
                }
            },
            _ => Label::Line(sheet.rows.len() + sheet.bad),
        };
        sheet.rows.push(SheetRow { label, cells });
    }
    vec![sheet]
}

/// A header of names, then hexadecimal values, a line per possible CPU (`/proc/net/stat/*`).
pub fn hex_table(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut lines = lines(bytes);
    let mut sheet =
        Sheet { columns: lines.next().map(|line| words(line).collect()).unwrap_or_default(), ..Sheet::default() };
    for (n, line) in lines.enumerate() {
        let cells: Vec<Option<u64>> = words(line).map(hex).collect();
        if cells.contains(&None) {
            sheet.bad += 1;
        } else {
            sheet.rows.push(SheetRow { label: Label::Line(n), cells });
        }
    }
    vec![sheet]
}

/// A column per CPU under `CPU0 CPU2`, a line per name (`/proc/softirqs`); turned round: a row per CPU.
pub fn cpu_columns(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut lines = lines(bytes);
    let cpus = lines.next().map(|line| words(line).map(cpu_number).collect::<Vec<_>>()).unwrap_or_default();
    let mut sheet = Sheet::default();
    let mut rows: Vec<SheetRow> = Vec::new();
    for cpu in &cpus {
        match cpu {
            Some(cpu) => rows.push(SheetRow { label: Label::Cpu(*cpu), cells: Vec::new() }),
            None => sheet.bad += 1,
        }
    }
    for line in lines {
        let Some((name, rest)) = split_at_byte(line, b':') else {
            sheet.bad += 1;
            continue;
        };
        let values: Vec<Option<u64>> = words(rest).map(number).collect();
        // Filled up with absent cells, a short file with many CPUs and lines would take memory for their product.
        if values.len() < cpus.len() {
            sheet.bad += 1;
            continue;
        }
        sheet.columns.push(name);
        let online = cpus.iter().zip(values).filter_map(|(cpu, value)| cpu.map(|_| value));
        rows.iter_mut().zip(online).for_each(|(row, value)| row.cells.push(value));
    }
    sheet.rows = rows;
    vec![sheet]
}

/// `/proc/stat`: the columns of the `cpuN` lines as table `cpu`, and the first number of each other line as table `stat`.
/// Only online CPUs have a line.
pub fn stat(bytes: &[u8]) -> Vec<Sheet<'_>> {
    let mut cpus = Sheet { name: b"cpu", ..Sheet::default() };
    let mut sums =
        Sheet { name: b"stat", rows: vec![SheetRow { label: Label::Only, cells: Vec::new() }], ..Sheet::default() };
    for line in lines(bytes) {
        let mut parts = words(line);
        let Some(name) = parts.next() else { continue };
        if let Some(cpu) = name.strip_prefix(b"cpu") {
            match decimal(cpu) {
                Some(cpu) => {
                    cpus.rows.push(SheetRow { label: Label::Cpu(cpu), cells: parts.map(number).collect() });
                }
                // The line of the sums has no number.
                None if cpu.is_empty() => {}
                None => cpus.bad += 1,
            }
        } else {
            sums.columns.push(name);
            sums.rows[0].cells.push(parts.next().and_then(number));
        }
    }
    vec![cpus, sums]
}

/// The CPUs that are online, in order, from `/proc/stat`.
pub fn online_cpus(stat: &[u8]) -> Vec<u32> {
    let name = |line| words(line).next();
    lines(stat).filter_map(|line| name(line)?.strip_prefix(b"cpu").and_then(decimal)).collect()
}

/// The first number of a file, such as one below `/proc/sys`.
pub fn first_number(bytes: &[u8]) -> Option<u64> {
    words(bytes).next().and_then(number)
}

/// The seconds since boot, from `/proc/uptime`.
pub fn uptime(bytes: &[u8]) -> Option<f64> {
    let word = std::str::from_utf8(words(bytes).next()?).ok()?;
    word.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0)
}

/// The words of `bytes` with one blank between them: so the kernel's own blanks, tabs and newlines compare equal.
pub fn one_blank(bytes: &[u8]) -> String {
    words(bytes).map(printable).collect::<Vec<_>>().join(" ")
}

/// Bytes as text that is safe to print: those that are no UTF-8, and control characters, as `\xNN`.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || is_disguise(c) {
                escape(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes())
            } else {
                out.push(c)
            }
        }
        escape(&mut out, chunk.invalid());
    }
    out
}

/// Characters that change how the text around them is shown.
fn is_disguise(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escape(out: &mut String, bytes: &[u8]) {
    use std::fmt::Write;
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&b| b == b'\n').filter(|line| line.iter().any(|b| !b.is_ascii_whitespace()))
}

pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn split_at_byte(line: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|&b| b == byte)?;
    Some((line[..at].trim_ascii(), &line[at + 1..]))
}

/// Notes a line that could not be read.
pub(super) fn skip(sheets: &mut Vec<Sheet>) {
    match sheets.last_mut() {
        Some(sheet) => sheet.bad += 1,
        None => sheets.push(Sheet { bad: 1, ..Sheet::default() }),
    }
}

/// Puts a value into the table of its name. The lines of a table follow one another, so only the last few are looked at:
/// names that come back later begin a new sheet, which the reader joins with the first.
pub(super) fn put<'a>(sheets: &mut Vec<Sheet<'a>>, name: &'a [u8], column: &'a [u8], value: Option<u64>) {
    const NEAR: usize = 16;
    let near = sheets.len().saturating_sub(NEAR);
    let at = sheets[near..].iter().rposition(|sheet| sheet.name == name).map(|at| near + at).unwrap_or_else(|| {
        let rows = vec![SheetRow { label: Label::Only, cells: Vec::new() }];
        sheets.push(Sheet { name, columns: Vec::new(), rows, bad: 0 });
        sheets.len() - 1
    });
    sheets[at].columns.push(column);
    if let Some(row) = sheets[at].rows.first_mut() {
        row.cells.push(value);
    }
}

fn cpu_number(word: &[u8]) -> Option<u32> {
    decimal(word.strip_prefix(b"CPU")?)
}

/// Negative values (Tcp.MaxConn), rubbish and what does not fit are absent.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    digits(word, 10)
}

fn decimal(word: &[u8]) -> Option<u32> {
    number(word).and_then(|n| n.try_into().ok())
}

fn hex(word: &[u8]) -> Option<u64> {
    digits(word, 16)
}

/// By hand, because the standard parsers take signs, and want text: these are bytes, and many.
fn digits(word: &[u8], radix: u32) -> Option<u64> {
    let (first, rest) = word.split_first()?;
    let digit = |byte: &u8| char::from(*byte).to_digit(radix).map(u64::from);
    rest.iter().try_fold(digit(first)?, |n, byte| n.checked_mul(radix.into())?.checked_add(digit(byte)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headed_tables_go_by_name() {
        let sheets = headed_pairs(b"Udp: InDatagrams NoPorts\nUdp: 5 7\nTcp: MaxConn InSegs\nTcp: -1 9\n");
        assert_eq!(sheets[0].columns, [&b"InDatagrams"[..], b"NoPorts"]);
        assert_eq!(sheets[0].rows[0].cells, [Some(5), Some(7)]);
        assert_eq!(sheets[1].rows[0].cells, [None, Some(9)], "-1 is no count");
    }

    #[test]
    fn a_header_without_values_does_not_shift_the_next_table() {
        let sheets = headed_pairs(b"Ip: A B\nUdp: C\nUdp: 3\n");
        assert_eq!(sheets.last().unwrap().rows[0].cells, [Some(3)]);
        assert_eq!(sheets.iter().map(|s| s.bad).sum::<usize>(), 1);
    }

    #[test]
    fn snmp6_splits_after_the_first_6() {
        let sheets =
            prefixed_values(b"Ip6InReceives 1\nUdp6InErrors 2\nIcmp6InType133 4\nUdpLite6InCsumErrors 3\nbroken\n");
        let names: Vec<_> = sheets.iter().map(|s| (s.name, s.columns[0])).collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"Ip6", b"InReceives"), (b"Udp6", b"InErrors"), (b"Icmp6", b"InType133"), (b"UdpLite6", b"InCsumErrors")];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_hundred_thousand_tables_take_no_hour() {
        let text: String = (0..100_000).map(|n| format!("A{}6x 1\n", "abcdefghij".repeat(n % 3))).collect();
        assert_eq!(prefixed_values(text.as_bytes()).len(), 3);
        let text: String = (0..100_000_u32).map(|n| format!("{}6x 1\n", letters(n))).collect();
        assert_eq!(prefixed_values(text.as_bytes()).len(), 100_000);
    }

    /// A different word without a 6 for every number.
    fn letters(n: u32) -> String {
        n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
    }

    #[test]
    fn softnet_of_every_width() {
        for (width, label) in
            [(9, Label::Line(0)), (10, Label::Line(0)), (11, Label::Line(0)), (13, Label::Cpu(3)), (15, Label::Cpu(3))]
        {
            let line: Vec<&str> = (0..width).map(|i| if i == 12 { "00000003" } else { "0000000a" }).collect();
            let text = line.join(" ");
            let sheet = softnet(text.as_bytes()).remove(0);
            assert_eq!(sheet.rows[0].label, label, "{width} columns");
            assert_eq!((sheet.rows[0].cells.len(), sheet.rows[0].cells[1]), (width, Some(10)));
        }
        let broken = softnet(b"0001 0002\nzz 0 0 0 0 0 0 0 0 0 0\n").remove(0);
        assert_eq!((broken.rows.len(), broken.bad), (0, 2));
    }

    #[test]
    fn a_broken_line_does_not_shift_the_cpus_after_it() {
        let sheet = softnet(b"x\n1 2 3 4 5 6 7 8 9\n").remove(0);
        assert_eq!(sheet.rows[0].label, Label::Line(1));
    }

    #[test]
    fn softirqs_turn_round() {
        let sheet = cpu_columns(b"        CPU0  CPU2\n NET_TX:  1 2\n NET_RX:  3 4\n").remove(0);
        assert_eq!(sheet.columns, [&b"NET_TX"[..], b"NET_RX"]);
        assert_eq!(sheet.rows[1], SheetRow { label: Label::Cpu(2), cells: vec![Some(2), Some(4)] });
    }

    #[test]
    fn proc_stat_gives_cpus_and_sums() {
        let text = b"cpu  9 9\ncpu0 1 2 3\ncpu3 4 5 6\nintr 77 0 0\n";
        let sheets = stat(text);
        assert_eq!(sheets[0].rows[1], SheetRow { label: Label::Cpu(3), cells: vec![Some(4), Some(5), Some(6)] });
        assert_eq!((sheets[1].columns[0], sheets[1].rows[0].cells[0]), (&b"intr"[..], Some(77)));
        assert_eq!(online_cpus(text), [0, 3]);
    }

    #[test]
    fn blanks_of_any_kind_become_one() {
        assert_eq!(one_blank(b"4096\t131072\t6291456\n"), "4096 131072 6291456");
    }

    #[test]
    fn names_are_made_safe_to_print() {
        assert_eq!(printable(b"eth0"), "eth0");
        assert_eq!(printable(b"a\x1b[31m\xff\n\"b"), "a\\x1b[31m\\xff\\x0a\"b");
        assert_eq!(printable("übertrag\u{202e}x".as_bytes()), "übertrag\\xe2\\x80\\xaex");
    }

    proptest! {
        #[test]
        fn no_parser_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for parse in [headed_pairs, prefixed_values, word_values, softnet, hex_table, cpu_columns, stat] {
                parse(&bytes);
            }
            let _ = (online_cpus(&bytes), first_number(&bytes), uptime(&bytes), printable(&bytes));
        }
    }
}
