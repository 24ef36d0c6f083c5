//! The program against the tools that operators use now, on the running kernel, in the same second: `nstat`, `ip -s`,
//! `ss` and `ethtool` read the same counters, so every value must agree. Each of them runs before and after the program: what did not
//! move between its two runs must be equal, what did must lie between.
//!
//! `ground` makes two namespaces that nobody else uses, `traffic` gives them something to count, `peer` runs the other
//! tools, `ours` the program. A trial that this machine cannot run is listed as ignored, never as passed.

mod card;
mod ground;
mod ours;
mod peer;
mod placement;
mod traffic;
mod trials;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let mut args = Arguments::from_args();
    // The traffic of one trial would only slow another one down.
    args.test_threads.get_or_insert(1);
    if !args.list {
        ground::sweep();
    }
    let lacking = ground::lacking();
    let (lacking, no_card) = (lacking, ground::no_card());
    let lacks = |name: &str| lacking.as_ref().or(no_card.as_ref().filter(|_| name.starts_with("ethtool")));
    let trial = |(name, run): (&str, fn())| match lacks(name) {
        None => Trial::test(name, move || {
            run();
            Ok(())
        }),
        Some(reason) => {
            let error = format!("cannot run here: {reason}");
            Trial::test(name, move || Err(error.into())).with_kind(reason.clone()).with_ignored_flag(true)
        }
    };
    libtest_mimic::run(&args, trials::ALL.into_iter().map(trial).collect()).exit();
}
