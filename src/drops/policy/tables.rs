//! What is left when the counters of iptables' rules of the old kind fit together in several ways, or were read while
//! packets came: the table that dropped it is known where that was seen (fexit), with the packets of each.

use super::possible::{Grown, Possible};
use super::solve::{Row, Solved, solve};
use crate::model::{Drop, Share};

/// Tells the rest of each row by the tables that were seen to drop; returns what each of them is known to have dropped.
pub fn tell(drops: &[&mut &mut Drop], solved: &mut [Solved], rules: &[Possible], seen: &[Possible]) -> Vec<Vec<Share>> {
    let mut grown: Vec<Grown> = seen.iter().map(|table| table.grown.unwrap_or_default()).collect();
    for (drop, solved) in drops.iter().zip(&*solved) {
        for &(rule, count) in solved.shares.iter().filter(|(rule, _)| rules[*rule].xtables) {
            take(drop, &rules[rule], count, seen, &mut grown);
        }
    }
    let fits = |drop: &Drop| (0..seen.len()).filter(|&at| seen[at].fits(drop)).collect();
    // Connection tracking too drops.
    let rest: Vec<Row> = drops
        .iter()
        .zip(&*solved)
        .map(|(drop, solved)| Row { count: solved.rest, fits: fits(drop), open: true })
        .collect();
    let told = solve(&rest, &mut grown);
    solved
        .iter_mut()
        .zip(told)
        .map(|(solved, told)| {
            solved.rest = told.rest;
            solved.edge = solved.edge.min(told.rest);
            let share =
                |&(at, count): &(usize, u64)| Share { count, by: seen[at].by, refuser: seen[at].refuser.clone() };
            told.shares.iter().map(share).collect()
        })
        .collect()
}

/// What a rule is known to have dropped, its table has dropped. A rule that several hooks lead to leaves nothing to tell.
fn take(drop: &Drop, rule: &Possible, count: u64, seen: &[Possible], grown: &mut [Grown]) {
    let same = |table: &Possible| {
        let hook = rule.refuser.hook.is_none() || rule.refuser.hook == table.refuser.hook;
        table.fits(drop) && hook && table.refuser.table == rule.refuser.table
    };
    let tables: Vec<usize> = (0..seen.len()).filter(|&at| same(&seen[at])).collect();
    match tables[..] {
        [one] => {
            grown[one].least = grown[one].least.saturating_sub(count);
            grown[one].most = grown[one].most.saturating_sub(count);
        }
        _ => tables.into_iter().for_each(|at| grown[at] = Grown::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::possible::Entry;
    use super::*;
    use crate::model::{Means, Refuser};

    fn one(packets: u64, by: Means, rule: Option<u32>) -> Possible {
        let refuser = Refuser { table: Some("filter".into()), hook: Some("input".into()), rule, ..Refuser::default() };
        Possible {
            refuser,
            is_policy: false,
            xtables: true,
            grown: Some(Grown { least: packets, most: packets }),
            by,
            entries: vec![Entry { name: "input", priority: 0, device: None }],
            network: None,
            protocol: None,
            device: None,
        }
    }

    #[test]
    fn the_table_accounts_for_what_no_rule_does() {
        let (rules, seen) = ([one(30, Means::Counter, Some(1))], [one(90, Means::Fexit, None)]);
        let mut row = Drop::example("NETFILTER_DROP", 100);
        let mut solved = [Solved { shares: vec![(0, 30)], rest: 70, mixed: true, edge: 0 }];
        let shares = tell(&[&mut &mut row], &mut solved, &rules, &seen);
        // Of 90 the rule has 30; what is left beyond them was somebody else.
        assert_eq!((shares[0].len(), shares[0][0].count, shares[0][0].by), (1, 60, Means::Fexit));
        assert_eq!(solved[0].rest, 10);
    }

    #[test]
    fn nothing_is_taken_from_a_table_that_was_not_seen() {
        let rules = [one(30, Means::Counter, Some(1))];
        let mut row = Drop::example("NETFILTER_DROP", 30);
        let mut solved = [Solved { shares: vec![(0, 30)], ..Solved::default() }];
        assert!(tell(&[&mut &mut row], &mut solved, &rules, &[])[0].is_empty());
        assert_eq!(solved[0].rest, 0);
    }
}
