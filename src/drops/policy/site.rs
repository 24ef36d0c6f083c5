//! nft_do_chain() frees packets at two places, one for rules and one for chains' policies. Which is which differs from
//! kernel to kernel, but mostly only one answer fits the counters; once found it holds as long as the kernel runs.

use std::collections::BTreeMap;

use super::possible::Grown;

/// Drops at a place, and what could have been the cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Packets.
    pub dropped: u64,
    /// If rules were the cause.
    pub rules: Cause,
    /// If policies were.
    pub policies: Cause,
}

/// What can have dropped the packets of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// For some row there is none.
    pub none: bool,
    /// One of them has no counter.
    pub uncounted: bool,
    /// How much the others counted.
    pub counted: Grown,
}

impl Cause {
    fn fits(&self, dropped: u64) -> bool {
        !self.none && self.counted.least <= dropped && (self.uncounted || dropped <= self.counted.most)
    }
}

/// For each of two places whether it is that of the policies; nothing if more than one answer fits.
pub fn tell(sites: &BTreeMap<String, Site>) -> Option<[(String, bool); 2]> {
    let mut two = sites.iter();
    let (Some((a, first)), Some((b, second)), None) = (two.next(), two.next(), two.next()) else { return None };
    let rules_first = first.rules.fits(first.dropped) && second.policies.fits(second.dropped);
    let policies_first = first.policies.fits(first.dropped) && second.rules.fits(second.dropped);
    (rules_first != policies_first).then(|| [(a.clone(), policies_first), (b.clone(), rules_first)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(dropped: u64, rules: u64, policies: Option<u64>) -> Site {
        let uncounted = policies.is_none();
        let exactly = |count| Grown { least: count, most: count };
        Site {
            dropped,
            rules: Cause { counted: exactly(rules), ..Cause::default() },
            policies: Cause { uncounted, counted: exactly(policies.unwrap_or(0)), none: false },
        }
    }

    fn told(a: Site, b: Site) -> Option<[bool; 2]> {
        tell(&BTreeMap::from([("a".into(), a), ("b".into(), b)])).map(|told| told.map(|(_, policies)| policies))
    }

    #[test]
    fn the_rules_counters_tell_the_places_apart() {
        assert_eq!(told(site(40, 40, None), site(160, 40, None)), Some([false, true]));
        assert_eq!(told(site(40, 160, None), site(160, 160, None)), Some([true, false]));
        assert_eq!(told(site(110, 110, Some(30)), site(30, 110, Some(30))), Some([false, true]));
    }

    #[test]
    fn two_answers_are_none() {
        assert_eq!(told(site(100, 100, None), site(100, 100, None)), None);
        assert_eq!(told(site(100, 100, Some(100)), site(100, 100, Some(100))), None);
    }
}
