//! What the user wants left out, or limited otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, did_you_mean};
use crate::model::Finding;
use crate::stage::rules;

/// Findings that are not to be shown.
#[derive(Clone)]
pub struct Ignored(Vec<(String, Option<String>)>);

impl Ignored {
    /// None.
    pub fn none() -> Self {
        Ignored(Vec::new())
    }

    /// From `ID` or `ID:INSTANCE` each.
    pub fn new(words: &[String]) -> Result<Self, Error> {
        let one = |word: &String| {
            let (id, instance) = match word.split_once(':') {
                Some((id, instance)) => (id, Some(instance.to_owned())),
                None => (word.as_str(), None),
            };
            known_rule(id)?;
            Ok((id.to_owned(), instance))
        };
        words.iter().map(one).collect::<Result<_, Error>>().map(Ignored)
    }

    /// True if the finding is to be left out.
    pub fn holds(&self, finding: &Finding) -> bool {
        let instance = finding.instance.to_string();
        self.0.iter().any(|(id, only)| *id == finding.id && only.as_ref().is_none_or(|only| *only == instance))
    }
}

/// Limits from a TOML file: a table per rule, a number per limit.
pub fn thresholds(path: &Path) -> Result<BTreeMap<(String, String), f64>, Error> {
    let shown = path.display();
    let hint = "write [RULE-ID] and below it LIMIT = NUMBER; 'netstat-deep explain RULE-ID' shows the limits";
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::usage(format!("thresholds file {shown} can't be read: {e}")).hint(hint))?;
    let tables: BTreeMap<String, BTreeMap<String, f64>> = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        Error::usage(format!("thresholds file {shown}, line {line}: {}", e.message())).hint(hint)
    })?;
    let mut limits = BTreeMap::new();
    for (id, table) in tables {
        let rule = known_rule(&id)?;
        for (key, value) in table {
            if !rule.thresholds.iter().any(|threshold| threshold.key == key) {
                let names: Vec<&str> = rule.thresholds.iter().map(|threshold| threshold.key).collect();
                return Err(Error::usage(format!("thresholds file {shown}: rule {id} has no limit '{key}'"))
                    .hint(format!("it has {}", names.join(", "))));
            }
            if !value.is_finite() || value < 0.0 {
                return Err(
                    Error::usage(format!("thresholds file {shown}: {id}.{key} = {value} is no limit")).hint(hint)
                );
            }
            limits.insert((id.clone(), key), value);
        }
    }
    Ok(limits)
}

fn known_rule(id: &str) -> Result<&'static crate::model::Rule, Error> {
    rules().map(|(_, rule)| rule).find(|rule| rule.id == id).ok_or_else(|| {
        let hint = did_you_mean(
            id,
            rules().map(|(_, rule)| rule.id.to_owned()),
            "'netstat-deep explain --list' shows all rules",
        );
        Error::usage(format!("there is no rule '{id}'")).hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(text: &str) -> Result<BTreeMap<(String, String), f64>, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        thresholds(file.path())
    }

    #[test]
    fn limits_are_read() {
        let limits = read("[backlog-overflow]\nwarning_per_second = 5\n").unwrap();
        assert_eq!(limits[&("backlog-overflow".into(), "warning_per_second".into())], 5.0);
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for text in [
            "[backlog-overfow]\nx=1",
            "[backlog-overflow]\nx=1",
            "[backlog-overflow",
            "a=1",
            "[backlog-overflow]\nwarning_per_second=-1",
        ] {
            assert_eq!(read(text).unwrap_err().exit_code(), 2, "{text}");
        }
        assert!(Ignored::new(&["backlog-overfow".into()]).is_err());
    }
}
