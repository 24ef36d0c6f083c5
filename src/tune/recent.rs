//! What this program itself changed a moment ago, so that it is not blamed on others.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::journal;
use crate::model::Tree;

/// A driver may take so long to bring its link up again.
const SETTLES: Duration = Duration::from_secs(10);

/// Devices of which this program set something by ethtool, or set it back, in the last `seconds` or shortly before, and what
/// that was. The journal's files tell: each is written anew at every step, forth and back. Empty if it can't be read.
pub fn restarted(folder: &Path, seconds: f64) -> BTreeMap<String, String> {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default() + SETTLES;
    let fresh = |id: u64| {
        let written = std::fs::metadata(folder.join(journal::file_name(id))).and_then(|file| file.modified());
        // A time ahead of ours is no older.
        written.is_ok_and(|written| SystemTime::now().duration_since(written).is_ok_and(|age| age < since))
    };
    let changes = journal::read(folder).map_or_else(|_| Vec::new(), |(changes, _)| changes);
    let steps = changes.into_iter().filter(|change| fresh(change.id)).flat_map(|change| change.steps);
    let device = |path: &str| Some(path.strip_prefix("ethtool/")?.split_once('/')?.0.to_owned());
    let steps = steps.filter(|step| step.file.tree == Tree::Ethtool);
    steps.filter_map(|step| Some((device(&step.file.path)?, step.knob))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Scope, SettingFile};
    use crate::tune::journal::{Change, Journal, Step, new_change};

    fn set(knob: &str, tree: Tree, path: &str) -> Step {
        Step { knob: knob.into(), file: SettingFile { tree, path: path.into() }, ..Step::empty(Scope::Device) }
    }

    #[test]
    fn only_what_restarts_a_device_and_only_lately() {
        let folder = tempfile::tempdir().unwrap();
        assert!(restarted(&folder.path().join("none"), 1.0).is_empty());
        let journal = Journal::open(folder.path()).unwrap();
        let steps = vec![
            set("ring.rx", Tree::Ethtool, "ethtool/eth0/rings/rx"),
            set("net.core.somaxconn", Tree::Sysctl, "net/core/somaxconn"),
        ];
        journal.put(&Change { steps, ..new_change(1) }).unwrap();
        assert_eq!(restarted(folder.path(), 1.0), [("eth0".into(), "ring.rx".into())].into());
        let file = std::fs::File::options().write(true).open(folder.path().join("000001.json")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        assert!(restarted(folder.path(), 1.0).is_empty());
        assert!(!restarted(folder.path(), 60.0).is_empty());
    }
}
