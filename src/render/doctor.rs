//! The capability card as a screen: what works, what does not, what is lost, and what to do about it.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::path::{BAD, DIM, GOOD, ODD};
use super::words::{bytes, wrap};
use crate::report::card::{Ability, Card, FoundIn, Hook};

const WIDTH: usize = 80;
/// Where the text behind a section's name begins.
const TEXT: usize = 13;
const BOLD: Style = Style::new().bold();
const COMMAND: Style = AnsiColor::Cyan.on_default();

/// The card as a screen of text.
pub fn write(card: &Card, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    headline(card, out)?;
    for ability in &card.abilities {
        show(ability, out)?;
    }
    writeln!(out)?;
    kernel(card, verbose > 0, out)?;
    privileges(card, out)?;
    limits(card, verbose > 0, out)?;
    settings(card, out)?;
    sources(card, verbose > 0, out)?;
    remedies(card, out)
}

fn headline(card: &Card, out: &mut dyn Write) -> io::Result<()> {
    let kernel = card.kernel.as_ref().map(|kernel| format!("Linux {kernel}"));
    let left: Vec<String> = ["doctor".to_owned()].into_iter().chain(card.host.clone()).chain(kernel).collect();
    let left = left.join("  ");
    let works = card.abilities.iter().filter(|ability| ability.works).count();
    let right = format!("{works} of {} work here", card.abilities.len());
    let style = if works == card.abilities.len() { GOOD } else { ODD };
    let free = WIDTH.saturating_sub(right.len() + left.chars().count()).max(2);
    writeln!(out, "{BOLD}{left}{BOLD:#}{}{style}{right}{style:#}\n", " ".repeat(free))
}

fn show(ability: &Ability, out: &mut dyn Write) -> io::Result<()> {
    let (mark, style) = mark(ability.works);
    writeln!(out, " {style}{mark}{style:#} {BOLD}{:<14}{BOLD:#}{}", ability.id, ability.title)?;
    if !ability.works {
        let lines = ability.missing.iter().map(|missing| ("needs", missing.as_str())).chain([("lost", ability.lost)]);
        for (word, text) in lines {
            for (i, line) in wrap(text, WIDTH - 24).iter().enumerate() {
                let word = if i == 0 { word } else { "" };
                writeln!(out, "{:17}{DIM}{word:<6}{DIM:#} {line}", "")?;
            }
        }
    }
    Ok(())
}

/// What to do, with the commands on lines of their own, as they are to be typed.
fn remedies(card: &Card, out: &mut dyn Write) -> io::Result<()> {
    for remedy in &card.remedies {
        writeln!(out)?;
        section("do", &[format!("{} (for {})", remedy.what, remedy.abilities.join(", "))], out)?;
        if let Some(command) = &remedy.command {
            for line in broken(command) {
                writeln!(out, "{:TEXT$}{COMMAND}{line}{COMMAND:#}", "")?;
            }
        }
    }
    Ok(())
}

/// A command, broken so that it can be pasted: within quotes, where a line's end is a blank like others.
fn broken(command: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut quoted = false;
    for word in command.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if quoted && line.len() + word.len() + " ' netstat-deep".len() > WIDTH - TEXT {
            lines.push(word.to_owned());
        } else {
            let blank = if line.is_empty() { "" } else { " " };
            line.push_str(blank);
            line.push_str(word);
        }
        quoted ^= word.matches('\'').count() % 2 == 1;
    }
    lines
}

fn mark(good: bool) -> (char, Style) {
    if good { ('✓', GOOD) } else { ('✗', BAD) }
}

/// A section's first line stands behind its name, the others below it.
fn section(name: &str, lines: &[String], out: &mut dyn Write) -> io::Result<()> {
    let broken = lines.iter().flat_map(|line| wrap(line, WIDTH - TEXT));
    for (i, line) in broken.enumerate() {
        let name = if i == 0 { name } else { "" };
        writeln!(out, " {DIM}{name:<width$}{DIM:#}{line}", width = TEXT - 1)?;
    }
    Ok(())
}

fn kernel(card: &Card, all: bool, out: &mut dyn Write) -> io::Result<()> {
    let features = &card.features;
    let types = match (&features.btf.bytes, &features.btf.reason) {
        (Some(length), _) => format!("its types (BTF, {})", bytes(*length as u64)),
        (None, reason) => format!("no types (BTF): {}", reason.as_deref().unwrap_or("not known")),
    };
    let of = |holds: fn(&Hook) -> bool| card.hooks.iter().filter(|hook| holds(hook)).count();
    // Where none could be tried, those that are there.
    let hooks = match card.hooks.iter().any(|hook| hook.attached.is_some()) {
        true => format!("{} of {} hooks attached", of(|hook| hook.attached == Some(true)), card.hooks.len()),
        false => format!("{} of {} hooks", of(|hook| hook.found.is_some()), card.hooks.len()),
    };
    let mut parts = vec![types, hooks];
    match features.drop_reasons {
        Some(0) => parts.push("no drop reasons".into()),
        Some(reasons) => parts.push(format!("{reasons} drop reasons")),
        None => {}
    }
    let mut lines = vec![parts.join(", ")];
    if all {
        lines.extend(card.hooks.iter().flat_map(in_full));
    } else {
        let trouble = card.hooks.iter().filter_map(|hook| Some((hook.reason.as_deref()?, hook.id.as_str())));
        lines.extend(by_reason(trouble));
    }
    section("kernel", &lines, out)
}

/// A hook, and what the verifier said of its program.
fn in_full(hook: &Hook) -> Vec<String> {
    let Hook { id, gives, .. } = hook;
    let state = match (hook.attached, hook.found) {
        (Some(true), _) => ", attached",
        (None, Some(FoundIn::Btf)) => "",
        (_, Some(FoundIn::Tracefs)) => ", in tracefs",
        _ => "",
    };
    let line = match &hook.reason {
        None => format!("✓ {id}{state}: {gives}"),
        Some(reason) => format!("✗ {id}: {reason}. {gives}"),
    };
    [line].into_iter().chain(hook.verifier.iter().map(|said| format!("  {said}"))).collect()
}

fn privileges(card: &Card, out: &mut dyn Write) -> io::Result<()> {
    let of = |present| card.capabilities.iter().filter(move |capability| (capability.present == Some(true)) == present);
    let mut lines = Vec::new();
    let present: Vec<&str> = of(true).map(|capability| capability.name.trim_start_matches("CAP_")).collect();
    if !present.is_empty() {
        lines.push(format!("✓ {}", present.join(", ")));
    }
    lines.extend(of(false).map(|capability| format!("✗ {}: {}", capability.name, capability.gives)));
    section("privileges", &lines, out)
}

fn limits(card: &Card, all: bool, out: &mut dyn Write) -> io::Result<()> {
    let shown = card.limits.iter().filter(|limit| all || limit.costs.is_some());
    let mut lines: Vec<String> = shown
        .map(|limit| match limit.costs {
            Some(costs) => format!("✗ {}: {}; {costs}", limit.name, limit.value),
            None => format!("✓ {}: {}", limit.name, limit.value),
        })
        .collect();
    if lines.is_empty() {
        lines.push("✓ none by namespaces, seccomp or lockdown".into());
    }
    section("limits", &lines, out)
}

fn settings(card: &Card, out: &mut dyn Write) -> io::Result<()> {
    let settings = &card.settings;
    let mut lines = Vec::new();
    if !settings.writable.is_empty() {
        lines.push(format!("✓ {} of those that may be suggested can be changed", settings.writable.len()));
    }
    lines.extend(by_reason(settings.read_only.iter().map(|setting| (setting.reason.as_str(), setting.knob.as_str()))));
    lines.extend(by_reason(settings.absent.iter().map(|knob| (NOT_HERE, knob.as_str()))));
    section("settings", &lines, out)
}

const NOT_HERE: &str = "not on this kernel, or not in this network namespace";

fn sources(card: &Card, all: bool, out: &mut dyn Write) -> io::Result<()> {
    let good = card.sources.iter().filter(|source| source.ok).count();
    let time: u64 = card.sources.iter().map(|source| source.microseconds).sum();
    let mut lines = vec![format!("{good} of {} give rows, in {:.1} ms", card.sources.len(), time as f64 / 1e3)];
    if all {
        lines.extend(card.sources.iter().map(|source| {
            let reason = source.reason.as_ref().map(|reason| format!("; {reason}")).unwrap_or_default();
            format!("{} {}: {} µs{reason}", mark(source.ok).0, source.name, source.microseconds)
        }));
    } else {
        let trouble = card.sources.iter().filter_map(|source| Some((source.reason.as_deref()?, source.name.as_str())));
        lines.extend(by_reason(trouble));
    }
    section("sources", &lines, out)
}

/// A line for each reason, with all that it holds for.
fn by_reason<'a>(items: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (reason, name) in items {
        match reasons.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    reasons.into_iter().map(|(reason, names)| format!("✗ {reason}: {}", names.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_verifier_said_stands_below_its_hook() {
        let hook = Hook {
            id: "net:net_dev_xmit_timeout".into(),
            gives: "A queue hung.",
            found: Some(FoundIn::Btf),
            attached: Some(false),
            reason: Some("the kernel refuses the program".into()),
            verifier: vec!["R1 invalid mem access 'inv'".into()],
        };
        let refused = [
            "✗ net:net_dev_xmit_timeout: the kernel refuses the program. A queue hung.",
            "  R1 invalid mem access 'inv'",
        ];
        assert_eq!(in_full(&hook), refused);
        let attached = Hook { attached: Some(true), reason: None, verifier: Vec::new(), ..hook };
        assert_eq!(in_full(&attached), ["✓ net:net_dev_xmit_timeout, attached: A queue hung."]);
    }
}
