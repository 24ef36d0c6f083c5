//! What is known of a counter, rule, knob or stage, as running text.

use std::fmt::Write;

use super::words::wrap;
use crate::model::{Counter, Flow, Key, Kind, Knob, Place, Reason, Rule, Scope, Stage, ethtool};

const WIDTH: usize = 80;

/// A stage: what happens there, and what it has.
pub fn stage(stage: &Stage) -> String {
    let mut out = heading(stage.id, "stage", stage.title);
    paragraph(&mut out, stage.explain);
    list(&mut out, "Counted here", stage.counters.iter().map(|counter| counter.id()));
    list(&mut out, "Dropped here for", stage.reasons.iter().map(|reason| reason.name.into()));
    list(&mut out, "Can be wrong here", stage.rules.iter().map(|rule| rule.id.into()));
    list(&mut out, "Can be turned here", stage.knobs.iter().map(|knob| knob.id.into()));
    out
}

/// A counter.
pub fn counter(stage: &Stage, counter: &'static Counter) -> String {
    let kind = match counter.kind {
        Kind::Total => "counter",
        Kind::Gauge => "gauge",
    };
    let mut out = heading(&counter.id(), kind, stage.title);
    paragraph(&mut out, &counter.text());
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
    if let Some(flow) = counter.flow {
        field(&mut out, "in the ledger", &edge(flow));
    }
    if let Some(word) = counter.same_loss {
        let others: Vec<String> = crate::stage::counters()
            .filter(|(_, other)| other.same_loss == Some(word) && *other != counter)
            .map(|(_, other)| other.id())
            .collect();
        field(&mut out, "do not add up with", &others.join(", "));
    }
    list(&mut out, "Looked at by", rules_on(counter));
    out
}

/// A rule.
pub fn rule(stage: &Stage, rule: &Rule) -> String {
    let mut out = heading(rule.id, "rule", stage.title);
    paragraph(&mut out, rule.title);
    out.push('\n');
    paragraph(&mut out, rule.explain);
    field(&mut out, "stage", stage.id);
    list(&mut out, "Looks at", rule.triggers.iter().map(|counter| counter.id()));
    if !rule.thresholds.is_empty() {
        out.push_str("\nLimits (--thresholds FILE sets others)\n");
    }
    for limit in rule.thresholds {
        let _ = writeln!(out, "  {} = {}  {}", limit.key, limit.default, limit.help);
    }
    list(&mut out, "May suggest", rule.knobs.iter().map(|knob| knob.id.into()));
    out.push_str("\nFor example\n");
    for example in rule.examples {
        let says = example.severity.map_or("nothing".into(), |severity| severity.to_string());
        let _ = writeln!(out, "  {says:<9} {}", example.what);
    }
    out
}

/// A knob.
pub fn knob(stage: &Stage, knob: &Knob) -> String {
    let mut out = heading(knob.id, "knob", stage.title);
    paragraph(&mut out, knob.help);
    let place = match knob.place {
        Place::Sysctl => format!("/proc/sys/{}", knob.path()),
        Place::Sysfs(path) => format!("/sys/{path}"),
        Place::Irq(path) => format!("/proc/{path}"),
        Place::Ethtool(path) => ethtool(path, "VALUE").unwrap_or_default(),
        Place::Application => "the application's code or configuration".into(),
    };
    field(&mut out, "stage", stage.id);
    field(&mut out, "where", &place);
    field(&mut out, "scope", scope(knob.scope));
    field(&mut out, "default", knob.default);
    field(&mut out, "range", &format!("{} to {} {}", knob.range.start(), knob.range.end(), knob.unit));
    field(&mut out, "good value", knob.formula);
    field(&mut out, "risk", &format!("{}: {}", knob.risk, knob.harm));
    field(&mut out, "takes effect", knob.takes_effect);
    field(&mut out, "kept by", knob.keep);
    let suggest = crate::stage::rules().filter(|(_, rule)| rule.knobs.iter().any(|other| other.id == knob.id));
    list(&mut out, "Looked at by", suggest.map(|(_, rule)| rule.id.into()));
    out
}

/// A drop reason.
pub fn reason(stage: &str, reason: &Reason) -> String {
    let mut out = heading(reason.name, "drop reason", stage);
    paragraph(&mut out, reason.normal);
    field(&mut out, "stage", stage);
    field(&mut out, "harm", &reason.harm.to_string());
    field(
        &mut out,
        "kernel",
        "enum skb_drop_reason, include/net/dropreason-core.h; the number differs between kernels",
    );
    if !reason.functions.is_empty() {
        field(&mut out, "without reasons", &format!("taken from the place: {}", reason.functions.join(", ")));
    }
    field(&mut out, "seen by", &format!("netstat-deep drops --reason {}", reason.name));
    out
}

/// Every id, a line each, in the order of the path.
pub fn all() -> String {
    let mut out = String::new();
    for stage in crate::stage::stages() {
        let _ = writeln!(out, "{:<44} stage    {}", stage.id, stage.title);
        for rule in stage.rules {
            let _ = writeln!(out, "  {:<42} rule     {}", rule.id, rule.title);
        }
        for knob in stage.knobs {
            let _ = writeln!(out, "  {:<42} knob     {}", knob.id, first_sentence(knob.help));
        }
        for counter in stage.counters {
            let _ = writeln!(out, "  {:<42} counter  {}", counter.id(), first_sentence(&counter.text()));
        }
    }
    for (stage, reason) in crate::stage::reasons() {
        let _ = writeln!(out, "{:<44} reason   {stage}: {}", reason.name, first_sentence(reason.normal));
    }
    out
}

/// Up to the first full stop that ends a sentence.
pub fn first_sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}

fn rules_on(counter: &'static Counter) -> impl Iterator<Item = String> {
    crate::stage::rules().filter(move |(_, rule)| rule.triggers.contains(&counter)).map(|(_, rule)| rule.id.into())
}

fn edge(flow: Flow) -> String {
    match flow {
        Flow::Pass { from, to } => format!("packets that went from {from} to {to}"),
        Flow::Lost { at } => format!("packets lost at {at}"),
        Flow::Unwanted { at } => format!("packets at {at} that nobody here asked for"),
        Flow::LostBeyond { at, known, .. } => {
            format!("packets lost at {at}, those that are not in {} of the same device", known.id())
        }
        Flow::LostAsIn { at, counted, less } => {
            format!("packets lost at {at}: what {} of the same device counted, less {}", counted.id(), less.id())
        }
        Flow::LostUpTo { at, limit, rest, .. } => {
            format!("packets lost at {at}, as many as {} counted; the rest nobody asked for at {rest}", limit.id())
        }
        Flow::MayExplain { at, from } => format!("packets lost at {at}, as many as are missing at {from}"),
        Flow::Merged { at } => format!("fragments taken in at {at}"),
        Flow::Unmerged { at } => format!("packets made of fragments at {at}"),
        Flow::LostMerged { at } => format!("packets lost at {at} while waiting for fragments"),
        Flow::Uncertain { at } => format!("packets that may end at {at} uncounted"),
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

fn heading(id: &str, kind: &str, where_: &str) -> String {
    format!("{id}  ({kind}, {where_})\n\n")
}

fn paragraph(out: &mut String, text: &str) {
    for line in wrap(text, WIDTH - 2) {
        let _ = writeln!(out, "  {line}");
    }
}

fn field(out: &mut String, name: &str, value: &str) {
    if name == "stage" {
        out.push('\n');
    }
    for (i, line) in wrap(value, WIDTH - 22).iter().enumerate() {
        let name = if i == 0 { name } else { "" };
        let _ = writeln!(out, "  {name:<19} {line}");
    }
}

fn list(out: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let items: Vec<String> = items.collect();
    if !items.is_empty() {
        let _ = writeln!(out, "\n{title}");
        for item in items {
            let _ = writeln!(out, "  {item}");
        }
    }
}
