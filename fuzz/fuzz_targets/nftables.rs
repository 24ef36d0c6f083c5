//! Chains and rules, as nfnetlink tells them: nothing is made that does not stand in the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::nftables::{Ruleset, Verdict, chain, object, rule};

fuzz_target!(|bytes: &[u8]| {
    // A byte that is no text is printed as four.
    let most = bytes.len() * 4;
    if let Some(chain) = chain(bytes) {
        assert!(!chain.id.table.is_empty() && chain.id.table.len() + chain.id.chain.len() <= most);
    }
    if let Some(Some(counter)) = object(bytes) {
        assert!(counter.name.len() + counter.table.len() <= most);
    }
    let mut rules = Ruleset::default();
    let sound = rules.take(bytes);
    let Some(rule) = rule(bytes) else {
        assert!(!sound && rules.rules.is_empty());
        return;
    };
    assert!(sound && rule.comment.as_ref().is_none_or(|comment| comment.len() <= most));
    assert_eq!(rules.rules.len(), usize::from(rule.verdict != Verdict::Other));
    assert!(rules.rules.iter().all(|kept| kept.position == 1 && kept.handle == rule.handle));
});
