//! Papers made from the code: man pages, completions, the JSON schema, and the tables in the README. What stands in the
//! code is said once; a test compares.

mod learn;
mod man;
mod readme;

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;
use schemars::Schema;

use crate::cli::Cli;
use crate::error::Error;
use crate::model::DropEvent;
use crate::report::Report;
use crate::report::card::Card;
use crate::report::sockets::SocketReport;
use crate::report::topology::Topology;

/// One generated file.
pub struct Paper {
    /// Where it belongs, below the top of the source tree.
    pub path: PathBuf,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Every generated file. `folder` holds the README, whose tables are made anew and whose other text is kept.
pub fn papers(folder: &Path) -> Result<Vec<Paper>, Error> {
    let mut papers = man::pages();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut bytes = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "netstat-deep", &mut bytes);
        let name = match shell {
            Shell::Zsh => "_netstat-deep",
            Shell::Fish => "netstat-deep.fish",
            _ => "netstat-deep.bash",
        };
        papers.push(Paper { path: Path::new("completions").join(name), bytes });
    }
    papers.push(Paper { path: "man/netstat-deep-1.schema.json".into(), bytes: schema().into_bytes() });
    papers.push(Paper { path: "man/netstat-deep-doctor-1.schema.json".into(), bytes: card_schema().into_bytes() });
    let sockets = pretty(&schemars::schema_for!(SocketReport)).into_bytes();
    papers.push(Paper { path: "man/netstat-deep-sockets-1.schema.json".into(), bytes: sockets });
    let layout = topology_schema().into_bytes();
    papers.push(Paper { path: "man/netstat-deep-topology-1.schema.json".into(), bytes: layout });
    let event = event_schema().into_bytes();
    papers.push(Paper { path: "man/netstat-deep-drop-1.schema.json".into(), bytes: event });
    let readme = folder.join("README.md");
    if let Ok(text) = std::fs::read_to_string(&readme) {
        papers.push(Paper { path: "README.md".into(), bytes: readme::with_tables(&text)?.into_bytes() });
    }
    Ok(papers)
}

/// The JSON schema of a report.
pub fn schema() -> String {
    pretty(&schemars::schema_for!(Report))
}

/// The JSON schema of a capability card.
pub fn card_schema() -> String {
    pretty(&schemars::schema_for!(Card))
}

/// The JSON schema of the layout of queues and CPUs.
pub fn topology_schema() -> String {
    pretty(&schemars::schema_for!(Topology))
}

/// The JSON schema of a single drop.
pub fn event_schema() -> String {
    pretty(&schemars::schema_for!(DropEvent))
}

fn pretty(schema: &Schema) -> String {
    let mut text = serde_json::to_string_pretty(schema).unwrap_or_default();
    text.push('\n');
    text
}
