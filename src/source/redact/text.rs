//! Running text with its addresses and names replaced.

use std::net::IpAddr;

use super::names::Names;

/// Text in which names and addresses may stand among numbers and the kernel's own words.
pub fn plain(bytes: &[u8], names: &mut Names) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    // Blanks, commas and the like stay; what stands between them may be an address.
    for piece in bytes.split_inclusive(|&byte| !in_address(byte)) {
        let (word, end) = match piece.split_last() {
            Some((last, word)) if !in_address(*last) => (word, std::slice::from_ref(last)),
            _ => (piece, &[][..]),
        };
        match address(word, names) {
            Some(new) => out.extend_from_slice(new.as_bytes()),
            None => out.extend_from_slice(word),
        }
        out.extend_from_slice(end);
    }
    for (name, new) in names.in_text() {
        out = replaced(&out, name, new.as_bytes());
    }
    out
}

/// The lines of `/proc/PID/cgroup`: `0::/system.slice/dnsd.service`.
pub fn cgroups(bytes: &[u8], names: &mut Names) -> Vec<u8> {
    let mut out = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if !number.iter().all(u8::is_ascii_digit) {
            continue;
        }
        out.extend_from_slice(number);
        out.push(b':');
        match controllers.strip_prefix(b"name=") {
            Some(name) if name != b"systemd" => {
                out.extend_from_slice(b"name=");
                out.extend_from_slice(names.group(name).as_bytes());
            }
            _ => out.extend_from_slice(controllers),
        }
        out.push(b':');
        let parts = path.split(|&byte| byte == b'/').map(|part| names.group(part));
        out.extend_from_slice(parts.collect::<Vec<_>>().join("/").as_bytes());
        out.push(b'\n');
    }
    out
}

/// Letters, digits and what else stands within an address.
fn in_address(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':')
}

/// What stands for a word, if that is an address: of IP, of hardware, or hexadecimal with a port, as /proc/net/udp has it.
fn address(word: &[u8], names: &mut Names) -> Option<String> {
    let word = std::str::from_utf8(word).ok()?;
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(names.address(address).to_string());
    }
    let parts: Vec<&str> = word.split(':').collect();
    let hexadecimal = |part: &str, lengths: &[usize]| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match parts[..] {
        [_, _, _, _, _, _] if parts.iter().all(|part| hexadecimal(part, &[2])) => Some(names.hardware(word.as_bytes())),
        [address, port] if hexadecimal(address, &[8, 32]) && hexadecimal(port, &[4]) => {
            Some(format!("{}:{port}", "0".repeat(address.len())))
        }
        [host, port] if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(format!("{}:{port}", names.address(host.parse().ok()?)))
        }
        _ => None,
    }
}

/// `name` replaced wherever it stands as a word.
fn replaced(text: &[u8], name: &[u8], new: &[u8]) -> Vec<u8> {
    let in_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        if rest.starts_with(name) && name != new && !in_word(before) && !in_word(rest.get(name.len())) {
            out.extend_from_slice(new);
            at += name.len();
        } else {
            out.push(rest[0]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_every_kind_are_replaced() {
        let mut names = Names::default();
        let text = b"a 10.0.0.1 52:54:00:12:34:56 fe80::1,0A000001:0035 10.0.0.1:53 [fd00::7]\n";
        let new = String::from_utf8(plain(text, &mut names)).unwrap();
        let expected = "a 198.18.0.1 02:00:00:00:00:01 fe80:db8::1,00000000:0035 198.18.0.1:53 [2001:db8::2]\n";
        assert_eq!(new, expected);
    }

    #[test]
    fn tables_of_the_kernel_stay_as_they_are() {
        let mut names = Names::default();
        names.device(b"eth0");
        for text in
            ["Ip: Forwarding DefaultTTL\nIp: 2 64\n", "00000a1b 00000000 0000000b\n", "cpu0 1 2 3\n", "5.17 9.44\n"]
        {
            assert_eq!(plain(text.as_bytes(), &mut names), text.as_bytes());
        }
    }

    #[test]
    fn parts_of_a_cgroup_are_replaced_one_by_one() {
        let mut names = Names::default();
        let new = cgroups(b"1:name=systemd:/\n0::/system.slice/acme.service/worker\n", &mut names);
        assert_eq!(new, b"1:name=systemd:/\n0::/system.slice/group1.service/group2\n");
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut names = Names::default();
            names.device(b"e");
            plain(&bytes, &mut names);
            cgroups(&bytes, &mut names);
        }
    }
}
