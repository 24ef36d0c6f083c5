//! Names for addresses in the kernel, from `/proc/kallsyms`. It is read once for all the addresses wanted, and only
//! those are kept: it holds 200,000 names.

use std::collections::HashMap;

use super::{Host, text};

/// A function is not longer than this: what lies farther behind a name is not in it.
const LONGEST: u64 = 1 << 20;

/// Why there are no names.
pub const NO_PERMISSION: &str = "hidden (all zero), so places are bare addresses: needs CAP_SYSLOG";

/// Names for those of `addresses` that have one.
pub fn find(host: &Host, addresses: impl Iterator<Item = u64>) -> Result<HashMap<u64, String>, String> {
    let mut wanted: Vec<u64> = addresses.collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let mut bytes = Vec::new();
    host.read("proc/kallsyms", &mut bytes).map_err(|e| format!("/proc/kallsyms can't be read: {e}"))?;
    wanted.sort_unstable();
    wanted.dedup();
    resolve(&bytes, &wanted).ok_or_else(|| NO_PERMISSION.into())
}

/// Names as `function+0x12` or `function+0x12 [module]`; `wanted` is in order. Nothing if all addresses are zero: such a
/// list hides them, and every look-up in it would be wrong.
pub fn resolve(lines: &[u8], wanted: &[u64]) -> Option<HashMap<u64, String>> {
    // The nearest name at or before each address wanted, as far as the lines so far tell.
    let mut nearest: Vec<Option<(u64, &[u8])>> = vec![None; wanted.len()];
    let mut hidden = true;
    for line in lines.split(|&b| b == b'\n') {
        let Some((address, name)) = function(line) else { continue };
        hidden &= address == 0;
        let first = wanted.partition_point(|&wanted| wanted < address);
        if let Some(slot) = nearest.get_mut(first)
            && slot.is_none_or(|(other, _)| other < address)
        {
            *slot = Some((address, name));
        }
    }
    if hidden {
        return None;
    }
    let mut names = HashMap::new();
    let mut last: Option<(u64, &[u8])> = None;
    for (&wanted, own) in wanted.iter().zip(nearest) {
        last = own.or(last);
        if let Some((address, name)) = last.filter(|(address, _)| wanted - address < LONGEST) {
            let (function, module) = split(name);
            names.insert(wanted, format!("{}+{:#x}{module}", text::printable(function), wanted - address));
        }
    }
    Some(names)
}

/// The address and name (with the module behind it) of a line that tells of code: `ffffffff81000000 T _stext`.
fn function(line: &[u8]) -> Option<(u64, &[u8])> {
    let (address, rest) = line.split_at_checked(line.iter().position(|&b| b == b' ')?)?;
    let [b' ', b't' | b'T' | b'w' | b'W', b' ', name @ ..] = rest else { return None };
    let mut number = 0_u64;
    if address.is_empty() || address.len() > 16 {
        return None;
    }
    for &digit in address {
        number = number << 4 | u64::from(char::from(digit).to_digit(16)?);
    }
    Some((number, name))
}

fn split(name: &[u8]) -> (&[u8], String) {
    match name.iter().position(|&b| b == b'\t') {
        Some(tab) => (&name[..tab], format!(" {}", text::printable(&name[tab + 1..]))),
        None => (name, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"ffffffff81000000 T _stext\nffffffff81000100 t udp_rcv\nffffffff81000200 D data\n\
        ffffffffc0000000 t nft_do_chain\t[nf_tables]\nrubbish\n\nffffffff81000040 T early\n";

    #[test]
    fn the_nearest_function_before_an_address_is_its_name() {
        let wanted = [0xffff_ffff_8100_0000, 0xffff_ffff_8100_0050, 0xffff_ffff_8100_0210, 0xffff_ffff_c000_0012];
        let names = resolve(LINES, &wanted).unwrap();
        let names: Vec<&str> = wanted.iter().map(|address| names[address].as_str()).collect();
        assert_eq!(names, ["_stext+0x0", "early+0x10", "udp_rcv+0x110", "nft_do_chain+0x12 [nf_tables]"]);
    }

    #[test]
    fn what_is_far_from_every_function_has_no_name() {
        assert!(resolve(LINES, &[0x1000, 0xffff_ffff_9000_0000]).unwrap().is_empty());
    }

    #[test]
    fn hidden_addresses_are_no_names() {
        assert_eq!(resolve(b"0000000000000000 T _stext\n0000000000000000 t udp_rcv\n", &[0x10]), None);
        assert_eq!(resolve(b"", &[0x10]), None);
    }
}
