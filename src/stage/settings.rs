//! No stage of the path, but what all of them go by: settings that hurt wherever they are, and those that did not stay.

mod cargo_cult;
mod drift;

use crate::model::Stage;

/// Settings.
pub static STAGE: Stage = Stage {
    id: "settings",
    title: "settings",
    explain: "No packet passes here: this is about the settings of the host themselves. Some hurt whatever the traffic is, and \
              are there because a list of 'performance settings' was copied once; some were made by this program, and are \
              not in force any more. What a setting of one stage does, and whether it binds, the rules of that stage say.",
    chapter: include_str!("chapter/settings.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: &[],
    rules: &[&cargo_cult::CARGO_CULT, &drift::DRIFT],
    reasons: &[],
    knobs: &[],
};
