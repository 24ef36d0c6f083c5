//! The capability card, as root, as somebody who may nothing, with one capability less, and in other namespaces: it names
//! what is missing and nothing else, and what works without privileges works.
//!
//! A trial that this machine cannot run is listed as ignored, never as passed.

mod card;
#[path = "../support/seccomp.rs"]
mod seccomp;
mod trials;

use libtest_mimic::{Arguments, Trial};

/// The first argument of this binary that makes it become another program, which may not use BPF.
const WITHOUT_BPF: &str = "--without-bpf";

fn main() {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(WITHOUT_BPF) {
        panic!("{}", seccomp::become_without_bpf(words.next().expect("a program"), words));
    }
    let args = Arguments::from_args();
    let trials = trials::ALL.into_iter().map(|(name, needs, run)| match lacking(needs) {
        None => Trial::test(name, move || Ok(run()?)),
        Some(reason) => {
            let error = format!("cannot run here: {reason}");
            Trial::test(name, move || Err(error.into())).with_kind(reason).with_ignored_flag(true)
        }
    });
    libtest_mimic::run(&args, trials.collect()).exit();
}

/// The first command of `needs` that fails here, if one does.
fn lacking(needs: &[&str]) -> Option<String> {
    let fails = |command: &&&str| card::shell(command).is_err();
    needs.iter().find(fails).map(|command| format!("needs '{command}' to work"))
}
