//! Which counter accounts for which drops: rows of dropped packets on one side, rules whose counters grew on the other.
//!
//! The counters are read a moment before the probe at the beginning of a window and a moment after it at the end, so that
//! they may count a few packets too many and never too few.

/// Pairs of row and rule looked at, at most: beyond that nothing is told apart.
const PAIRS: usize = 100_000;

/// Dropped packets that look alike.
pub struct Row {
    /// How many.
    pub count: u64,
    /// The rules that can have dropped them.
    pub fits: Vec<usize>,
}

/// What came out for a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solved {
    /// Rules, and how many of the packets each is known to have dropped.
    pub shares: Vec<(usize, u64)>,
    /// Packets that are left.
    pub rest: u64,
    /// Some of the rest was dropped by rules that counted, but which is not known.
    pub mixed: bool,
}

/// Solves it, as far as it has one solution only. `grown` says how much each rule counted; what it counted beyond the
/// drops stays there.
pub fn solve(rows: &[Row], grown: &mut [u64]) -> Vec<Solved> {
    let mut out: Vec<Solved> = rows.iter().map(|row| Solved { rest: row.count, ..Solved::default() }).collect();
    let mut surplus = vec![0; grown.len()];
    if rows.iter().map(|row| row.fits.len()).sum::<usize>() <= PAIRS {
        while step(rows, grown, &mut surplus, &mut out) {}
    }
    for (row, solved) in rows.iter().zip(&mut out) {
        solved.mixed |= solved.rest > 0 && row.fits.iter().any(|&rule| grown[rule] > 0);
    }
    for (grown, surplus) in grown.iter_mut().zip(surplus) {
        *grown += surplus;
    }
    out
}

/// Rows and rules that hang together.
#[derive(Default)]
struct Part {
    rows: Vec<usize>,
    rules: Vec<usize>,
}

/// Settles one thing; false if there is nothing more to settle.
fn step(rows: &[Row], grown: &mut [u64], surplus: &mut [u64], out: &mut [Solved]) -> bool {
    for part in parts(rows, grown, out) {
        let counted: u64 = part.rules.iter().map(|&rule| grown[rule]).sum();
        let dropped: u64 = part.rows.iter().map(|&row| out[row].rest).sum();
        if let ([rule], true) = (&part.rules[..], part.rows.len() == 1 || counted >= dropped) {
            for &row in &part.rows {
                give(row, *rule, u64::MAX, grown, out);
            }
            surplus[*rule] += std::mem::take(&mut grown[*rule]);
            return true;
        }
        if let [row] = part.rows[..] {
            // Each has dropped at least what the others can't have.
            let too_many = counted.saturating_sub(dropped);
            for &rule in &part.rules {
                let sure = grown[rule].saturating_sub(too_many);
                give(row, rule, sure, grown, out);
                surplus[rule] += std::mem::take(&mut grown[rule]);
            }
            out[row].mixed = too_many > 0;
            return true;
        }
        let rows_of = |rule: usize| part.rows.iter().filter(move |&&row| rows[row].fits.contains(&rule));
        if let Some(&rule) = part.rules.iter().find(|&&rule| rows_of(rule).count() == 1) {
            let row = rows_of(rule).copied().next().unwrap_or_default();
            give(row, rule, u64::MAX, grown, out);
            surplus[rule] += std::mem::take(&mut grown[rule]);
            return true;
        }
        let rules_of = |row: usize| part.rules.iter().filter(move |rule| rows[row].fits.contains(rule));
        if counted >= dropped
            && let Some(&row) = part.rows.iter().find(|&&row| rules_of(row).count() == 1)
        {
            let rule = rules_of(row).copied().next().unwrap_or_default();
            give(row, rule, u64::MAX, grown, out);
            return true;
        }
    }
    false
}

fn give(row: usize, rule: usize, most: u64, grown: &mut [u64], out: &mut [Solved]) {
    let count = most.min(grown[rule]).min(out[row].rest);
    if count > 0 {
        grown[rule] -= count;
        out[row].rest -= count;
        out[row].shares.push((rule, count));
    }
}

/// The rows with packets left and the rules that may account for them, apart as far as they have nothing in common.
fn parts(rows: &[Row], grown: &[u64], out: &[Solved]) -> Vec<Part> {
    let mut part_of_rule: Vec<Option<usize>> = vec![None; grown.len()];
    let mut parts: Vec<Part> = Vec::new();
    for (at, row) in rows.iter().enumerate().filter(|(at, _)| out[*at].rest > 0) {
        let rules: Vec<usize> = row.fits.iter().copied().filter(|&rule| grown[rule] > 0).collect();
        if rules.is_empty() {
            continue;
        }
        let mut part = Part { rows: vec![at], rules: Vec::new() };
        for rule in rules {
            match part_of_rule[rule] {
                // It came with another rule of the row.
                Some(other) if other == parts.len() => {}
                Some(other) => {
                    let other = std::mem::take(&mut parts[other]);
                    part.rows.extend(other.rows);
                    part.rules.extend(other.rules);
                }
                None => part.rules.push(rule),
            }
            for &rule in &part.rules {
                part_of_rule[rule] = Some(parts.len());
            }
        }
        parts.push(part);
    }
    parts.retain(|part| !part.rows.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn solved(rows: &[(u64, &[usize])], grown: &[u64]) -> Vec<Solved> {
        let rows: Vec<Row> = rows.iter().map(|&(count, fits)| Row { count, fits: fits.to_vec() }).collect();
        solve(&rows, &mut grown.to_vec())
    }

    fn one(shares: &[(usize, u64)], rest: u64, mixed: bool) -> Solved {
        Solved { shares: shares.to_vec(), rest, mixed }
    }

    #[test]
    fn a_rule_that_counted_all_dropped_all() {
        assert_eq!(solved(&[(200, &[0]), (30, &[0])], &[230]), [one(&[(0, 200)], 0, false), one(&[(0, 30)], 0, false)]);
    }

    #[test]
    fn two_rules_share_a_row() {
        assert_eq!(solved(&[(300, &[0, 1])], &[200, 100]), [one(&[(0, 200), (1, 100)], 0, false)]);
        // What no counter accounts for is left.
        assert_eq!(solved(&[(300, &[0, 1])], &[200, 10]), [one(&[(0, 200), (1, 10)], 90, false)]);
    }

    #[test]
    fn what_was_counted_outside_of_the_window_is_claimed_by_nobody() {
        assert_eq!(solved(&[(300, &[0, 1])], &[205, 100]), [one(&[(0, 200), (1, 95)], 5, true)]);
        assert_eq!(solved(&[(300, &[0])], &[310]), [one(&[(0, 300)], 0, false)]);
    }

    #[test]
    fn a_rule_for_one_protocol_is_settled_before_one_for_all() {
        let rows: &[(u64, &[usize])] = &[(50, &[0, 1]), (20, &[1])];
        assert_eq!(solved(rows, &[40, 30]), [one(&[(0, 40), (1, 10)], 0, false), one(&[(1, 20)], 0, false)]);
    }

    #[test]
    fn what_has_two_solutions_has_none() {
        let rows: &[(u64, &[usize])] = &[(50, &[0, 1]), (50, &[0, 1])];
        assert_eq!(solved(rows, &[60, 40]), [one(&[], 50, true), one(&[], 50, true)]);
    }

    proptest! {
        #[test]
        fn no_packet_is_given_twice(
            rows in proptest::collection::vec((0..50_u64, proptest::collection::vec(0..6_usize, 0..6)), 0..8),
            grown in proptest::collection::vec(0..50_u64, 6),
        ) {
            let rows: Vec<Row> = rows.into_iter().map(|(count, mut fits)| {
                fits.sort_unstable();
                fits.dedup();
                Row { count, fits }
            }).collect();
            let mut left = grown.clone();
            let out = solve(&rows, &mut left);
            let mut used = [0; 6];
            for (row, solved) in rows.iter().zip(&out) {
                prop_assert_eq!(row.count, solved.rest + solved.shares.iter().map(|(_, n)| n).sum::<u64>());
                for (rule, count) in &solved.shares {
                    prop_assert!(row.fits.contains(rule));
                    used[*rule] += count;
                }
            }
            for rule in 0..6 {
                prop_assert_eq!(grown[rule], left[rule] + used[rule]);
            }
        }
    }
}
