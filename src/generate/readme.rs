//! The tables in the README, between a pair of comments each.

use std::fmt::Write;

use crate::error::Error;
use crate::stage::{self, RECEIVE};

/// The README with its tables made anew.
pub fn with_tables(text: &str) -> Result<String, Error> {
    let text = replace(text, "rules", &rules())?;
    replace(&text, "stages", &stages())
}

fn replace(text: &str, name: &str, table: &str) -> Result<String, Error> {
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let missing = || {
        Error::usage(format!("README.md has no place for the table of {name}"))
            .hint(format!("put '{}' and '{end}' on lines of their own where it belongs", begin.trim_end()))
    };
    let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

fn rules() -> String {
    let mut table = String::from("| rule | what is wrong | may suggest |\n|---|---|---|\n");
    for (_, rule) in stage::rules() {
        let knobs: Vec<String> = rule.knobs.iter().map(|knob| format!("`{}`", knob.id)).collect();
        let _ = writeln!(table, "| `{}` | {} | {} |", rule.id, rule.title, knobs.join(", "));
    }
    table
}

fn stages() -> String {
    let mut table = String::from("| stage | what it is | counters |\n|---|---|---|\n");
    for stage in RECEIVE {
        let _ = writeln!(table, "| `{}` | {} | {} |", stage.id, stage.title, stage.counters.len());
    }
    table
}
