//! `explain`: what a counter, rule, knob, stage or drop reason is.

use std::io::Write;

use crate::cli::ExplainArgs;
use crate::error::{Error, did_you_mean};
use crate::render::explain;
use crate::stage;

/// Explains what was asked for, or lists all that can be explained.
pub fn run(args: &ExplainArgs, out: &mut dyn Write) -> Result<u8, Error> {
    let text = match &args.id {
        Some(id) if !args.list => text_of(id).ok_or_else(|| unknown(id))?,
        _ => explain::all(),
    };
    out.write_all(text.as_bytes()).map_err(Error::output)?;
    Ok(0)
}

/// Everything that bears this id: a word may be a stage and a knob.
fn text_of(id: &str) -> Option<String> {
    let is = |name: &str| name.eq_ignore_ascii_case(id);
    let stages = stage::stages().filter(|stage| is(stage.id)).map(explain::stage);
    let rules = stage::rules().filter(|(_, rule)| is(rule.id)).map(|(stage, rule)| explain::rule(stage, rule));
    let counters = stage::counters().filter(|(_, counter)| is(&counter.id()));
    let counters = counters.map(|(stage, counter)| explain::counter(stage, counter));
    let knobs = stage::knobs().filter(|(_, knob)| is(knob.id)).map(|(stage, knob)| explain::knob(stage, knob));
    // The kernel's full name is taken as well.
    let short = id.strip_prefix("SKB_DROP_REASON_").unwrap_or(id);
    let reasons = stage::reasons().filter(|(_, reason)| reason.name.eq_ignore_ascii_case(short));
    let reasons = reasons.map(|(stage, reason)| explain::reason(stage, reason));
    let texts: Vec<String> = stages.chain(rules).chain(counters).chain(knobs).chain(reasons).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

fn unknown(id: &str) -> Error {
    let hint = did_you_mean(id, ids(), "'netstat-deep explain --list' shows all ids");
    Error::usage(format!("nothing here is called '{id}'")).hint(hint)
}

fn ids() -> impl Iterator<Item = String> {
    let stages = stage::stages().map(|stage| stage.id.to_owned());
    let rules = stage::rules().map(|(_, rule)| rule.id.to_owned());
    let knobs = stage::knobs().map(|(_, knob)| knob.id.to_owned());
    let reasons = stage::reasons().map(|(_, reason)| reason.name.to_owned());
    stages.chain(rules).chain(knobs).chain(reasons).chain(stage::counters().map(|(_, counter)| counter.id()))
}
