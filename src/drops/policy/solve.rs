//! Which counter accounts for which drops: rows of dropped packets on one side, rules whose counters grew on the other.
//!
//! While packets come, a counter's growth in the window is known between two bounds: what is claimed holds for all of them.

use super::possible::Grown;

/// Pairs of row and rule looked at, at most: beyond that nothing is told apart.
const PAIRS: usize = 100_000;

/// Dropped packets that look alike.
pub struct Row {
    /// How many.
    pub count: u64,
    /// The rules that can have dropped them.
    pub fits: Vec<usize>,
    /// Something without a counter can have, too.
    pub open: bool,
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
    /// So many of the rest may have been counted just outside of the window, or just inside.
    pub edge: u64,
}

/// Solves it, as far as it has one solution only. `grown` says how much each rule counted; what it counted beyond the
/// drops stays there.
pub fn solve(rows: &[Row], grown: &mut [Grown]) -> Vec<Solved> {
    let mut state = State {
        rows,
        out: rows.iter().map(|row| Solved { rest: row.count, ..Solved::default() }).collect(),
        least: grown.iter().map(|grown| grown.least).collect(),
        most: grown.iter().map(|grown| grown.most).collect(),
    };
    if rows.iter().map(|row| row.fits.len()).sum::<usize>() <= PAIRS {
        while state.step() {}
    }
    let State { mut out, least, most, .. } = state;
    for (row, solved) in rows.iter().zip(&mut out).filter(|(_, solved)| solved.rest > 0) {
        solved.mixed |= row.fits.iter().any(|&rule| least[rule] > 0);
        if !solved.mixed {
            solved.edge = row.fits.iter().map(|&rule| most[rule]).sum::<u64>().min(solved.rest);
        }
    }
    for (grown, most) in grown.iter_mut().zip(most) {
        grown.least = grown.least.saturating_sub(grown.most - most);
        grown.most = most;
    }
    out
}

/// How far it is solved.
struct State<'a> {
    rows: &'a [Row],
    out: Vec<Solved>,
    /// What each rule has counted for sure, of what is not settled.
    least: Vec<u64>,
    /// What each may have counted.
    most: Vec<u64>,
}

/// Rows and rules that hang together.
#[derive(Default)]
struct Part {
    rows: Vec<usize>,
    rules: Vec<usize>,
}

impl State<'_> {
    /// Settles one thing; false if there is nothing more to settle.
    fn step(&mut self) -> bool {
        let parts = self.parts();
        parts.iter().any(|part| match (&part.rules[..], &part.rows[..]) {
            (&[rule], rows) if self.are_all_by(part) => {
                rows.iter().for_each(|&row| self.give(row, rule, u64::MAX));
                self.least[rule] = 0;
                true
            }
            (rules, &[row]) => self.share(row, rules),
            _ => self.peel(part),
        })
    }

    /// These rules have dropped all of these rows: they have counted as much, or nothing else can have.
    fn are_all_by(&self, part: &Part) -> bool {
        let dropped: u64 = part.rows.iter().map(|&row| self.out[row].rest).sum();
        let sum = |counts: &[u64]| part.rules.iter().map(|&rule| counts[rule]).sum::<u64>();
        let closed = part.rows.iter().all(|&row| !self.rows[row].open);
        sum(&self.least) >= dropped || (closed && sum(&self.most) >= dropped)
    }

    /// Rules that concern one row only: each has dropped at least what the others can't have.
    fn share(&mut self, row: usize, rules: &[usize]) -> bool {
        let counted: u64 = rules.iter().map(|&rule| self.least[rule]).sum();
        let too_many = counted.saturating_sub(self.out[row].rest);
        for &rule in rules {
            self.give(row, rule, self.least[rule].saturating_sub(too_many));
        }
        rules.iter().for_each(|&rule| self.least[rule] = 0);
        self.out[row].mixed |= too_many > 0 && self.out[row].rest > 0;
        counted > 0
    }

    /// Of several rules and rows, a rule that concerns one row only; or a row that one rule only can have dropped.
    fn peel(&mut self, part: &Part) -> bool {
        let fits = |row: usize, rule: usize| self.rows[row].fits.contains(&rule);
        let only_row = |&rule: &usize| {
            let mut rows = part.rows.iter().filter(|&&row| fits(row, rule));
            Some((*rows.next()?, rule)).filter(|_| rows.next().is_none() && self.least[rule] > 0)
        };
        if let Some((row, rule)) = part.rules.iter().find_map(only_row) {
            self.give(row, rule, self.least[rule]);
            self.least[rule] = 0;
            return true;
        }
        let only_rule = |&row: &usize| {
            let mut rules = part.rules.iter().filter(|&&rule| fits(row, rule));
            Some((row, *rules.next()?)).filter(|_| rules.next().is_none())
        };
        match part.rows.iter().find_map(only_rule) {
            Some((row, rule)) if self.are_all_by(part) => {
                self.give(row, rule, u64::MAX);
                true
            }
            _ => false,
        }
    }

    fn give(&mut self, row: usize, rule: usize, count: u64) {
        let count = count.min(self.most[rule]).min(self.out[row].rest);
        self.most[rule] -= count;
        self.least[rule] = self.least[rule].saturating_sub(count);
        self.out[row].rest -= count;
        let shares = &mut self.out[row].shares;
        match shares.iter_mut().find(|(its, _)| *its == rule) {
            Some((_, share)) => *share += count,
            None if count > 0 => shares.push((rule, count)),
            None => {}
        }
    }

    /// The rows with packets left and the rules that may account for them, apart as far as they have nothing in common.
    fn parts(&self) -> Vec<Part> {
        let mut part_of_rule: Vec<Option<usize>> = vec![None; self.most.len()];
        let mut parts: Vec<Part> = Vec::new();
        for (at, row) in self.rows.iter().enumerate().filter(|(at, _)| self.out[*at].rest > 0) {
            let mut part = Part { rows: vec![at], rules: Vec::new() };
            for &rule in row.fits.iter().filter(|&&rule| self.most[rule] > 0) {
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
        parts.retain(|part| !part.rules.is_empty());
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn solved(rows: &[(u64, &[usize])], grown: &[u64]) -> Vec<Solved> {
        within(rows, &grown.iter().map(|&count| (count, count)).collect::<Vec<_>>(), false)
    }

    fn within(rows: &[(u64, &[usize])], grown: &[(u64, u64)], open: bool) -> Vec<Solved> {
        let rows: Vec<Row> = rows.iter().map(|&(count, fits)| Row { count, fits: fits.to_vec(), open }).collect();
        let mut grown: Vec<Grown> = grown.iter().map(|&(least, most)| Grown { least, most }).collect();
        solve(&rows, &mut grown)
    }

    fn one(shares: &[(usize, u64)], rest: u64, mixed: bool) -> Solved {
        Solved { shares: shares.to_vec(), rest, mixed, edge: 0 }
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
    fn what_was_counted_at_the_edge_is_claimed_by_nobody() {
        let edge = |shares: &[(usize, u64)], rest| Solved { edge: rest, ..one(shares, rest, false) };
        assert_eq!(within(&[(300, &[0, 1])], &[(198, 203), (99, 101)], false), [edge(&[(0, 198), (1, 99)], 3)]);
        // What has no counter can have dropped the rest of it: so much for sure, so much perhaps.
        assert_eq!(within(&[(300, &[0])], &[(100, 104)], true), [Solved { edge: 4, ..one(&[(0, 100)], 200, false) }]);
    }

    #[test]
    fn where_nothing_else_can_have_the_edge_is_no_matter() {
        assert_eq!(within(&[(300, &[0])], &[(290, 310)], false), [one(&[(0, 300)], 0, false)]);
        let rows: &[(u64, &[usize])] = &[(200, &[0]), (100, &[0])];
        assert_eq!(within(rows, &[(290, 310)], false), [one(&[(0, 200)], 0, false), one(&[(0, 100)], 0, false)]);
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
            grown in proptest::collection::vec((0..50_u64, 0..9_u64), 6),
        ) {
            let rows: Vec<Row> = rows.into_iter().map(|(count, mut fits)| {
                fits.sort_unstable();
                fits.dedup();
                Row { count, fits, open: count % 2 == 0 }
            }).collect();
            let grown: Vec<Grown> = grown.into_iter().map(|(least, more)| Grown { least, most: least + more }).collect();
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
                prop_assert_eq!(grown[rule].most, left[rule].most + used[rule]);
            }
        }
    }
}
