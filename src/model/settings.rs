//! Present values of settings, as the kernel prints them.

use std::collections::BTreeMap;

/// Settings by path below `/proc/sys` (`net/core/rmem_default`) or `/sys` (`class/net/eth0/tx_queue_len`): no path is in
/// both. Paths, because a device's name may hold dots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Notes a value, in which the kernel's blanks are one each.
    pub fn insert(&mut self, path: impl Into<String>, value: impl Into<String>) {
        self.0.insert(path.into(), value.into());
    }

    /// The value at `path`, if it was asked for and is there.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// The value as a number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.get(path)?.parse().ok()
    }

    /// The value as the numbers that it holds.
    pub fn numbers(&self, path: &str) -> Option<Vec<u64>> {
        super::numbers(self.get(path)?)
    }

    /// All values whose path starts and ends so, with what stands between.
    pub fn between<'a>(&'a self, start: &'a str, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(path, value)| {
            let middle = path.strip_prefix(start)?.strip_suffix(end)?;
            (!middle.is_empty()).then_some((middle, value.as_str()))
        })
    }

    /// Takes over all values of `other`.
    pub fn extend(&mut self, other: Settings) {
        self.0.extend(other.0);
    }
}
