//! Man pages: a page per verb in section 1, and one in section 7 with the stages, counters, rules and knobs.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Paper;
use crate::cli::Cli;
use crate::stage;

/// All pages.
pub fn pages() -> Vec<Paper> {
    let mut papers = Vec::new();
    let main = Cli::command();
    for verb in main.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = format!("netstat-deep-{}", verb.get_name());
        let command = verb.clone().display_name(&name).bin_name(format!("netstat-deep {}", verb.get_name()));
        papers.push(page(Man::new(command), &format!("{name}.1")));
    }
    papers.push(page(Man::new(main), "netstat-deep.1"));
    papers.push(Paper { path: Path::new("man").join("netstat-deep-stages.7"), bytes: stages().into_bytes() });
    papers
}

fn page(man: Man, name: &str) -> Paper {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = man.date("").source(concat!("netstat-deep ", env!("CARGO_PKG_VERSION"))).manual("").render(&mut bytes);
    Paper { path: Path::new("man").join(name), bytes }
}

/// The stages in the order of the path: a reader who goes through them has learnt it.
fn stages() -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["netstat-deep-stages", "7", "", concat!("netstat-deep ", env!("CARGO_PKG_VERSION")), ""]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("netstat-deep-stages - the path of a packet: stages, counters, rules and knobs")]);
    for stage in stage::stages() {
        roff.control("SH", [stage.id.to_uppercase().as_str()]);
        roff.text([bold(stage.title), roman(". "), roman(stage.explain)]);
        if !stage.counters.is_empty() {
            roff.control("SS", ["Counted here"]);
        }
        for counter in stage.counters {
            entry(&mut roff, &counter.id(), &counter.text());
        }
        if !stage.reasons.is_empty() {
            roff.control("SS", ["Dropped here for"]);
        }
        for reason in stage.reasons {
            entry(&mut roff, reason.name, &format!("{}. {}", reason.harm, reason.normal));
        }
        if !stage.rules.is_empty() {
            roff.control("SS", ["Can be wrong here"]);
        }
        for rule in stage.rules {
            entry(&mut roff, rule.id, &format!("{}. {}", rule.title, rule.explain));
        }
        if !stage.knobs.is_empty() {
            roff.control("SS", ["Can be turned here"]);
        }
        for knob in stage.knobs {
            let text = format!("{} Default: {}. Risk: {}, {}.", knob.help, knob.default, knob.risk, knob.harm);
            entry(&mut roff, knob.id, &text);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("netstat-deep"), roman("(1)")]);
    roff.to_roff()
}

fn entry(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(text)]);
}
