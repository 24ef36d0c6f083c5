//! What `explain` teaches: every stage has its chapter, what a chapter names is there, and everything fits the screen.

use std::collections::BTreeSet;

use anstream::adapter::strip_str;
use netstat_deep::cli::Kind;
use netstat_deep::render::explain;
use netstat_deep::render::explain::chapter::{Block, blocks, spans};
use netstat_deep::source::groups::GROUPS;
use netstat_deep::stage::{counters, knobs, reasons, rules, stages};

const SECTIONS: [&str; 3] = ["What the kernel does", "What tells what", "Commonly misread"];
/// Columns of the narrowest terminal that people still use.
const WIDTH: usize = 80;

#[test]
fn every_stage_has_its_chapter() {
    for stage in stages() {
        let blocks = blocks(stage.chapter);
        let headings: Vec<&str> = blocks
            .iter()
            .filter_map(|block| match block {
                Block::Heading(heading) => Some(*heading),
                _ => None,
            })
            .collect();
        assert_eq!(headings, SECTIONS, "{}", stage.id);
        let steps = blocks.split(|block| *block == Block::Heading(SECTIONS[1])).next().unwrap_or_default();
        let in_kernel =
            |block: &&Block| matches!(block, Block::Item(text) if text.contains("()`") && text.contains(".c"));
        let number = steps.iter().filter(in_kernel).count();
        assert!(number >= 1, "{} names no function of the kernel with its file", stage.id);
        let items = blocks.iter().filter(|block| matches!(block, Block::Item(_))).count();
        assert!(items >= 6, "{} teaches little: {items} points", stage.id);
    }
}

/// A chapter is prose: a name in it is not checked by the compiler.
#[test]
fn counters_that_chapters_name_are_declared() {
    let known: BTreeSet<String> = counters().map(|(_, counter)| counter.id()).collect();
    let mut named = 0;
    for stage in stages() {
        for (name, _) in spans(stage.chapter).filter(|(_, is_name)| *is_name) {
            let is_counter =
                name.split_once('.').is_some_and(|(group, _)| GROUPS.iter().any(|known| known.id == group));
            assert!(!is_counter || known.contains(name), "the chapter of {} names {name}", stage.id);
            named += usize::from(is_counter);
        }
        assert_eq!(stage.chapter.matches('`').count() % 2, 0, "a name in {} does not end", stage.id);
    }
    assert!(named > 60, "only {named} counters are put in their place");
}

#[test]
fn every_text_fits_the_screen() {
    let texts = stages().map(explain::stage);
    let texts = texts.chain(counters().map(|(stage, counter)| explain::counter(stage, counter)));
    let texts = texts.chain(rules().map(|(stage, rule)| explain::rule(stage, rule)));
    let texts = texts.chain(knobs().map(|(stage, knob)| explain::knob(stage, knob)));
    let texts = texts.chain(reasons().map(|(stage, reason)| explain::reason(stage, reason)));
    for text in texts.chain([explain::list(Kind::All)]) {
        let plain = strip_str(&text).to_string();
        let first = plain.lines().next().unwrap_or_default().to_owned();
        for line in plain.lines() {
            // A name that is longer than the screen can't be broken.
            let fits = line.chars().count() <= WIDTH || line.trim().split(' ').count() == 1;
            assert!(fits, "{first}: {line}");
        }
        assert!(!plain.contains('`') && !plain.contains("  \n") && !plain.contains("\n\n\n"), "{first}: {plain}");
    }
}

#[test]
fn a_list_holds_everything_once() {
    let list = strip_str(&explain::list(Kind::All)).to_string();
    let names: Vec<&str> = list.lines().filter_map(|line| line.strip_prefix("   ")?.split(' ').next()).collect();
    let all = counters().map(|(_, counter)| counter.id());
    let all = all.chain(rules().map(|(_, rule)| rule.id.into())).chain(knobs().map(|(_, knob)| knob.id.into()));
    let all = all.chain(stages().map(|stage| stage.id.into()));
    for id in all {
        let times = names.iter().filter(|name| **name == id).count();
        // A stage and another thing may share a word.
        assert!((1..=2).contains(&times), "{id} stands {times} times in the list");
    }
    for (stage, reason) in reasons() {
        assert!(names.contains(&reason.name), "{} of {stage} is not in the list", reason.name);
    }
}
