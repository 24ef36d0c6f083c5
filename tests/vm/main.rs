//! The program on other kernels, in QEMU: what it says there is true there, and nothing is said of what is not there.
//!
//! Each kernel is booted once, by `tests/vm/run`; this binary is taken along and started again inside, where it plays a
//! scenario and writes down what the program and the kernel say. The trials judge that on this side.
//! - `guest`: what happens inside
//! - `boot`: boots a kernel, or says why it can't be had
//! - `judge`: the trials
//! - `drops`: of those, the ones on drops of known number, both sides
//! - `card`: a driver of real cards, a bond and a tunnel, both sides
//! - `queues`: a card that hangs, and queues that hold still, both sides
//! - `fexit`: which rule of the firewall dropped them, both sides
//!
//! Then the faults of `tests/faults` are played there, too.
//!
//! `cargo test --test vm` boots Debian's 6.1, without the faults. `cargo test --test vm -- --include-ignored` does it all,
//! and also boots the oldest kernel that the program promises to work on, and the newest that there is; each fetches a
//! kernel of about 30 MB once. A part of it: `cargo test --test vm -- --include-ignored newest::faults`.

mod boot;
mod card;
mod drops;
mod fexit;
mod guest;
mod judge;
mod queues;
#[path = "../support/seccomp.rs"]
mod seccomp;

use std::sync::Arc;

use boot::Boot;
use libtest_mimic::{Arguments, Trial};

/// A kernel: how it is called here, the Debian suite whose newest it is, and whether it is booted unasked.
const KERNELS: [(&str, &str, bool); 3] =
    [("5.10", "bullseye-security", false), ("6.1", "bookworm-security", true), ("newest", "trixie-backports", false)];

fn main() {
    if std::env::args().nth(1).as_deref() == Some(guest::FLAG) {
        return guest::play();
    }
    let mut args = Arguments::from_args();
    // Two guests at once take twice as long each.
    args.test_threads.get_or_insert(1);
    let lacking = boot::lacking();
    let trials = KERNELS.into_iter().flat_map(|kernel| trials(kernel, lacking.as_deref()));
    libtest_mimic::run(&args, trials.collect()).exit();
}

fn trials((name, suite, unasked): (&str, &'static str, bool), lacking: Option<&str>) -> Vec<Trial> {
    let boot = Arc::new(Boot::new(suite));
    // The kernel is fetched before the trials are listed: one that can't be had makes them ignored, not failed.
    let lacking = lacking.map(str::to_owned).or_else(|| unasked.then(|| boot.fetch().err()).flatten());
    let trial = |what: &str, unasked: bool, run: fn(&Boot) -> Result<(), String>| {
        let boot = Arc::clone(&boot);
        let named = format!("{name}::{what}");
        match &lacking {
            Some(reason) => {
                let error = format!("cannot run here: {reason}");
                Trial::test(named, move || Err(error.into())).with_kind(reason.clone()).with_ignored_flag(true)
            }
            None => {
                let trial = Trial::test(named, move || Ok(run(&boot)?));
                if unasked { trial } else { trial.with_kind("only when asked for").with_ignored_flag(true) }
            }
        }
    };
    let mut trials: Vec<Trial> = judge::ALL
        .into_iter()
        .chain(drops::ALL)
        .chain(fexit::ALL)
        .chain(card::ALL)
        .chain(queues::ALL)
        .map(|(what, run)| trial(what, unasked, run))
        .collect();
    trials.push(trial("faults", false, Boot::faults));
    trials
}
