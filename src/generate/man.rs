//! Man pages: a page per verb in section 1, and what `explain` teaches in section 7.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::{Paper, learn};
use crate::cli::Cli;

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
    papers.extend(learn::pages());
    papers
}

fn page(man: Man, name: &str) -> Paper {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = man.date("").source(concat!("netstat-deep ", env!("CARGO_PKG_VERSION"))).manual("").render(&mut bytes);
    Paper { path: Path::new("man").join(name), bytes }
}
