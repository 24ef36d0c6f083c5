//! Settings that this program made, and that are not so any more.

use super::panel::{boot_id, is_ours};
use super::path::Run;
use crate::model::{Drift, Scope};
use crate::source::{place, settings};
use crate::tune::drift;
use crate::tune::journal::{Change, Step};

/// Those of the machine, and of the namespace that is looked at, in which the calling thread is.
pub(super) fn drifted(run: &Run) -> Vec<Drift> {
    // Most hosts were never changed: those must not pay for more than this question.
    if !run.journal.exists() {
        return Vec::new();
    }
    let (boot, (id, cookie)) = (boot_id(), place::identity());
    let ours = |change: &Change, step: &Step| {
        let this_boot = change.boot_id == boot;
        let here = match this_boot {
            // Without cookies (before 5.14) the inode must do.
            true if change.netns.cookie.is_some() => change.netns.cookie == cookie,
            true => change.netns.id == id,
            // What was kept over a reboot is in force again in the host's own namespace.
            false => change.persist.is_some() && run.place.is_here(),
        };
        let machine = step.scope == Scope::Machine && (this_boot || change.persist.is_some());
        is_ours(change) && (here || machine)
    };
    let value = |step: &Step| settings::value(&step.file).ok();
    drift::drifted(run.journal, ours, |step| match step.scope {
        Scope::Machine if !run.place.is_here() => run.home.inside(|| value(step)).ok().flatten(),
        _ => value(step),
    })
}
