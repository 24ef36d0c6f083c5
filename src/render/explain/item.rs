//! A counter, a rule, a knob or a drop reason, as running text.

use std::collections::BTreeSet;

use super::super::path::{BAD, COMMAND, GOOD, ODD};
use super::{chapter, field, flow, heading, names, paragraph, title};
use crate::model::{Counter, Finding, Harm, Key, Kind, Knob, Reason, Risk, Rule, Scope, Severity, Stage};
use crate::stage;

/// A counter.
pub fn counter(stage: &Stage, counter: &'static Counter) -> String {
    let kind = match counter.kind {
        Kind::Total => "counter",
        Kind::Gauge => "gauge",
    };
    let id = counter.id();
    let mut out = heading(&id, kind, stage.title);
    paragraph(&mut out, &counter.text());
    out.push('\n');
    let group = counter.group;
    field(&mut out, "stage", stage.id);
    field(&mut out, "unit", counter.unit.word());
    field(&mut out, "scope", scope(group.scope));
    let place = match counter.key {
        Key::Name(name) => format!("{}, by name ({name})", group.origin),
        Key::Column(column) => format!("{}, column {column} counted from 0", group.origin),
    };
    field(&mut out, "read from", &place);
    field(&mut out, "kernel", group.kernel);
    let width = match (counter.kind, group.bits) {
        (Kind::Gauge, _) => "goes up and down",
        (_, 32) => "32 bits: wraps, and is compared so",
        _ => "64 bits: if it falls it was reset, and the window says nothing",
    };
    field(&mut out, "width", width);
    field(&mut out, "OpenMetrics", &counter.metric());
    if let Some(edge) = counter.flow {
        field(&mut out, "in rx's ledger", &flow::edge(edge));
    }
    if let Some(edge) = counter.sends {
        field(&mut out, "in tx's ledger", &flow::edge(edge));
    }
    if let Some(word) = counter.same_loss {
        let others: Vec<String> = stage::counters()
            .filter(|(_, other)| other.same_loss == Some(word) && *other != counter)
            .map(|(_, other)| other.id())
            .collect();
        if !others.is_empty() {
            field(&mut out, "do not add up with", &others.join(", "));
        }
    }
    what_is_said(&mut out, stage, &id);
    title(&mut out, "When it grows");
    let rules: Vec<(String, String)> = rules_on(counter).collect();
    if rules.is_empty() {
        let lost = counter.is_loss();
        paragraph(
            &mut out,
            match lost {
                true => {
                    "No rule looks at it yet: it is a loss, and what to do about it depends on what else grows at its stage."
                }
                false => "Nothing to do by itself: it is read beside the others of its stage.",
            },
        );
    }
    names(&mut out, rules.into_iter());
    next(&mut out, stage);
    out
}

/// A rule.
pub fn rule(stage: &Stage, rule: &Rule) -> String {
    let mut out = heading(rule.id, "rule", stage.title);
    paragraph(&mut out, &format!("{}.", rule.title));
    out.push('\n');
    paragraph(&mut out, rule.explain);
    out.push('\n');
    field(&mut out, "stage", stage.id);
    if !rule.triggers.is_empty() || !rule.seen.is_empty() {
        title(&mut out, "Looks at");
    }
    let counters = rule.triggers.iter().map(|counter| (counter.id(), counter.text()));
    names(&mut out, counters.chain(rule.seen.iter().map(|seen| ((*seen).to_owned(), "what the probe sees".into()))));
    if !rule.thresholds.is_empty() {
        title(&mut out, "Limits (--thresholds FILE sets others)");
    }
    names(
        &mut out,
        rule.thresholds.iter().map(|limit| (format!("{} = {}", limit.key, limit.default), limit.help.into())),
    );
    if !rule.knobs.is_empty() {
        title(&mut out, "What to do: it may suggest");
    }
    names(&mut out, rule.knobs.iter().map(|knob| (knob.id.to_owned(), knob.help.into())));
    let findings: Vec<Finding> =
        rule.examples.iter().flat_map(|example| (rule.fires)(&(example.observed)(), rule)).collect();
    let helpless: BTreeSet<&String> = findings.iter().filter_map(|finding| finding.no_setting_helps.as_ref()).collect();
    if !helpless.is_empty() {
        title(&mut out, "Where no setting helps");
    }
    helpless.iter().for_each(|why| chapter::item(&mut out, why));
    let mut folklore: Vec<(&String, &String)> =
        findings.iter().flat_map(|finding| &finding.folklore).map(|not| (&not.knob, &not.why)).collect();
    folklore.sort();
    folklore.dedup_by_key(|(knob, _)| *knob);
    if !folklore.is_empty() {
        title(&mut out, "What not to do");
    }
    names(&mut out, folklore.into_iter().map(|(knob, why)| (knob.clone(), why.clone())));
    title(&mut out, "For example");
    for example in rule.examples {
        let (says, style) = match example.severity {
            Some(severity) => (severity.to_string(), severity_style(severity)),
            None => ("nothing".into(), GOOD),
        };
        chapter::lines(&mut out, &format!("  {style}{says:<9}{style:#} "), &" ".repeat(12), example.what);
    }
    next(&mut out, stage);
    out
}

/// A knob.
pub fn knob(stage: &Stage, knob: &Knob) -> String {
    let mut out = heading(knob.id, "knob", stage.title);
    paragraph(&mut out, knob.help);
    out.push('\n');
    field(&mut out, "stage", stage.id);
    field(&mut out, "where", &knob.whereabouts());
    field(&mut out, "scope", scope(knob.scope));
    field(&mut out, "default", knob.default);
    field(&mut out, "range", &format!("{} to {} {}", knob.range.start(), knob.range.end(), knob.unit));
    field(&mut out, "takes effect", knob.takes_effect);
    field(&mut out, "kept by", knob.keep);
    title(&mut out, "What to do");
    field(&mut out, "good value", knob.formula);
    title(&mut out, "What can go wrong");
    field(&mut out, &format!("{} risk", knob.risk), knob.harm);
    if knob.risk == Risk::High {
        field(&mut out, "", "never changed without --apply=all");
    }
    what_is_said(&mut out, stage, knob.id);
    let rules: Vec<(String, String)> = stage::rules()
        .filter(|(_, rule)| rule.knobs.iter().any(|other| other.id == knob.id))
        .map(|(_, rule)| (rule.id.to_owned(), rule.title.into()))
        .collect();
    if !rules.is_empty() {
        title(&mut out, "Looked at by");
    }
    names(&mut out, rules.into_iter());
    next(&mut out, stage);
    out
}

/// A drop reason.
pub fn reason(stage_id: &str, reason: &Reason) -> String {
    let mut out = heading(reason.name, "drop reason", stage_id);
    paragraph(&mut out, reason.normal);
    out.push('\n');
    field(&mut out, "stage", stage_id);
    let (style, what) = match reason.harm {
        Harm::Harmless => (GOOD, "nobody misses these packets: nothing to do"),
        Harm::Watch => (ODD, "normal in small numbers; a lot of it is a sign of something"),
        Harm::Harmful => (BAD, "somebody wanted these packets"),
    };
    field(&mut out, "harm", &format!("{style}{}{style:#}, {what}", reason.harm));
    field(
        &mut out,
        "kernel",
        "enum skb_drop_reason, include/net/dropreason-core.h; the number differs between kernels",
    );
    if !reason.functions.is_empty() {
        field(&mut out, "without reasons", &format!("taken from the place: {}", reason.functions.join(", ")));
    }
    if let Some(stage) = reason.missing_at {
        field(&mut out, "counters", &format!("none knows of them: they are missing in the balance of {stage}"));
    }
    let seen = format!("'netstat-deep drops --reason {}'; '--by process', '--by flow' tell whose", reason.name);
    field(&mut out, "seen by", &seen);
    let rules: Vec<(String, String)> = stage::rules()
        .filter(|(_, rule)| rule.seen.contains(&reason.name) || reason.normal.contains(rule.id))
        .map(|(_, rule)| (rule.id.to_owned(), rule.title.into()))
        .collect();
    if !rules.is_empty() {
        title(&mut out, "What to do: see");
    }
    names(&mut out, rules.into_iter());
    if let Some(stage) = stage::stages().find(|stage| stage.id == stage_id) {
        what_is_said(&mut out, stage, reason.name);
        next(&mut out, stage);
    }
    out
}

/// What the stage's chapter says of it: there it stands beside its neighbours.
fn what_is_said(out: &mut String, stage: &Stage, name: &str) {
    let mut last = "";
    for (heading, text) in chapter::about(stage.chapter, name) {
        if heading != last {
            title(out, heading);
            last = heading;
        }
        chapter::item(out, &text);
    }
}

fn next(out: &mut String, stage: &Stage) {
    out.push_str(&format!("\n {COMMAND}netstat-deep explain {}{COMMAND:#}: all of its stage\n", stage.id));
}

fn rules_on(counter: &'static Counter) -> impl Iterator<Item = (String, String)> {
    let rules = stage::rules().filter(move |(_, rule)| rule.triggers.contains(&counter));
    rules.map(|(_, rule)| (rule.id.to_owned(), rule.title.into()))
}

fn severity_style(severity: Severity) -> anstyle::Style {
    match severity {
        Severity::Critical => BAD,
        Severity::Warning => ODD,
        Severity::Info => anstyle::Style::new(),
    }
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Machine => "one for the machine",
        Scope::Netns => "one for each network namespace",
        Scope::Device => "one for each device",
        Scope::Queue => "one for each queue of a device",
        Scope::Cpu => "one for each CPU, the same in every network namespace",
        Scope::Socket => "one for each socket",
        Scope::Application => "the application's own",
    }
}
