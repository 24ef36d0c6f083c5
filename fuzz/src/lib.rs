//! What must hold for every parser of a table, whatever it was given.

use netstat_deep::source::Sheet;

/// The sheets are made of their input alone: names that stand in it, and no more rows than lines or cells than words.
pub fn sound(bytes: &[u8], sheets: &[Sheet]) {
    let lines = bytes.split(|&b| b == b'\n').count();
    // A colon ends a word, and may be one.
    let colons = bytes.iter().filter(|&&b| b == b':').count();
    let words = colons + bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    let rows: usize = sheets.iter().map(|sheet| sheet.rows.len()).sum();
    let cells: usize = sheets.iter().flat_map(|sheet| &sheet.rows).map(|row| row.cells.len()).sum();
    let columns: usize = sheets.iter().map(|sheet| sheet.columns.len()).sum();
    let bad: usize = sheets.iter().map(|sheet| sheet.bad).sum();
    // One row more: that of the sums, which has no line of its own. A table may have a column per word, and a row too.
    assert!(rows <= lines.max(words) + 1, "{rows} rows of {lines} lines");
    assert!(cells <= words, "{cells} cells of {words} words");
    assert!(columns <= words, "{columns} columns of {words} words");
    assert!(bad <= lines + words, "{bad} bad ones of {lines} lines");
    let inside = |name: &[u8]| name.is_empty() || bytes.as_ptr_range().contains(&name.as_ptr());
    // The tables of /proc/stat have names that are ours.
    let named = |sheet: &Sheet| inside(sheet.name) || [&b"cpu"[..], b"stat"].contains(&sheet.name);
    assert!(sheets.iter().all(|sheet| named(sheet) && sheet.columns.iter().all(|name| inside(name))));
}
