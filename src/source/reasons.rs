//! What the running kernel calls its drop reasons. Their numbers differ from kernel to kernel, so the names come from its
//! own BTF; parts of the kernel that name reasons of their own have an enum each.

use std::collections::HashMap;

use super::btf::Btf;
use super::text;

/// The part of the kernel that a reason belongs to stands in its upper 16 bits (include/net/dropreason.h).
pub const SUBSYSTEM_SHIFT: u32 = 16;

/// Enums of the parts of the kernel, where each may lie in a module of its own: part, enum, module.
const PARTS: &[(u32, &str, &str, &str)] =
    &[(1, "mac80211", "mac80211_drop_reason", "mac80211"), (2, "openvswitch", "ovs_drop_reason", "openvswitch")];

/// Names by number.
#[derive(Clone, Debug, Default)]
pub struct ReasonNames(HashMap<u32, String>);

impl ReasonNames {
    /// From the kernel's types, and those of modules where `module` gives their bytes.
    pub fn read(kernel: &Btf, module: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let mut names = HashMap::new();
        take(&mut names, 0, kernel.values("skb_drop_reason"), &["SKB_DROP_REASON_", "SKB_"]);
        for &(part, _, values, file) in PARTS {
            let known = kernel.values(values);
            if !known.is_empty() {
                take(&mut names, part, known, &[]);
            } else if let Some(bytes) = module(file)
                && let Some(btf) = Btf::module(&bytes, kernel)
            {
                take(&mut names, part, btf.values(values), &[]);
            }
        }
        ReasonNames(names)
    }

    /// The name of a reason, without the kernel's prefix.
    pub fn get(&self, reason: u32) -> Option<&str> {
        self.0.get(&reason).map(String::as_str)
    }

    /// The number of a reason, by its name.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
    }

    /// True if this kernel gives no reasons (before 5.17).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every name, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.iter().map(|(number, name)| (*number, name.as_str()))
    }
}

/// The part of the kernel that a reason belongs to.
pub fn subsystem(reason: u32) -> String {
    match reason >> SUBSYSTEM_SHIFT {
        0 => "core".into(),
        part => PARTS.iter().find(|known| known.0 == part).map_or(format!("{part}"), |known| known.1.into()),
    }
}

/// The first name of a number is its own; further ones mark ends (`..._MAX`, `..._MASK`).
fn take(names: &mut HashMap<u32, String>, part: u32, values: Vec<(&[u8], u64)>, prefixes: &[&str]) {
    for (name, value) in values {
        let Ok(value) = u32::try_from(value) else { continue };
        let name = text::printable(name);
        let name = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
        if value >> SUBSYSTEM_SHIFT == part && name != "MAX" && name != "SUBSYS_MASK" {
            names.entry(value).or_insert_with(|| name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_core_and_of_a_part_keep_apart() {
        let mut names = HashMap::new();
        let core =
            vec![(&b"SKB_NOT_DROPPED_YET"[..], 0), (b"SKB_DROP_REASON_NO_SOCKET", 3), (b"SKB_DROP_REASON_MAX", 4)];
        take(&mut names, 0, core, &["SKB_DROP_REASON_", "SKB_"]);
        take(&mut names, 2, vec![(b"OVS_DROP_FLOW", 0x2_0001), (b"OTHER", 1)], &[]);
        let names = ReasonNames(names);
        assert_eq!((names.get(0), names.get(3), names.get(4)), (Some("NOT_DROPPED_YET"), Some("NO_SOCKET"), None));
        assert_eq!((names.get(0x2_0001), names.get(1)), (Some("OVS_DROP_FLOW"), None));
        assert_eq!([subsystem(3), subsystem(0x2_0001), subsystem(0x7_0001)], ["core", "openvswitch", "7"]);
    }
}
