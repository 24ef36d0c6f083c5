//! Counts of many keys in bounded memory: the keys that stand for much are kept.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Keeps the heavier half whenever there are more than twice as many keys.
#[derive(Clone, Debug)]
pub struct Heavy<K, V> {
    room: usize,
    keys: HashMap<K, V, BuildHasherDefault<Folding>>,
    /// What was counted of keys that were given up since.
    pub others: u64,
    /// The most that was counted of a key when it was given up. One that came again may be short of so much, each time.
    pub given_up: u64,
}

/// What can be told light from heavy.
pub trait Weight {
    /// How much it stands for.
    fn weight(&self) -> u64;
}

impl Weight for u64 {
    fn weight(&self) -> u64 {
        *self
    }
}

impl<K: Hash + Eq, V: Weight + Default> Heavy<K, V> {
    /// For at most twice `room` keys.
    pub fn new(room: usize) -> Self {
        Heavy { room, keys: HashMap::default(), others: 0, given_up: 0 }
    }

    /// What belongs to a key.
    pub fn of(&mut self, key: K) -> &mut V {
        if self.keys.len() >= self.room * 2 && !self.keys.contains_key(&key) {
            self.shrink();
        }
        self.keys.entry(key).or_default()
    }

    fn shrink(&mut self) {
        let mut weights: Vec<u64> = self.keys.values().map(V::weight).collect();
        let at = weights.len().saturating_sub(self.room);
        let (.., limit, _) = weights.select_nth_unstable(at);
        let limit = *limit;
        // Of equals as many as there is room for.
        let mut heavier = self.room.saturating_sub(self.keys.values().filter(|value| value.weight() > limit).count());
        self.keys.retain(|_, value| {
            let weight = value.weight();
            let keep = weight > limit || weight == limit && heavier > 0;
            if keep && weight == limit {
                heavier -= 1;
            } else if !keep {
                self.others += weight;
                self.given_up = self.given_up.max(weight);
            }
            keep
        });
    }

    /// The heaviest, in order.
    pub fn heaviest(self, count: usize) -> Vec<(K, V)>
    where
        K: Ord + Copy,
    {
        let mut all: Vec<(K, V)> = self.keys.into_iter().collect();
        all.sort_by_key(|(key, value)| (std::cmp::Reverse(value.weight()), *key));
        all.truncate(count);
        all
    }
}

/// Addresses need no hash that withstands attackers: whoever makes collisions fills a table that never grows.
#[derive(Default)]
pub struct Folding(u64);

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heavy_ones_stay_and_nothing_grows() {
        let mut heavy: Heavy<u64, u64> = Heavy::new(64);
        for n in 0..100_000_u64 {
            *heavy.of(n + 10) += 1;
            *heavy.of(n % 4) += 1;
        }
        assert!(heavy.keys.len() <= 128);
        let others = heavy.others;
        let kept = heavy.heaviest(1000);
        assert_eq!(
            kept[..4].iter().map(|(key, count)| (*key, *count)).collect::<Vec<_>>(),
            [(0, 25_000), (1, 25_000), (2, 25_000), (3, 25_000)]
        );
        assert_eq!(others + kept.iter().map(|(_, count)| count).sum::<u64>(), 200_000);
    }
}
