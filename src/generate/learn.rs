//! Man pages of section 7, from the same texts as `explain`: the stages as a book, and what is counted, can be wrong and can
//! be turned, stage by stage.

use std::path::Path;

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::Paper;
use crate::model::Stage;
use crate::render::explain::chapter::{Block, blocks, spans};
use crate::stage;

/// The pages: name, what it is about, and what it says of a stage.
type Page = (&'static str, &'static str, &'static str, fn(&mut Roff, &'static Stage));

const PAGES: [Page; 4] = [
    (
        "netstat-deep-stages",
        "the path of a packet through the kernel, stage by stage",
        "A packet meets these stages in this order. Each says what the kernel does there, function by function; which \
         counter tells what; what is commonly misread; and for which reasons packets are dropped there.",
        chapter,
    ),
    (
        "netstat-deep-counters",
        "what is counted on the path of a packet",
        "Counters by stage, in the order in which a packet meets them. Their ids are the kernel's own group and name.",
        counters,
    ),
    (
        "netstat-deep-rules",
        "what can be wrong on the path of a packet",
        "Rules by stage, in the order in which a packet meets them: what is wrong, why, and which settings may help.",
        rules,
    ),
    (
        "netstat-deep-knobs",
        "what can be turned on the path of a packet",
        "Settings by stage, in the order in which a packet meets them. 'netstat-deep tune' suggests a value for those that \
         bind, and never changes one without --apply.",
        knobs,
    ),
];

/// All pages.
pub fn pages() -> impl Iterator<Item = Paper> {
    PAGES
        .iter()
        .map(|page| Paper { path: Path::new("man").join(format!("{}.7", page.0)), bytes: written(page).into_bytes() })
}

fn written((name, about, description, of_stage): &Page) -> String {
    let mut roff = Roff::new();
    roff.control("TH", [*name, "7", "", concat!("netstat-deep ", env!("CARGO_PKG_VERSION")), ""]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {about}"))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(*description)]);
    for stage in stage::stages() {
        of_stage(&mut roff, stage);
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = PAGES.iter().map(|page| page.0).filter(|other| other != name);
    let mut see = vec![bold("netstat-deep-explain"), roman("(1)")];
    see.extend(others.flat_map(|other| [roman(", "), bold(other), roman("(7)")]));
    roff.text(see);
    roff.to_roff()
}

fn chapter(roff: &mut Roff, stage: &'static Stage) {
    head(roff, stage);
    roff.text([bold(stage.title), roman(". "), roman(stage.explain)]);
    for block in blocks(stage.chapter) {
        match block {
            Block::Heading(heading) => drop(roff.control("SS", [heading])),
            Block::Paragraph(text) => {
                roff.control("PP", []);
                roff.text(inline(&text));
            }
            Block::Item(text) => {
                roff.control("IP", ["\\(bu", "2"]);
                roff.text(inline(&text));
            }
        }
    }
    let names = |names: Vec<String>| (!names.is_empty()).then(|| names.join(", "));
    let lists = [
        ("Counted here", names(stage.counters.iter().map(|counter| counter.id()).collect())),
        ("Can be wrong here", names(crate::stage::rules_of(stage).iter().map(|rule| rule.id.into()).collect())),
        ("Can be turned here", names(stage.knobs.iter().map(|knob| knob.id.into()).collect())),
    ];
    for (heading, names) in lists.into_iter().filter_map(|(heading, names)| Some((heading, names?))) {
        roff.control("SS", [heading]);
        roff.text([roman(names)]);
    }
    if !stage.reasons.is_empty() {
        roff.control("SS", ["Dropped here for"]);
    }
    for reason in stage.reasons {
        entry(roff, reason.name, &format!("{}. {}", reason.harm, reason.normal));
    }
}

fn counters(roff: &mut Roff, stage: &'static Stage) {
    if !stage.counters.is_empty() {
        head(roff, stage);
    }
    for counter in stage.counters {
        entry(roff, &counter.id(), &counter.text());
    }
}

fn rules(roff: &mut Roff, stage: &'static Stage) {
    if !crate::stage::rules_of(stage).is_empty() {
        head(roff, stage);
    }
    for rule in crate::stage::rules_of(stage) {
        entry(roff, rule.id, &format!("{}. {}", rule.title, rule.explain));
        let knobs: Vec<&str> = rule.knobs.iter().map(|knob| knob.id).collect();
        if !knobs.is_empty() {
            more(roff, &format!("May suggest: {}.", knobs.join(", ")));
        }
        for limit in rule.thresholds {
            more(roff, &format!("Limit {} = {}: {}.", limit.key, limit.default, limit.help));
        }
    }
}

fn knobs(roff: &mut Roff, stage: &'static Stage) {
    if !stage.knobs.is_empty() {
        head(roff, stage);
    }
    for knob in stage.knobs {
        entry(roff, knob.id, knob.help);
        more(
            roff,
            &format!("Where: {}. Default: {}. A good value: {}.", knob.whereabouts(), knob.default, knob.formula),
        );
        let text =
            format!("Risk: {}, {}. Takes effect: {}. Kept by: {}.", knob.risk, knob.harm, knob.takes_effect, knob.keep);
        more(roff, &text);
    }
}

fn head(roff: &mut Roff, stage: &Stage) {
    roff.control("SH", [stage.id.to_uppercase().as_str()]);
}

fn entry(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text(inline(text));
}

/// Another line of the same entry.
fn more(roff: &mut Roff, text: &str) {
    roff.control("br", []);
    roff.text(inline(text));
}

fn inline(text: &str) -> Vec<Inline> {
    spans(text).map(|(part, is_name)| if is_name { bold(part) } else { roman(part) }).collect()
}
