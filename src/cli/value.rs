//! Values that several verbs take.

use std::time::Duration;

use clap::ValueEnum;

/// How to show a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// A JSON document a line
    Jsonl,
    /// For Prometheus
    Openmetrics,
}

/// Whether to use probes in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probes {
    /// If they are permitted here
    Auto,
    /// Or fail
    On,
    /// Counters only
    Off,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also in a pipe
    Always,
    /// Never
    Never,
}

/// The shortest window: below it, reading takes a good part of it.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A time: a number and ms, s, m or h; a bare number is seconds.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("'{other}' is no unit of time; use ms, s, m or h")),
    };
    let value: f64 = number.parse().map_err(|_| "not a number".to_string())?;
    let time = Duration::try_from_secs_f64(value * unit).map_err(|_| "not a length of time".to_string())?;
    if time.is_zero() || (SHORTEST..=LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err("not between 10ms and 24h (or 0)".into())
    }
}

/// A share of a CPU: a number and %.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: f64 = number.parse().map_err(|_| "not a number".to_string())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent / 100.0) } else { Err("not between 0% and 100%".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent() {
        assert_eq!(parse_share("1%"), Ok(0.01));
        assert_eq!(parse_share("2.5"), Ok(0.025));
        assert!(parse_share("101%").is_err() && parse_share("NaN").is_err() && parse_share("-1%").is_err());
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [("1s", 1000), ("500ms", 500), ("2m", 120_000), ("0", 0), ("1.5", 1500)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "1y", "1ms", "1e99s", "nan"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
