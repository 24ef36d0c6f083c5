//! `explain`: what a counter, rule, knob, stage or drop reason is.

use std::io::Write;

use crate::cli::{ExplainArgs, Kind};
use crate::error::{Error, did_you_mean};
use crate::model::Counter;
use crate::render::explain;
use crate::stage;

/// Explains what was asked for, or lists what can be explained.
pub fn run(args: &ExplainArgs, out: &mut dyn Write) -> Result<u8, Error> {
    let text = match (&args.id, args.list) {
        (Some(id), None) => text_of(id).ok_or_else(|| unknown(id))?,
        (_, kind) => explain::list(kind.unwrap_or(Kind::All)),
    };
    out.write_all(text.as_bytes()).map_err(Error::output)?;
    Ok(0)
}

/// Everything that bears this id: a word may be a stage and a knob. If nothing does, what others call so.
fn text_of(id: &str) -> Option<String> {
    by_id(id).or_else(|| by_other_name(id))
}

fn by_id(id: &str) -> Option<String> {
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

/// A counter by its name alone, as nstat writes it (UdpRcvbufErrors) or as Prometheus has it; a knob by its file, or with a
/// device in it.
fn by_other_name(word: &str) -> Option<String> {
    let is = |name: &str| name.eq_ignore_ascii_case(word);
    let is_counter =
        |counter: &Counter| is(counter.name) || is(&counter.id().replace('.', "")) || is(&counter.metric());
    let setting = word.strip_prefix("/proc/sys/").map_or_else(|| word.to_owned(), |path| path.replace('/', "."));
    let counters = stage::counters().filter(|(_, counter)| is_counter(counter));
    let counters = counters.map(|(stage, counter)| explain::counter(stage, counter));
    let knobs = stage::knobs().filter(|(_, knob)| knob.is_called(&setting));
    let knobs = knobs.map(|(stage, knob)| explain::knob(stage, knob));
    let texts: Vec<String> = counters.chain(knobs).collect();
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
