//! By how much a value changed between two readings. Wraps and resets are handled here and nowhere else.

/// By how much a counter that only grows has grown from `old` to `new`, for a cell of `bits` bits.
///
/// Absent if it can't be known: a 64-bit counter does not wrap in any machine's life, so one that fell was reset (driver
/// reloaded, device made anew). A 32-bit one that fell has wrapped, unless that would mean more than half its range in
/// one window: then it was reset, or the window is too long to tell.
pub fn grown(old: u64, new: u64, bits: u32) -> Option<u64> {
    if let Some(by) = new.checked_sub(old) {
        return Some(by);
    }
    let range = 1_u64.checked_shl(bits)?;
    let by = new.wrapping_sub(old) & (range - 1);
    (old < range && by < range / 2).then_some(by)
}

/// `amount` in `seconds` as a rate. Absent for an empty window.
pub fn per_second(amount: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| amount as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::grown;
    use proptest::prelude::*;

    #[test]
    fn a_32_bit_cell_wraps() {
        assert_eq!(grown(0xffff_fff0, 0x10, 32), Some(0x20));
    }

    #[test]
    fn a_32_bit_cell_that_falls_far_was_reset() {
        // 100,000 to 10 by wrapping would be 4.29 billion packets in one window.
        assert_eq!(grown(100_000, 10, 32), None);
    }

    #[test]
    fn a_64_bit_cell_that_falls_was_reset() {
        assert_eq!(grown(u64::MAX, 10, 64), None);
        assert_eq!(grown(5, 4, 64), None);
    }

    #[test]
    fn a_value_too_wide_for_its_cell_is_not_trusted() {
        assert_eq!(grown(1 << 40, 3, 32), None);
    }

    proptest! {
        #[test]
        fn what_was_added_is_found_again(old in any::<u32>(), by in 0_u32..(1 << 31)) {
            let new = old.wrapping_add(by);
            prop_assert_eq!(grown(old.into(), new.into(), 32), Some(by.into()));
        }

        #[test]
        fn never_panics(old in any::<u64>(), new in any::<u64>(), bits in 0_u32..=64) {
            let _ = grown(old, new, bits);
        }
    }
}
