//! Look-ups in a report.

use std::fmt::{self, Display};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::case::{Checks, Outcome, wrong};

pub struct Report(pub Value);

/// One finding, or nothing: every look-up in nothing finds nothing, so that one run can tell all that is missing.
pub struct Finding<'a>(pub Option<&'a Value>);

impl Report {
    /// Begin and end of the sampling window.
    pub fn window(&self) -> Outcome<(Timestamp, Timestamp)> {
        let (taken_at, seconds) = (&self.0["taken_at"], &self.0["window_seconds"]);
        let (Some(end), Some(seconds)) = (taken_at.as_str(), seconds.as_f64()) else {
            return wrong(format_args!("no window in the report: taken_at {taken_at}, window_seconds {seconds}"));
        };
        let end: Timestamp = end.parse()?;
        Ok((end - SignedDuration::from_millis((seconds * 1000.0) as i64), end))
    }

    pub fn findings(&self, id: &str) -> Vec<&Value> {
        list(&self.0["findings"]).iter().filter(|finding| finding["id"] == id).collect()
    }

    /// Ids of the findings that are worse than a remark.
    pub fn alarms(&self) -> Vec<&str> {
        let findings = list(&self.0["findings"]).iter();
        findings.filter(|finding| finding["severity"] != "info").filter_map(|finding| finding["id"].as_str()).collect()
    }

    /// The rows of packets freed for this reason.
    pub fn drops(&self, reason: &str) -> Vec<&Value> {
        let named = |row: &&Value| row["reason"] == reason || row["likely"] == reason;
        list(&self.0["drops"]).iter().filter(named).collect()
    }

    pub fn ledger(&self, stage: &str) -> Vec<&Value> {
        list(&self.0["ledger"]).iter().filter(|line| line["stage"] == stage).collect()
    }

    /// Sum over the lines of a stage (there may be one for IPv4 and one for IPv6); nothing if no line knows it.
    pub fn ledger_sum(&self, stage: &str, column: &str) -> Option<u64> {
        self.ledger(stage).into_iter().filter_map(|line| line[column].as_u64()).reduce(|sum, more| sum + more)
    }

    /// Ledger lines that cannot account for everything.
    pub fn unexplained(&self) -> Vec<String> {
        let lines = list(&self.0["ledger"]).iter();
        let open = lines.filter(|line| !line["unexplained"].is_null() && line["unexplained"].as_f64() != Some(0.0));
        open.map(Value::to_string).collect()
    }

    /// The increase of a counter, wherever the stages hold it.
    pub fn delta(&self, counter: &str) -> Option<u64> {
        let stages = list(&self.0["stages"]).iter();
        stages.filter_map(|stage| stage["counters"][counter]["delta"].as_u64()).reduce(|sum, more| sum + more)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ledger:")?;
        list(&self.0["ledger"]).iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "findings: {:#}", self.0["findings"])
    }
}

impl<'a> Finding<'a> {
    pub fn victims(&self) -> &'a [Value] {
        self.0.map_or(&[], |finding| list(&finding["victims"]))
    }

    pub fn suggestions(&self) -> &'a [Value] {
        self.0.map_or(&[], |finding| list(&finding["suggestions"]))
    }

    pub fn suggestion(&self, knob: &str) -> Vec<&'a Value> {
        self.suggestions().iter().filter(|suggestion| suggestion["knob"] == knob).collect()
    }

    /// Exactly one suggestion turns `knob` up, from the value that it has.
    pub fn raises(&self, checks: &mut Checks, knob: &str, from: &str, scope: &str) {
        let all = self.suggestion(knob);
        let found = || self.suggestions().iter().filter_map(|suggestion| suggestion["knob"].as_str());
        checks.that(
            all.len() == 1,
            format_args!("one suggestion {knob} expected, found {:?}", found().collect::<Vec<_>>()),
        );
        let Some(suggestion) = all.first() else { return };
        checks.same(&format!("{knob}: from"), Some(from), suggestion["from"].as_str());
        checks.same(&format!("{knob}: scope"), Some(scope), suggestion["scope"].as_str());
        let numbers = |key: &str| -> Vec<u64> {
            let words = suggestion[key].as_str().unwrap_or_default().split(' ');
            words.filter_map(|word| word.parse().ok()).collect()
        };
        let (from, to) = (numbers("from"), numbers("to"));
        let grew = to.len() == from.len() && to != from && to.iter().zip(&from).all(|(to, from)| to >= from);
        checks.that(grew, format_args!("{knob}: {} is no raise", suggestion["to"]));
    }

    pub fn appliable(&self) -> Vec<&'a str> {
        let open = self.suggestions().iter().filter(|suggestion| suggestion["appliable"] == true);
        open.filter_map(|suggestion| suggestion["knob"].as_str()).collect()
    }

    pub fn refuses(&self, knob: &str) -> bool {
        self.0.is_some_and(|finding| list(&finding["not"]).iter().any(|not| not["knob"] == knob))
    }

    pub fn says_no_setting_helps(&self) -> bool {
        self.0.is_some_and(|finding| finding["no_setting_helps"].as_str().is_some_and(|text| !text.is_empty()))
    }

    pub fn evidence(&self, counter: &str) -> Option<u64> {
        let evidence = self.0.map_or(&[][..], |finding| list(&finding["evidence"]));
        let of = evidence.iter().filter(|item| item["counter"] == counter);
        of.filter_map(|item| item["delta"].as_u64()).reduce(|sum, more| sum + more)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
